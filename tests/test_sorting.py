"""Names of files and folders: by study, by patient, by time, and never over another's file."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import Object, explicit, small, split_part10
from harness.peer import Peer
from harness.receivers import OURS, Receiver

from dcmstore.command import StoreRequest
from dcmstore.dataset import Findings
from storescpd.placement import Naming, NoFolderError, NoStudyError, Placement
from storescpd.studies import Studies
from storescpd.temporary import Folder, Temporary

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
STUDY, PATIENT = 0x0020000D, 0x00100010
QUICK = ("-v", "-ta", "1")
BOTH_PROCESS_MODES = pytest.mark.parametrize("process", ["--single-process", "--fork"])
STAMP = r"\d{8}_\d{9}"


def send(receiver: Receiver, things: Sequence[Object], associations: int = 1) -> list[int]:
    """Send objects, perhaps in several associations, and return the statuses."""
    statuses = []
    size = -(-len(things) // associations)
    for at in range(0, len(things), size):
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            statuses += [peer.store(thing, n) for n, thing in enumerate(things[at : at + size], 1)]
            peer.release()
    return statuses


def folders(receiver: Receiver) -> list[str]:
    """Return the folders that hold files, oldest name first."""
    return sorted({os.path.dirname(name) for name in receiver.names()})


def with_charset(thing: Object, charset: str) -> Object:
    """Return the object with a Specific Character Set."""
    return thing._replace(data=explicit(0x00080005, "CS", charset) + thing.data)


@pytest.mark.parametrize("prefix", ["S", "a b", ""])
def test_by_study_uid(flavour: str, start_receiver: StartReceiver, prefix: str) -> None:
    receiver = start_receiver(flavour, *QUICK, "-su", prefix, "-fe", ".dcm")
    studies = ["1.2.3", "1.2.3", "1.2.4", "1.2.3"]
    things = [small(study=study) for study in studies]
    assert send(receiver, things, associations=2) == [SUCCESS] * 4
    head = f"{prefix}_" if prefix else ""
    assert receiver.names() == sorted(
        f"{head}{study}/CT.{thing.sop_instance}.dcm"
        for study, thing in zip(studies, things, strict=True)
    )
    for study, thing in zip(studies, things, strict=True):
        path = receiver.folder / f"{head}{study}" / f"CT.{thing.sop_instance}.dcm"
        assert split_part10(path.read_bytes()).data == thing.data
    log = receiver.log()
    made = [line for line in log.splitlines() if "subdirectory for study: " in line]
    assert [line.split(": ")[1] for line in made] == [
        "created new subdirectory for study",
        "created new subdirectory for study",
        "using existing subdirectory for study",
    ]
    assert all(line.endswith(f"/{head}{line[-5:]}") for line in made)


def test_study_uid_with_a_slash(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *QUICK, "-su", "a/b")
    assert send(receiver, [small(study="../../x"), small(study="..")]) == [SUCCESS] * 2
    assert folders(receiver) == ["a_b__.", "a_b__._.._x"]
    assert "Unusual characters in Study Instance UID" in receiver.log()


@BOTH_PROCESS_MODES
def test_runs_of_a_study(flavour: str, start_receiver: StartReceiver, process: str) -> None:
    """An interleaved study begins anew; an association does so only where it is a process."""
    receiver = start_receiver(flavour, *QUICK, process, "-ss", "run")
    for studies in ("1", "1", "2"), ("1", "1", "1"):
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            for study in studies:
                # In one millisecond the reference puts different studies into one folder.
                time.sleep(0.002)
                assert peer.store(small(study=study)) == SUCCESS
            peer.release()
    found = folders(receiver)
    assert all(re.fullmatch("run_" + STAMP, name) for name in found)
    assert len(found) == 3
    assert len(receiver.names()) == 6


@pytest.mark.parametrize("option", [("-ss", ""), ("-sp",)], ids=["by-run", "by-patient"])
def test_studies_do_not_share_a_folder(
    start_receiver: StartReceiver, option: tuple[str, ...]
) -> None:
    """However fast they come, of two studies each has its own."""
    receiver = start_receiver(OURS, *QUICK, *option)
    things = [small(study=f"1.2.{number}", pixels=0) for number in range(30)]
    assert send(receiver, things) == [SUCCESS] * 30
    assert len(folders(receiver)) == 30


@BOTH_PROCESS_MODES
def test_a_run_goes_on_in_the_next_association(
    flavour: str, start_receiver: StartReceiver, process: str
) -> None:
    receiver = start_receiver(flavour, *QUICK, process, "-ss", "")
    assert send(receiver, [small(), small()], associations=2) == [SUCCESS] * 2
    found = folders(receiver)
    assert len(found) == (1 if process == "--single-process" else 2)
    assert all(re.fullmatch(STAMP, name) for name in found)


PATIENTS = [
    ("DOE^JANE", "", "DOE_JANE", None),
    ("M\xfcller^\xc4nne \xdf\xff", "ISO_IR 100", "Mueller_Aenne_ssy", None),
    ("M\xfcller", "", "Mueller", None),
    ("../x", "", "___x", None),
    ("A=B=C\\D", "", "A_B_C", None),
    ("", "", "ANONYMOUS", "element PatientName (0010,0010) absent or empty in data set"),
    ("   ", "", "ANONYMOUS", "element PatientName (0010,0010) absent or empty in data set"),
    ("\xc3\xa9", "ISO_IR 192", "A_", "Patient name not in Latin-1 (charset: ISO_IR 192)"),
    ("x", "ISO_IR 192", "x", None),
]


def test_by_patient_name(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, "-sp")
    for number, (patient, charset, folder, warning) in enumerate(PATIENTS):
        thing = small(study=f"1.2.{number}", patient=patient)
        if charset:
            thing = with_charset(thing, charset)
        mark, known = receiver.mark(), set(folders(receiver))
        # The reference mixes studies of one name that begin in the same millisecond.
        time.sleep(0.002)
        assert send(receiver, [thing]) == [SUCCESS]
        (new,) = set(folders(receiver)) - known
        assert re.fullmatch(re.escape(folder) + "_" + STAMP, new), patient
        warnings = [line for line in receiver.log(mark).splitlines() if line.startswith("W: ")]
        assert len(warnings) == (warning is not None), patient
        assert warning is None or warnings[0].startswith(f"W: {warning}")


def test_without_patient_name(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, "-sp")
    assert send(receiver, [small(leave_out=(PATIENT,))]) == [SUCCESS]
    assert folders(receiver)[0].startswith("ANONYMOUS_")


def test_objects_that_cannot_be_sorted(flavour: str, start_receiver: StartReceiver) -> None:
    """They are not stored, and change nothing for those around them."""
    receiver = start_receiver(flavour, *QUICK, "-ss", "")
    good = [small(), small()]
    bad = [small(leave_out=(STUDY,)), small(study=""), small()._replace(data=b"")]
    things = [bad[2], good[0], *bad, good[1]]
    expected = [CANNOT_UNDERSTAND, SUCCESS, *[CANNOT_UNDERSTAND] * 3, SUCCESS]
    assert send(receiver, things) == expected
    assert len(folders(receiver)) == 1
    assert len(receiver.names()) == 2
    text = "E: element StudyInstanceUID (0020,000d) absent or empty in data set"
    assert receiver.log().count(text) == 4


def test_folder_that_cannot_be_made(flavour: str, start_receiver: StartReceiver) -> None:
    """The study counts as begun, so further objects of it fail where they would be written."""
    receiver = start_receiver(flavour, *QUICK, "-ss", "no/such")
    things = [small(study=study) for study in ("1", "1", "2", "1")]
    expected = [CANNOT_UNDERSTAND, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, CANNOT_UNDERSTAND]
    assert send(receiver, things) == expected
    assert receiver.names() == []
    log = receiver.log()
    assert log.count("E: could not create subdirectory for study: ") == 3
    assert log.count("E: cannot write DICOM file: ") == 1
    assert log.count("No such file or directory") == 1


def test_prefix_may_name_a_folder_that_is_there(
    flavour: str, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(flavour, *QUICK, "-ss", "today/run")
    (receiver.folder / "today").mkdir()
    assert send(receiver, [small()]) == [SUCCESS]
    assert re.fullmatch("today/run_" + STAMP, folders(receiver)[0])


def test_a_file_in_the_folders_place(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, "-su", "")
    (receiver.folder / "1.2.3").write_text("in the way")
    things = [small(study="1.2.3"), small(study="1.2.3"), small(study="1.2.4")]
    assert send(receiver, things) == [OUT_OF_RESOURCES, OUT_OF_RESOURCES, SUCCESS]
    assert "using existing subdirectory for study: " in receiver.log()
    assert (receiver.folder / "1.2.3").read_text() == "in the way"
    assert len(receiver.names()) == 2


def test_a_folder_that_is_removed_meanwhile(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, "-su", "")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small(study="1.2.3"), 1) == SUCCESS
        shutil.rmtree(receiver.folder / "1.2.3")
        assert peer.store(small(study="1.2.3"), 2) == OUT_OF_RESOURCES
        assert peer.store(small(study="1.2.4"), 3) == SUCCESS
        assert peer.store(small(study="1.2.3"), 4) == SUCCESS
        peer.release()
    assert folders(receiver) == ["1.2.3", "1.2.4"]


def test_the_next_association_makes_the_folder_of_a_study(
    start_receiver: StartReceiver, tmp_path: Path
) -> None:
    """Whether it could not be made before, or is gone: a study is not lost for a passing want."""
    receiver = start_receiver(OURS, "--single-process", "-dhl", "-su", "")
    study = receiver.folder / "1.2.3"
    study.write_text("in the way")
    assert send(receiver, [small(study="1.2.3")]) == [OUT_OF_RESOURCES]
    study.unlink()
    assert send(receiver, [small(study="1.2.3")]) == [SUCCESS]
    study.rename(tmp_path / "moved")
    assert send(receiver, [small(study="1.2.3")]) == [SUCCESS]
    assert len(os.listdir(study)) == len(os.listdir(tmp_path / "moved")) == 1
    shutil.rmtree(study)
    assert send(receiver, [small(study="1.2.3")]) == [SUCCESS]
    assert send(receiver, [small(study="1.2.3")]) == [SUCCESS]
    assert len(os.listdir(study)) == 2


def test_sorting_what_has_to_be_written_anew(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, "-su", "", "+ti")
    small_one, large_one = small(study="1.2.3"), small(study="1.2.3", pixels=100_000)
    assert send(receiver, [small_one, large_one]) == [SUCCESS] * 2
    assert folders(receiver) == ["1.2.3"]
    for name in receiver.names():
        meta = split_part10((receiver.folder / name).read_bytes()).meta
        assert meta[0x10].rstrip(b"\0").decode() == wire.IMPLICIT


@pytest.mark.parametrize("mode", [(), ("+B",)], ids=["normal", "bit-preserving"])
def test_unique_names(flavour: str, start_receiver: StartReceiver, mode: tuple[str, ...]) -> None:
    receiver = start_receiver(flavour, *QUICK, *mode, "+uf", "-fe", ".dcm")
    thing = small()
    assert send(receiver, [thing, thing, small(sop_class="1.2.3")]) == [SUCCESS] * 3
    names = receiver.names()
    assert len(names) == 3
    made_up = r"\.X\.[0-9.]+\.dcm"
    assert [bool(re.fullmatch("CT" + made_up, name)) for name in names] == [True, True, False]
    assert re.fullmatch("UNKNOWN" + made_up, names[2])
    assert thing.sop_instance not in " ".join(names)


TIME_NAME = re.compile(r"(\d{17})(?:_(\d{4}))?\.(CT|MR)\.dcm")


@pytest.mark.parametrize("mode", [(), ("+B",)], ids=["normal", "bit-preserving"])
def test_names_by_time(flavour: str, start_receiver: StartReceiver, mode: tuple[str, ...]) -> None:
    """Serial numbers tell apart what comes in the same millisecond."""
    receiver = start_receiver(flavour, *QUICK, *mode, "-tn", "-fe", ".dcm")
    count = 60
    assert send(receiver, [small() for _ in range(count)], associations=2) == [SUCCESS] * count
    names = receiver.names()
    assert len(names) == count
    serials: dict[str, list[str]] = {}
    for name in names:
        match = TIME_NAME.fullmatch(name)
        assert match, name
        serials.setdefault(match[1], []).append(match[2] or "")
    for found in serials.values():
        expected = ["", *(f"{number:04d}" for number in range(len(found) - 1))]
        assert sorted(found) == sorted(expected)


def test_unique_names_beat_names_by_time(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, "-tn", "+uf", "-uf")
    assert send(receiver, [small()]) == [SUCCESS]
    assert re.fullmatch(r"\d{17}\.CT", receiver.names()[0])


def test_children_take_no_name_twice(start_receiver: StartReceiver) -> None:
    """Four processes that store at the same time lose none of their files."""
    receiver = start_receiver(OURS, "--fork", "-ta", "1", "-tn")
    each = 150

    def run(_: int) -> list[int]:
        return send(receiver, [small(pixels=0) for _ in range(each)])

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for one in pool.map(run, range(4)) for status in one]
    assert statuses == [SUCCESS] * 4 * each
    assert len(receiver.names()) == 4 * each


def test_sorting_bit_by_bit_is_refused(start_receiver: StartReceiver, flavour: str) -> None:
    with pytest.raises(AssertionError, match="not allowed with --bit-preserving"):
        start_receiver(flavour, "+B", "-su", "")


def test_sorting_bit_by_bit_if_asked_for(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *QUICK, "+B", "-su", "", "--sort-bit-preserving")
    padded = small(study="1.2.3", patient="A   ")
    unreadable = small()._replace(data=b"\x08\0\x05\0CS\xff\0  ")
    lost = small(leave_out=(STUDY,))
    statuses = send(receiver, [padded, unreadable, lost, small(study="1.2.4", pixels=50_000)])
    assert statuses == [SUCCESS, SUCCESS, CANNOT_UNDERSTAND, SUCCESS]
    assert folders(receiver) == ["", "1.2.3", "1.2.4"]
    stored = split_part10(receiver.stored(padded.sop_instance))
    assert stored.data == padded.data
    assert (receiver.folder / f"CT.{unreadable.sop_instance}").exists()
    receiver.wait_for_log("W: not sorted, since unparseable: ")


# Below here no receiver runs.


def request(instance: str = "1.2.3") -> StoreRequest:
    return StoreRequest(1, wire.CT, instance)


def findings(study: str) -> Findings:
    return Findings(wire.CT, "1.2.3", study, b"", b"", False, False, (), (), "")


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    (tmp_path / "out").mkdir()
    return Folder(str(tmp_path / "out"))


def test_a_study_opens_one_folder_at_a_time(output: Folder) -> None:
    names = Naming("default-filenames", "", "sort-on-study-uid", "")
    placement = Placement(output, names, Studies(None, remember=False))
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        place = placement.place(request(), findings(f"1.{number % 7}"))
        assert place.folder.path.endswith(f"/1.{number % 7}")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    with pytest.raises(NoStudyError):
        placement.place(request(), findings(""))
    assert placement.place(request(), None).folder is output


def test_a_study_that_is_forgotten_begins_anew(output: Folder) -> None:
    studies = Studies(5, remember=False)
    now = [1000.0]
    names = Naming("default-filenames", "", "sort-conc-studies", "S")
    placement = Placement(output, names, studies, lambda: now[0])
    first = placement.place(request(), findings("1.2")).folder.path
    studies.touch(0)
    now[0] += 2
    assert placement.place(request(), findings("1.2")).folder.path == first
    studies.idle(6)
    assert placement.place(request(), findings("1.2")).folder.path != first


def test_folder_of_the_next_study_after_one_that_cannot_be_made(output: Folder) -> None:
    names = Naming("default-filenames", ".x", "sort-on-study-uid", "")
    placement = Placement(output, names, Studies(None, remember=False))
    os.chmod(output.path, 0o555)
    if os.geteuid() == 0:
        # Root may write anywhere, but not into a folder that is gone.
        os.rmdir(output.path)
    with pytest.raises(NoStudyError, match="could not create subdirectory for study: "):
        placement.place(request(), findings("1.2"))
    with pytest.raises(NoFolderError) as caught:
        placement.place(request(), findings("1.2"))
    assert caught.value.folder == output.join("1.2")
    assert caught.value.name == "CT.1.2.3.x"


@pytest.fixture
def other_file_system(output: Folder) -> Iterator[Path]:
    """A folder below the output folder that is a mount of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    place = Path(output.path) / "1.2"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this system lets nobody mount a file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("nameless", [True, False])
def test_a_study_on_another_file_system(
    output: Folder, other_file_system: Path, nameless: bool
) -> None:
    output.nameless = nameless
    study = Folder("1.2", output)
    file = Temporary(output)
    file.write((b"object",))
    file.move(study)
    assert file.publish("CT") is False
    assert (other_file_system / "CT").read_bytes() == b"object"
    assert os.listdir(output.path) == ["1.2"]
    assert os.listdir(other_file_system) == ["CT"]
    study.close()


@pytest.mark.parametrize("nameless", [True, False])
def test_temporaries_move_and_take_free_names_only(output: Folder, nameless: bool) -> None:
    output.nameless = nameless
    os.mkdir("sub", dir_fd=output.fd)
    inner = Folder("sub", output)
    assert inner.path == output.join("sub")
    for text in (b"one", b"two"):
        file = Temporary(output)
        file.write((text,))
        file.move(inner)
        names = iter(("a", "b"))
        while True:
            try:
                file.publish_new(next(names))
                break
            except FileExistsError:
                assert text == b"two"
    assert {name: Path(inner.path, name).read_bytes() for name in os.listdir(inner.path)} == {
        "a": b"one",
        "b": b"two",
    }
    assert os.listdir(output.path) == ["sub"]


def test_free_names_where_there_are_no_links(
    output: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    output.nameless = False
    monkeypatch.setattr(os, "link", no_link)
    first, second = Temporary(output), Temporary(output)
    first.write((b"first",))
    first.publish_new("a")
    with pytest.raises(FileExistsError):
        second.publish_new("a")
    second.discard()
    assert Path(output.path, "a").read_bytes() == b"first"
    assert os.listdir(output.path) == ["a"]

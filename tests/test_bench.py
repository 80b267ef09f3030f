"""The benchmark: its objects are what they claim to be, and a row measures what it counts."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from bench import data as data_module
from bench.data import Data, Sizes
from bench.peers import BenchError, run
from bench.results import choose
from bench.rows import Counts
from bench.trials import Sample, check_arrived

TOP = Path(__file__).parent.parent


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The benchmark as make starts it."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=TOP, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("bench") / "data", Sizes(ct=3, small=6, frames=4, many=2))


@pytest.mark.parametrize(
    ("kind", "number", "shape", "payload"),
    [
        ("ct", 3, (512, 512, 16, 1), 512 << 10),
        ("small", 6, (48, 64, 8, 1), 3 << 10),
        ("large", 1, (512, 512, 16, 4), 2 << 20),
    ],
)
def test_objects_are_read_by_pydicom(
    data: Data, kind: str, number: int, shape: tuple[int, int, int, int], payload: int
) -> None:
    objects = {"ct": lambda: data.ct, "small": lambda: data.small, "large": lambda: data.large}[
        kind
    ]()
    read = [pydicom.dcmread(file) for file in objects.files]
    assert len({each.SOPInstanceUID for each in read}) == number
    assert objects.payload == payload
    for each in read:
        assert each.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID
        assert each.file_meta.MediaStorageSOPClassUID == each.SOPClassUID
        assert each.SOPInstanceUID.is_valid
        assert each.StudyInstanceUID.is_valid
        frames = int(each.get("NumberOfFrames", 1))
        assert (each.Rows, each.Columns, each.BitsAllocated, frames) == shape
        assert len(each.PixelData) == payload
        assert [element.tag for element in each] == sorted(element.tag for element in each)


@pytest.mark.parametrize(("elements", "count"), [(100, 3), (10_000, 2)])
def test_objects_have_the_elements_that_they_claim(data: Data, elements: int, count: int) -> None:
    objects = data.few_elements if elements == 100 else data.many_elements
    assert len(objects.files) == count
    for file in objects.files:
        read = pydicom.dcmread(file)
        referred = read.ReferencedImageSequence
        found = len(read) - 2 + 2 * len(referred)  # but for the sequence and the pixel data
        assert elements - 2 < found <= elements
        assert {item.ReferencedSOPClassUID for item in referred} == {data_module.CT_IMAGE}


def test_small_objects_are_about_4_kib(data: Data) -> None:
    assert 3800 < data.small.files[0].stat().st_size < 4300


def test_senders_get_different_objects(data: Data) -> None:
    folders = data.small.folders(2, 3)
    names = [sorted(os.listdir(folder)) for folder in folders]
    assert [len(each) for each in names] == [3, 3]
    assert not set(names[0]) & set(names[1])
    with pytest.raises(ValueError, match="7 objects wanted of 6"):
        data.small.folders(1, 7)


def test_a_missing_or_short_object_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "b").write_bytes(bytes(9))
    check_arrived(tmp_path, 2, 9)
    with pytest.raises(BenchError, match="1 of 2"):
        check_arrived(tmp_path, 2, 10)
    with pytest.raises(BenchError, match="2 of 3"):
        check_arrived(tmp_path, 3, 9)


def test_a_failed_program_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"ended with 3: oops"):
        run([["sh", "-c", "echo oops; exit 3"], ["true"]], dict(os.environ), tmp_path / "log")


def test_a_stalling_side_does_few_operations() -> None:
    counts = Counts(warm=10, few=20, full=1000, stall=0.02)
    assert choose(counts, Sample(10, 0, 0.9, 0, None), nodelay=False) == 20
    assert choose(counts, Sample(10, 0, 0.1, 0, None), nodelay=False) == 1000
    assert choose(counts, Sample(10, 0, 0.9, 0, None), nodelay=True) == 1000


def test_rows_run_with_the_reference_on_both_sides(reference: str, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    rows = r"(receive 4 KiB|send CT|over TLS|C-ECHO, 128|inetd).*NODELAY"
    done = bench("--quick", "--self-check", "--rows", rows, "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # no progress in a pipe
    written = json.loads(out.read_text())
    assert written["machine"]["processors"] >= 1
    assert [row["row"] for row in written["results"]] == [
        "receive 4 KiB -B",
        "send CT",
        "receive CT over TLS",
        "send CT over TLS",
        "C-ECHO, 128 contexts",
        "inetd, one C-ECHO",
    ]
    for row in written["results"]:
        assert row["error"] == ""
        assert [side["suite"] for side in row["sides"]] == ["DCMTK-too", "DCMTK"]
        assert all(side["median"] > 0 for side in row["sides"])
        assert row["row"] in done.stdout


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_rows_run_with_a_bare_receiver(reference: str, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    rows = "(receive 4 KiB|receive.*MiB -B|rewrite|C-ECHO, 1 |^8 senders).*NODELAY"
    done = bench("--quick", "--bare", "--rows", rows, "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    results = json.loads(out.read_text())["results"]
    assert [row["row"] for row in results] == [
        "receive 4 KiB -B",
        "receive 64 MiB -B",
        "C-ECHO, 1 context",
        "8 senders, 4 KiB",
    ]
    for row in results:
        assert row["error"] == ""
        assert [side["suite"] for side in row["sides"]] == ["bare", "DCMTK"]


def test_an_unknown_row_is_a_usage_error() -> None:
    done = bench("--rows", "no such row")
    assert done.returncode == 2
    assert "no row matches" in done.stderr


def test_a_reader_of_the_list_may_have_seen_enough() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--list"],
        cwd=TOP,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")

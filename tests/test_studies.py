"""End of study: when it is noticed, and how the files are renamed without losing one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storescpd.studies import SHORTEST_TIMEOUT, Finished, Studies, numbered, rename


def test_another_study_ends_the_one_before() -> None:
    studies = Studies(None, remember=True)
    assert studies.folder("1") is None
    studies.begin("1", "out/1")
    studies.stored("CT.a")
    studies.stored("CT.b")
    assert studies.folder("1") == "out/1"
    assert studies.ended() == []
    assert studies.folder("2") is None
    studies.begin("2", "out/2")
    studies.stored("CT.c")
    assert studies.ended() == [Finished("1", "out/1", ("CT.a", "CT.b"))]
    assert studies.ended() == []


def test_an_interleaved_study_is_opened_anew() -> None:
    studies = Studies(None, remember=True)
    for study in ("1", "2", "1"):
        assert studies.folder(study) is None
        studies.begin(study, f"out/{study}")
        studies.stored("x")
    assert [one.study for one in studies.ended()] == ["1", "2"]


def test_a_study_whose_folder_is_made_anew_goes_on() -> None:
    studies = Studies(None, remember=True)
    for name in ("a", "b"):
        studies.begin("1", "out/1")
        studies.stored(name)
    assert studies.ended() == []
    studies.begin("1", "out/another")
    assert studies.ended() == [Finished("1", "out/1", ("a", "b"))]


def test_a_name_that_is_stored_twice_is_one_file() -> None:
    studies = Studies(None, remember=True)
    studies.begin("1", "out")
    for name in ("b", "a", "b"):
        studies.stored(name)
    studies.begin("2", "out")
    assert studies.ended()[0].names == ("b", "a")


def test_names_are_not_hoarded_when_nothing_renames_them() -> None:
    studies = Studies(None, remember=False)
    studies.begin("1", "out")
    studies.stored("a")
    studies.begin("2", "out")
    assert studies.ended() == [Finished("1", "out", ())]


def test_silence_ends_a_study_and_forgets_it() -> None:
    studies = Studies(10, remember=True)
    assert studies.wait(0) is None
    studies.begin("1", "out")
    studies.stored("a")
    studies.touch(100)
    assert studies.wait(104) == 6
    studies.idle(109.9)
    assert studies.ended() == []
    studies.touch(105)
    studies.idle(110)
    assert studies.ended() == []
    assert studies.wait(200) == 0
    studies.idle(115)
    assert studies.ended() == [Finished("1", "out", ("a",))]
    assert studies.folder("1") is None
    assert studies.wait(200) is None


def test_without_a_timeout_silence_means_nothing() -> None:
    studies = Studies(None, remember=True)
    studies.begin("1", "out")
    studies.touch(0)
    assert studies.wait(1e9) is None
    studies.idle(1e9)
    assert studies.ended() == []


def test_a_timeout_of_zero_neither_spins_nor_cuts_a_study_to_pieces() -> None:
    studies = Studies(0, remember=True)
    studies.touch(0)
    assert studies.wait(0) is None
    studies.begin("1", "out")
    studies.touch(50)
    assert studies.wait(50) == SHORTEST_TIMEOUT
    studies.idle(50.04)
    assert studies.ended() == []
    studies.idle(50 + SHORTEST_TIMEOUT)
    assert len(studies.ended()) == 1
    # With no study open there is nothing to wake up for.
    assert studies.wait(60) is None
    studies.touch(60)
    assert studies.wait(60) is None


def test_numbers_count_over_all_prefixes() -> None:
    assert numbered(["CT.1.2", "SR.1", "RTd.3", "UNKNOWN.4"], [], False) == {
        "CT.1.2": "CT000001",
        "SR.1": "SR000002",
        "RTd.3": "RT000003",
        "UNKNOWN.4": "UN000004",
    }


def test_time_names_have_their_prefix_behind() -> None:
    names = ["20240101120000123.CT.dcm", "20240101120000123_0000.MR"]
    assert list(numbered(names, [], True).values()) == ["CT000001", "MR000002"]


def test_numbers_go_on_where_they_stopped() -> None:
    present = ["CT000007", "MR000002", "CT.1.2", "x", "CT000099.dcm", "CT12345", "CT000005x"]
    assert numbered(["CT.1.2"], present, False) == {"CT.1.2": "CT000008"}
    assert numbered(["CT.1"], ["CT999999"], False) == {"CT.1": "CT1000000"}


@given(
    st.lists(st.text(min_size=1), unique=True),
    st.lists(st.from_regex(r"[A-Z]{2}[0-9]{5,7}", fullmatch=True) | st.text()),
    st.booleans(),
)
def test_no_new_name_is_taken(names: list[str], present: list[str], time_names: bool) -> None:
    new = list(numbered(names, present, time_names).values())
    assert len(set(new)) == len(names)
    assert not set(new) & set(present)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_continued_study_loses_nothing(tmp_path: Path) -> None:
    for round_number in (1, 2):
        names = (f"CT.{round_number}.1", f"MR.{round_number}.2")
        for name in names:
            (tmp_path / name).write_text(name)
        assert rename(Finished("1", str(tmp_path), names), time_names=False) == []
    assert files(tmp_path) == {
        "CT000001": "CT.1.1",
        "MR000002": "MR.1.2",
        "CT000003": "CT.2.1",
        "MR000004": "MR.2.2",
    }


def test_a_file_that_is_gone_is_warned_of_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "CT.2").write_text("two")
    warnings = rename(Finished("1", str(tmp_path), ("CT.1", "CT.2")), time_names=False)
    assert warnings == [f"cannot rename file '{tmp_path}/CT.1' to '{tmp_path}/CT000001'"]
    assert files(tmp_path) == {"CT000002": "two"}


def test_a_folder_that_is_gone_is_warned_of(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert rename(Finished("1", gone, ("CT.1",)), time_names=False) == [
        f"cannot rename files in '{gone}': No such file or directory"
    ]


def test_what_appears_in_the_way_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "CT.1").write_text("ours")
    (tmp_path / "CT000001").write_text("theirs")
    # Somebody else put it there after the folder was listed.
    monkeypatch.setattr("os.listdir", lambda _: ["CT.1"])
    assert len(rename(Finished("1", str(tmp_path), ("CT.1",)), time_names=False)) == 1
    monkeypatch.undo()
    assert files(tmp_path) == {"CT.1": "ours", "CT000001": "theirs"}

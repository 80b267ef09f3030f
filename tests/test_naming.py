"""Names of files and folders: the forms admins know, and that no peer's text escapes them."""

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmstore.uids import accepted_storage_classes
from storescpd import naming

CT = "1.2.840.10008.5.1.4.1.1.2"
SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
NOW = 1_700_000_000.1239


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def is_one_safe_name(name: str) -> bool:
    return SAFE.fullmatch(name) is not None and len(os.fsencode(name)) <= 255


def test_an_ordinary_uid_is_the_name() -> None:
    assert naming.object_name(CT, "1.2.3", "") == ("CT.1.2.3", False)
    assert naming.object_name(CT, "1.2.3", ".dcm") == ("CT.1.2.3.dcm", False)


def test_an_unlisted_class_is_unknown() -> None:
    assert naming.object_name("1.2.3", "4.5", "") == ("UNKNOWN.4.5", False)


def test_unusual_characters_are_replaced_as_debian_does() -> None:
    # What Debian's storescp 3.6.7 made of the same UID (its two bytes of é are one character here).
    name, changed = naming.object_name(CT, "1.2/3$(x)\\\\é;'\"ab-c_d", "")
    assert (name, changed) == ("CT.1.2_3__x_______ab-c_d", True)


def test_the_warning_cannot_forge_a_line() -> None:
    warning = naming.replaced_warning("1\nW: all is well\x1b[2K")
    assert warning.isprintable()
    assert '"1_W__all_is_well__2K"' in warning


def test_a_long_extension_shortens_the_uid_only() -> None:
    name, changed = naming.object_name(CT, "1" * 64, "ü" * 115)
    assert changed
    assert len(os.fsencode(name)) == 255
    assert name == "CT." + "1" * 22 + "ü" * 115


def test_the_extension_stays_in_the_folder() -> None:
    assert naming.object_name(CT, "1", "/../x")[0] == "CT.1_.._x"


@given(st.sampled_from(accepted_storage_classes()) | st.text(), st.text())
def test_no_object_name_escapes(sop_class: str, sop_instance: str) -> None:
    name, changed = naming.object_name(sop_class, sop_instance, "")
    assert is_one_safe_name(name)
    assert changed == (not name.endswith("." + sop_instance) or not sop_instance)


@given(st.text(), st.integers(max_value=300))
def test_no_component_escapes(text: str, room: int) -> None:
    name = naming.component(text, room)
    assert is_one_safe_name(name)
    assert len(name) <= max(room, 1)


@pytest.mark.parametrize("text", ["", ".", "..", "...", "../../etc/passwd", "/", "\0", ".hidden"])
def test_dots_and_nothing_are_not_components(text: str, tmp_path: Path) -> None:
    name = naming.component(text)
    assert is_one_safe_name(name)
    (tmp_path / name).write_bytes(b"")
    assert os.listdir(tmp_path) == [name]


def test_unique_names_hold_a_uid_of_a_random_uuid() -> None:
    assert naming.unique_name(CT, ".dcm", bytes(16)) == "CT.X.2.25.302240678275694148452352.dcm"


def test_time_names_count_within_a_millisecond() -> None:
    names = naming.TimeNames()
    taken = [names.next(NOW, CT, ".x") for _ in range(3)]
    assert taken == [
        "20231114221320123.CT.x",
        "20231114221320123_0000.CT.x",
        "20231114221320123_0001.CT.x",
    ]
    assert names.next(NOW + 0.001, CT, "") == "20231114221320124.CT"


def test_time_names_start_anew_with_another_prefix_or_folder() -> None:
    names = naming.TimeNames()
    names.next(NOW, CT, "", "a")
    assert names.next(NOW, CT, "", "b") == "20231114221320123.CT"
    assert names.next(NOW, "1.2", "", "b") == "20231114221320123.UNKNOWN"
    assert names.next(NOW, "1.2", "", "b") == "20231114221320123_0000.UNKNOWN"


def test_run_folders() -> None:
    assert naming.run_folder("run", NOW) == ("run_20231114_221320123", ())
    assert naming.run_folder("", NOW).name == "20231114_221320123"
    assert naming.run_folder("a/b", NOW).name == "a/b_20231114_221320123"


def test_study_folders() -> None:
    assert naming.study_folder("st", "1.2.3") == ("st_1.2.3", ())
    assert naming.study_folder("", "1.2.3").name == "1.2.3"
    assert naming.study_folder("a/b", "1.2").name == "a_b_1.2"
    hostile = naming.study_folder("", "../x")
    assert hostile.name == "_._x"
    assert len(hostile.warnings) == 1


@given(st.text(), st.sampled_from(["", "st"]))
def test_no_study_folder_escapes(study: str, prefix: str) -> None:
    folder = naming.study_folder(prefix, study)
    assert is_one_safe_name(folder.name)
    assert bool(folder.warnings) == (folder.name.removeprefix("st_" if prefix else "") != study)
    assert all(w.isprintable() for w in folder.warnings)


@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        (b"Doe^John", "Doe_John"),
        (b" a b ", "_a_b"),
        (b"A\\B", "A"),
        (b"..", "__"),
        ("ÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕØÙÚÛÝ".encode("latin-1"), "AAAAAACEEEEIIIIDNOOOOOUUUY"),
        ("àáâãåæçèéêëìíîïðñòóôõøùúûýÿ".encode("latin-1"), "aaaaaaceeeeiiiidnooooouuuyy"),
        ("ÄÖÜäöüß".encode("latin-1"), "AeOeUeaeoeuess"),
        ("×÷Þþ¿".encode("latin-1"), "_____"),
    ],
)
def test_patient_folders_spell_latin1_in_ascii(patient: bytes, expected: str) -> None:
    folder = naming.patient_folder(patient, "ISO_IR 100", NOW)
    assert folder == (f"{expected}_20231114_221320123", ())


@pytest.mark.parametrize("patient", [b"", b"   ", b"\0", b"\\B"])
def test_a_patient_without_a_name_is_anonymous(patient: bytes) -> None:
    folder = naming.patient_folder(patient, "", NOW)
    assert folder.name == "ANONYMOUS_20231114_221320123"
    assert folder.warnings == (
        "element PatientName (0010,0010) absent or empty in data set, using 'ANONYMOUS' instead",
    )


def test_another_character_set_is_warned_of_only_where_it_matters() -> None:
    folder = naming.patient_folder("Jürgen".encode(), "ISO_IR 192", NOW)
    assert folder.name.startswith("JA_rgen_")
    assert folder.warnings == (
        "Patient name not in Latin-1 (charset: ISO_IR 192), ASCII dir name may be broken",
    )
    assert not naming.patient_folder(b"Juergen", "ISO_IR 192", NOW).warnings
    assert not naming.patient_folder("Jürgen".encode("latin-1"), "", NOW).warnings


@given(st.binary(max_size=400), st.text(max_size=20))
def test_no_patient_folder_escapes(patient: bytes, charset: str) -> None:
    folder = naming.patient_folder(patient, charset, NOW)
    assert re.fullmatch(r"[A-Za-z0-9_]+_20231114_221320123", folder.name)
    assert is_one_safe_name(folder.name)
    assert all(w.isprintable() for w in folder.warnings)

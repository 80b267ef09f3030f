"""Every readable object of pydicom's test files and of pydicom-data, by transfer syntax.

Readable means: ``pydicom.dcmread`` works, and the data set names its SOP class and instance.
"""

import os
import warnings
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.data import data_manager

from harness.objects import split_part10


class Entry(NamedTuple):
    """One file of the corpus, with the bytes of its data set as they are in the file.

    ``sop_instance`` is the data set's, which DCMTK puts into its requests; ``meta_instance`` is
    the file meta header's, which pynetdicom does. They differ in some files.
    """

    path: Path
    sop_class: str
    sop_instance: str
    meta_instance: str
    syntax: str
    data: bytes

    def even_copy(self, folder: Path) -> Path:
        """Return a file with an even data set, which is all that can be sent as it stands."""
        if len(self.data) % 2 == 0:
            return self.path
        copy = folder / self.path.name
        copy.write_bytes(self.path.read_bytes() + b"\0")
        return copy

    @property
    def even_data(self) -> bytes:
        """The data set of the even copy."""
        return self.data + bytes(len(self.data) % 2)


def _roots() -> list[Path]:
    roots = [Path(data_manager.DATA_ROOT)]
    sources = data_manager.external_data_sources()
    assert "pydicom-data" in sources, "pydicom-data is not installed: pip install .[test]"
    roots.append(Path(sources["pydicom-data"].data_path))
    return roots


@cache
def entries() -> tuple[Entry, ...]:
    """Return all readable objects, in a fixed order."""
    found = []
    for root in _roots():
        for folder, _, names in sorted(os.walk(root)):
            for name in sorted(names):
                entry = _entry(Path(folder, name))
                if entry:
                    found.append(entry)
    assert len(found) > 150, "the corpus is much smaller than it should be"
    return tuple(found)


def _entry(path: Path) -> Entry | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=False)
            sop_class, instance = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
            syntax = str(dataset.file_meta.TransferSyntaxUID)
            meta = str(dataset.file_meta.MediaStorageSOPInstanceUID)
    except Exception:  # whatever makes pydicom refuse a file puts it outside the corpus
        return None
    return Entry(path, sop_class, instance, meta, syntax, split_part10(path.read_bytes()).data)


@cache
def by_syntax() -> dict[str, tuple[Entry, ...]]:
    """Return the corpus grouped by transfer syntax UID."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries():
        groups[entry.syntax].append(entry)
    return {syntax: tuple(group) for syntax, group in sorted(groups.items())}


def rounds(group: tuple[Entry, ...]) -> list[list[Entry]]:
    """Split a group so that no round names an instance twice: stored names stay distinct."""
    result: list[list[Entry]] = []
    for entry in group:
        for one in result:
            if all(_distinct(entry, other) for other in one):
                one.append(entry)
                break
        else:
            result.append([entry])
    return result


def _distinct(one: Entry, other: Entry) -> bool:
    return {one.sop_instance, one.meta_instance}.isdisjoint(
        (other.sop_instance, other.meta_instance)
    )


def write_profile(path: Path, contexts: dict[str, list[str]]) -> Path:
    """Write an association profile named Default: SOP class to transfer syntaxes, all UIDs."""
    lists = sorted({tuple(syntaxes) for syntaxes in contexts.values()})
    lines = ["[[TransferSyntaxes]]"]
    for number, group in enumerate(lists, 1):
        lines.append(f"[Syntaxes{number}]")
        lines += [f"TransferSyntax{n} = {uid}" for n, uid in enumerate(group, 1)]
    lines += ["[[PresentationContexts]]", "[All]"]
    for number, (sop_class, syntaxes) in enumerate(contexts.items(), 1):
        name = f"Syntaxes{lists.index(tuple(syntaxes)) + 1}"
        lines.append(f"PresentationContext{number} = {sop_class}\\{name}")
    lines += ["[[Profiles]]", "[Default]", "PresentationContexts = All"]
    path.write_text("\n".join(lines) + "\n")
    return path

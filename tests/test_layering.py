"""Who may import whom, held by walking the imports of every module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dcmstore", "storescpd", "storescu")


def imports(path: Path) -> set[str]:
    """Return the full names of all that a module imports, anywhere in it."""
    package = path.relative_to(ROOT).parent.as_posix().replace("/", ".")
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = package + ("." + base if base else "")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def modules(package: str) -> list[Path]:
    """Return the modules of one of our packages."""
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} has no modules"
    return found


def ours(names: set[str]) -> set[str]:
    """Keep the names that belong to this project."""
    return {name for name in names if name.split(".")[0] in PACKAGES}


def touches(names: set[str], forbidden: str) -> set[str]:
    """Return the imports of a module or package, or of anything below it."""
    return {name for name in names if name == forbidden or name.startswith(forbidden + ".")}


@pytest.mark.parametrize("path", modules("dcmstore"), ids=lambda path: path.stem)
def test_what_both_share_knows_neither_program(path: Path) -> None:
    names = imports(path)
    assert not touches(names, "storescpd")
    assert not touches(names, "storescu")


@pytest.mark.parametrize(
    ("package", "other"), [("storescpd", "storescu"), ("storescu", "storescpd")]
)
def test_programs_do_not_import_each_other(package: str, other: str) -> None:
    for path in modules(package):
        assert not touches(imports(path), other), path.name


@pytest.mark.parametrize(
    ("module", "allowed"),
    [("errors", set()), ("uids", {"dcmstore.uidtable"}), ("states", set())],
)
def test_foundations_import_nothing_of_ours(module: str, allowed: set[str]) -> None:
    names = ours(imports(ROOT / "dcmstore" / f"{module}.py"))
    beyond = {name for name in names if not any(touches({name}, one) for one in allowed)}
    assert beyond <= {"dcmstore"}, beyond


@pytest.mark.parametrize("forbidden", ["socket", "os", "time", "ssl", "logging", "select"])
def test_connection_touches_nothing_outside(forbidden: str) -> None:
    assert not touches(imports(ROOT / "dcmstore" / "connection.py"), forbidden)


def test_master_knows_no_dicom() -> None:
    names = imports(ROOT / "storescpd" / "master.py")
    assert not touches(names, "dcmstore")
    assert not touches(names, "storescpd.session")


@pytest.mark.parametrize("module", ["master", "session", "storage"])
def test_no_threads(module: str) -> None:
    names = imports(ROOT / "storescpd" / f"{module}.py")
    for forbidden in ("threading", "asyncio", "concurrent", "multiprocessing"):
        assert not touches(names, forbidden)


def test_the_walk_sees_imports() -> None:
    """The tests above could not fail if the walk were blind."""
    assert "socket" in imports(ROOT / "storescpd" / "sockets.py")
    found = imports(ROOT / "storescpd" / "session.py")
    assert touches(found, "dcmstore")

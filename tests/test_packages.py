"""What packages promise of the tree they are built from; packaging/check builds and runs them."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import dcmstore

ROOT = Path(__file__).parents[1]
DEBIAN = ROOT / "debian"

# What is not Python's own, by the package of Debian that has it.
MODULES = {
    "daemon": "python3-daemon",
    "pydicom": "python3-pydicom",
    "setproctitle": "python3-setproctitle",
}
# Our folders, by the package that they are in.
FOLDERS = {"dcmstore": "python3-dcmstore", "storescpd": "storescpd", "storescu": "storescu"}
# The folders of other files that packages bring.
FILES = ("completions", "etc", "inetd", "man", "systemd")


def imported(folder: str) -> set[str]:
    """Return the top-level names that modules of ``folder`` import, at any level of nesting."""
    names: set[str] = set()
    for path in (ROOT / folder).glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


def debian_depends(package: str) -> str:
    (stanza,) = [
        stanza
        for stanza in (DEBIAN / "control").read_text().split("\n\n")
        if stanza.startswith(f"Package: {package}\n")
    ]
    found = re.search(r"^Depends:\n((?: .*\n)+)", stanza, re.MULTILINE)
    assert found, stanza
    return found[1]


def rpm_requires(package: str) -> str:
    heads = re.split(r"^%package -n ", (ROOT / "packaging/storescpd.spec").read_text(), flags=re.M)
    (head,) = [
        head
        for index, head in enumerate(heads)
        if (head.startswith(f"{package}\n") if index else package == "storescpd")
    ]
    return "\n".join(re.findall(r"^Requires: +(.*)", head.partition("%description")[0], re.M))


@pytest.mark.parametrize("folder", FOLDERS)
def test_packages_depend_on_what_they_import(folder: str) -> None:
    """pynetdicom is in none of them: Debian 12 lacks it, so nothing may import it."""
    foreign = imported(folder) - set(sys.stdlib_module_names) - set(FOLDERS)
    assert foreign <= set(MODULES)
    package = FOLDERS[folder]
    for relations in (debian_depends(package), rpm_requires(package)):
        if folder != "dcmstore":
            assert "python3-dcmstore = " in relations.replace("(", "")
            # It comes with the package that is depended on.
            foreign = foreign - {"pydicom"}
        named = {module for module, name in MODULES.items() if name in relations.split()}
        assert named == foreign


# Takes away one distribution, and runs a program.
WITHOUT = """
import importlib.metadata, sys
name, program = sys.argv[1:3]
found = importlib.metadata.Distribution.from_name.__func__
def from_name(cls, asked):
    if asked == name:
        raise importlib.metadata.PackageNotFoundError(asked)
    return found(cls, asked)
importlib.metadata.Distribution.from_name = classmethod(from_name)
sys.modules[name] = None
sys.argv[:] = [program, *sys.argv[3:]]
sys.exit(__import__(program + ".main").main.main())
"""


@pytest.mark.parametrize("program", ["storescpd", "storescu"])
def test_version_is_told_without_pynetdicom(program: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, "pynetdicom", program, "--version"],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "pydicom, Version" in run.stdout
    assert "pynetdicom" not in run.stdout


def test_packages_have_the_version_of_the_code() -> None:
    changelog = (DEBIAN / "changelog").read_text()
    spec = (ROOT / "packaging/storescpd.spec").read_text()
    news = re.search(r"^## (\S+)", (ROOT / "NEWS.md").read_text(), re.MULTILINE)
    assert news
    assert news[1] == dcmstore.__version__
    assert changelog.startswith(f"storescpd ({dcmstore.__version__}) ")
    assert f"\nVersion:        {dcmstore.__version__}\n" in spec
    latest = spec.partition("%changelog\n")[2].splitlines()[0]
    assert latest.endswith(f" - {dcmstore.__version__}-1")
    # Both tell of it under the same names, and on the same day.
    trailer = re.search(r"^ -- (.*>)  \w+, (\d+) (\w+) (\d+) ", changelog, re.MULTILINE)
    assert trailer
    authors, day, month, year = trailer.groups()
    assert re.fullmatch(rf"\* \w+ {month} {day} {year} {re.escape(authors)} - .*", latest)


def debian_patterns() -> list[str]:
    """Return what Debian's packages take from the source tree: paths, or patterns of some."""
    patterns = []
    for kind in ("examples", "install", "manpages"):
        for path in DEBIAN.glob(f"*.{kind}"):
            patterns += [line.split()[0] for line in path.read_text().splitlines()]
    rules = (DEBIAN / "rules").read_text()
    return patterns + re.findall(r"\b(?:completions|man)/[^\s;]+", rules)


def rpm_patterns() -> list[str]:
    """Return the same of the RPM packages; a folder stands for all files in it."""
    sections = (ROOT / "packaging/storescpd.spec").read_text().partition("\n%install")[2]
    lines = [line for line in sections.splitlines() if not line.startswith("#")]
    words = "\n".join(lines).replace(";", " ").split()
    paths = [word for word in words if word.partition("/")[0] in FILES]
    return [path if "/" in path else f"{path}/*" for path in paths]


@pytest.mark.parametrize("patterns", [debian_patterns, rpm_patterns])
def test_everything_is_in_a_package(patterns: Callable[[], list[str]]) -> None:
    shipped = [
        str(path.relative_to(ROOT))
        for folder in FILES
        for path in (ROOT / folder).glob("**/*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    assert shipped
    taken = patterns()
    left_out = [
        path for path in shipped if not any(fnmatchcase(path, pattern) for pattern in taken)
    ]
    assert not left_out

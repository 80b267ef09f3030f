"""The completions are up to date with the option tables, and the shells make use of them."""

import importlib.util
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

import pytest

from dcmstore.optiontable import Program
from storescpd.options import PROGRAM as RECEIVER
from storescu.options import PROGRAM as SENDER

DIRECTORY = Path(__file__).resolve().parents[1] / "completions"
PROGRAMS = [pytest.param(program, id=program.names[0]) for program in (RECEIVER, SENDER)]
PATIENCE = 30.0


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DIRECTORY / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def need(shell: str) -> None:
    if shutil.which(shell):
        return
    if os.geteuid() == 0:
        pytest.fail(f"the package {shell} is missing; `make check` installs it")
    pytest.skip(f"{shell} is not installed, and only root can install it")


def in_bash(line: str, words: list[str], cwd: Path) -> list[str]:
    """Return what bash is offered at the end of a line, which it has split into words."""
    script = f"""
        compopt() {{ :; }}  # works in a real completion only
        source {DIRECTORY}/"$1".bash
        COMP_LINE=$2 COMP_POINT=${{#2}}
        shift 2
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _"${{1#*/}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    arguments = ["bash", "--norc", "-c", script, "bash", words[0], line, *words]
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sorted(done.stdout.split())


def on_terminal(argv: list[str], keys: str, wanted: Collection[str], cwd: Path) -> str:
    """Return what an interactive shell shows, until it has shown what is wanted."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(argv[0], argv, {**os.environ, "TERM": "dumb", "HOME": str(cwd), "PS1": "ready "})
    shown = ""
    typed = False
    end = time.monotonic() + PATIENCE
    try:
        while not all(text in shown for text in wanted) and time.monotonic() < end:
            if not typed and "ready" in shown:
                os.write(terminal, keys.encode())
                typed = True
                shown = ""
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return shown


def test_files_are_up_to_date() -> None:
    for path, text in generator().files().items():
        assert path.read_text() == text, f"run completions/generate.py for {path.name}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_offers_every_option(program: Program, tmp_path: Path) -> None:
    name = program.names[0]
    offered = [in_bash(f"{name} {sign}", [name, sign], tmp_path) for sign in "-+"]
    names = {name for row in program.rows() for name in (row.short, row.long) if name}
    assert set(offered[0]) | set(offered[1]) == names


@pytest.mark.parametrize(
    ("line", "words", "offered"),
    [
        ("storescpd --outp", ["storescpd", "--outp"], ["--output-directory"]),
        ("storescpd -ll ", ["storescpd", "-ll", ""], "all debug error fatal info off trace warn"),
        ("storescpd -ll w", ["storescpd", "-ll", "w"], ["warn"]),
        ("storescpd 11", ["storescpd", "11"], ["11112"]),
        ("storescpd -od ", ["storescpd", "-od", ""], ["folder"]),
        # A value that looks like an option is a value.
        ("storescpd -aet -od ", ["storescpd", "-aet", "-od", ""], ["104", "11112", "2762"]),
        # The second of two values, and what follows them.
        (
            "storescpd +tls a.dcm ",
            ["storescpd", "+tls", "a.dcm", ""],
            ["a.dcm", "b:c.dcm", "folder"],
        ),
        ("storescpd -xf a p 27", ["storescpd", "-xf", "a", "p", "27"], ["2762"]),
        # bash takes a colon and an equals sign for the end of a word.
        ("storescpd -od x:y 27", ["storescpd", "-od", "x", ":", "y", "27"], ["2762"]),
        ("storescpd +t= 27", ["storescpd", "+t", "=", "27"], ["2762"]),
        ("storescu h 104 b:", ["storescu", "h", "104", "b", ":"], ["c.dcm"]),
        ("storescu h 104 b:c", ["storescu", "h", "104", "b", ":", "c"], ["c.dcm"]),
        ("storescu h 104 @a", ["storescu", "h", "104", "@a"], ["@a.dcm"]),
        ("storescu h ", ["storescu", "h", ""], ["104", "11112", "2762"]),
        ("storescu h '' x a", ["storescu", "h", "''", "x", "a"], ["a.dcm"]),
        ("storescpd -fe '' 27", ["storescpd", "-fe", "''", "27"], ["2762"]),
    ],
)
def test_bash_knows_what_comes_next(
    line: str, words: list[str], offered: list[str] | str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a.dcm", "b:c.dcm"):
        (tmp_path / name).touch()
    assert in_bash(line, words, tmp_path) == (offered.split() if type(offered) is str else offered)


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("storescp --outp\t", "--output-directory "),
        ("storescpd +tls a.dcm fol\t", "folder/"),
        ("storescu --propose-j2k-lossl\t", "--propose-j2k-lossless "),
        ("storescu host 104 a\t", "a.dcm "),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shell_completes(shell: str, keys: str, wanted: str, tmp_path: Path) -> None:
    need(shell)
    (tmp_path / "a.dcm").touch()
    (tmp_path / "folder").mkdir()
    if shell == "bash":
        (tmp_path / "rc").write_text(
            f"for f in {DIRECTORY}/*.bash; do source $f; done\nPS1='ready '"
        )
        argv = ["bash", "--noprofile", "--rcfile", "rc", "-i"]
    else:
        (tmp_path / ".zshrc").write_text(
            f"fpath=({DIRECTORY} $fpath)\nautoload -U compinit && compinit -D -u\nPS1='ready '\n"
        )
        argv = ["zsh", "-i"]
    assert wanted in on_terminal(argv, keys, [wanted], tmp_path)


@pytest.mark.parametrize("name", ["_storescpd", "_storescu"])
def test_zsh_takes_every_option(name: str, tmp_path: Path) -> None:
    """A specification that zsh cannot read makes it say so instead of offering anything."""
    need("zsh")
    (tmp_path / ".zshrc").write_text(
        f"fpath=({DIRECTORY} $fpath)\nautoload -U compinit && compinit -D -u\nPS1='ready '\n"
        "zstyle ':completion:*' list-prompt ''\nLISTMAX=1000 LINES=1000 COLUMNS=300\n"
    )
    program = RECEIVER if name == "_storescpd" else SENDER
    names = {row.long for row in program.rows()}
    shown = on_terminal(["zsh", "-i"], f"{name[1:]} -\t", names, tmp_path)
    assert "invalid" not in shown
    assert not {name for name in names if name not in shown}

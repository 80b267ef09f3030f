"""Commands after an object or a study: what the shell gets to see, and what it never does."""

import logging
import os
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.processes import wait_until
from hypothesis import given
from hypothesis import strategies as st

from storescpd import hooks, naming
from storescpd.hooks import Facts, Hooks, UnsafePathError, substitute

FACTS = Facts(
    path="/data/in",
    file="CT.1.2.3",
    calling="CT 01",
    called="STORE",
    peer="ct01",
    sop_class="1.2.840.10008.5.1.4.1.1.2",
    sop_instance="1.2.3",
    study="1.2",
)
HOSTILE = (
    "`touch X`",
    "$(touch X)",
    "a;touch X",
    "a|touch X",
    "a&touch X",
    "a\ntouch X",
    'a"; touch X; "',
    "a'; touch X; '",
    "\\",
    "$HOME",
    "*",
    "~",
    "#p#f#a#c#r",
    "a>X",
    "a<X",
    "!!",
    "{a,b}",
    "é\x1b\0",
)


def run(template: str, facts: Facts = FACTS) -> None:
    Hooks(template, None, wait=True).received(facts)


def test_every_placeholder_is_replaced_everywhere() -> None:
    warnings: list[str] = []
    command = substitute("#p/#f #a #c #r #p #x", FACTS, warnings)
    assert command == '/data/in/CT.1.2.3 "CT 01" "STORE" ct01 /data/in #x'
    assert not warnings


def test_placeholders_stay_when_nothing_is_kept() -> None:
    facts = FACTS._replace(path=None, file=None)
    assert substitute("#p #f #r", facts, []) == "#p #f ct01"


def test_the_shell_sees_the_words_that_were_meant(capfd: pytest.CaptureFixture[str]) -> None:
    run("printf '<%s>' #p #f #a #c #r")
    assert capfd.readouterr().out == "</data/in><CT.1.2.3><CT 01><STORE><ct01>"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_from_the_network_acts_on_the_shell(
    hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bait").touch()
    file, _ = naming.object_name("1.2", hostile, "")
    facts = Facts(str(tmp_path), file, hostile, hostile, hostile, hostile, hostile, hostile)
    run("printf '<%s>' #f #a #c #r; printf '<%s>' \"#f#a#c#r\" '#f#r'", facts)
    out, err = capfd.readouterr()
    assert re.fullmatch(r"(<[\w.:@ -]*>)+", out, re.ASCII), out
    assert not err
    assert os.listdir(tmp_path) == ["bait"]


@given(st.text(), st.text(), st.text(), st.text())
def test_substituted_values_are_words_without_metacharacters(
    file: str, calling: str, called: str, peer: str
) -> None:
    name, _ = naming.object_name("1.2", file, "")
    facts = Facts("/data", name, calling, called, peer)
    warnings: list[str] = []
    command = substitute("run #f #a #c x#r", facts, warnings)
    plain, title, host = r"[A-Za-z0-9._-]*", r"[A-Za-z0-9 .:@_-]*", r"[A-Za-z0-9.:_-]*"
    assert re.fullmatch(f'run {plain} "{title}" "{title}" x{host}', command)
    assert len(shlex.split(command)) == 5
    assert all(warning.isprintable() for warning in warnings)
    assert ("x" + peer in command) or any("peer name" in warning for warning in warnings)


def test_a_change_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    run(": #a #f #r", FACTS._replace(calling="A`B\n", peer="-x"))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        'Sanitized unusual characters in calling aetitle, converted from "A`B\\x0a" to "A_B_".',
        'Sanitized unusual characters in peer name, converted from "-x" to "_x".',
    ]


def test_the_end_of_a_study_warns_of_nothing_and_knows_no_file(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    ending = Hooks(None, "echo #a '#f' #p ${STORESCPD_FILE-none} $STORESCPD_STUDY", wait=True)
    ending.study_ended(FACTS._replace(calling="A`B"))
    assert capfd.readouterr().out == "A_B #f /data/in none 1.2\n"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_blanks_of_a_path_are_inserted_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    facts = FACTS._replace(path="/data/all Bilder, Süd")
    run("printf '<%s>' \"#p/#f\" #p", facts)
    assert capfd.readouterr().out == ("</data/all Bilder, Süd/CT.1.2.3></data/all><Bilder,><Süd>")


@pytest.mark.parametrize("path", ["/a$b", "/a`b", "/a'b", '/a"b', "/a;b", "/a\nb", "/a\\b", "/#p"])
def test_a_path_that_could_break_out_stops_the_command(
    path: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = FACTS._replace(path=path)
    with pytest.raises(UnsafePathError):
        substitute("echo #p", facts, [])
    run("echo #p", facts)
    assert "$STORESCPD_PATH" in caplog.text
    run('printf %s "$STORESCPD_PATH"', facts)
    assert capfd.readouterr().out == path


def test_a_file_keeps_the_extension_that_the_administrator_wants(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for extension in (".dcm", " 1+ü", "~", "$x"):
        name, _ = naming.object_name("1.2", "1.2.3", extension)
        (tmp_path / name).write_text(f"<{extension}>")
        run('cat "#p/#f"', FACTS._replace(path=str(tmp_path), file=name))
    assert capfd.readouterr().out == "<.dcm>< 1+ü>"
    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == [
        "command of --exec-on-reception not run, a shell could act on characters of "
        f'UNKNOWN.1.2.3{extension}; in place of #f, "$STORESCPD_FILE" may hold anything'
        for extension in ("~", "$x")
    ]


def test_the_environment_carries_the_facts_unchanged(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORESCPD_STUDY", "left over")
    monkeypatch.setenv("KEPT", "yes")
    facts = FACTS._replace(
        calling="A`é\0", sop_instance="1.2$(x)", peer="p" * 5000, file="CT.1 ü", study=None
    )
    run("env -0", facts)
    seen = dict(
        line.split(b"=", 1) for line in capfdbinary.readouterr().out.split(b"\0") if b"=" in line
    )
    assert seen[b"KEPT"] == b"yes"
    ours = {name: value for name, value in seen.items() if name.startswith(b"STORESCPD_")}
    assert ours == {
        b"STORESCPD_PATH": b"/data/in",
        b"STORESCPD_FILE": "CT.1 ü".encode(),
        b"STORESCPD_CALLING_AET": b"A`\xe9",
        b"STORESCPD_CALLED_AET": b"STORE",
        b"STORESCPD_PEER": b"p" * hooks.VARIABLE_MAX,
        b"STORESCPD_SOP_CLASS": b"1.2.840.10008.5.1.4.1.1.2",
        b"STORESCPD_SOP_INSTANCE": b"1.2$(x)",
    }


def test_an_object_that_never_got_a_name_runs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    run("echo ran", FACTS._replace(file=""))
    run("echo ran for nothing kept", FACTS._replace(file=None))
    assert capfd.readouterr().out == "ran for nothing kept\n"


def test_no_hook_is_no_process() -> None:
    none = Hooks(None, None, wait=True)
    none.received(FACTS)
    none.study_ended(FACTS)
    assert none.reap() == 0


def test_a_command_is_left_behind_and_reaped_later(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    later = Hooks("read x <" + shlex.quote(str(gate)), None, wait=False)
    later.received(FACTS)
    assert later.reap() == 1
    gate.write_text("x\n")
    wait_until(lambda: later.reap() == 0, "the command to end")


def test_commands_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hooks, "RUNNING_MAX", 1)
    one_at_a_time = Hooks("mkdir lock || echo crowded; sleep 0.1; rmdir lock", None, wait=False)
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        one_at_a_time.received(FACTS)
    wait_until(lambda: one_at_a_time.reap() == 0, "the commands to end")
    assert capfd.readouterr() == ("", "")


def test_somebody_else_may_reap() -> None:
    quick = Hooks("true", None, wait=False)
    quick.received(FACTS)
    (pid,) = quick._running
    os.waitpid(pid, 0)
    assert quick.reap() == 0


def test_the_exit_status_is_only_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dcmtk.apps.storescp")
    run("exit 3")
    run("kill -9 $$")
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
    assert "with status 3" in caplog.text
    assert "by signal 9" in caplog.text


@contextmanager
def odd_signals() -> Iterator[None]:
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGHUP, signal.SIGTERM)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_command_starts_with_default_signals(capfd: pytest.CaptureFixture[str]) -> None:
    with odd_signals():
        run(
            "while read name mask; do case $name in Sig[BI]*) echo $mask;; esac;"
            " done </proc/$$/status"
        )
    masks = [int(mask, 16) for mask in capfd.readouterr().out.split()]
    # The C library ignores two of its own, 32 and 33, in what it starts.
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]


def test_a_command_inherits_no_descriptor(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    os.dup2(writer, 77, inheritable=True)
    try:
        run(f"for n in {reader} {writer} 77; do [ ! -e /proc/$$/fd/$n ] || echo $n; done")
    finally:
        for fd in (reader, writer, 77):
            os.close(fd)
    assert capfd.readouterr().out == ""


def test_a_command_has_nothing_to_read(capfd: pytest.CaptureFixture[str]) -> None:
    # Under inetd, descriptor 0 was the peer's connection.
    reader, writer = os.pipe()
    os.write(writer, b"words of the peer")
    os.close(writer)
    before = os.dup(0)
    os.dup2(reader, 0)
    os.close(reader)
    try:
        run("cat")
    finally:
        os.dup2(before, 0)
        os.close(before)
    assert capfd.readouterr().out == ""


def test_a_command_that_cannot_start_is_an_error_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "SHELL", "/nonexistent/sh")
    run("true")
    assert "cannot run command of --exec-on-reception: No such file or directory" in caplog.text
    # A command line too long for the kernel is no reason to fall either.
    monkeypatch.setattr(hooks, "SHELL", "/bin/sh")
    run("true " + "x" * 200_000)
    assert "Argument list too long" in caplog.text

"""tcp wrappers: our decisions beside those of Debian's tcpdmatch, with the same tables."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.processes import PATIENCE, wait_until

from storescpd import access, accesstables

# Serves connections the way a child (or, as "resident", a single process) does, one for
# each address given, and tells what came of it. argv: tables, daemon, lookup, resident,
# port (0: any), addresses.
SERVER = """
import ctypes, os, socket, sys
from storescpd.access import Wrappers
folder, daemon, lookup, resident, port, *addresses = sys.argv[1:]
library = ctypes.CDLL("libwrap.so.0")
paths = {name: os.fsencode(f"{folder}/hosts.{name}") for name in ("allow", "deny")}
for name, path in paths.items():
    ctypes.c_char_p.in_dll(library, f"hosts_{name}_table").value = path
os.umask(0o027)
wrappers = Wrappers(daemon, lookup == "lookup", resident=resident == "resident")
listener = socket.create_server(
    ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=False
)
def facts():
    umask = os.umask(0)
    os.umask(umask)
    return f"uid {os.getuid()} gid {os.getgid()} umask {umask:03o} nice {os.nice(0)}"
for address in addresses:
    client = socket.create_connection((address, listener.getsockname()[1]), 5, (address, 0))
    connection, peer = listener.accept()
    permitted = wrappers.permits(connection, peer[0])
    keepalive = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    connection.close()
    print("permitted" if permitted else "refused", facts(), "keepalive", keepalive, flush=True)
    if not permitted:
        print("peer got", client.makefile("rb").read(), flush=True)
print("alive", flush=True)
"""

# Before SERVER: a process that was forked from a master.
CHILD = """
from storescpd.signals import SignalPipe
SignalPipe().close()
"""

# Reverse lookups of loopback addresses give these names in the tests of names. A name that
# is itself a number is what libwrap calls paranoid.
HOSTS = """
127.0.0.1 localhost
127.0.0.5 ct01.hospital.example ct01
127.0.0.6 10.1.1.1
127.0.0.7 gateway
"""
INETD_CONF = "storescpd stream tcp nowait root /usr/sbin/tcpd /usr/bin/storescpd\n"


@pytest.fixture(autouse=True)
def _tcp_wrappers() -> None:
    if shutil.which("tcpdmatch", path="/usr/sbin:/usr/bin"):
        return
    if os.geteuid() == 0:
        pytest.fail("the packages libwrap0 and tcpd are missing")
    pytest.skip("tcp wrappers (libwrap0, tcpd) are not installed, and only root can install them")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "inetd.conf").write_text(INETD_CONF)
    return tmp_path


@pytest.fixture
def resident(tables: Path) -> Iterator[access.Wrappers]:
    """Wrappers of a resident process, in this very process, that use ``tables``."""
    library = ctypes.CDLL(access.LIBRARY)
    paths = [ctypes.c_char_p(os.fsencode(tables / f"hosts.{name}")) for name in ("allow", "deny")]
    variables = [
        ctypes.c_void_p.in_dll(library, f"hosts_{name}_table") for name in ("allow", "deny")
    ]
    saved = [variable.value for variable in variables]
    for variable, path in zip(variables, paths, strict=True):
        variable.value = ctypes.cast(path, ctypes.c_void_p).value
    yield access.Wrappers("storescpd", False, resident=True)
    for variable, pointer in zip(variables, saved, strict=True):
        variable.value = pointer


def write(tables: Path, allow: str, deny: str) -> None:
    (tables / "hosts.allow").write_text(allow)
    (tables / "hosts.deny").write_text(deny)


def in_hosts_namespace(tables: Path, *command: str) -> list[str]:
    """Wrap ``command`` so that it alone sees HOSTS in place of /etc/hosts."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', f"{tables}/hosts"]
    return [*unshare, *mount, *command]


def serve(
    tables: Path,
    *addresses: str,
    daemon: str = "storescpd",
    lookup: bool = False,
    resident: bool = False,
    port: int = 0,
    names: bool = False,
) -> list[str]:
    command = [
        *(sys.executable, "-c", SERVER, str(tables), daemon, "lookup" if lookup else "numbers"),
        *("resident" if resident else "once", str(port), *addresses),
    ]
    if names:
        command = in_hosts_namespace(tables, *command)
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stderr == ""
    return run.stdout.splitlines()


def verdict(lines: list[str]) -> str:
    return lines[0].split()[0]


def tcpdmatch(tables: Path, daemon: str, client: str, names: bool = False) -> str:
    """What Debian's oracle says: granted, denied or delegated (to a twisted command)."""
    command = ["/usr/sbin/tcpdmatch", "-d", "-i", "inetd.conf", daemon, client]
    if names:
        command = in_hosts_namespace(tables, *command)
    output = subprocess.run(command, cwd=tables, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in output.splitlines() if line.startswith("access:")]
    return line.split()[1]


NUMBERS = [
    ("", "", "127.0.0.1", True),
    ("", "ALL: ALL\n", "127.0.0.1", False),
    ("", "ALL: ALL\n", "::1", False),
    ("", "storescpd: ALL\n", "127.0.0.1", False),
    ("", "STORESCPD: all\n", "127.0.0.1", False),
    ("", "storescp: ALL\n", "127.0.0.1", True),
    ("", "ALL EXCEPT storescpd: ALL\n", "127.0.0.1", True),
    ("storescpd: 127.0.0.2\n", "ALL: ALL\n", "127.0.0.2", True),
    ("storescpd: 127.0.0.2\n", "ALL: ALL\n", "127.0.0.3", False),
    ("storescpd: 127.0.0.2, 127.0.0.3\n", "ALL: ALL\n", "127.0.0.3", True),
    ("storescpd: 127.0.\n", "ALL: ALL\n", "127.0.0.9", True),
    ("storescpd: 127.1.\n", "ALL: ALL\n", "127.0.0.9", False),
    ("storescpd: 127.0.0.0/255.255.255.248\n", "ALL: ALL\n", "127.0.0.7", True),
    ("storescpd: 127.0.0.0/255.255.255.248\n", "ALL: ALL\n", "127.0.0.8", False),
    ("storescpd: 127.0.0.0/29\n", "ALL: ALL\n", "127.0.0.7", True),
    ("storescpd: 127.0.0.0/29\n", "ALL: ALL\n", "127.0.0.8", False),
    ("storescpd: 127.0.0.? \n", "ALL: ALL\n", "127.0.0.8", True),
    ("storescpd: 127.0.0.?\n", "ALL: ALL\n", "127.0.0.10", False),
    ("storescpd: 127. EXCEPT 127.0.0.4\n", "ALL: ALL\n", "127.0.0.4", False),
    ("storescpd: 127. EXCEPT 127.0.0.4\n", "ALL: ALL\n", "127.0.0.5", True),
    ("storescpd: ALL EXCEPT 127. EXCEPT 127.0.0.4\n", "ALL: ALL\n", "127.0.0.4", True),
    ("storescpd: [::1]\n", "ALL: ALL\n", "::1", True),
    ("storescpd: [::1]\n", "ALL: ALL\n", "127.0.0.1", False),
    ("storescpd: [::]/64\n", "ALL: ALL\n", "::1", True),
    ("storescpd: [fe80::]/10\n", "ALL: ALL\n", "::1", False),
    ("storescpd: \\\n 127.0.0.2 \\\n 127.0.0.3\n", "ALL: ALL\n", "127.0.0.3", True),
    ("# storescpd: ALL\n", "ALL: ALL\n", "127.0.0.1", False),
    ("ALL: 127.0.0.2: DENY\nALL: ALL: ALLOW\n", "", "127.0.0.2", False),
    ("ALL: 127.0.0.2: DENY\nALL: ALL: ALLOW\n", "", "127.0.0.3", True),
    ("", "ALL: 127.0.0.2: ALLOW\nALL: ALL\n", "127.0.0.2", True),
    ("ALL: ALL: severity local3.info: allow\n", "ALL: ALL\n", "127.0.0.2", True),
    ("ALL: ALL: nonsense\n", "", "127.0.0.2", False),
    ("ALL: KNOWN\n", "ALL: ALL\n", "127.0.0.2", False),
    ("ALL: UNKNOWN\n", "ALL: ALL\n", "127.0.0.2", True),
    ("ALL: ALL: aclexec /bin/true\n", "ALL: ALL\n", "127.0.0.2", True),
    ("ALL: .hospital.example\n", "ALL: ALL\n", "127.0.0.5", False),
]


@pytest.mark.parametrize(("allow", "deny", "address", "permitted"), NUMBERS)
def test_numbers(tables: Path, allow: str, deny: str, address: str, permitted: bool) -> None:
    write(tables, allow, deny)
    assert verdict(serve(tables, address)) == ("permitted" if permitted else "refused")
    assert tcpdmatch(tables, "storescpd", address) == ("granted" if permitted else "denied")


NAMES = [
    ("ALL: ct01.hospital.example\n", "127.0.0.5", "ct01.hospital.example", True),
    ("ALL: .hospital.example\n", "127.0.0.5", "ct01.hospital.example", True),
    ("ALL: ct*.hospital.example\n", "127.0.0.5", "ct01.hospital.example", True),
    ("ALL: .example EXCEPT ct01.hospital.example\n", "127.0.0.5", "ct01.hospital.example", False),
    ("ALL: .other.example\n", "127.0.0.5", "ct01.hospital.example", False),
    ("ALL: KNOWN\n", "127.0.0.5", "ct01.hospital.example", True),
    ("ALL: LOCAL\n", "127.0.0.5", "ct01.hospital.example", False),
    ("ALL: LOCAL\n", "127.0.0.7", "gateway", True),
    ("ALL: ALL EXCEPT PARANOID\n", "127.0.0.7", "gateway", True),
    ("ALL: ALL EXCEPT PARANOID\n", "127.0.0.6", "paranoid", False),
    ("ALL: KNOWN\n", "127.0.0.6", "paranoid", False),
    ("ALL: 127.0.0.6\n", "127.0.0.6", "paranoid", True),
]


@pytest.mark.parametrize(("allow", "address", "name", "permitted"), NAMES)
def test_names(tables: Path, allow: str, address: str, name: str, permitted: bool) -> None:
    write(tables, allow, "ALL: ALL\n")
    found = tcpdmatch(tables, "storescpd", name, names=True) if name != "paranoid" else None
    ours = verdict(serve(tables, address, lookup=True, names=True))
    assert ours == ("permitted" if permitted else "refused")
    # For "paranoid" the oracle knows no address, so it cannot judge the last rule.
    assert found in (None, "granted" if permitted else "denied")


def test_without_lookup_no_name_is_asked_for(tables: Path) -> None:
    write(tables, "ALL: .hospital.example gateway\n", "ALL: ALL\n")
    lines = serve(tables, "127.0.0.5", "127.0.0.7", names=True, resident=True)
    assert [line.split()[0] for line in lines if "uid" in line] == ["refused", "refused"]


def test_server_address_in_a_rule(tables: Path) -> None:
    write(tables, "storescpd@127.0.0.2: ALL\n", "ALL: ALL\n")
    assert verdict(serve(tables, "127.0.0.2")) == "permitted"
    assert verdict(serve(tables, "127.0.0.3")) == "refused"
    assert tcpdmatch(tables, "storescpd@127.0.0.2", "127.0.0.2") == "granted"
    assert tcpdmatch(tables, "storescpd@127.0.0.3", "127.0.0.2") == "denied"


def test_port_number_as_the_daemon(tables: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    write(tables, "", f"{port}: ALL\n")
    assert verdict(serve(tables, "127.0.0.2", port=port)) == "refused"


def test_rules_are_for_the_name_the_daemon_was_called_by(tables: Path) -> None:
    write(tables, "storescp: ALL\n", "ALL: ALL\n")
    assert verdict(serve(tables, "127.0.0.2", daemon="storescp")) == "permitted"
    assert verdict(serve(tables, "127.0.0.2", daemon="storescpd")) == "refused"


@pytest.mark.parametrize("resident", [False, True])
def test_spawn_has_run_when_the_decision_is_there(tables: Path, resident: bool) -> None:
    write(tables, f"ALL: ALL: spawn echo %d %a %h >> {tables}/spawned\n", "")
    lines = serve(tables, "127.0.0.2", "::1", resident=resident)
    assert [line.split()[0] for line in lines] == ["permitted", "permitted", "alive"]
    assert (tables / "spawned").read_text().splitlines() == [
        "storescpd 127.0.0.2 127.0.0.2",
        "storescpd ::1 ::1",
    ]


def test_spawned_command_dies_of_a_broken_pipe_as_it_should(tables: Path) -> None:
    # Python ignores SIGPIPE, and what is ignored stays ignored in commands.
    command = f"grep SigIgn /proc/self/status > {tables}/signals"
    write(tables, f"ALL: ALL: spawn {command}\n", "")
    serve(tables, "127.0.0.2")
    ignored = int((tables / "signals").read_text().split()[1], 16)
    assert not ignored & 1 << 12


def test_keepalive_reaches_the_connection(tables: Path) -> None:
    write(tables, "ALL: 127.0.0.2: keepalive\n", "")
    lines = serve(tables, "127.0.0.2", "127.0.0.3", resident=True)
    assert [line.split()[-1] for line in lines] == ["1", "0", "alive"]


def test_rule_changes_the_process_of_one_connection(tables: Path) -> None:
    write(tables, "ALL: ALL: umask 077: nice 5\n", "")
    assert f"umask 077 nice {os.nice(0) + 5}" in serve(tables, "127.0.0.2")[0]


def test_rule_does_not_change_a_resident_process(tables: Path) -> None:
    write(tables, "ALL: ALL: umask 077: nice 5\n", "")
    assert f"umask 027 nice {os.nice(0)}" in serve(tables, "127.0.0.2", resident=True)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")
@pytest.mark.parametrize("option", ["user nobody", "group nogroup"])
def test_options_that_debians_library_ignores_are_reported(tables: Path, option: str) -> None:
    write(tables, f"ALL: ALL: {option}\n", "ALL: ALL\n")
    assert "uid 0 gid 0" in serve(tables, "127.0.0.2")[0]
    (warning,) = accesstables.check(f"{tables}/hosts.allow", f"{tables}/hosts.deny")
    assert warning.endswith(f"libwrap does not carry out {option!r}; --user and --group do")


def test_twist_replaces_the_process_of_one_connection(tables: Path) -> None:
    write(tables, f"ALL: ALL: twist echo sorry; echo %a > {tables}/twisted\n", "")
    assert serve(tables, "127.0.0.2") == []
    assert (tables / "twisted").read_text() == "127.0.0.2\n"
    assert tcpdmatch(tables, "storescpd", "127.0.0.2") == "delegated"


def test_twist_leaves_a_resident_process_alone(tables: Path) -> None:
    write(tables, "ALL: 127.0.0.2: twist echo sorry %a\n", "")
    lines = serve(tables, "127.0.0.2", "127.0.0.3", "127.0.0.2", resident=True)
    assert [line.split()[0] for line in lines] == [
        *("refused", "peer", "permitted", "refused", "peer", "alive"),
    ]
    assert lines[1] == "peer got b'sorry 127.0.0.2\\n'"


def test_helpers_that_were_replaced_are_reaped(tables: Path, resident: access.Wrappers) -> None:
    write(tables, "ALL: 127.0.0.2: twist echo sorry\n", "")
    ask(resident, "127.0.0.2")
    (pid,) = resident._replaced
    # Waits for the end of the command, and leaves its state for the next check to collect.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ask(resident, "127.0.0.3")
    assert not resident._replaced
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_resident_process_does_not_wait_for_a_hanging_command(
    tables: Path,
    resident: access.Wrappers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(access, "_DECISION_LIMIT", 0.3)
    write(tables, f"ALL: ALL: spawn echo $$ > {tables}/pid; exec sleep 60\n", "")
    assert not ask(resident, "127.0.0.2")
    assert caplog.messages == ["access control took more than 0.3 seconds, 127.0.0.2 refused"]
    os.kill(int((tables / "pid").read_text()), 9)


def test_child_obeys_a_signal_while_libwrap_waits(tables: Path) -> None:
    """libwrap lasts as long as the command does, and no handler in Python runs meanwhile."""
    write(tables, f"ALL: ALL: spawn echo $$ > {tables}/pid; exec sleep 60\n", "")
    command = [sys.executable, "-c", CHILD + SERVER, str(tables), "storescpd", "numbers"]
    child = subprocess.Popen([*command, "once", "0", "127.0.0.2"])
    wait_until(lambda: (tables / "pid").exists() and (tables / "pid").read_text(), "it spawns")
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE) == -signal.SIGTERM
    os.kill(int((tables / "pid").read_text()), signal.SIGKILL)


def ask(wrappers: access.Wrappers, address: str) -> bool:
    with (
        socket.create_server((address, 0)) as listener,
        socket.create_connection(listener.getsockname(), 5, (address, 0)),
    ):
        connection, peer = listener.accept()
        with connection:
            return wrappers.permits(connection.fileno(), peer[0])


def test_missing_library_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "LIBRARY", "libwrap-missing.so.0")
    with pytest.raises(
        access.AccessError, match=r"needs libwrap-missing\.so\.0 .*libwrap0"
    ) as caught:
        access.Wrappers("storescpd", True)
    assert "\n" not in str(caught.value)


# Faults: table, what is said of it, and what libwrap makes of a peer that the first rule
# seems to let in (hosts.allow) or to keep out (hosts.deny).
ALLOW_FAULTS = [
    ("ALL: 127.0.0.2", "line 1: no newline at the end", False),
    ("ALL: 127.0.0.2 \\\n", "line 1: no newline at the end", False),
    ("ALL 127.0.0.2\n", "line 1: no colon, the line is skipped", False),
    (f"#\nALL: 127.0.0.2{' ' * 2033}\n", "line 2: longer than 2047 bytes", False),
    (f"ALL: 127.0.0.2{' ' * 2032}\n", None, True),
    ("# old \\\nALL: 127.0.0.2\n", "line 1: the comment ends in a backslash", False),
    ("ALL: 127.0.0.2: alow\n", "line 1: unknown option 'alow'", False),
    ("ALL: 127.0.0.2:\n", "line 1: unknown option ''", False),
    ("ALL: 127.0.0.2: /bin/true\n", "line 1: unknown option '/bin/true'", False),
    ("ALL: 127.0.0.2: spawn echo \\: >/dev/null: ALLOW\n", None, True),
    ("ALL: 127.0.0.2: setenv=A b\n", None, True),
    ("ALL: : 127.0.0.2\n", "line 1: matches nobody", False),
]


@pytest.mark.parametrize(("allow", "said", "permitted"), ALLOW_FAULTS)
def test_faults_of_hosts_allow(tables: Path, allow: str, said: str | None, permitted: bool) -> None:
    write(tables, allow, "ALL: ALL\n")
    warnings = accesstables.check(f"{tables}/hosts.allow", f"{tables}/hosts.deny")
    assert verdict(serve(tables, "127.0.0.2")) == ("permitted" if permitted else "refused")
    if said is None:
        assert warnings == []
    else:
        assert warnings[0].startswith(f"{tables}/hosts.allow, {said}")


DENY_FAULTS = [
    ("ALL: 127.0.0.9", "line 1: no newline at the end; from here on everybody", False),
    ("\nstorescpd\nALL: \0\n", "line 2: no colon, the line is skipped", False),
    ("ALL: ::1\n", "line 1: matches nobody", True),
    (" # ALL: ALL\n", "line 1: a comment starts in the first column", False),
]


@pytest.mark.parametrize(("deny", "said", "permitted"), DENY_FAULTS)
def test_faults_of_hosts_deny(tables: Path, deny: str, said: str, permitted: bool) -> None:
    write(tables, "", deny)
    warnings = accesstables.check(f"{tables}/hosts.allow", f"{tables}/hosts.deny")
    assert verdict(serve(tables, "::1")) == ("permitted" if permitted else "refused")
    assert warnings[0].startswith(f"{tables}/hosts.deny, {said}")


def test_tables_that_let_everybody_in(tables: Path) -> None:
    allow, deny = f"{tables}/hosts.allow", f"{tables}/hosts.deny"
    open_to_all = [f"{deny} has no rules: every host is let in"]
    assert accesstables.check(allow, deny) == open_to_all  # neither exists
    write(tables, "ALL: 127.0.0.2\n", "# nothing\n\n")
    assert accesstables.check(allow, deny) == open_to_all
    assert verdict(serve(tables, "127.0.0.3")) == "permitted"
    write(tables, "ALL: 127.0.0.2\nALL: ALL: DENY\n", "")
    assert accesstables.check(allow, deny) == []


def test_table_that_cannot_be_read(tables: Path) -> None:
    (tables / "hosts.deny").mkdir()
    allow, deny = f"{tables}/hosts.allow", f"{tables}/hosts.deny"
    assert accesstables.check(allow, deny) == [
        f"{deny} cannot be read, so nothing in it applies: Is a directory"
    ]
    assert verdict(serve(tables, "127.0.0.3")) == "permitted"


def test_check_tables_looks_where_libwrap_does() -> None:
    expected = accesstables.check("/etc/hosts.allow", "/etc/hosts.deny")
    assert access.Wrappers("storescpd", True).check_tables() == expected

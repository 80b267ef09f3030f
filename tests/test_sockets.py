"""Listeners of our own, and those handed over by systemd and inetd, in real processes."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from storescpd.sockets import ListenError, SocketError, adopt_systemd, listen

# Takes what the test left on its descriptors, and tells what it got on a descriptor that
# none of the adoption functions may touch.
CHILD = """
import os, sys
from storescpd import sockets
report = os.fdopen(int(sys.argv[2]), "w")
try:
    found = getattr(sockets, sys.argv[1])()
except sockets.DescriptorError as error:
    print("DescriptorError", error, file=report)
except sockets.SocketError as error:
    print("SocketError", error, file=report)
else:
    for one in found if isinstance(found, list) else [found]:
        print(one.fileno() > 2, one.get_inheritable(), one.getblocking(), file=report)
    print([os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)], file=report)
    print([name for name in os.environ if name.startswith("LISTEN_")], file=report)
"""
ALL_NULL = "['/dev/null', '/dev/null', '/dev/null']"


def adopt(
    function: str,
    stdin: int | None,
    environ: dict[str, str] | None = None,
    stderr: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> list[str]:
    """Run CHILD with ``stdin`` on fd 0; the lines of its report."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as report:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, function, str(writer)],
            stdin=stdin,
            stdout=stdin,
            stderr=stdin if stderr is None else stderr,
            pass_fds=[writer],
            env=os.environ | (environ or {}),
            preexec_fn=prepare,
        )
        os.close(writer)
        lines = report.read().splitlines()
        assert process.wait() == 0
    return lines


def connected_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        return client, server.accept()[0]


def connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("family", "by_ipv4", "by_ipv6"),
    [("ipv4", True, False), ("ipv6", False, True), ("ip-auto", True, True)],
)
def test_wildcard_serves_the_families_asked_for(family: str, by_ipv4: bool, by_ipv6: bool) -> None:
    (listener,) = listen(0, family, [])
    with listener:
        port = listener.getsockname()[1]
        assert connects("127.0.0.1", port) is by_ipv4
        assert connects("::1", port) is by_ipv6
        assert not listener.getblocking()
        assert not listener.get_inheritable()


def test_each_address_gets_one_listener() -> None:
    listeners = listen(0, "ip-auto", ["127.0.0.2", "::1", "127.0.0.2"])
    try:
        assert [one.getsockname()[0] for one in listeners] == ["127.0.0.2", "::1"]
        assert not connects("127.0.0.1", listeners[0].getsockname()[1])
    finally:
        for one in listeners:
            one.close()


def test_ipv4_and_ipv6_wildcards_share_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    listeners = listen(port, "ip-auto", ["0.0.0.0", "::"])
    for one in listeners:
        one.close()
    assert len(listeners) == 2


def test_busy_port_is_named_as_the_reference_names_it() -> None:
    with (
        socket.create_server(("", 0)) as busy,
        pytest.raises(ListenError) as caught,
    ):
        listen(busy.getsockname()[1], "ipv4", [])
    assert str(caught.value) == "0006:031c TCP Initialization Error: Address already in use"


def test_failure_leaves_no_listener_behind() -> None:
    with socket.create_server(("127.0.0.2", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(ListenError, match=rf"already in use \(127\.0\.0\.2 port {port}\)$"):
            listen(port, "ipv4", ["127.0.0.1", "127.0.0.2"])
        assert not connects("127.0.0.1", port)


def test_port_can_be_bound_again_while_old_connections_linger() -> None:
    (listener,) = listen(0, "ipv4", [])
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    listener.setblocking(True)
    accepted = listener.accept()[0]
    listener.close()
    accepted.close()  # this side closes first, so the TIME_WAIT is on the server's port
    client.close()
    listen(port, "ipv4", [])[0].close()


@pytest.mark.parametrize(
    ("family", "address"),
    [
        ("ipv4", "::1"),
        ("ipv6", "127.0.0.1"),
        ("ip-auto", "nonsuch.invalid"),
        ("ip-auto", "a" * 64 + ".invalid"),
        ("ipv4", "192.0.2.1"),
    ],
)
def test_unusable_address_is_one_line_that_names_it(family: str, address: str) -> None:
    with pytest.raises(ListenError) as caught:
        listen(0, family, [address])
    assert str(caught.value).startswith("0006:031c TCP Initialization Error: ")
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_systemd_sockets_for_another_process_are_left_alone() -> None:
    environ = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "A": "b"}
    assert adopt_systemd(environ) == []
    assert environ == {"A": "b"}


def test_no_systemd() -> None:
    assert adopt_systemd({}) == []


def test_systemd_nonsense_count() -> None:
    with pytest.raises(SocketError, match="LISTEN_FDS is not a number"):
        adopt_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"})


SYSTEMD_CHILD = """
import os, sys
from storescpd import sockets
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[1], LISTEN_FDNAMES="dicom")
try:
    for one in sockets.adopt_systemd():
        print(one.fileno(), one.getsockname()[1], one.get_inheritable(), one.getblocking())
except sockets.SocketError as error:
    print(error)
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def systemd_child(count: str, *passed: socket.socket) -> list[str]:
    """Run SYSTEMD_CHILD with ``passed`` on descriptors 3 and up, as systemd would."""

    def prepare() -> None:
        # First out of the way, or dup2 could overwrite one that is still to be moved.
        high = [os.dup(one.fileno()) for one in passed]
        for fd, source in enumerate(high, 3):
            os.dup2(source, fd)

    return subprocess.run(
        [sys.executable, "-c", SYSTEMD_CHILD, count],
        preexec_fn=prepare,
        close_fds=False,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_systemd_listeners_are_adopted() -> None:
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as two:
        assert systemd_child("2", one, two) == [
            f"3 {one.getsockname()[1]} False False",
            f"4 {two.getsockname()[1]} False False",
            "[]",
        ]


@pytest.mark.parametrize(
    ("family", "kind", "complaint"),
    [
        (socket.AF_INET, socket.SOCK_DGRAM, "is not a stream socket"),
        (socket.AF_INET, socket.SOCK_STREAM, "is not a listening socket"),
        (socket.AF_UNIX, socket.SOCK_STREAM, "is not an internet socket"),
    ],
)
def test_systemd_socket_of_a_wrong_kind_is_refused(family: int, kind: int, complaint: str) -> None:
    with socket.socket(family, kind) as wrong, socket.create_server(("", 0)) as good:
        assert systemd_child("2", good, wrong) == [f"descriptor 4 from systemd {complaint}", "[]"]


def test_systemd_count_beyond_the_open_descriptors() -> None:
    with socket.create_server(("", 0)) as one:
        (complaint, left) = systemd_child("999999999", one)
    assert "from systemd is not" in complaint
    assert left == "[]"


def test_inetd_wait_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert adopt("adopt_inetd_wait", listener.fileno()) == [
            "True False False",
            ALL_NULL,
            "[]",
        ]


def test_inetd_nowait_connection() -> None:
    client, server = connected_pair()
    with client, server:
        assert adopt("stdin_connection", server.fileno()) == ["True False True", ALL_NULL, "[]"]


def test_inetd_connection_comes_blocking_though_inetd_made_it_non_blocking() -> None:
    client, server = connected_pair()
    with client, server:
        server.setblocking(False)
        assert adopt("stdin_connection", server.fileno())[0] == "True False True"


def test_standard_error_stays_only_if_it_is_the_journal() -> None:
    client, server = connected_pair()
    reader, writer = os.pipe()
    status = os.fstat(writer)
    journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    with client, server:
        kept = adopt("stdin_connection", server.fileno(), journal, stderr=writer)
        other = adopt("stdin_connection", server.fileno(), {"JOURNAL_STREAM": "1:2"}, stderr=writer)
    os.close(reader)
    os.close(writer)
    assert f"pipe:[{status.st_ino}]" in kept[1]
    assert other[1] == ALL_NULL


def test_connection_given_to_a_wait_server_and_listener_to_a_nowait_server() -> None:
    client, server = connected_pair()
    with client, server:
        assert adopt("adopt_inetd_wait", server.fileno()) == [
            "SocketError standard input is not a listening socket"
        ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert adopt("stdin_connection", listener.fileno()) == [
            "SocketError standard input is a listening socket, not a connection"
        ]


@pytest.mark.parametrize("function", ["adopt_inetd_wait", "stdin_connection"])
def test_standard_input_that_is_no_socket(function: str) -> None:
    assert adopt(function, subprocess.DEVNULL) == ["SocketError standard input is not a socket"]


@pytest.mark.parametrize("function", ["adopt_inetd_wait", "stdin_connection"])
def test_closed_standard_input(function: str) -> None:
    (line,) = adopt(function, None, stderr=subprocess.DEVNULL, prepare=lambda: os.close(0))
    assert line == "DescriptorError cannot take over standard input: Bad file descriptor"


def test_peer_that_reset_before_we_looked() -> None:
    client, server = connected_pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with server:
        (line,) = adopt("stdin_connection", server.fileno())
    assert line.startswith("SocketError standard input is not connected: ")

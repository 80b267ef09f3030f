"""TLS in every way to run: forking, in one process, from inetd and systemd; privileges; signals."""

import contextlib
import os
import pwd
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import senders, wire
from harness.compare import data_difference
from harness.objects import Object, small, split_part10, write_part10
from harness.peer import Peer
from harness.pki import Pki
from harness.processes import (
    PATIENCE,
    command_line,
    free_port,
    is_listening,
    session_members,
    signal_session,
    signals_pending,
    wait_until,
)
from harness.receivers import OURS, Receiver, argv, assert_no_traceback
from harness.scripted import Message, Proposal, ScriptedReceiver
from test_service import activated

from dcmstore.dhparameters import FFDHE_2048

MODES = ["--fork", "--single-process"]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")


def raw(receiver: Receiver) -> socket.socket:
    """Connect without TLS."""
    return socket.create_connection(("127.0.0.1", receiver.port), PATIENCE)


def secured(pki: Pki, link: socket.socket) -> Peer:
    """Shake hands as a client that is known."""
    return Peer(pki.client_context().wrap_socket(link))


def stores(pki: Pki, receiver: Receiver) -> None:
    """Store an object in an association of its own."""
    with secured(pki, raw(receiver)) as peer:
        peer.associate()
        assert peer.store(small()) == 0
        peer.release()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("storing", ["-B", "+B"])
def test_many_associations(
    pki: Pki, start_receiver: StartReceiver, mode: str, storing: str
) -> None:
    receiver = start_receiver(OURS, mode, storing, *pki.server_options())
    # After eight in a row a child is forked ahead.
    things = [small(pixels=1000 * number) for number in range(20)]
    for thing in things:
        with secured(pki, raw(receiver)) as peer:
            peer.associate()
            assert peer.store(thing) == 0
            peer.echo(2)
            peer.release()
    for thing in things:
        stored = split_part10(receiver.stored(thing.sop_instance))
        assert data_difference(stored.data, thing.data) is None
    assert receiver.log() == ""


def test_several_at_a_time(pki: Pki, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", *pki.server_options())
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(secured(pki, raw(receiver))) for _ in range(5)]
        for peer in peers:
            peer.associate()
        for peer in reversed(peers):
            assert peer.store(small()) == 0
        for peer in peers:
            peer.release()
    assert len(receiver.names()) == 5


def on_descriptors(connection: socket.socket, command: list[str]) -> "subprocess.Popen[bytes]":
    """Start a program on a connection as inetd does, without a terminal; and let go of that."""
    fd = connection.fileno()
    with connection:
        return subprocess.Popen(command, stdin=fd, stdout=fd, stderr=fd, start_new_session=True)


@pytest.mark.parametrize("family", ["pair", "tcp"])
def test_from_inetd(tmp_path: Path, pki: Pki, family: str) -> None:
    if family == "pair":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    folder = tmp_path / "received"
    folder.mkdir()
    # With -v a line would go to the peer if it went anywhere but to the null device.
    command = [*argv(OURS), "--inetd", "-v", *pki.server_options(), "-od", str(folder)]
    process = on_descriptors(theirs, command)
    thing = small(pixels=300_000)
    with secured(pki, ours) as peer:
        peer.associate()
        assert peer.store(thing) == 0
        peer.send(wire.release_rq())
        peer.expect(wire.RELEASE_RP)
        peer.expect_closed()
    assert process.wait(PATIENCE) == 0
    (path,) = folder.iterdir()
    assert split_part10(path.read_bytes()).data == thing.data


def test_failed_handshake_is_no_failure_under_inetd(tmp_path: Path, pki: Pki) -> None:
    ours, theirs = socket.socketpair()
    command = [*argv(OURS), "--inetd", *pki.server_options(), "-od", str(tmp_path)]
    process = on_descriptors(theirs, command)
    with ours:
        ours.settimeout(PATIENCE)
        ours.sendall(b"GET / HTTP/1.0\r\n\r\n")
        ours.shutdown(socket.SHUT_WR)
        assert ours.recv(100)[:1] in (b"", b"\x15"), "nothing but an alert"
    assert process.wait(PATIENCE) == 0


def test_key_with_a_password_under_inetd(tmp_path: Path, pki: Pki) -> None:
    """The peer is not asked for it, though it is where standard input was."""
    ours, theirs = socket.socketpair()
    own = ("+tls", pki.server.encrypted("secret"), pki.server.files[1])
    command = [*argv(OURS), "--inetd", *own, "-od", str(tmp_path)]
    process = on_descriptors(theirs, command)
    with ours:
        ours.settimeout(PATIENCE)
        assert ours.recv(100) == b""
    assert process.wait(PATIENCE) == 1


@pytest.mark.parametrize("accept", [False, True])
def test_from_systemd(tmp_path: Path, pki: Pki, accept: bool) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    command = [*argv(OURS), *pki.server_options(), "-od", str(folder)]
    more: tuple[str, ...] = ()
    if accept:
        command.append("--inetd")
        more = ("--accept", "--inetd")
    with activated(tmp_path, command, *more) as (port, _):
        for _ in range(2):
            path = write_part10(tmp_path, small())
            sent = senders.send(OURS, port, [path], *pki.client_options())
            assert (sent.code, sent.stderr) == (0, "")
    assert len(list(folder.iterdir())) == 2


def test_too_many_associations(pki: Pki, start_receiver: StartReceiver) -> None:
    """Hands are shaken with one that is rejected, too, or it could not read why."""
    limits = ("--fork", "--max-associations", "1", "--on-limit", "reject")
    receiver = start_receiver(OURS, *limits, *pki.server_options())
    with secured(pki, raw(receiver)) as first:
        first.associate()
        with secured(pki, raw(receiver)) as second:
            second.send(wire.associate_rq(((1, wire.CT, (wire.EXPLICIT,)),)))
            second.expect_reject(2, 3, 2)
        first.release()


@root_only
@pytest.mark.parametrize("mode", MODES)
def test_access_control_comes_before_the_handshake(tmp_path: Path, pki: Pki, mode: str) -> None:
    """Who is not let in does not see a byte of TLS."""
    (tmp_path / "allow").write_text("")
    (tmp_path / "deny").write_text("ALL: ALL\n")
    places = [Path(f"/etc/hosts.{name}") for name in ("allow", "deny")]
    created = [place for place in places if not place.exists()]
    for place in created:
        place.touch()
    mounts = "".join(f'mount --bind "{tmp_path / place.suffix[1:]}" {place}; ' for place in places)
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *("unshare", "-m", "sh", "-ec", mounts + 'exec "$@"', "-", *argv(OURS)),
                *(mode, "+ac", *pki.server_options(), "-od", str(tmp_path), str(port)),
            ],
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_until(lambda: b": master [" in title(process.pid), "it runs")
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
            link.sendall(b"\x16\x03\x01\x00\x05hello")
            with contextlib.suppress(ConnectionResetError):
                assert link.recv(100) == b""
        wait_until(lambda: "access denied to 127.0.0.1" in log.read_text(), "it is told")
        assert "TLS" not in log.read_text()
        (tmp_path / "allow").write_text("storescpd: 127.0.0.1\n")
        path = write_part10(tmp_path, small())
        assert senders.send(OURS, port, [path], *pki.client_options()).code == 0
    finally:
        signal_session(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)
        for place in created:
            place.unlink()
    assert_no_traceback(log.read_text())


def title(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# Privileges, and what SIGHUP makes of the files


def reload(receiver: Receiver) -> str:
    """Send HUP, wait until it was obeyed, and return what was logged meanwhile."""
    mark = receiver.mark()
    receiver.send_signal(signal.SIGHUP)
    wait_until(lambda: not signals_pending(receiver.pid), "HUP is taken")
    receiver.send_signal(signal.SIGUSR1)
    log = receiver.wait_for_log("I: status: ", since=mark)
    return "".join(line for line in log.splitlines(True) if not line.startswith("I: status"))


@pytest.fixture
def copied(tmp_path: Path, pki: Pki) -> Callable[[str], tuple[str, ...]]:
    """Put an identity's files where the receiver looks for them; returns its options."""

    def copy(name: str) -> tuple[str, ...]:
        for kind in ("key", "pem"):
            source = pki.folder / f"{name}.{kind}"
            (tmp_path / f"own.{kind}").write_bytes(source.read_bytes())
        own = (str(tmp_path / "own.key"), str(tmp_path / "own.pem"))
        return ("+tls", *own, "+cf", str(pki.authority.certificate))

    return copy


@pytest.mark.parametrize("mode", MODES)
def test_renewed_certificate(
    pki: Pki,
    start_receiver: StartReceiver,
    copied: Callable[[str], tuple[str, ...]],
    mode: str,
) -> None:
    receiver = start_receiver(OURS, mode, "-dhl", *copied("server"))

    def serves(name: str) -> bool:
        context = pki.client_context()
        with context.wrap_socket(raw(receiver)) as link:
            found = link.getpeercert(binary_form=True)
            peer = Peer(link)
            peer.associate()
            peer.release()
        known = (pki.folder / f"{name}.pem").read_text()
        return found == ssl.PEM_cert_to_DER_cert(known)

    assert serves("server")
    copied("client")
    assert serves("server"), "not before it is told to"
    with secured(pki, raw(receiver)) as before:
        before.associate()
        if mode == "--fork":
            assert reload(receiver) == ""
        assert before.store(small()) == 0
        before.echo(2)
        before.release()
    assert reload(receiver) == ""
    assert serves("client")


def test_mistakes_in_renewed_files_change_nothing(
    tmp_path: Path,
    pki: Pki,
    start_receiver: StartReceiver,
    copied: Callable[[str], tuple[str, ...]],
) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl", *copied("server"))
    key, certificate = tmp_path / "own.key", tmp_path / "own.pem"
    good = key.read_bytes(), certificate.read_bytes()
    as_before = "; still working as before"
    for path, content, lines in (
        (
            key,
            None,
            [
                "E: OpenSSL error 80000002: No such file or directory",
                f"E: 000b:0004 Unable to load private TLS key from '{key}'{as_before}",
            ],
        ),
        (
            certificate,
            b"rubbish",
            [
                "E: OpenSSL error 0480006c: no start line",
                f"E: 000b:0005 Unable to load certificate from '{certificate}'{as_before}",
            ],
        ),
        (
            certificate,
            pki.client.certificate.read_bytes(),
            [
                f"E: 000b:0006 Private key '{key}' and certificate '{certificate}'"
                f" do not match{as_before}",
            ],
        ),
        (
            key,
            Path(pki.server.encrypted("secret")).read_bytes(),
            [
                "E: the private key has a password now, which is not known",
                f"E: 000b:0004 Unable to load private TLS key from '{key}'{as_before}",
            ],
        ),
    ):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        assert reload(receiver).splitlines() == lines
        stores(pki, receiver)
        key.write_bytes(good[0])
        certificate.write_bytes(good[1])
        assert reload(receiver) == ""
    stores(pki, receiver)


def test_renewed_revocation_list(tmp_path: Path, pki: Pki, start_receiver: StartReceiver) -> None:
    """Who is revoked today is served until the daemon is told to read the list again."""
    gone = pki.other.issue("gone", ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"))
    path = tmp_path / "crl.pem"
    path.write_bytes(pki.other.revocation_list("before").read_bytes())
    trusted = ("+cf", str(pki.other.certificate), "+crl", str(path))
    receiver = start_receiver(OURS, "--fork", "-dhl", "+tls", *pki.server.files, *trusted)
    thing = write_part10(tmp_path, small())
    assert senders.send(OURS, receiver.port, [thing], *pki.options(gone)).code == 0
    pki.other.revoke(gone)
    path.write_bytes(pki.other.revocation_list("after").read_bytes())
    assert senders.send(OURS, receiver.port, [thing], *pki.options(gone)).code == 0
    assert reload(receiver) == ""
    assert senders.send(OURS, receiver.port, [thing], *pki.options(gone)).code == 1
    receiver.wait_for_log("certificate verify failed (certificate revoked)")


def test_mistakes_in_renewed_lists_change_nothing(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver
) -> None:
    """A list that is being written just now must not let in whom it turns away."""
    gone = pki.other.issue("turned away", ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"))
    known = pki.other.issue("known", ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"))
    pki.other.revoke(gone)
    lists, trusted, parameters = (tmp_path / name for name in ("crl.pem", "ca.pem", "dh.pem"))
    lists.write_bytes(pki.other.revocation_list("of one").read_bytes())
    trusted.write_bytes(pki.other.certificate.read_bytes())
    parameters.write_bytes(FFDHE_2048)
    options = ("+cf", str(trusted), "+crl", str(lists), "+dp", str(parameters))
    receiver = start_receiver(OURS, "--fork", "-dhl", "+tls", *pki.server.files, *options)
    thing = write_part10(tmp_path, small())

    def are_told_apart() -> bool:
        codes = [senders.send(OURS, receiver.port, [thing], *pki.options(who)).code for who in who_]
        return codes == [1, 0]

    who_ = (gone, known)
    assert are_told_apart()
    for path, what in (
        (lists, f"unable to load CRL file '{lists}'"),
        (trusted, f"unable to load certificate file '{trusted}'"),
        (parameters, f"unable to load temporary DH parameter file '{parameters}'"),
    ):
        good = path.read_bytes()
        for content in (good[: len(good) // 2], b""):
            path.write_bytes(content)
            assert f"E: {what}; still working as before\n" in reload(receiver)
            assert are_told_apart()
        path.write_bytes(good)
    assert reload(receiver) == ""
    assert are_told_apart()


def test_list_that_is_asked_for_and_no_good_at_the_start(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver
) -> None:
    path, thing = tmp_path / "crl.pem", write_part10(tmp_path, small())
    path.write_bytes(b"-----BEGIN X509 CRL-----\n")
    options = pki.server_options("+crl", str(path), "--enable-crl-vfy")
    receiver = start_receiver(OURS, "--fork", *options)
    assert senders.send(OURS, receiver.port, [thing], *pki.client_options()).code == 1
    receiver.wait_for_log("unable to get certificate CRL")


def test_certificate_beside_a_list_is_not_trusted(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver
) -> None:
    bundle = tmp_path / "bundle.pem"
    stranger = pki.other.issue("stranger", ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"))
    own_list = pki.authority.revocation_list("own").read_bytes()
    bundle.write_bytes(pki.other.certificate.read_bytes() + own_list)
    thing = write_part10(tmp_path, small())
    receiver = start_receiver(OURS, "--fork", *pki.server_options("+crl", str(bundle)))
    assert senders.send(OURS, receiver.port, [thing], *pki.options(stranger)).code == 1
    assert senders.send(OURS, receiver.port, [thing], *pki.client_options()).code == 0
    theirs = start_receiver(OURS, "--fork", *pki.options(stranger))
    sent = senders.send(OURS, theirs.port, [thing], *pki.client_options("+crl", str(bundle)))
    assert sent.code == 1
    assert "certificate verify failed" in sent.stderr


@pytest.mark.parametrize("limit", [3, 20])
def test_renewal_without_descriptors(pki: Pki, start_receiver: StartReceiver, limit: int) -> None:
    receiver = start_receiver(OURS, "--fork", *pki.server_options())
    old = resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, (limit, old[1]))
    said = reload(receiver)
    assert ("still working as before" in said) == (limit == 3)
    resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, old)
    stores(pki, receiver)


NOBODY = "nobody"


@root_only
@pytest.mark.parametrize("mode", MODES)
def test_key_that_only_root_can_read(
    tmp_path: Path,
    pki: Pki,
    start_receiver: StartReceiver,
    copied: Callable[[str], tuple[str, ...]],
    mode: str,
) -> None:
    options = copied("server")
    key = tmp_path / "own.key"
    key.chmod(0o600)
    folder = Path("/tmp") / f"storescpd-test-{os.getpid()}-{mode[2:]}"
    folder.mkdir()
    user = pwd.getpwnam(NOBODY)
    os.chown(folder, user.pw_uid, user.pw_gid)
    try:
        receiver = start_receiver(OURS, mode, "-dhl", "--user", NOBODY, *options, folder=folder)
        assert Path(f"/proc/{receiver.pid}").stat().st_uid in (user.pw_uid, 0)
        (line,) = (
            line
            for line in Path(f"/proc/{receiver.pid}/status").read_text().splitlines()
            if line.startswith("Uid:")
        )
        assert set(line.split()[1:]) == {str(user.pw_uid)}
        for _ in range(2):
            stores(pki, receiver)
        # Now it cannot read the key any more; so it goes on with what it has.
        lines = reload(receiver).splitlines()
        assert lines[0].startswith("E: OpenSSL error 8000000d: Permission denied")
        assert lines[-1].endswith("; still working as before")
        stores(pki, receiver)
        receiver.stop()
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_as_a_daemon(tmp_path: Path, pki: Pki) -> None:
    """Files are named as seen from where it was started."""
    (tmp_path / "received").mkdir()
    for name in ("server.key", "server.pem", "authority.pem"):
        (tmp_path / name).write_bytes((pki.folder / name).read_bytes())
    port, pid_file = free_port(), tmp_path / "pid"
    command = [
        *(*argv(OURS), "--daemon", "--pid-file", str(pid_file), "--fork", "-od", "received"),
        *("+tls", "server.key", "server.pem", "+cf", "authority.pem", str(port)),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(pid_file.read_text())
    try:
        path = write_part10(tmp_path, small())
        assert senders.send(OURS, port, [path], *pki.client_options()).code == 0
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: not signals_pending(pid), "HUP is taken")
        assert senders.send(OURS, port, [path], *pki.client_options()).code == 0
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_listening(port), "it has ended")


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stage", ["silence", "handshake", "request"])
def test_stop_of_a_daemon_whose_peer_does_not_go_on(
    pki: Pki, start_receiver: StartReceiver, mode: str, number: signal.Signals, stage: str
) -> None:
    receiver = start_receiver(
        OURS, mode, "-dhl", "--grace-period", "0", "-ta", "100", *pki.server_options()
    )
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(raw(receiver))
        if stage == "handshake":
            link.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        if stage == "request":
            stack.enter_context(secured(pki, link))
        if mode == "--fork":
            receiver.wait_for_children(1)
        else:
            wait_until(lambda: "[connected]" in command_line(receiver.pid), "it serves")
        receiver.send_signal(number)
        assert receiver.wait() == 0
    wait_until(lambda: not session_members(receiver.pid), "nobody is left")


@pytest.mark.parametrize("mode", MODES)
def test_stop_at_once_aborts_associations(
    pki: Pki, start_receiver: StartReceiver, mode: str
) -> None:
    receiver = start_receiver(OURS, "-v", mode, "-dhl", "-ta", "5", *pki.server_options())
    with secured(pki, raw(receiver)) as peer:
        peer.associate()
        peer.begin_store(small(pixels=50_000), 20_000)
        receiver.send_signal(signal.SIGINT)
        peer.expect_abort(0, 0)
        peer.expect_closed()
    assert receiver.wait() == 0
    assert receiver.names() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_a_sender(tmp_path: Path, pki: Pki, number: signal.Signals) -> None:
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [path], "-v", *pki.client_options())
        link, _ = receiver.listener.accept()
        with Peer(pki.server_context().wrap_socket(link, server_side=True)) as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            Message(peer)
            process.send_signal(number)
            peer.expect_abort(0, 0)
        done = senders.finish(process)
    assert done.code == -number
    assert done.stderr.splitlines()[-1] == "I: Aborting Association"


def test_signal_to_a_sender_in_the_handshake(tmp_path: Path, pki: Pki) -> None:
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [path], *pki.client_options())
        with receiver.listener.accept()[0] as link:
            link.settimeout(PATIENCE)
            assert link.recv(1) == b"\x16"
            process.send_signal(signal.SIGTERM)
            done = senders.finish(process)
    assert (done.code, done.stderr) == (-signal.SIGTERM, "")


def test_signal_to_a_sender_whose_receiver_is_stuck(tmp_path: Path, pki: Pki) -> None:
    """All buffers are full; what is left of the last record is not followed by anything."""
    path = write_part10(tmp_path, small(pixels=40_000_000))
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [path], *pki.client_options())
        link, _ = receiver.listener.accept()
        with Peer(pki.server_context().wrap_socket(link, server_side=True)) as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            stat = Path(f"/proc/{process.pid}/stat")
            for _ in range(5):
                wait_until(lambda: " S " in stat.read_text(), "it sleeps")
            process.send_signal(signal.SIGTERM)
            done = senders.finish(process)
    assert (done.code, done.stderr) == (-signal.SIGTERM, "")


# Large objects


LIMIT = 48 << 20
"""Bytes of memory of one's own; the programs take half of that, and the object would not fit."""


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Let what is started within have no more than so much (setrlimit(2), RLIMIT_DATA)."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.mark.parametrize("storing", ["-B", "+B"])
@pytest.mark.parametrize("profile", ["--profile-8996", "--profile-bcp195-ex"])
def test_large_object(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver, storing: str, profile: str
) -> None:
    """64 MiB, from our sender to our receiver, in constant memory on both sides."""
    thing: Object = small(pixels=64 << 20)
    path = write_part10(tmp_path, thing)
    options = pki.client_options(profile)
    command = [sys.executable, "-m", "storescu", *options, "127.0.0.1"]
    with limited_memory():
        receiver = start_receiver(OURS, "--fork", storing, *pki.server_options(profile))
        # In a session of its own, since for that Python forks: posix_spawn(3), which it prefers
        # from 3.13 on, would take memory of this process.
        process = subprocess.Popen(
            [*command, str(receiver.port), str(path)],
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    sent = senders.finish(process)
    assert (sent.code, sent.stderr) == (0, "")
    stored = split_part10(receiver.stored(thing.sop_instance))
    assert data_difference(stored.data, thing.data) is None
    path.unlink()


# Seeds of random numbers


def test_seeds(tmp_path: Path, pki: Pki, start_receiver: StartReceiver) -> None:
    seed, other = tmp_path / "seed", tmp_path / "other"
    seed.write_bytes(b"seed")
    receiver = start_receiver(
        OURS, "--fork", *pki.server_options("--seed", str(seed), "--write-seed")
    )
    path = write_part10(tmp_path, small())
    written = {b"seed"}
    for _ in range(2):
        own = ("--seed", str(seed), "--write-seed-file", str(other))
        sent = senders.send(OURS, receiver.port, [path], *pki.client_options(*own))
        assert (sent.code, sent.stderr) == (0, "")
        receiver.wait_for_children(0)
        assert len(seed.read_bytes()) == len(other.read_bytes()) == 1024
        assert other.stat().st_mode & 0o777 == 0o600
        written |= {seed.read_bytes(), other.read_bytes()}
    assert len(written) == 5
    assert receiver.log().splitlines() == [
        f"W: DICOM file already exists, overwriting: {receiver.folder}/CT.{path.stem}"
    ]


def test_seeds_that_cannot_be_had_do_no_harm(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver
) -> None:
    missing = str(tmp_path / "no" / "file")
    receiver = start_receiver(
        OURS, "--fork", *pki.server_options("--seed", missing, "--write-seed")
    )
    stores(pki, receiver)
    receiver.wait_for_children(0)
    assert receiver.log() == (
        f"W: 000b:0008 Failed to write random seed file '{missing}': No such file or directory\n"
    )

"""Who is let in: certificates that are missing, false, expired, revoked, weak, or in a chain."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import pki as pki_module
from harness import senders, wire
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.pki import Authority, Identity, Pki
from harness.processes import PATIENCE
from harness.receivers import OURS, REFERENCE, Receiver
from harness.scripted import ScriptedReceiver, serve

NONE_SHOWN = "000b:08c7 TLS error: peer did not return a certificate"
NOT_VERIFIED = "000b:0886 TLS error: certificate verify failed"
UNKNOWN_AUTHORITY = "000b:0c18 TLS error: tlsv1 alert unknown ca"
GONE = "0006:0317 Peer aborted Association (or never connected)"

Send = Callable[..., "senders.Sent"]


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """Send an object to a receiver, and see it arrive if that works."""

    def send(receiver: Receiver, *options: str, flavour: str = OURS) -> senders.Sent:
        path = write_part10(tmp_path, small())
        sent = senders.send(flavour, receiver.port, [path], *options)
        assert receiver.holds(path.stem) == (sent.code == 0), sent.stderr
        return sent

    return send


def refused(receiver: Receiver, reason: str) -> None:
    """The receiver says why nothing came of the last connection, in one line."""
    log = receiver.wait_for_log("Receiving Association failed", since=receiver.seen)
    receiver.seen = receiver.mark()
    (line,) = (line for line in log.splitlines() if line.startswith("E: "))
    assert line.startswith(f"E: Receiving Association failed: {reason}")


def anonymous(pki: Pki, *more: str) -> tuple[str, ...]:
    return ("+tla", "+cf", str(pki.authority.certificate), *more)


# By the receiver's option: whether it serves somebody with a good certificate, with one of an
# authority that it does not know, and without one.
SERVED = {
    "--require-peer-cert": (True, False, False),
    "--verify-peer-cert": (True, False, True),
    "--ignore-peer-cert": (True, True, True),
}


@pytest.mark.parametrize(
    ("flavour", "process", "sender"),
    [
        (OURS, "--fork", OURS),
        (OURS, "--single-process", OURS),
        (OURS, "--fork", REFERENCE),
        (REFERENCE, "--fork", OURS),
    ],
)
@pytest.mark.parametrize("option", SERVED)
def test_certificates_of_senders(
    start_receiver: StartReceiver,
    pki: Pki,
    send: Send,
    flavour: str,
    process: str,
    sender: str,
    option: str,
) -> None:
    receiver = start_receiver(flavour, process, *pki.server_options(option))
    trusted = ("+cf", str(pki.authority.certificate))
    good, false, without = SERVED[option]
    for own, served in (
        (pki.client_options(), good),
        (("+tls", *pki.stranger.files, *trusted), false),
        (anonymous(pki), without),
    ):
        sent = send(receiver, *own, flavour=sender)
        assert (sent.code == 0) == served, sent.stderr


def test_what_is_told_of_senders_without_a_good_certificate(
    start_receiver: StartReceiver, pki: Pki, send: Send
) -> None:
    receiver = start_receiver(OURS, "--fork", *pki.server_options())
    trusted = ("+cf", str(pki.authority.certificate))
    sent = send(receiver, *anonymous(pki))
    refused(receiver, NONE_SHOWN)
    # A client learns of it only after the handshake, so this is all that the last line can say.
    assert sent.stderr.splitlines() == [
        "W: 000b:0c5c TLS error: tlsv13 alert certificate required",
        f"F: Association Request Failed: {GONE}",
    ]
    sent = send(receiver, "+tls", *pki.stranger.files, *trusted)
    refused(receiver, f"{NOT_VERIFIED} (unable to get local issuer certificate)")
    assert sent.stderr.splitlines() == [
        f"W: {UNKNOWN_AUTHORITY}",
        f"F: Association Request Failed: {GONE}",
    ]
    # TLS 1.2 has it in the handshake.
    sent = send(receiver, *anonymous(pki, "--profile-bcp195-ex"))
    refused(receiver, NONE_SHOWN)
    assert sent.stderr == (
        "F: Association Request Failed: 000b:0c10 TLS error: sslv3 alert handshake failure\n"
    )


@pytest.mark.parametrize("flavour", [OURS, REFERENCE])
def test_certificates_of_receivers(
    start_receiver: StartReceiver, pki: Pki, send: Send, flavour: str
) -> None:
    trusted = ("+cf", str(pki.authority.certificate))
    receiver = start_receiver(flavour, "--fork", "+tls", *pki.stranger.files, *trusted)
    sent = send(receiver, *pki.client_options())
    assert (sent.code, sent.stderr) == (
        1,
        f"F: Association Request Failed: {NOT_VERIFIED} (unable to get local issuer certificate)\n",
    )
    refused(receiver, UNKNOWN_AUTHORITY)
    assert send(receiver, *pki.client_options("-ic")).code == 0
    # Nobody at all is trusted by default, the system's authorities neither.
    assert send(receiver, "+tls", *pki.client.files).code == 1


def test_names_of_hosts_are_not_looked_at(
    start_receiver: StartReceiver, pki: Pki, send: Send
) -> None:
    own = pki.authority.issue("somewhere.example.org", pki_module.RSA)
    receiver = start_receiver(OURS, *pki.options(own))
    assert send(receiver, *pki.client_options()).code == 0
    assert send(receiver, *pki.client_options("--request-sni", "else.example.org")).code == 0


# OpenSSL 3.6 has thought of another cause.
MORE = " or the system clock is incorrect" if ssl.OPENSSL_VERSION_INFO >= (3, 6) else ""


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("20200101000000Z", "20210101000000Z", "certificate has expired"),
        ("20990101000000Z", "20991231000000Z", f"certificate is not yet valid{MORE}"),
    ],
)
def test_certificates_out_of_their_time(
    start_receiver: StartReceiver, pki: Pki, send: Send, start: str, end: str, reason: str
) -> None:
    own = pki.authority.issue(f"time-{start}", pki_module.RSA, start=start, end=end)
    receiver = start_receiver(OURS, "--fork", *pki.server_options())
    assert send(receiver, *pki.options(own)).code == 1
    refused(receiver, f"{NOT_VERIFIED} ({reason})")
    receiver = start_receiver(OURS, "--fork", *pki.options(own))
    sent = send(receiver, *pki.client_options())
    assert sent.stderr == f"F: Association Request Failed: {NOT_VERIFIED} ({reason})\n"
    sent = send(receiver, *pki.client_options(), flavour=REFERENCE)
    assert NOT_VERIFIED in sent.stderr


def chain(pki: Pki, name: str) -> tuple[Authority, Identity, Path]:
    """Return an authority below the authority, somebody that it certifies, and both as a chain."""
    middle = Authority(pki.folder, f"{name}-middle", issuer=pki.authority)
    leaf = middle.issue(f"{name}-leaf", pki_module.RSA)
    path = pki.folder / f"{name}.chain"
    path.write_text(leaf.certificate.read_text() + middle.certificate.read_text())
    return middle, leaf, path


def test_chains(start_receiver: StartReceiver, pki: Pki, send: Send) -> None:
    middle, leaf, both = chain(pki, "chains")
    trusted = ("+cf", str(pki.authority.certificate))
    receiver = start_receiver(OURS, "--fork", *pki.server_options())
    for sender in (OURS, REFERENCE):
        own = ("+tls", str(leaf.key), str(both), *trusted)
        assert send(receiver, *own, flavour=sender).code == 0
        assert send(receiver, *pki.options(leaf), flavour=sender).code == 1
        refused(receiver, f"{NOT_VERIFIED} (unable to get local issuer certificate)")
    receiver = start_receiver(OURS, "--fork", "+tls", str(leaf.key), str(both), *trusted)
    for sender in (OURS, REFERENCE):
        assert send(receiver, *pki.client_options(), flavour=sender).code == 0
    # An authority in between is no authority to end at.
    receiver = start_receiver(
        OURS, "--fork", "+tls", *pki.server.files, "+cf", str(middle.certificate)
    )
    assert send(receiver, "+tls", *leaf.files, *trusted).code == 1


def test_several_authorities(start_receiver: StartReceiver, pki: Pki, send: Send) -> None:
    both = pki.folder / "both.pem"
    authorities = [one.certificate for one in (pki.authority, pki.other)]
    both.write_text("".join(path.read_text() for path in authorities))
    for trusted in (("+cf", str(both)), [f for path in authorities for f in ("+cf", str(path))]):
        receiver = start_receiver(OURS, "--fork", "+tls", *pki.server.files, *trusted)
        for own in (pki.client, pki.stranger):
            assert send(receiver, *pki.options(own)).code == 0


@pytest.fixture(scope="module")
def revoked(pki: Pki) -> tuple[Identity, Path]:
    """Somebody whose certificate is revoked, and the list that says so."""
    gone = pki.authority.issue("revoked", pki_module.RSA)
    pki.authority.revoke(gone)
    return gone, pki.authority.revocation_list()


@pytest.mark.parametrize("process", ["--fork", "--single-process"])
@pytest.mark.parametrize("der", [False, True])
def test_revoked_certificates(
    tmp_path: Path,
    start_receiver: StartReceiver,
    pki: Pki,
    send: Send,
    revoked: tuple[Identity, Path],
    der: bool,
    process: str,
) -> None:
    gone, path = revoked
    options = pki.server_options("+crl", str(path))
    if der:
        as_der = tmp_path / "crl.der"
        pki_module.openssl("crl", "-in", str(path), "-outform", "der", "-out", str(as_der))
        authority = pki.authority.der()[1]
        options = ("+tls", *pki.server.der(), "-der", "+cf", authority, "+crl", str(as_der))
    receiver = start_receiver(OURS, process, *options)
    assert send(receiver, *pki.client_options()).code == 0
    sent = send(receiver, *pki.options(gone))
    refused(receiver, f"{NOT_VERIFIED} (certificate revoked)")
    assert "alert certificate revoked" in sent.stderr
    receiver = start_receiver(OURS, "--fork", *pki.options(gone))
    for sender in (OURS, REFERENCE):
        assert send(receiver, *pki.client_options(), flavour=sender).code == 0
        sent = send(receiver, *pki.client_options("+crl", str(path)), flavour=sender)
        assert f"F: Association Request Failed: {NOT_VERIFIED}" in sent.stderr


@pytest.mark.parametrize("process", ["--fork", "--single-process"])
def test_missing_revocation_lists(
    start_receiver: StartReceiver,
    pki: Pki,
    send: Send,
    revoked: tuple[Identity, Path],
    process: str,
) -> None:
    _, path = revoked
    middle, leaf, both = chain(pki, f"lists{process}")
    own = ("+tls", str(leaf.key), str(both), "+cf", str(pki.authority.certificate))
    of_middle = str(middle.revocation_list())
    missing = f"{NOT_VERIFIED} (unable to get certificate CRL)"
    for options, served in (
        ((), True),
        (("--enable-crl-vfy",), False),
        (("--enable-crl-vfy", "+crl", of_middle), True),
        (("+crl", of_middle), True),
        (("+crl", str(path)), False),
        (("--enable-crl-all", "+crl", of_middle), False),
        (("--enable-crl-all", "+crl", of_middle, "+crl", str(path)), True),
    ):
        receiver = start_receiver(OURS, process, *pki.server_options(*options))
        assert (send(receiver, *own).code == 0) == served, options
        if not served:
            refused(receiver, missing)


def signed_by_itself(pki: Pki, name: str, kind: pki_module.Kind, digest: str) -> Identity:
    made = Identity(pki.folder, name)
    if not made.certificate.exists():
        pki_module.make_key(made.key, kind)
        pki_module.self_signed(made, digest)
    return made


def stores(receiver: Receiver, context: ssl.SSLContext) -> bool:
    """Store an object as this client, and tell whether it was let in."""
    link = socket.create_connection(("127.0.0.1", receiver.port), PATIENCE)
    with Peer(context.wrap_socket(link)) as peer:
        peer.send(wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))]))
        try:
            answer = peer.receive()
        except ssl.SSLError:
            answer = None
        if answer is None:
            return False
        assert answer.kind == wire.ASSOCIATE_AC
        assert peer.store(small()) == 0
        peer.release()
    return True


def test_weak_certificates_of_peers(start_receiver: StartReceiver, pki: Pki) -> None:
    """Profiles say what is too weak; the reference would have refused within the handshake."""
    for name, kind, digest, option, beginning, refusal in (
        ("peer-md5", pki_module.RSA, "md5", "", "", "Weak certificate hash key: "),
        ("peer-sha1", pki_module.RSA, "sha1", "", "Certificate hash key not SHA-256: ", ""),
        ("peer-sha1", pki_module.RSA, "sha1", "+pm", "", "Certificate hash key not SHA-256: "),
        ("peer-rsa", pki_module.SMALL_RSA, "sha256", "", "Key length of RSA public key", ""),
        ("peer-rsa", pki_module.SMALL_RSA, "sha256", "+pm", "", "Key length of RSA public key"),
    ):
        own = signed_by_itself(pki, name, kind, digest)
        options = pki.server_options("+cf", str(own.certificate), *filter(None, [option]))
        receiver = start_receiver(OURS, "--fork", *options)
        # Neither our sender nor each reference lets itself show such certificates.
        let_in = stores(receiver, pki_module.show_weak(pki.client_context(), own))
        log = receiver.log()
        assert let_in == (not refusal), log
        if beginning:
            (warning,) = log.splitlines()
            assert warning.startswith(f"W: {beginning}")
            assert f"the certificate of '/CN={name}'" in warning
        else:
            error, failed = receiver.wait_for_log("Receiving").splitlines()
            assert error.startswith(f"E: {refusal}")
            assert failed == f"E: Receiving Association failed: {NOT_VERIFIED}"


def test_weak_key_of_a_receiver(tmp_path: Path, pki: Pki) -> None:
    own = signed_by_itself(pki, "peer-rsa", pki_module.SMALL_RSA, "sha256")
    context = pki_module.show_weak(pki.server_context(), own)

    def send(served: bool, *options: str) -> senders.Sent:
        with ScriptedReceiver() as receiver:
            path = write_part10(tmp_path, small())
            process = senders.start(OURS, receiver.port, [path], *pki.client_options(*options))
            link, _ = receiver.listener.accept()
            with Peer(context.wrap_socket(link, server_side=True)) as peer:
                if served:
                    assert len(serve(peer, [0])) == 1
                sent = senders.finish(process)
        assert (sent.code == 0) == served, sent.stderr
        return sent

    trusted = ("+cf", str(own.certificate))
    words = "Key length of RSA public key too short: RFC 9325 {} at least 2048 bits for {}RSA keys"
    sent = send(False, *trusted)
    error, failed = sent.stderr.splitlines()
    assert error.startswith(f"E: {words.format('requires', 'server ')}")
    assert failed == f"F: Association Request Failed: {NOT_VERIFIED}"
    sent = send(True, *trusted, "+py")
    (warning,) = sent.stderr.splitlines()
    assert warning.startswith(f"W: {words.format('recommends', '')}")
    # Who is not to be trusted is not looked at.
    assert send(True, "-ic").stderr == ""


def test_details_of_a_connection(start_receiver: StartReceiver, pki: Pki, send: Send) -> None:
    receiver = start_receiver(OURS, "-d", "--fork", *pki.server_options("-vc"))
    sent = send(receiver, "-d", *pki.client_options())
    for log, peer in ((sent.stderr, "server"), (receiver.wait_for_log("TLS CON"), "client")):
        lines = [line.removeprefix("D: ") for line in log.splitlines()]
        begin = lines.index("================== BEGIN TLS CONNECTION DETAILS =================")
        end = lines.index("=================== END TLS CONNECTION DETAILS ==================")
        assert lines[begin + 1 : begin + 8] == [
            "Transport connection: TLS over TCP/IP",
            "  Protocol    : TLSv1.3",
            "  Ciphersuite : TLS_AES_256_GCM_SHA384, encryption: 256 bits",
            "  Profile     : BCP 195 RFC 8996 TLS Profile",
            "Peer X.509v3 Certificate",
            f"  Subject     : /CN={peer}",
            "  Issued by   : /CN=authority",
        ]
        assert lines[end - 2 : end] == [
            "  Public key  : RSA, 2048 bits",
            "  Signature   : ECDSA-SHA256",
        ]
    mark = receiver.mark()
    assert send(receiver, *anonymous(pki)).code == 0
    assert (
        "D: Peer did not provide a certificate or certificate verification is disabled."
        in receiver.log(mark)
    )

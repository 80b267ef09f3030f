"""TLS with other makes: profiles with the reference; versions, suites and curves with openssl."""

import re
import socket
import ssl
import struct
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import pki as pki_module
from harness import senders
from harness.compare import data_difference
from harness.objects import Object, small, split_part10, write_part10
from harness.peer import Peer
from harness.pki import Identity, Pki
from harness.processes import PATIENCE
from harness.receivers import OURS, REFERENCE, Receiver, dcmtk_version
from harness.scripted import ScriptedReceiver, serve

DETAILS = re.compile(r"Protocol    : (\S+)\n.*Ciphersuite : (\S+), encryption: (\d+) bits")


def details(log: str) -> tuple[str, str]:
    """Return version and suite of the last connection in a log of level debug."""
    return DETAILS.findall(log)[-1][:2]  # type: ignore[no-any-return]


def expect_stored(receiver: Receiver, thing: Object) -> None:
    """The receiver has the object, byte for byte."""
    stored = split_part10(receiver.stored(thing.sop_instance))
    assert data_difference(stored.data, thing.data) is None


TLS_1_3 = ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
# What two sides of a profile agree on: with us as server, and with the reference, which up to
# 3.6.7 ranks finite fields above elliptic curves.
AGREED = {
    "--profile-bcp195-nd": (TLS_1_3, TLS_1_3),
    "--profile-bcp195": (TLS_1_3, TLS_1_3),
    "--profile-bcp195-ex": (
        ("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("TLSv1.2", "DHE-RSA-AES256-GCM-SHA384"),
    ),
    "--profile-aes": (("TLSv1.2", "AES128-SHA"), ("TLSv1.2", "AES128-SHA")),
    "--profile-null": (("TLSv1.2", "NULL-SHA"), ("TLSv1.2", "NULL-SHA")),
}


@pytest.mark.parametrize("profile", AGREED)
def test_reference_sends(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver, reference: str, profile: str
) -> None:
    receiver = start_receiver(OURS, "-d", "--fork", *pki.server_options(profile))
    thing = small(pixels=100_000)
    path = write_part10(tmp_path, thing)
    sent = senders.send(reference, receiver.port, [path], *pki.client_options(profile))
    assert sent.code == 0, sent.stderr
    expect_stored(receiver, thing)
    assert details(receiver.log()) == AGREED[profile][0]
    assert "  Subject     : /CN=client" in receiver.log()


@pytest.mark.parametrize("profile", AGREED)
def test_reference_receives(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver, reference: str, profile: str
) -> None:
    receiver = start_receiver(reference, *pki.server_options(profile))
    thing = small(pixels=100_000)
    path = write_part10(tmp_path, thing)
    options = pki.client_options(profile)
    sent = senders.send(OURS, receiver.port, [path], "-d", *options)
    assert sent.code == 0, sent.stderr
    expect_stored(receiver, thing)
    ranks_as_we_do = dcmtk_version() > (3, 6, 7)
    assert details(sent.stderr) == AGREED[profile][0 if ranks_as_we_do else 1]
    assert "  Subject     : /CN=server" in sent.stderr


@pytest.mark.parametrize("profile", ["--profile-8996", "--profile-8996-mod"])
@pytest.mark.parametrize("theirs", ["--profile-bcp195-nd", "--profile-bcp195-ex"])
def test_newer_profiles_with_the_reference_s(
    tmp_path: Path,
    pki: Pki,
    start_receiver: StartReceiver,
    reference: str,
    profile: str,
    theirs: str,
) -> None:
    expected = TLS_1_3
    if theirs == "--profile-bcp195-ex":
        expected = ("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384")
    path = write_part10(tmp_path, small())
    ours = start_receiver(OURS, "-d", *pki.server_options(profile))
    sent = senders.send(reference, ours.port, [path], *pki.client_options(theirs))
    assert sent.code == 0, sent.stderr
    assert details(ours.log()) == expected
    receiver = start_receiver(reference, *pki.server_options(theirs))
    sent = senders.send(OURS, receiver.port, [path], "-d", *pki.client_options(profile))
    assert sent.code == 0, sent.stderr
    assert details(sent.stderr) == expected


@pytest.mark.parametrize("kind", [pki_module.RSA, pki_module.EC, pki_module.ED25519])
def test_kinds_of_keys(
    tmp_path: Path,
    pki: Pki,
    start_receiver: StartReceiver,
    reference: str,
    kind: pki_module.Kind,
) -> None:
    name = f"kind-{kind[0].partition(':')[0]}"
    own = pki.authority.issue(name, kind)
    ours = start_receiver(OURS, *pki.options(own))
    theirs = start_receiver(reference, *pki.options(own))
    for receiver, sender in ((ours, OURS), (ours, reference), (theirs, OURS)):
        path = write_part10(tmp_path, small())
        sent = senders.send(sender, receiver.port, [path], *pki.options(own))
        if kind == pki_module.ED25519 and sender == reference and dcmtk_version() > (3, 6, 7):
            # It does not say any more that it knows such signatures.
            assert sent.code == 1
            continue
        assert sent.code == 0, sent.stderr
        assert receiver.holds(path.stem)
        # The reference expects an RSA key to be certified with an RSA key.
        assert sender == reference or sent.stderr == ""


def test_dsa_keys(tmp_path: Path, pki: Pki, start_receiver: StartReceiver, reference: str) -> None:
    """They are only for TLS 1.2 and older, and for suites that are asked for by name."""
    own = pki.authority.issue("kind-dsa", pki_module.DSA)
    extra = ("--profile-bcp195", "+cs", "TLS_DHE_DSS_WITH_AES_256_GCM_SHA384")
    receiver = start_receiver(OURS, "-d", *pki.options(own, *extra))
    path = write_part10(tmp_path, small())
    for sender in (OURS, reference):
        mark = receiver.mark()
        sent = senders.send(sender, receiver.port, [path], *pki.client_options(*extra))
        assert sent.code == 0, sent.stderr
        assert details(receiver.log(mark)) == ("TLSv1.2", "DHE-DSS-AES256-GCM-SHA384")
    theirs = start_receiver(reference, *pki.options(own, *extra))
    sent = senders.send(OURS, theirs.port, [path], "-d", *pki.client_options(*extra))
    assert sent.code == 0, sent.stderr
    assert details(sent.stderr) == ("TLSv1.2", "DHE-DSS-AES256-GCM-SHA384")


VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
# By profile: whom a server of it serves that knows one version, and all suites.
SERVED = {
    "--profile-8996": ["TLSv1.2", "TLSv1.3"],
    "--profile-8996-mod": ["TLSv1.2", "TLSv1.3"],
    "--profile-bcp195-nd": ["TLSv1.2", "TLSv1.3"],
    "--profile-bcp195": ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
    "--profile-bcp195-ex": ["TLSv1.2"],
    "--profile-aes": ["TLSv1", "TLSv1.1", "TLSv1.2"],
    "--profile-null": ["TLSv1", "TLSv1.1", "TLSv1.2"],
}


def of_version(context: ssl.SSLContext, version: str) -> ssl.SSLContext:
    """Make a context speak one version, with whatever suite there is."""
    context.set_ciphers("ALL:eNULL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def shake_hands(receiver: Receiver, context: ssl.SSLContext) -> tuple[str, str] | None:
    """Return version and suite of an association that works, None if there is no handshake."""
    with socket.create_connection(("127.0.0.1", receiver.port), PATIENCE) as link:
        try:
            secured = context.wrap_socket(link)
        except (ssl.SSLError, ConnectionResetError):
            return None
        with Peer(secured) as peer:
            version, (suite, *_) = secured.version(), secured.cipher() or ("", "", 0)
            peer.associate()
            peer.release()
            return version or "", suite


@pytest.mark.parametrize("profile", SERVED)
def test_versions_of_clients(pki: Pki, start_receiver: StartReceiver, profile: str) -> None:
    receiver = start_receiver(OURS, *pki.server_options(profile))
    served = []
    for version in VERSIONS:
        mark = receiver.mark()
        agreed = shake_hands(receiver, of_version(pki.client_context(), version))
        if agreed is not None:
            assert agreed[0] == version
            served.append(version)
        else:
            receiver.wait_for_log("E: Receiving Association failed: 000b:0", since=mark)
    assert served == SERVED[profile]


@pytest.mark.parametrize("profile", SERVED)
def test_versions_of_servers(tmp_path: Path, pki: Pki, profile: str) -> None:
    path = write_part10(tmp_path, small())
    served = []
    for version in VERSIONS:
        context = of_version(pki.server_context(), version)
        with ScriptedReceiver() as receiver:
            sender = senders.start(OURS, receiver.port, [path], *pki.client_options(profile))
            connected, _ = receiver.listener.accept()
            connected.settimeout(PATIENCE)
            try:
                with Peer(context.wrap_socket(connected, server_side=True)) as peer:
                    assert len(serve(peer, [0])) == 1
            except ssl.SSLError:
                connected.close()
            else:
                served.append(version)
            sent = senders.finish(sender)
        assert (sent.code == 0) == (version in served), sent.stderr
    assert served == SERVED[profile]


def test_server_goes_by_its_own_order(pki: Pki, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(
        OURS,
        *pki.server_options("+py", "+cs", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    )
    strong, chacha, weak = (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
    )
    finite = "DHE-RSA-AES256-GCM-SHA384"
    for offered, taken in (
        ((weak, chacha, finite, strong), strong),
        ((weak, finite, chacha), chacha),
        ((weak, finite), finite),
        ((weak,), weak),
        (("ECDHE-RSA-AES128-SHA256", "AES128-SHA"), None),
    ):
        context = of_version(pki.client_context(), "TLSv1.2")
        context.set_ciphers(":".join(offered))
        agreed = shake_hands(receiver, context)
        assert agreed == (None if taken is None else ("TLSv1.2", taken))


def test_modified_profile_has_all_suites_of_1_3(pki: Pki, start_receiver: StartReceiver) -> None:
    for profile, suites, served in (
        ("--profile-8996-mod", "TLS_AES_128_CCM_8_SHA256", True),
        ("--profile-8996", "TLS_AES_128_CCM_8_SHA256", False),
        ("--profile-8996", "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256", True),
    ):
        receiver = start_receiver(OURS, *pki.server_options(profile))
        # Suites with a short tag need the lowest level, in OpenSSL 3.2 and later.
        lowest = ("-cipher", "DEFAULT@SECLEVEL=0")
        said = s_client(receiver, pki.client, "-ciphersuites", suites, *lowest)
        assert ("Cipher is TLS_" in said) == served
        if "CHACHA" in suites:
            assert "Cipher is TLS_CHACHA20_POLY1305_SHA256" in said


def s_client(receiver: Receiver, own: Identity, *options: str) -> str:
    """Return what openssl says of a connection to a receiver, which it closes at once."""
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{receiver.port}"),
            *("-key", own.files[0], "-cert", own.files[1], *options),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.stdout


def test_curves_of_the_server(pki: Pki, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *pki.server_options())
    for curve, versions in (
        ("P-256", ("-tls1_2", "-tls1_3")),
        ("P-384", ("-tls1_2", "-tls1_3")),
        ("P-521", ("-tls1_2", "-tls1_3")),
        ("secp256k1", ("-tls1_2",)),
        ("brainpoolP512r1", ("-tls1_2",)),
        ("sect571r1", ("-tls1_2",)),
        ("X25519", ()),
        ("X448", ()),
    ):
        served = [
            version
            for version in ("-tls1_2", "-tls1_3")
            if "Cipher is (NONE)" not in s_client(receiver, pki.client, "-curves", curve, version)
        ]
        assert tuple(served) == versions, curve


def test_diffie_hellman_group(tmp_path: Path, pki: Pki, start_receiver: StartReceiver) -> None:
    path = tmp_path / "dh.pem"
    pki_module.openssl("dhparam", "-dsaparam", "-out", str(path), "3072")
    suite = ("-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384")
    for more, size in (((), 2048), (("+dp", str(path)), 3072)):
        receiver = start_receiver(OURS, *pki.server_options("+py", *more))
        # "Server Temp Key", or from OpenSSL 3.5 on "Peer Temp Key".
        assert f" Temp Key: DH, {size} bits" in s_client(receiver, pki.client, *suite)


def test_no_resumption(tmp_path: Path, pki: Pki, start_receiver: StartReceiver) -> None:
    """A session that a client keeps is of no use later, neither by its number nor by a ticket."""
    for mode in ("--fork", "--single-process"):
        receiver = start_receiver(OURS, mode, *pki.server_options())
        for version in ("TLSv1.2", "TLSv1.3"):
            context = of_version(pki.client_context(), version)
            session = None
            for _ in range(3):
                link = socket.create_connection(("127.0.0.1", receiver.port), PATIENCE)
                with context.wrap_socket(link, session=session) as secured:
                    peer = Peer(secured)
                    peer.associate()
                    peer.send(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
                    peer.expect(6)
                    session = secured.session
                    assert not secured.session_reused
                    assert not (session and session.has_ticket)
                    secured.unwrap().close()


SCSV = "00ff"  # among the suites
_RENEGOTIATION_INFO = 0xFF01  # among the extensions


class Hello:
    """A ClientHello taken apart (RFC 8446 section 4.1.2)."""

    def __init__(self, record: bytes) -> None:
        body = record[5 + 4 + 2 + 32 :]
        body = body[1 + body[0] :]
        size = int.from_bytes(body[:2], "big")
        suites = [f"{number:04x}" for number in _numbers(body[2 : 2 + size])]
        body = body[2 + size :]
        body = body[1 + body[0] + 2 :]
        self.extensions = dict(_extensions(body))
        # In one of two ways (RFC 5746 section 3.4): OpenSSL takes the first up to 3.3, and later
        # where a profile allows TLS 1.0.
        self.renegotiates_safely = suites[-1:] == [SCSV] or _RENEGOTIATION_INFO in self.extensions
        self.suites = [suite for suite in suites if suite != SCSV]

    def groups(self) -> list[int]:
        """The named groups."""
        return _numbers(self.extensions[10][2:])

    def signatures(self) -> list[str]:
        """The signature schemes."""
        return [f"{number:04x}" for number in _numbers(self.extensions[13][2:])]

    def versions(self) -> list[int]:
        """The versions."""
        return _numbers(self.extensions[43][1:])


def _numbers(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 2}H", data))


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, size = struct.unpack_from(">HH", data)
        yield kind, data[4 : 4 + size]
        data = data[4 + size :]


def hello(tmp_path: Path, *options: str) -> Hello:
    """Return what the sender's first message says."""
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        sender = senders.start(OURS, receiver.port, [path], *options)
        with receiver.listener.accept()[0] as connected:
            connected.settimeout(PATIENCE)
            record = connected.recv(5, socket.MSG_WAITALL)
            record += connected.recv(int.from_bytes(record[3:5], "big"), socket.MSG_WAITALL)
        senders.finish(sender)
    return Hello(record)


GCM = ["c02f", "c02b", "c030", "c02c"]
SUITES_1_3 = ["1302", "1303", "1301"]


def test_what_the_sender_offers(tmp_path: Path, pki: Pki) -> None:
    said = hello(tmp_path, "+tla", "+cf", str(pki.authority.certificate))
    assert said.suites == [*SUITES_1_3, *GCM]
    assert said.renegotiates_safely
    assert said.groups() == [23, 22, 24, 25, 9, 10, 11, 12, 13, 14, 26, 27, 28]
    signatures = said.signatures()
    assert set(signatures) == {
        *("0401", "0501", "0601"),  # RSA
        *("0804", "0805", "0806"),  # RSA-PSS
        *("0402", "0502", "0602"),  # DSA
        *("0403", "0503", "0603"),  # ECDSA
        *("0807", "0808"),  # Ed25519, Ed448
    }
    assert said.extensions[16] == b"\x00\x06\x05dicom"
    assert 0 not in said.extensions
    assert 35 not in said.extensions, "no session ticket"
    assert 0x0304 in said.versions()


def test_what_the_sender_offers_by_profile(tmp_path: Path, pki: Pki) -> None:
    for profile, suites in (
        ("--profile-bcp195-nd", [*SUITES_1_3, "c02f", "009e", "c030", "009f"]),
        ("--profile-bcp195", [*SUITES_1_3, "c02f", "009e", "c030", "009f", "002f"]),
        ("--profile-bcp195-ex", ["c02f", "009e", "c030", "009f", "c02c", "c02b"]),
        ("--profile-aes", ["002f"]),
        ("--profile-null", ["0002"]),
        (
            "--profile-8996-mod",
            [
                *(*SUITES_1_3, "1304", "1305", "c0ac", "c0ae", "c02f", "c02b"),
                *("cca8", "cca9", "c0ad", "c0af", "c030", "c02c"),
            ],
        ),
    ):
        said = hello(tmp_path, *pki.client_options(profile))
        assert said.suites == suites, profile
        assert said.renegotiates_safely, profile
    extra = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
    said = hello(tmp_path, *pki.client_options("+cs", extra))
    assert said.suites == [*SUITES_1_3, *GCM, "cca8"]


def test_server_name_of_the_sender(tmp_path: Path, pki: Pki) -> None:
    said = hello(tmp_path, *pki.client_options("--request-sni", "pacs.example.org"))
    assert said.extensions[0] == b"\x00\x13\x00\x00\x10pacs.example.org"
    assert 0 not in hello(tmp_path, *pki.client_options("--no-sni")).extensions
    assert 0 not in hello(tmp_path, *pki.client_options("--request-sni", "")).extensions


def named(pki: Pki, receiver: Receiver, name: str | None, *protocols: str) -> str:
    """Connect with a server name and protocols; return the protocol agreed on, or the alert."""
    context = pki.client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    link = socket.create_connection(("127.0.0.1", receiver.port), PATIENCE)
    try:
        with context.wrap_socket(link, server_hostname=name) as secured:
            peer = Peer(secured)
            peer.associate()
            return secured.selected_alpn_protocol() or ""
    except ssl.SSLError as error:
        return f"alert: {error.args[1]}"


def test_expected_server_name(pki: Pki, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(
        OURS, "--fork", *pki.server_options("--expect-sni", "pacs.example.org")
    )
    for name in (None, "pacs.example.org", "PACS.example.org"):
        assert named(pki, receiver, name) == ""
    assert receiver.log() == ""
    assert "unrecognized name" in named(pki, receiver, "ris.example.org")
    log = receiver.wait_for_log("Receiving Association failed")
    assert log.splitlines() == [
        "E: SNI failure: client requested server 'ris.example.org', my name is 'pacs.example.org'.",
        "E: Receiving Association failed: 000b:08ea TLS error: callback failed (unrecognized name)",
    ]
    receiver = start_receiver(OURS, "--fork", *pki.server_options())
    assert named(pki, receiver, "ris.example.org") == ""


def test_protocols_of_the_client(pki: Pki, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", *pki.server_options())
    assert named(pki, receiver, None, "dicom") == "dicom"
    assert named(pki, receiver, None, "h2", "dicom") == "dicom"
    assert receiver.log() == ""
    assert "no application protocol" in named(pki, receiver, None, "h2", "http/1.1")
    log = receiver.wait_for_log("Receiving Association failed")
    assert log == (
        "E: Receiving Association failed: 000b:08eb TLS error: no application protocol\n"
    )


def test_reference_gets_its_suite_from_cipher(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver
) -> None:
    extra = ("+cs", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA")
    receiver = start_receiver(OURS, "-d", *pki.server_options("+pa", *extra))
    path = write_part10(tmp_path, small())
    sent = senders.send(REFERENCE, receiver.port, [path], *pki.client_options("+pa", *extra))
    assert sent.code == 0, sent.stderr
    assert details(receiver.log()) == ("TLSv1.2", "DHE-RSA-AES256-SHA")

"""TLS at the start of both programs: keys, certificates, passwords and suites, and what is told."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import pki as pki_module
from harness import senders
from harness.objects import small, write_part10
from harness.pki import Identity, Pki
from harness.processes import PATIENCE, free_port, is_listening, wait_until
from harness.receivers import OURS, REFERENCE, argv, assert_no_traceback, dcmtk

Run = Callable[..., tuple[int, list[str]]]

NO_FILE = "E: OpenSSL error 80000002: No such file or directory"
NO_START = "E: OpenSSL error 0480006c: no start line"
BAD_DECRYPT = "E: OpenSSL error 1c800064: bad decrypt"
UNSUPPORTED = "E: OpenSSL error 1e08010c: unsupported"
NO_KEY = "F: 000b:0004 Unable to load private TLS key from '{}'"
NO_CERTIFICATE = "F: 000b:0005 Unable to load certificate from '{}'"
DIFFER = "F: 000b:0006 Private key '{}' and certificate '{}' do not match"
UNKNOWN_SUITE = "F: 000b:0003 Unknown or invalid ciphersuite: {}"
FORBIDDEN = "F: 000b:000a Ciphersuite not allowed in current DICOM security profile"
DEFAULT = "BCP 195 RFC 8996 TLS Profile"


def finished(command: list[str]) -> tuple[int, list[str]]:
    """Run a program that ends by itself and has no terminal."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        start_new_session=True,
    )
    assert_no_traceback(done.stderr)
    return done.returncode, done.stderr.splitlines()


def start(tmp_path: Path, *options: str) -> tuple[int, list[str]]:
    """Have a receiver start with bad options; return its exit status and what it says."""
    return finished([*argv(OURS), "-od", str(tmp_path), *options, str(free_port())])


def send(tmp_path: Path, *options: str) -> tuple[int, list[str]]:
    """Have a sender fail before it connects."""
    path = write_part10(tmp_path, small())
    return finished([sys.executable, "-m", "storescu", *options, "127.0.0.1", "1", str(path)])


def check(tmp_path: Path, *options: str) -> tuple[int, list[str]]:
    """Have a receiver look at its options, and do nothing else."""
    return finished([*argv(OURS), "--check-config", "-od", str(tmp_path), *options, "104"])


@pytest.mark.parametrize("run", [start, send, check])
def test_files_that_cannot_be_used(tmp_path: Path, pki: Pki, run: Run) -> None:
    key, certificate = pki.server.files
    other_certificate = pki.client.files[1]
    elliptic = pki.authority.files[0]
    missing, folder = str(tmp_path / "missing"), str(tmp_path)
    a_folder = "E: OpenSSL error 80000015: Is a directory"
    too_large = "E: OpenSSL error 8000001b: File too large"
    for files, lines in (
        ((missing, certificate), [NO_FILE, NO_KEY.format(missing)]),
        ((key, missing), [NO_FILE, NO_CERTIFICATE.format(missing)]),
        ((missing, missing), [NO_FILE, NO_KEY.format(missing)]),
        ((certificate, certificate), [NO_START, NO_KEY.format(certificate)]),
        ((key, key), [NO_START, NO_CERTIFICATE.format(key)]),
        ((key, other_certificate), [DIFFER.format(key, other_certificate)]),
        ((elliptic, certificate), [DIFFER.format(elliptic, certificate)]),
        ((folder, certificate), [a_folder, NO_KEY.format(folder)]),
        (("/dev/zero", certificate), [too_large, NO_KEY.format("/dev/zero")]),
    ):
        assert run(tmp_path, "+tls", *files) == (1, lines)


def test_fatal_lines_are_the_reference_s(tmp_path: Path, pki: Pki, reference: str) -> None:
    key, certificate = pki.server.files
    for files in (
        (str(tmp_path / "missing"), certificate),
        (certificate, certificate),
        (key, pki.client.files[1]),
        (pki.server.encrypted("secret"), certificate, "-pw"),
        (pki.server.encrypted("secret"), certificate, "+pw", "wrong"),
        (*pki.server.files, "+cs", "TLS_RSA_WITH_NULL_SHA", "+py"),
        (*pki.server.files, "+cs", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "+py"),
    ):
        results = [
            finished([*argv(flavour), "-od", str(tmp_path), "+tls", *files, str(free_port())])
            for flavour in (OURS, reference)
        ]
        fatal = [[line for line in lines if line.startswith("F: ")] for _, lines in results]
        assert fatal[0] == fatal[1] != []
        assert results[0][0] == results[1][0] == 1


def test_files_in_der(tmp_path: Path, pki: Pki, start_receiver: StartReceiver) -> None:
    key, certificate = pki.server.der()
    _, authority = pki.authority.der()
    elliptic = pki.authority.issue("der-elliptic", pki_module.EC)
    traditional, short = str(tmp_path / "rsa.der"), str(tmp_path / "ec.der")
    pki_module.openssl(
        *("rsa", "-traditional", "-in", pki.server.files[0], "-outform", "der", "-out", traditional)
    )
    pki_module.openssl("ec", "-in", elliptic.files[0], "-outform", "der", "-out", short)
    sealed = str(tmp_path / "sealed.der")
    pki_module.openssl(
        *("pkcs8", "-topk8", "-in", pki.server.files[0], "-outform", "der", "-out", sealed),
        *("-passout", "pass:secret"),
    )
    path = write_part10(tmp_path, small())
    for files in (
        (key, certificate),
        (traditional, certificate),
        (short, elliptic.der()[1]),
        (sealed, certificate, "+pw", "secret"),
    ):
        receiver = start_receiver(OURS, "+tls", *files, "-der", "+cf", authority)
        sent = senders.send(OURS, receiver.port, [path], *pki.client_options())
        assert (sent.code, sent.stderr) == (0, "")
    pem_key, pem_certificate = pki.server.files
    assert start(tmp_path, "+tls", pem_key, certificate, "-der") == (
        1,
        [UNSUPPORTED, NO_KEY.format(pem_key)],
    )
    code, lines = start(tmp_path, "+tls", key, pem_certificate, "-der")
    assert (code, lines[-1]) == (1, NO_CERTIFICATE.format(pem_certificate))
    assert start(tmp_path, "+tls", certificate, certificate, "-der") == (
        1,
        [UNSUPPORTED, NO_KEY.format(certificate)],
    )


@pytest.mark.parametrize("run", [start, send])
def test_passwords(tmp_path: Path, pki: Pki, run: Run) -> None:
    key, certificate = pki.server.encrypted("secret"), pki.server.files[1]
    no_key = NO_KEY.format(key)
    nobody = "E: the private key has a password, and there is no terminal to ask for it"
    for options, lines in (
        (("-pw",), [BAD_DECRYPT, no_key]),
        (("+pw", "wrong"), [BAD_DECRYPT, no_key]),
        (("+pw", ""), [BAD_DECRYPT, no_key]),
        (("+pw", "x" * 2000), ["E: password cannot be longer than 1024 bytes", no_key]),
        (("+ps",), [nobody, no_key]),
        ((), [nobody, no_key]),
    ):
        assert run(tmp_path, "+tls", key, certificate, *options) == (1, lines)


def test_password_that_is_right(tmp_path: Path, pki: Pki, start_receiver: StartReceiver) -> None:
    key, certificate = pki.server.encrypted("secret"), pki.server.files[1]
    trust = ("+cf", str(pki.authority.certificate))
    # With every association a process that serves them all opens the key anew.
    receiver = start_receiver(OURS, "+tls", key, certificate, "+pw", "secret", *trust)
    own_key, own_certificate = pki.client.encrypted("geheim"), pki.client.files[1]
    own = ("+tls", own_key, own_certificate, "+pw", "geheim", *trust)
    for _ in range(2):
        path = write_part10(tmp_path, small())
        sent = senders.send(OURS, receiver.port, [path], *own)
        assert (sent.code, sent.stderr) == (0, "")
        assert receiver.holds(path.stem)


@contextlib.contextmanager
def at_a_terminal(command: list[str], log: Path) -> Iterator[tuple[int, int]]:
    """Run a program with a terminal of its own; yields its pid and our end of the terminal."""
    pid, terminal = pty.fork()
    if not pid:
        with log.open("wb") as stderr:
            os.dup2(stderr.fileno(), 2)
        os.execv(command[0], command)
    try:
        yield pid, terminal
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(terminal)


def read_until(terminal: int, text: bytes) -> None:
    """Read what a program shows until this stands there."""
    shown = b""
    while text not in shown:
        shown += os.read(terminal, 1000)


def status(pid: int) -> int:
    """Wait for a program, and return its exit code (negative: a signal)."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


PROMPT = b"Enter PEM pass phrase:"


def test_password_typed_at_the_terminal(tmp_path: Path, pki: Pki) -> None:
    key, certificate = pki.server.encrypted("secret"), pki.server.files[1]
    trust = ("+cf", str(pki.authority.certificate))
    port, log = free_port(), tmp_path / "log"
    command = [*argv(OURS), "-od", str(tmp_path), "+tls", key, certificate, *trust, str(port)]
    with at_a_terminal(command, log) as (pid, terminal):
        read_until(terminal, PROMPT)
        os.write(terminal, b"secret\n")
        wait_until(lambda: is_listening(port), "it listens")
        path = write_part10(tmp_path, small())
        wait_until(lambda: b": master [" in Path(f"/proc/{pid}/cmdline").read_bytes(), "it runs")
        for _ in range(2):
            # Asked once, remembered for each association.
            assert senders.send(OURS, port, [path], *pki.client_options()).code == 0
        os.kill(pid, signal.SIGTERM)
        assert status(pid) == 0
    assert "secret" not in log.read_text()


def test_wrong_password_typed(tmp_path: Path, pki: Pki) -> None:
    key, certificate = pki.server.encrypted("secret"), pki.server.files[1]
    log = tmp_path / "log"
    command = [*argv(OURS), "-od", str(tmp_path), "+tls", key, certificate, str(free_port())]
    with at_a_terminal(command, log) as (pid, terminal):
        read_until(terminal, PROMPT)
        os.write(terminal, b"wrong\n")
        assert status(pid) == 1
    assert log.read_text().splitlines()[-2:] == [BAD_DECRYPT, NO_KEY.format(key)]


@pytest.mark.parametrize("program", ["storescpd", "check", "storescu"])
def test_signal_at_the_prompt(tmp_path: Path, pki: Pki, program: str) -> None:
    """Ctrl-C ends the program as it does everywhere, and the terminal has its echo back."""
    import termios

    key, certificate = pki.server.encrypted("secret"), pki.server.files[1]
    tail = ["-od", str(tmp_path), "+tls", key, certificate, str(free_port())]
    command = [*argv(OURS), *tail]
    if program == "check":
        command = [*argv(OURS), "--check-config", *tail]
    if program == "storescu":
        path = write_part10(tmp_path, small())
        own = ("+tls", key, certificate, "127.0.0.1", "1", str(path))
        command = [sys.executable, "-m", "storescu", *own]
    log = tmp_path / "log"
    with at_a_terminal(command, log) as (pid, terminal):
        read_until(terminal, PROMPT)
        echo = termios.ECHO
        wait_until(lambda: not termios.tcgetattr(terminal)[3] & echo, "the echo is off")
        os.write(terminal, b"\x03")
        assert status(pid) == -signal.SIGINT
        assert termios.tcgetattr(terminal)[3] & echo
    assert_no_traceback(log.read_text())


def test_trust_that_cannot_be_read_is_left_out(
    tmp_path: Path, pki: Pki, start_receiver: StartReceiver
) -> None:
    key, authority = pki.server.files[0], str(pki.authority.certificate)
    receiver = start_receiver(
        OURS,
        *("+tls", *pki.server.files, "+cf", "nosuch", "+cf", key, "+cf", authority),
        *("+cd", "no/such/folder", "+cd", "", "+crl", "nocrl", "+crl", authority),
        *("+dp", "nodh", "+dp", authority),
    )
    assert receiver.log().splitlines() == [
        NO_FILE,
        "W: unable to load certificate file 'nosuch', ignoring",
        "E: OpenSSL error 05800088: no certificate or crl found",
        f"W: unable to load certificate file '{key}', ignoring",
        NO_FILE,
        "W: unable to load CRL file 'nocrl', ignoring",
        NO_START,
        f"W: unable to load CRL file '{authority}', ignoring",
        "E: OpenSSL error 05800071: invalid directory",
        "W: unable to load certificates from directory '', ignoring",
        f"W: unable to load temporary DH parameter file '{authority}', ignoring",
    ]
    # No list was read, so none is asked for.
    path = write_part10(tmp_path, small())
    assert senders.send(OURS, receiver.port, [path], *pki.client_options()).code == 0


WEAK = {
    "small-rsa": ("Key length of RSA public key too short: ", pki_module.SMALL_RSA, "sha256"),
    "small-ec": ("Key length of EC public key too short: ", pki_module.SMALL_EC, "sha256"),
    "sha1": ("Certificate hash key not SHA-256: ", pki_module.RSA, "sha1"),
    "md5": ("Weak certificate hash key: ", pki_module.RSA, "md5"),
    "dsa": ("DSA public key: ", pki_module.DSA, "sha256"),
    "ed25519": ("", pki_module.ED25519, ""),
}
DEFAULT_PROFILE, MODIFIED, RETIRED = "--profile-8996", "--profile-8996-mod", "--profile-bcp195-nd"
# For which profiles, and whose certificate, it is refused; in all other cases it is a warning.
REFUSED = {
    "small-rsa": {(MODIFIED, start), (MODIFIED, send), (DEFAULT_PROFILE, start)},
    "small-ec": {(MODIFIED, start), (MODIFIED, send)},
    "sha1": {(MODIFIED, start), (MODIFIED, send)},
    "md5": {
        (profile, run) for profile in (DEFAULT_PROFILE, MODIFIED, RETIRED) for run in (start, send)
    },
    "dsa": {(profile, run) for profile in (DEFAULT_PROFILE, MODIFIED) for run in (start, send)},
    "ed25519": set(),
}


@pytest.fixture(scope="module")
def weak(pki: Pki) -> dict[str, Identity]:
    made = {}
    for name, (_, kind, digest) in WEAK.items():
        made[name] = Identity(pki.folder, f"weak-{name}")
        pki_module.make_key(made[name].key, kind)
        pki_module.self_signed(made[name], digest)
    return made


@pytest.mark.parametrize("name", WEAK)
def test_own_certificate_that_is_weak(tmp_path: Path, weak: dict[str, Identity], name: str) -> None:
    key, certificate = weak[name].files
    beginning = WEAK[name][0]
    for profile in (DEFAULT_PROFILE, MODIFIED, RETIRED):
        for run in (check, send):
            code, lines = run(tmp_path, "+tls", key, certificate, profile)
            told = [line for line in lines if f"'{certificate}'" in line]
            as_start = start if run is check else send
            if (profile, as_start) in REFUSED[name]:
                assert code == 1
                assert told[0].startswith(f"F: {beginning}")
                assert lines[-1] == NO_CERTIFICATE.format(certificate)
                continue
            assert code == (0 if run is check else 1)
            if beginning:
                assert told[0].startswith(f"W: {beginning}")
            if run is send:
                assert "Connection refused" in lines[-1]
            assert len(told) == bool(beginning)


def test_weak_server_key_is_told_in_the_words_of_the_reference(
    tmp_path: Path, weak: dict[str, Identity]
) -> None:
    key, certificate = weak["small-rsa"].files
    assert start(tmp_path, "+tls", key, certificate)[1][0] == (
        "F: Key length of RSA public key too short: RFC 9325 requires at least 2048 bits for"
        f" server RSA keys, but the key in certificate file '{certificate}' is only 1024 bits."
    )


@pytest.mark.parametrize("run", [check, send])
def test_suites_that_are_refused(tmp_path: Path, pki: Pki, run: Run) -> None:
    own = ("+tls", *pki.server.files)
    null, triple_des = "TLS_RSA_WITH_NULL_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"
    sha1 = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
    unsupported = (
        f"F: Ciphersuite '{triple_des}' not supported"
        " by the OpenSSL library used to compile this application."
    )
    for options, lines in (
        (("+cs", "AES128-SHA"), [UNKNOWN_SUITE.format("AES128-SHA")]),
        (("+cs", ""), [UNKNOWN_SUITE.format("")]),
        (("+cs", "RSA_WITH_NULL_SHA"), [UNKNOWN_SUITE.format("RSA_WITH_NULL_SHA")]),
        (("+cs", "TLS_AES_128_GCM_SHA256"), [UNKNOWN_SUITE.format("TLS_AES_128_GCM_SHA256")]),
        (("+cs", triple_des), [unsupported, UNKNOWN_SUITE.format(triple_des)]),
        (("+pb",), [unsupported, UNKNOWN_SUITE.format(triple_des)]),
        (
            ("+cs", null),
            [
                f"F: Unencrypted ciphersuite '{null}' not permitted"
                f" with security profile '{DEFAULT}'",
                FORBIDDEN,
            ],
        ),
        (
            ("+cs", sha1),
            [
                f"F: Ciphersuite '{sha1}' using SHA-1 MAC not permitted"
                f" with security profile '{DEFAULT}'",
                FORBIDDEN,
            ],
        ),
        (
            ("+pm", "+cs", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
            [
                "F: Additional ciphersuites not permitted"
                " with security profile 'Modified BCP 195 RFC 8996 TLS Profile'",
                FORBIDDEN,
            ],
        ),
    ):
        assert run(tmp_path, *own, *options) == (1, lines), options


def test_suites_that_are_frowned_on(tmp_path: Path, pki: Pki) -> None:
    own = ("+tls", *pki.server.files)

    def warnings(*options: str) -> list[str]:
        code, lines = check(tmp_path, *own, *options)
        assert code == 0
        return lines

    words = (
        "W: Ciphersuite '{}' uses {}."
        " RFC 9325 recommends that such cipher suites should not be used."
    )
    static, ephemeral = "TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"
    chained = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"
    triple_des = (
        "W: Ciphersuite 'TLS_RSA_WITH_3DES_EDE_CBC_SHA' not supported"
        " by the OpenSSL library used to compile this application, ignoring it"
    )
    assert warnings("+cs", static, "+cs", ephemeral, "+cs", chained) == [
        words.format(static, "RSA key transport"),
        words.format(ephemeral, "Diffie-Hellman over finite fields"),
        words.format(chained, "CBC mode"),
    ]
    assert warnings("+py", "+cs", static, "+cs", ephemeral, "+cs", chained) == [
        words.format(static, "RSA key transport")
    ]
    assert warnings("+pa", "+cs", static) == [triple_des, words.format(static, "RSA key transport")]
    assert warnings("+px") == [triple_des]
    assert warnings("+pn", "+cs", static) == []
    # One that the profile has already is no addition.
    assert warnings("+cs", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256") == []


def test_short_diffie_hellman_parameters(tmp_path: Path, pki: Pki) -> None:
    path = str(tmp_path / "dh.pem")
    pki_module.openssl("dhparam", "-dsaparam", "-out", path, "1024")
    words = (
        "W: Key length of Diffie-Hellman parameter file too short: RFC 9325 {} at least 2048 bits,"
        f" but the key in file '{path}' is only 1024 bits."
    )
    own = ("+tls", *pki.server.files, "+dp", path)
    assert check(tmp_path, *own) == (0, [words.format("recommends")])
    assert check(tmp_path, *own, "+pz") == (
        0,
        [
            words.format("requires"),
            f"W: unable to load temporary DH parameter file '{path}', ignoring",
        ],
    )


def test_server_name_that_is_none(tmp_path: Path, pki: Pki) -> None:
    for name in (".example.org", "m\u00fcnchen.example.org", "x" * 300):
        assert send(tmp_path, *pki.client_options("--request-sni", name)) == (
            1,
            [f"F: not the name of a server: {name}"],
        )


def listed(program: list[str], option: str) -> list[str]:
    done = subprocess.run([*program, option], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["storescpd", "storescu"])
def test_lists(name: str) -> None:
    program = [sys.executable, "-m", name]
    ciphers = listed(program, "--list-ciphers")
    assert ciphers[0].startswith("$storescpd: ")
    assert [line.split(":")[0] for line in ciphers[4:7]] == [
        "Host type",
        "Character encoding",
        "Build options",
    ]
    assert ciphers[7:9] == ["", "Supported TLS ciphersuites are:"]
    assert ciphers[9] == "  TLS_RSA_WITH_NULL_SHA"
    assert ciphers[-1] == "  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    profiles = listed(program, "--list-profiles")
    assert profiles[:7] == ciphers[:7]
    assert re.fullmatch(r"Cryptographic algorithms implemented by: \S+ \d.*", profiles[7])
    assert profiles[8:10] == ["", "Supported TLS Secure Transport Connection Profiles are:"]
    assert profiles[10:] == [
        "- BCP 195 RFC 8996 TLS Profile (default)",
        "- Modified BCP 195 RFC 8996 TLS Profile",
        "- Non-downgrading BCP 195 TLS Profile (retired)",
        "- BCP 195 TLS Profile (retired)",
        "- Extended BCP 195 TLS Profile (retired)",
        "- AES TLS Secure Transport Connection Profile (retired)",
        "- Authenticated unencrypted communication (retired)",
    ]


def test_suites_of_the_reference_are_all_there(reference: str) -> None:
    assert reference == REFERENCE
    theirs = set(listed([dcmtk("storescp")], "--list-ciphers"))
    ours = set(listed([sys.executable, "-m", "storescpd"], "--list-ciphers"))
    assert {line for line in theirs if line.startswith("  TLS_")} <= ours

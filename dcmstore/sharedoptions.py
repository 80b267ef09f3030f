"""The rows that both programs have in common: general options, the size of PDUs, and TLS."""

from dcmstore import logs
from dcmstore.optiontable import (
    KEYWORD,
    UNSIGNED,
    VERBOSE_MODE,
    Check,
    Option,
    Section,
    Value,
    not_with,
    only_with,
)

_VERBOSITY = ("--verbose", "--debug", "--quiet")

GENERAL = Section(
    "general options",
    "",
    "logging",
    (
        Option("-h", "--help", "show this text, then exit", exclusive=1),
        Option("", "--version", "show versions of program and libraries, then exit", exclusive=2),
        Option("", "--arguments", "show the arguments with command files expanded"),
        Option("-q", "--quiet", "be silent except on fatal errors", block="verbosity"),
        Option("-v", "--verbose", "tell what is being done", block="verbosity"),
        Option("-d", "--debug", "tell everything that helps to find faults", block="verbosity"),
        Option(
            "-ll",
            "--log-level",
            "show messages from level l on: off, fatal, error, warn, info, debug, trace or all",
            (Value("log level", KEYWORD, words=tuple(logs.LEVELS)),),
            default="warn",
            checks=(not_with(*_VERBOSITY),),
        ),
        Option(
            "-lc",
            "--log-config",
            "set up the loggers as file f says",
            (Value("filename"),),
            checks=(not_with("--log-level"), not_with(*_VERBOSITY)),
        ),
        Option(
            "+v",
            "--verbose-pc",
            "tell about presentation contexts in verbose mode too",
            checks=(only_with(VERBOSE_MODE),),
            stage="verbose",
        ),
    ),
)

MAX_PDU = Option(
    "-pdu",
    "--max-pdu",
    "receive PDUs of at most b bytes",
    (
        Value(
            "bytes",
            UNSIGNED,
            4096,
            131072,
            multiple=2,
            rounding_warning="ASSOC: PDV receive length %d is odd (using %d)",
        ),
    ),
    default=16384,
)

_GROUP = "transport layer security (TLS) options"

# The reference checks these rows in another order than it lists them.
TLS_STAGES = ("tls", "tls profile", "tls trust", "tls cipher")


def tls_sections(*, receiver: bool) -> tuple[Section, ...]:
    """The TLS group of the receiver, or of the sender, whose TLS may also be anonymous."""
    own = only_with("--enable-tls")
    tls = own if receiver else only_with("--enable-tls", "--anonymous-tls")
    return (
        _stack(receiver),
        Section(
            _GROUP,
            "private key password (only with --enable-tls)",
            "tls",
            (
                _in_block("passwd", "+ps", "--std-passwd", "ask for it on the terminal", own, True),
                Option(
                    "+pw",
                    "--use-passwd",
                    "the password is p",
                    (Value("password"),),
                    block="passwd",
                    checks=(own,),
                ),
                _in_block("passwd", "-pw", "--null-passwd", "the password is empty", own),
            ),
        ),
        Section(
            _GROUP,
            "key and certificate file format",
            "tls",
            (
                _in_block("keyformat", "-pem", "--pem-keys", "the files are PEM files", tls, True),
                _in_block("keyformat", "-der", "--der-keys", "the files are DER files", tls),
            ),
        ),
        _authorities(tls),
        _profiles(tls),
        _ciphers(tls, receiver),
        _server_name(receiver),
        _random(tls),
        _peer(tls, receiver),
    )


def _in_block(
    block: str, short: str, long: str, text: str, check: Check, default: bool | None = None
) -> Option:
    return Option(short, long, text, default=default, block=block, checks=(check,))


def _stack(receiver: bool) -> Section:
    rows = [
        Option("-tls", "--disable-tls", "speak plain TCP", default=True, block="tls"),
        Option(
            "+tls",
            "--enable-tls",
            "speak TLS, with the private key in k and the certificate in c",
            (Value("key file"), Value("certificate file")),
            block="tls",
        ),
    ]
    if not receiver:
        rows.append(
            Option("+tla", "--anonymous-tls", "speak TLS, showing no certificate", block="tls")
        )
    return Section(_GROUP, "transport protocol stack", "tls", tuple(rows))


def _authorities(tls: Check) -> Section:
    return Section(
        _GROUP,
        "certification authority",
        "tls trust",
        (
            Option(
                "+cf",
                "--add-cert-file",
                "trust the certificates in file f",
                (Value("filename"),),
                checks=(tls,),
                repeatable=True,
            ),
            Option(
                "+cd",
                "--add-cert-dir",
                "trust the certificates in directory d, which is hashed as OpenSSL wants it",
                (Value("directory"),),
                checks=(tls,),
                repeatable=True,
            ),
            Option(
                "+crl",
                "--add-crl-file",
                "heed the revocation list in file f (as with --enable-crl-vfy)",
                (Value("filename"),),
                checks=(tls,),
                repeatable=True,
            ),
            _in_block("crl", "+crv", "--enable-crl-vfy", "look for revoked peer certificates", tls),
            _in_block("crl", "+cra", "--enable-crl-all", "look along the whole chain", tls),
        ),
    )


def _profiles(tls: Check) -> Section:
    # The reference names the wrong option when this one lacks TLS; scripts may know it so.
    aes = tls._replace(message=tls.sentence("--profile-basic"))
    return Section(
        _GROUP,
        "security profile",
        "tls profile",
        (
            Option("+ph", "--list-profiles", "show the profiles, then exit", exclusive=4),
            _in_block("tls-profile", "+pg", "--profile-8996", "BCP 195, RFC 8996", tls, True),
            _in_block(
                "tls-profile", "+pm", "--profile-8996-mod", "BCP 195, RFC 8996 modified", tls
            ),
            _in_block(
                "tls-profile",
                "+py",
                "--profile-bcp195-nd",
                "BCP 195 without older versions (retired)",
                tls,
            ),
            _in_block("tls-profile", "+px", "--profile-bcp195", "BCP 195 (retired)", tls),
            _in_block(
                "tls-profile", "+pz", "--profile-bcp195-ex", "BCP 195 extended (retired)", tls
            ),
            _in_block("tls-profile", "+pb", "--profile-basic", "basic, with 3DES (retired)", tls),
            _in_block("tls-profile", "+pa", "--profile-aes", "AES (retired)", aes),
            _in_block("tls-profile", "+pn", "--profile-null", "no encryption (retired)", tls),
        ),
    )


def _ciphers(tls: Check, receiver: bool) -> Section:
    rows = [
        Option("+cc", "--list-ciphers", "show the ciphersuites, then exit", exclusive=3),
        Option(
            "+cs",
            "--cipher",
            "negotiate suite c too (its IANA name, TLS_...)",
            (Value("ciphersuite"),),
            checks=(tls, not_with("--profile-bcp195-ex")),
            repeatable=True,
        ),
    ]
    if receiver:
        rows.append(
            Option(
                "+dp",
                "--dhparam",
                "read Diffie-Hellman parameters from PEM file f",
                (Value("filename"),),
                default_text="a group of 2048 bits",
                checks=(tls,),
                stage="tls",
            )
        )
    return Section(_GROUP, "ciphersuite", "tls cipher", tuple(rows))


def _server_name(receiver: bool) -> Section:
    if receiver:
        long, text = "--expect-sni", "reject clients that ask for a server other than s"
    else:
        long, text = "--request-sni", "ask for the server s"
    return Section(
        _GROUP,
        "server name indication",
        "tls cipher",
        (
            Option("", "--no-sni", "no server name (default)", checks=(not_with(long),)),
            Option("", long, text, (Value("server name"),)),
        ),
    )


def _random(tls: Check) -> Section:
    seed = only_with("--seed")
    return Section(
        _GROUP,
        "pseudo random generator",
        "tls",
        (
            Option(
                "+rs",
                "--seed",
                "feed it the content of file f",
                (Value("filename"),),
                checks=(tls,),
            ),
            Option(
                "+ws",
                "--write-seed",
                "write a new seed to the file of --seed",
                block="write-seed",
                checks=(tls, seed),
            ),
            Option(
                "+wf",
                "--write-seed-file",
                "write a new seed to file f (only with --seed)",
                (Value("filename"),),
                block="write-seed",
                checks=(tls, seed),
            ),
        ),
    )


def _peer(tls: Check, receiver: bool) -> Section:
    rows = [
        _in_block(
            "peer-auth", "-rc", "--require-peer-cert", "insist on a valid certificate", tls, True
        )
    ]
    if receiver:
        rows.append(
            _in_block(
                "peer-auth", "-vc", "--verify-peer-cert", "check one only if it is shown", tls
            )
        )
    rows.append(_in_block("peer-auth", "-ic", "--ignore-peer-cert", "check nothing", tls))
    return Section(_GROUP, "peer authentication", "tls", tuple(rows))

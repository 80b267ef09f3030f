"""The sender's option table, which `cmdline.parse` reads."""

from dcmstore.optiontable import (
    INTEGER,
    UNSIGNED,
    Option,
    Parameter,
    Program,
    Section,
    Value,
    not_with,
    only_with,
)
from dcmstore.sharedoptions import GENERAL, MAX_PDU, TLS_STAGES, tls_sections

_NETWORK = "network options"

_INPUT = (
    Section(
        "input options",
        "input file format",
        "input",
        (
            Option("+f", "--read-file", "find it out", default=True, block="readmode"),
            Option("+fo", "--read-file-only", "DICOM file format", block="readmode"),
            Option("-f", "--read-dataset", "data set without a header", block="readmode"),
        ),
    ),
    Section(
        "input options",
        "input files",
        "input",
        (
            Option(
                "+sd", "--scan-directories", "send the files of a dcmfile-in that is a directory"
            ),
            Option(
                "+sp",
                "--scan-pattern",
                "only files whose names match p (only with --scan-directories)",
                (Value("pattern"),),
                checks=(only_with("--scan-directories"),),
            ),
            Option("-r", "--no-recurse", "stay in that directory", default=True, block="recurse"),
            Option(
                "+r",
                "--recurse",
                "enter directories in it too",
                block="recurse",
                checks=(only_with("--scan-directories"),),
            ),
            Option("-rn", "--no-rename", "leave the files' names", default=True, block="rename"),
            Option(
                "+rn",
                "--rename",
                "add .done to the names of files sent, .bad to others",
                block="rename",
            ),
        ),
    ),
)

_IP = Section(
    _NETWORK,
    "IP protocol version",
    "input",
    (
        Option("-i4", "--ipv4", "connect by IPv4 only", default=True, block="ip"),
        Option("-i6", "--ipv6", "connect by IPv6 only", block="ip"),
        Option("-i0", "--ip-auto", "connect by what the peer's name leads to", block="ip"),
    ),
)

_TITLES = Section(
    _NETWORK,
    "application entity titles",
    "input",
    (
        Option(
            "-aet", "--aetitle", "this program's AE title is a", (Value("aetitle"),), "STORESCU"
        ),
        Option("-aec", "--call", "the peer's AE title is a", (Value("aetitle"),), "ANY-SCP"),
    ),
)


def _propose(short: str, long: str, text: str, default: bool | None = None) -> Option:
    return Option(short, long, text, default=default, block="propose")


_PROPOSE = Section(
    _NETWORK,
    "proposed transmission transfer syntaxes (not with --config-file)",
    "input",
    (
        _propose("-x=", "--propose-uncompr", "uncompressed, in this host's byte order first", True),
        _propose("-xe", "--propose-little", "uncompressed, explicit VR little endian first"),
        _propose("-xb", "--propose-big", "uncompressed, explicit VR big endian first"),
        _propose("-xi", "--propose-implicit", "only implicit VR little endian"),
        _propose(
            "-xs", "--propose-lossless", "JPEG lossless, first-order prediction, or uncompressed"
        ),
        _propose("-xy", "--propose-jpeg8", "JPEG baseline (lossy, 8 bit), or uncompressed"),
        _propose("-xx", "--propose-jpeg12", "JPEG extended (lossy, 12 bit), or uncompressed"),
        _propose("-xv", "--propose-j2k-lossless", "JPEG 2000 lossless, or uncompressed"),
        _propose("-xw", "--propose-j2k-lossy", "JPEG 2000 lossy, or uncompressed"),
        _propose("-xt", "--propose-jls-lossless", "JPEG-LS lossless, or uncompressed"),
        _propose("-xu", "--propose-jls-lossy", "JPEG-LS near-lossless, or uncompressed"),
        _propose("-xm", "--propose-mpeg2", "only MPEG2 main profile, main level"),
        _propose("-xh", "--propose-mpeg2-high", "only MPEG2 main profile, high level"),
        _propose("-xn", "--propose-mpeg4", "only MPEG-4 AVC high profile, level 4.1"),
        _propose("-xl", "--propose-mpeg4-bd", "only MPEG-4 AVC as Blu-ray has it"),
        _propose("-x2", "--propose-mpeg4-2-2d", "only MPEG-4 AVC level 4.2 for 2D video"),
        _propose("-x3", "--propose-mpeg4-2-3d", "only MPEG-4 AVC level 4.2 for 3D video"),
        _propose("-xo", "--propose-mpeg4-2-st", "only MPEG-4 AVC level 4.2 stereo"),
        _propose("-x4", "--propose-hevc", "only HEVC main profile, level 5.1"),
        _propose("-x5", "--propose-hevc10", "only HEVC main 10 profile, level 5.1"),
        _propose("-xr", "--propose-rle", "RLE lossless, or uncompressed"),
        _propose(
            "-xd",
            "--propose-deflated",
            "deflated explicit VR little endian, or uncompressed",
        ),
        Option("-R", "--required", "propose what the files need, not all there is"),
        Option("+C", "--combine", "propose all transfer syntaxes of a SOP class in one context"),
    ),
)

_PROFILE = Section(
    _NETWORK,
    "association negotiation profile from configuration file",
    "profile",
    (
        Option(
            "-xf",
            "--config-file",
            "propose what profile p in file f says",
            (Value("filename"), Value("profile")),
            checks=tuple(not_with(row.long) for row in _PROPOSE.rows if not row.default),
        ),
    ),
)

_DATA = (
    Section(
        _NETWORK,
        "post-1993 value representations",
        "rest",
        (
            Option(
                "+u", "--enable-new-vr", "send newer VRs as they are", default=True, block="newvr"
            ),
            Option("-u", "--disable-new-vr", "send newer VRs as OB", block="newvr"),
        ),
    ),
    Section(
        _NETWORK,
        "deflate compression level (only with --propose-deflated or --config-file)",
        "rest",
        (
            Option(
                "+cl",
                "--compression-level",
                "from 0, no compression, over 1, fast, to 9, small",
                (Value("level", UNSIGNED, 0, 9),),
                default=6,
                checks=(only_with("--propose-deflated", "--config-file"),),
            ),
        ),
    ),
)

_USER = only_with("--user")


def _identity(short: str, long: str, text: str, value: str) -> Option:
    return Option(short, long, text, (Value(value),), block="identity")


_IDENTITY = Section(
    _NETWORK,
    "user identity negotiation",
    "identity",
    (
        _identity("-usr", "--user", "show user name u", "user name"),
        Option(
            "-pwd",
            "--password",
            "show password p too (only with --user)",
            (Value("password"),),
            block="identity-password",
            checks=(_USER,),
        ),
        Option(
            "-epw",
            "--empty-password",
            "show an empty password too (only with --user)",
            block="identity-password",
            # Behind --password the reference no longer sees that there is a --user.
            checks=(
                _USER,
                not_with("--password", message=_USER.sentence("--empty-password"), anywhere=True),
            ),
        ),
        _identity("-kt", "--kerberos", "show the Kerberos ticket in file f", "filename"),
        _identity("", "--saml", "show the SAML assertion in file f", "filename"),
        _identity("", "--jwt", "show the JSON web token in file f", "filename"),
        Option(
            "-rsp",
            "--pos-response",
            "ask for an answer to it",
            checks=(only_with("--user", "--kerberos", "--saml", "--jwt"),),
        ),
    ),
)


def _seconds(low: int) -> tuple[Value]:
    return (Value("seconds", INTEGER, low),)


INVENTED_SIZES = _SERIES, _STUDY, _PATIENT = 100, 50, 25
"""How many objects, series and studies are invented for one series, study and patient."""


def _invent(short: str, long: str, text: str, default: int) -> Option:
    # Without a default of its own, since to give the option is to ask for inventing.
    values = (Value("number", UNSIGNED, 1),)
    return Option(short, long, text, values, default_text=str(default))


_OTHER = Section(
    _NETWORK,
    "other network options",
    "rest",
    (
        Option(
            "-to",
            "--timeout",
            "wait s seconds for the connection",
            _seconds(1),
            default_text="as the system does",
        ),
        Option(
            "-ts",
            "--socket-timeout",
            "wait s seconds for the socket; 0 for ever, -1 as the system does",
            _seconds(-1),
            default=60,
        ),
        Option(
            "-ta",
            "--acse-timeout",
            "wait s seconds in setting up and ending the association",
            _seconds(1),
            30,
        ),
        Option(
            "-td",
            "--dimse-timeout",
            "wait s seconds for each response",
            _seconds(1),
            default_text="unlimited",
        ),
        MAX_PDU,
        Option(
            "",
            "--max-send-pdu",
            "send PDUs of at most b bytes",
            (Value("bytes", UNSIGNED, 4096, 131072, multiple=2),),
            131072,
        ),
        Option("", "--repeat", "send each file n times", (Value("number", UNSIGNED, 1),), 1),
        Option("", "--abort", "abort the association in the end, do not release it"),
        Option("-nh", "--no-halt", "go on after a file that could not be stored"),
        Option("-up", "--uid-padding", "drop the space that UIDs end in"),
        Option("+II", "--invent-instance", "a new identity for each object"),
        _invent("+IR", "--invent-series", "a new series after n objects (as with +II)", _SERIES),
        _invent("+IS", "--invent-study", "a new study after n series (as with +II)", _STUDY),
        _invent("+IP", "--invent-patient", "a new patient after n studies (as with +II)", _PATIENT),
    ),
)

PROGRAM = Program(
    names=("storescu",),
    title="DICOM storage (C-STORE) SCU",
    logger="dcmtk.apps.storescu",
    parameters=(
        Parameter("peer", "host name or address of the peer"),
        Parameter("port", "tcp port of the peer (1..65535)"),
        Parameter("dcmfile-in", "DICOM files to send, or directories", repeated=True),
    ),
    sections=(
        GENERAL,
        *_INPUT,
        _IP,
        _TITLES,
        _PROFILE,
        _PROPOSE,
        *_DATA,
        _IDENTITY,
        _OTHER,
        *tls_sections(receiver=False),
    ),
    stages=(
        "port",
        "logging",
        "verbose",
        "input",
        "profile",
        "rest",
        *TLS_STAGES,
        "identity",
        "identify",
    ),
    long_width=19,
    libraries=("pydicom", "zlib", "openssl"),
)

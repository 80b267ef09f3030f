"""The daemon's option table, which `cmdline.parse` reads.

Options that the reference has not are in `ownoptions`.
"""

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
from storescpd.outputoptions import EVENTS, OUTPUT
from storescpd.ownoptions import OURS

_NETWORK = "network options"

_PROCESS = Section(
    "multi-process options",
    "",
    "process",
    (
        Option(
            "",
            "--single-process",
            "serve associations in this process, one by one",
            default=True,
            block="process",
        ),
        Option(
            "",
            "--fork",
            "serve each association in a process of its own",
            block="process",
            checks=(not_with("--inetd", message="--inetd not allowed with --fork"),),
        ),
        Option(
            "",
            "--max-associations",
            "serve at most m associations at a time (only with --fork)",
            (Value("max", UNSIGNED, 1),),
            default_text="unlimited",
            checks=(only_with("--fork"),),
        ),
    ),
)

_IP = Section(
    _NETWORK,
    "IP protocol version",
    "network",
    (
        Option("-i4", "--ipv4", "listen on IPv4 only", default=True, block="ip"),
        Option("-i6", "--ipv6", "listen on IPv6 only", block="ip"),
        Option("-i0", "--ip-auto", "listen on both with one socket", block="ip"),
    ),
)


def _prefer(short: str, long: str, text: str, default: bool | None = None) -> Option:
    return Option(short, long, text, default=default, block="prefer")


_PREFER = Section(
    _NETWORK,
    "preferred network transfer syntaxes (not with --config-file)",
    "network",
    (
        _prefer("+x=", "--prefer-uncompr", "explicit VR in this host's byte order first", True),
        _prefer("+xe", "--prefer-little", "explicit VR little endian first"),
        _prefer("+xb", "--prefer-big", "explicit VR big endian first"),
        _prefer("+xs", "--prefer-lossless", "JPEG lossless, first-order prediction, first"),
        _prefer("+xy", "--prefer-jpeg8", "JPEG baseline (lossy, 8 bit) first"),
        _prefer("+xx", "--prefer-jpeg12", "JPEG extended (lossy, 12 bit) first"),
        _prefer("+xv", "--prefer-j2k-lossless", "JPEG 2000 lossless first"),
        _prefer("+xw", "--prefer-j2k-lossy", "JPEG 2000 lossy first"),
        _prefer("+xt", "--prefer-jls-lossless", "JPEG-LS lossless first"),
        _prefer("+xu", "--prefer-jls-lossy", "JPEG-LS near-lossless first"),
        _prefer("+xm", "--prefer-mpeg2", "MPEG2 main profile, main level first"),
        _prefer("+xh", "--prefer-mpeg2-high", "MPEG2 main profile, high level first"),
        _prefer("+xn", "--prefer-mpeg4", "MPEG-4 AVC high profile, level 4.1 first"),
        _prefer("+xl", "--prefer-mpeg4-bd", "MPEG-4 AVC as Blu-ray has it first"),
        _prefer("+x2", "--prefer-mpeg4-2-2d", "MPEG-4 AVC level 4.2 for 2D video first"),
        _prefer("+x3", "--prefer-mpeg4-2-3d", "MPEG-4 AVC level 4.2 for 3D video first"),
        _prefer("+xo", "--prefer-mpeg4-2-st", "MPEG-4 AVC level 4.2 stereo first"),
        _prefer("+x4", "--prefer-hevc", "HEVC main profile, level 5.1 first"),
        _prefer("+x5", "--prefer-hevc10", "HEVC main 10 profile, level 5.1 first"),
        _prefer("+xr", "--prefer-rle", "RLE lossless first"),
        _prefer("+xd", "--prefer-deflated", "deflated explicit VR little endian first"),
        _prefer("+xi", "--implicit", "nothing but implicit VR little endian"),
        _prefer("+xa", "--accept-all", "every transfer syntax known here"),
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
            "accept what profile p in file f says",
            (Value("filename"), Value("profile")),
            checks=(
                *(not_with(row.long) for row in _PREFER.rows if not row.default),
                not_with("--promiscuous"),
            ),
        ),
    ),
)

_ACCESS = Section(
    _NETWORK,
    "network host access control (tcp wrapper)",
    "network",
    (
        Option("-ac", "--access-full", "serve every host", default=True, block="wrapper"),
        Option(
            "+ac",
            "--access-control",
            "serve as hosts.allow and hosts.deny permit",
            block="wrapper",
        ),
    ),
)


def _seconds(low: int, kind: str = INTEGER) -> tuple[Value]:
    return (Value("seconds", kind, low),)


_OTHER = Section(
    _NETWORK,
    "other network options",
    "network",
    (
        Option(
            "-id",
            "--inetd",
            "serve one association on standard input, as a child of inetd (not with --fork)",
            stage="inetd",
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
            "wait s seconds in the setting up of associations",
            _seconds(1),
            30,
        ),
        Option(
            "-td",
            "--dimse-timeout",
            "wait s seconds for the rest of a message",
            _seconds(1),
            default_text="unlimited",
        ),
        Option(
            "-aet", "--aetitle", "this program's AE title is a", (Value("aetitle"),), "STORESCP"
        ),
        MAX_PDU,
        Option("-dhl", "--disable-host-lookup", "do not look up the names of peers"),
        Option("", "--refuse", "reject every association"),
        Option("", "--reject", "reject associations without an implementation class UID"),
        Option("", "--ignore", "receive objects, but do not store them"),
        Option(
            "",
            "--sleep-after",
            "pause for s seconds after each object",
            _seconds(0, UNSIGNED),
            default=0,
        ),
        Option(
            "",
            "--sleep-during",
            "pause for s seconds at each part of an object",
            _seconds(0, UNSIGNED),
            default=0,
        ),
        Option("", "--abort-after", "abort when an object has arrived"),
        Option("", "--abort-during", "abort while an object arrives"),
        Option(
            "-pm", "--promiscuous", "accept SOP classes unknown here too (not with --config-file)"
        ),
        Option("-up", "--uid-padding", "forgive UIDs that end in a space"),
    ),
)


PROGRAM = Program(
    names=("storescpd", "storescp"),
    title="DICOM storage (C-STORE) SCP",
    logger="dcmtk.apps.storescp",
    parameters=(Parameter("port", "tcp port to listen on (1..65535)", optional=True),),
    sections=(
        GENERAL,
        _PROCESS,
        _IP,
        _PROFILE,
        _PREFER,
        _ACCESS,
        _OTHER,
        *tls_sections(receiver=True),
        *OUTPUT,
        EVENTS,
        OURS,
    ),
    # "inetd" comes when all that may be wrong with --inetd was said: its hook takes away
    # standard error.
    stages=(
        "process",
        "inetd",
        "port",
        "logging",
        "verbose",
        "network",
        "profile",
        "output",
        "events",
        "ours",
        "identify",
        *TLS_STAGES,
    ),
    long_width=21,
    libraries=("pydicom", "zlib", "openssl", "libwrap"),
)

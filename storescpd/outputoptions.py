"""The daemon's rows about the files it writes, and about what follows their arrival."""

from dcmstore.optiontable import (
    INTEGER,
    UNSIGNED,
    Option,
    Section,
    Value,
    not_with,
    only_with,
)

_OUTPUT = "output options"

_SORTS = ("--sort-conc-studies", "--sort-on-study-uid", "--sort-on-patientname")

_NOT_BIT_PRESERVING = (not_with("--bit-preserving"),)
_SORT_CHECKS = (not_with("--bit-preserving", unless="--sort-bit-preserving"),)

# Preferring these rules out that objects are stored in an uncompressed transfer syntax.
_COMPRESSED = (
    "--prefer-lossless",
    "--prefer-jpeg8",
    "--prefer-jpeg12",
    "--prefer-j2k-lossless",
    "--prefer-j2k-lossy",
    "--prefer-jls-lossless",
    "--prefer-jls-lossy",
    "--prefer-mpeg2",
    "--prefer-mpeg2-high",
    "--prefer-mpeg4",
    "--prefer-mpeg4-bd",
    "--prefer-mpeg4-2-2d",
    "--prefer-mpeg4-2-3d",
    "--prefer-mpeg4-2-st",
    "--prefer-hevc",
    "--prefer-hevc10",
    "--prefer-rle",
)


def _choice(block: str, short: str, long: str, text: str, default: bool | None = None) -> Option:
    """One of a block that leaves the data set's own encoding, thus not with --bit-preserving."""
    return Option(short, long, text, default=default, block=block, checks=_NOT_BIT_PRESERVING)


def _transfer_syntax(short: str, long: str, text: str) -> Option:
    others = ("--accept-all", "--bit-preserving", *_COMPRESSED)  # the reference's order
    checks = tuple(not_with(other) for other in others)
    return Option(short, long, text, block="write-xfer", checks=checks)


OUTPUT = (
    Section(
        _OUTPUT,
        "general",
        "output",
        (Option("-od", "--output-directory", "store objects in d", (Value("directory"),), "."),),
    ),
    Section(
        _OUTPUT,
        "bit preserving mode",
        "output",
        (
            Option("-B", "--normal", "tidy up the data set", default=True, block="bitpreserving"),
            Option("+B", "--bit-preserving", "keep every byte as received", block="bitpreserving"),
        ),
    ),
    Section(
        _OUTPUT,
        "output file format",
        "output",
        (
            Option("+F", "--write-file", "DICOM file format", default=True, block="fileformat"),
            Option("-F", "--write-dataset", "data set without a header", block="fileformat"),
        ),
    ),
    Section(
        _OUTPUT,
        "output transfer syntax (not with --bit-preserving or compressed transmission)",
        "output",
        (
            Option(
                "+t=", "--write-xfer-same", "as it was received", default=True, block="write-xfer"
            ),
            _transfer_syntax("+te", "--write-xfer-little", "explicit VR little endian"),
            _transfer_syntax("+tb", "--write-xfer-big", "explicit VR big endian"),
            _transfer_syntax("+ti", "--write-xfer-implicit", "implicit VR little endian"),
            _transfer_syntax("+td", "--write-xfer-deflated", "deflated explicit VR little endian"),
        ),
    ),
    Section(
        _OUTPUT,
        "post-1993 value representations (not with --bit-preserving)",
        "output",
        (
            _choice("newvr", "+u", "--enable-new-vr", "write newer VRs as they are", True),
            _choice("newvr", "-u", "--disable-new-vr", "write newer VRs as OB"),
        ),
    ),
    Section(
        _OUTPUT,
        "group length encoding (not with --bit-preserving)",
        "output",
        (
            _choice("grouplen", "+g=", "--group-length-recalc", "correct those that exist", True),
            _choice("grouplen", "+g", "--group-length-create", "one in every group"),
            _choice("grouplen", "-g", "--group-length-remove", "none at all"),
        ),
    ),
    Section(
        _OUTPUT,
        "length encoding in sequences and items (not with --bit-preserving)",
        "output",
        (
            _choice("seqlen", "+e", "--length-explicit", "defined lengths", True),
            _choice("seqlen", "-e", "--length-undefined", "delimiters at the end"),
        ),
    ),
    Section(
        _OUTPUT,
        "data set trailing padding (not with --write-dataset or --bit-preserving)",
        "output",
        (
            Option("-p", "--padding-off", "remove it", default=True, block="padding"),
            Option(
                "+p",
                "--padding-create",
                "fill up files to a multiple of f bytes, items to a multiple of i",
                (Value("file-pad", UNSIGNED), Value("item-pad", UNSIGNED)),
                block="padding",
                checks=(not_with("--write-dataset"), not_with("--bit-preserving")),
            ),
        ),
    ),
    Section(
        _OUTPUT,
        "handling of defined length UN elements",
        "output",
        (
            Option("-uc", "--retain-un", "leave them UN", default=True, block="un"),
            Option("+uc", "--convert-un", "give them the dictionary's VR", block="un"),
        ),
    ),
    Section(
        _OUTPUT,
        "deflate compression level (only with --write-xfer-deflated/same)",
        "output",
        (
            Option(
                "+cl",
                "--compression-level",
                "from 0, no compression, over 1, fast, to 9, small",
                (Value("level", UNSIGNED, 0, 9),),
                default=6,
                checks=(only_with("--write-xfer-deflated", "--write-xfer-same"),),
            ),
        ),
    ),
    Section(
        _OUTPUT,
        "sorting into subdirectories (not with --bit-preserving)",
        "output",
        (
            Option(
                "-ss",
                "--sort-conc-studies",
                "a directory for objects of one study that come in a row, named p and the time",
                (Value("prefix"),),
                block="sort",
                checks=_SORT_CHECKS,
            ),
            Option(
                "-su",
                "--sort-on-study-uid",
                "a directory for each study, named p and its UID",
                (Value("prefix"),),
                block="sort",
                checks=_SORT_CHECKS,
            ),
            Option(
                "-sp",
                "--sort-on-patientname",
                "as with --sort-conc-studies, but named by patient and time",
                block="sort",
                checks=_SORT_CHECKS,
            ),
        ),
    ),
    Section(
        _OUTPUT,
        "filename generation",
        "output",
        (
            Option("-uf", "--default-filenames", "by instance UID", default=True, block="filename"),
            Option("+uf", "--unique-filenames", "by a UID made up here", block="filename"),
            Option(
                "-tn",
                "--timenames",
                "by time of arrival",
                checks=(not_with("--unique-filenames"),),
            ),
            Option(
                "-fe",
                "--filename-extension",
                "end all names in e",
                (Value("extension"),),
                "",
                "empty",
            ),
        ),
    ),
)

EVENTS = Section(
    "event options",
    "",
    "events",
    (
        Option(
            "-xcr",
            "--exec-on-reception",
            "run command c after each object",
            (Value("command"),),
        ),
        Option(
            "-xcs",
            "--exec-on-eostudy",
            "run command c when a study is complete",
            (Value("command"),),
            checks=(not_with("--fork"), not_with("--inetd"), only_with(*_SORTS)),
        ),
        Option(
            "-rns",
            "--rename-on-eostudy",
            "number the files of a study that is complete",
            checks=(not_with("--fork"), not_with("--inetd"), only_with(*_SORTS)),
        ),
        Option(
            "-tos",
            "--eostudy-timeout",
            "a study is complete after t seconds without an object",
            (Value("timeout in seconds", INTEGER),),
            default_text="none",
            checks=(only_with(*_SORTS, "--exec-on-eostudy", "--rename-on-eostudy"),),
        ),
        Option("-xs", "--exec-sync", "wait for each command to end"),
    ),
)

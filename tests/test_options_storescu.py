"""The sender's options: names, values, ranges, and what goes with what."""

import re
from pathlib import Path

import pytest
from harness.cmdlines import companions, limits, run, run_reference, sample, table

from dcmstore.optiontable import Option, as_attribute
from storescu.options import PROGRAM

ROWS = list(PROGRAM.rows())
PARAMETERS = ["peer", "11234", "file"]

# Options that came with 3.7.0 are unknown to Debian 12's reference; so is one of its sentences.
UNKNOWN_TO_3_6_7 = re.compile(r"-sni|--profile-8996|--profile-null|--profile-basic|-rsp$")

# Short and long name, number of values, block (of which the rightmost wins), its default.
REFERENCE = """
-h --help 0 - -
- --version 0 - -
- --arguments 0 - -
-q --quiet 0 verbosity -
-v --verbose 0 verbosity -
-d --debug 0 verbosity -
-ll --log-level 1 - -
-lc --log-config 1 - -
+v --verbose-pc 0 - -
+f --read-file 0 readmode *
+fo --read-file-only 0 readmode -
-f --read-dataset 0 readmode -
+sd --scan-directories 0 - -
+sp --scan-pattern 1 - -
-r --no-recurse 0 recurse *
+r --recurse 0 recurse -
-rn --no-rename 0 rename *
+rn --rename 0 rename -
-i4 --ipv4 0 ip *
-i6 --ipv6 0 ip -
-i0 --ip-auto 0 ip -
-aet --aetitle 1 - -
-aec --call 1 - -
-xf --config-file 2 - -
-x= --propose-uncompr 0 propose *
-xe --propose-little 0 propose -
-xb --propose-big 0 propose -
-xi --propose-implicit 0 propose -
-xs --propose-lossless 0 propose -
-xy --propose-jpeg8 0 propose -
-xx --propose-jpeg12 0 propose -
-xv --propose-j2k-lossless 0 propose -
-xw --propose-j2k-lossy 0 propose -
-xt --propose-jls-lossless 0 propose -
-xu --propose-jls-lossy 0 propose -
-xm --propose-mpeg2 0 propose -
-xh --propose-mpeg2-high 0 propose -
-xn --propose-mpeg4 0 propose -
-xl --propose-mpeg4-bd 0 propose -
-x2 --propose-mpeg4-2-2d 0 propose -
-x3 --propose-mpeg4-2-3d 0 propose -
-xo --propose-mpeg4-2-st 0 propose -
-x4 --propose-hevc 0 propose -
-x5 --propose-hevc10 0 propose -
-xr --propose-rle 0 propose -
-xd --propose-deflated 0 propose -
-R --required 0 - -
+C --combine 0 - -
+u --enable-new-vr 0 newvr *
-u --disable-new-vr 0 newvr -
+cl --compression-level 1 - -
-usr --user 1 identity -
-pwd --password 1 identity-password -
-epw --empty-password 0 identity-password -
-kt --kerberos 1 identity -
- --saml 1 identity -
- --jwt 1 identity -
-rsp --pos-response 0 - -
-to --timeout 1 - -
-ts --socket-timeout 1 - -
-ta --acse-timeout 1 - -
-td --dimse-timeout 1 - -
-pdu --max-pdu 1 - -
- --max-send-pdu 1 - -
- --repeat 1 - -
- --abort 0 - -
-nh --no-halt 0 - -
-up --uid-padding 0 - -
+II --invent-instance 0 - -
+IR --invent-series 1 - -
+IS --invent-study 1 - -
+IP --invent-patient 1 - -
-tls --disable-tls 0 tls *
+tls --enable-tls 2 tls -
+tla --anonymous-tls 0 tls -
+ps --std-passwd 0 passwd *
+pw --use-passwd 1 passwd -
-pw --null-passwd 0 passwd -
-pem --pem-keys 0 keyformat *
-der --der-keys 0 keyformat -
+cf --add-cert-file 1 - -
+cd --add-cert-dir 1 - -
+crl --add-crl-file 1 - -
+crv --enable-crl-vfy 0 crl -
+cra --enable-crl-all 0 crl -
+ph --list-profiles 0 - -
+pg --profile-8996 0 tls-profile *
+pm --profile-8996-mod 0 tls-profile -
+py --profile-bcp195-nd 0 tls-profile -
+px --profile-bcp195 0 tls-profile -
+pz --profile-bcp195-ex 0 tls-profile -
+pb --profile-basic 0 tls-profile -
+pa --profile-aes 0 tls-profile -
+pn --profile-null 0 tls-profile -
+cc --list-ciphers 0 - -
+cs --cipher 1 - -
- --no-sni 0 - -
- --request-sni 1 - -
+rs --seed 1 - -
+ws --write-seed 0 write-seed -
+wf --write-seed-file 1 write-seed -
-rc --require-peer-cert 0 peer-auth *
-ic --ignore-peer-cert 0 peer-auth -
"""


LOG_LEVEL = "--log-level not allowed with --verbose, --debug or --quiet"
LOG_CONFIG = "--log-config not allowed with --verbose, --debug or --quiet"
TLS = "--enable-tls or --anonymous-tls"
PROPOSALS = [
    f"--propose-{name}"
    for name in (
        "little big implicit lossless jpeg8 jpeg12 j2k-lossless j2k-lossy jls-lossless jls-lossy "
        "mpeg2 mpeg2-high mpeg4 mpeg4-bd mpeg4-2-2d mpeg4-2-3d mpeg4-2-st hevc hevc10 rle deflated"
    ).split()
]
NEED_TLS = {
    "--pem-keys": "",
    "--der-keys": "",
    "--add-cert-file": " x",
    "--add-cert-dir": " x",
    "--add-crl-file": " x",
    "--enable-crl-vfy": "",
    "--enable-crl-all": "",
    "--profile-8996": "",
    "--profile-8996-mod": "",
    "--profile-bcp195-nd": "",
    "--profile-bcp195": "",
    "--profile-bcp195-ex": "",
    "--profile-basic": "",
    "--profile-null": "",
    "--cipher": " x",
    "--seed": " x",
    "--write-seed": "",
    "--write-seed-file": " x",
    "--require-peer-cert": "",
    "--ignore-peer-cert": "",
}

MESSAGES = [
    *((f"{option} -ll info", LOG_LEVEL) for option in ("-q", "-v", "-d")),
    *((f"{option} -lc x", LOG_CONFIG) for option in ("-q", "-v", "-d")),
    ("-lc x -ll info", "--log-config not allowed with --log-level"),
    ("-ll loud", "Invalid log level for --log-level option"),
    ("+v", "--verbose-pc only allowed with verbose mode"),
    ("+sp x", "--scan-pattern only allowed with --scan-directories"),
    ("+r", "--recurse only allowed with --scan-directories"),
    *(
        (f"{option} -xf file profile", f"--config-file not allowed with {option}")
        for option in (*PROPOSALS, "--required", "--combine")
    ),
    ("-xd -xi +cl 1", "--compression-level only allowed with --propose-deflated or --config-file"),
    ("-pwd x", "--password only allowed with --user"),
    ("-epw", "--empty-password only allowed with --user"),
    ("-usr u -pwd x -kt f", "--password only allowed with --user"),
    ("-usr u -pwd x -epw", "--empty-password only allowed with --user"),
    ("-rsp", "--pos-response only allowed with --user, --kerberos, --saml or --jwt"),
    *(
        (f"{option}{value}", f"{option} only allowed with {TLS}")
        for option, value in NEED_TLS.items()
    ),
    ("--profile-aes", f"--profile-basic only allowed with {TLS}"),
    *(
        (f"{tls}{option}", f"{option.split()[0]} only allowed with --enable-tls")
        for tls in ("", "+tla ")
        for option in ("--std-passwd", "--use-passwd x", "--null-passwd")
    ),
    ("+tla +pz +cs x", "--cipher not allowed with --profile-bcp195-ex"),
    ("--request-sni x --no-sni", "--no-sni not allowed with --request-sni"),
    ("+tla +ws", "--write-seed only allowed with --seed"),
    ("+tla +wf x", "--write-seed-file only allowed with --seed"),
]


def test_every_option_of_the_reference_is_there() -> None:
    assert table(PROGRAM) == REFERENCE.split("\n")[1:-1]


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.exclusive], ids=lambda row: row.long
)
def test_short_and_long_name_mean_the_same(row: Option) -> None:
    before = companions(PROGRAM, row)
    options = run(PROGRAM, *before, row.long, *sample(row), *PARAMETERS).accepted
    if row.block:
        assert getattr(options, as_attribute(row.block)) == row.name
    if row.long == "--log-level":
        assert options.log_level == "info"
    elif row.values:
        assert getattr(options, row.attribute) not in (None, [], row.default)
    elif not row.block:
        assert getattr(options, row.attribute) is True
    if row.short:
        assert run(PROGRAM, *before, row.short, *sample(row), *PARAMETERS).accepted == options


@pytest.mark.parametrize(("arguments", "error"), limits(PROGRAM))
def test_limits(arguments: list[str], error: str) -> None:
    outcome = run(PROGRAM, *arguments, *PARAMETERS)
    assert (outcome.status, outcome.error) == ((1, error) if error else (None, ""))


@pytest.mark.parametrize(("arguments", "error"), MESSAGES)
def test_messages(arguments: str, error: str) -> None:
    outcome = run(PROGRAM, *arguments.split(), *PARAMETERS)
    assert (outcome.status, outcome.error) == (1, error)


@pytest.mark.parametrize(
    ("arguments", "error"), [case for case in MESSAGES if not UNKNOWN_TO_3_6_7.search(case[0])]
)
def test_messages_are_the_reference_s(
    arguments: str, error: str, reference: str, tmp_path: Path
) -> None:
    done = run_reference("storescu", *arguments.split(), *PARAMETERS, directory=str(tmp_path))
    assert done == (1, error)


def test_messages_cover_all_checks() -> None:
    told = {error for _, error in MESSAGES}
    assert {check.sentence(row.long) for row in ROWS for check in row.checks} <= told


@pytest.mark.parametrize(
    "arguments",
    [
        "+r -r",
        "+sd +r +sp *.dcm",
        "+cl 1 -xf file profile",
        "-xf file profile -xs -x=",
        "-usr u -epw -pwd x",
        "-kt f -rsp",
        "--jwt f -rsp",
        "+tla -der",
        "--request-sni x",
    ],
)
def test_what_goes_together(arguments: str) -> None:
    assert run(PROGRAM, *arguments.split(), *PARAMETERS).status is None


def test_parameters() -> None:
    options = run(PROGRAM, "peer", "-v", "104", "a", "-R", "a", "").accepted
    assert (options.peer, options.port, options.dcmfile_in) == ("peer", 104, ["a", "a", ""])


@pytest.mark.parametrize(
    ("given", "missing"), [("-q", "peer"), ("a", "port"), ("a b", "dcmfile-in")]
)
def test_missing_parameters(given: str, missing: str) -> None:
    assert run(PROGRAM, *given.split()).error == f"Missing parameter {missing}"


def test_the_last_password_option_counts() -> None:
    options = run(PROGRAM, "-usr", "u", "-epw", "-pwd", "x", *PARAMETERS).accepted
    assert (options.identity, options.user) == ("user", "u")
    assert (options.identity_password, options.password) == ("password", "x")

"""The daemon's options: names, values, ranges, and what goes with what."""

import re
from pathlib import Path

import pytest
from harness.cmdlines import companions, limits, run, run_reference, sample, table

from dcmstore import cmdline
from dcmstore.optiontable import Option, as_attribute
from storescpd.options import PROGRAM

ROWS = list(PROGRAM.rows())
PARAMETERS = ["11234"]

# Options that came with 3.7.0 are unknown to Debian 12's reference; so is one of its sentences.
UNKNOWN_TO_3_6_7 = re.compile(
    r"--max-associations|-sni|--profile-8996|--inetd|--profile-null|--profile-basic"
    r"|--on-limit|--syslog|--umask"
)

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
- --single-process 0 process *
- --fork 0 process -
- --max-associations 1 - -
-i4 --ipv4 0 ip *
-i6 --ipv6 0 ip -
-i0 --ip-auto 0 ip -
-xf --config-file 2 - -
+x= --prefer-uncompr 0 prefer *
+xe --prefer-little 0 prefer -
+xb --prefer-big 0 prefer -
+xs --prefer-lossless 0 prefer -
+xy --prefer-jpeg8 0 prefer -
+xx --prefer-jpeg12 0 prefer -
+xv --prefer-j2k-lossless 0 prefer -
+xw --prefer-j2k-lossy 0 prefer -
+xt --prefer-jls-lossless 0 prefer -
+xu --prefer-jls-lossy 0 prefer -
+xm --prefer-mpeg2 0 prefer -
+xh --prefer-mpeg2-high 0 prefer -
+xn --prefer-mpeg4 0 prefer -
+xl --prefer-mpeg4-bd 0 prefer -
+x2 --prefer-mpeg4-2-2d 0 prefer -
+x3 --prefer-mpeg4-2-3d 0 prefer -
+xo --prefer-mpeg4-2-st 0 prefer -
+x4 --prefer-hevc 0 prefer -
+x5 --prefer-hevc10 0 prefer -
+xr --prefer-rle 0 prefer -
+xd --prefer-deflated 0 prefer -
+xi --implicit 0 prefer -
+xa --accept-all 0 prefer -
-ac --access-full 0 wrapper *
+ac --access-control 0 wrapper -
-id --inetd 0 - -
-ts --socket-timeout 1 - -
-ta --acse-timeout 1 - -
-td --dimse-timeout 1 - -
-aet --aetitle 1 - -
-pdu --max-pdu 1 - -
-dhl --disable-host-lookup 0 - -
- --refuse 0 - -
- --reject 0 - -
- --ignore 0 - -
- --sleep-after 1 - -
- --sleep-during 1 - -
- --abort-after 0 - -
- --abort-during 0 - -
-pm --promiscuous 0 - -
-up --uid-padding 0 - -
-tls --disable-tls 0 tls *
+tls --enable-tls 2 tls -
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
+dp --dhparam 1 - -
- --no-sni 0 - -
- --expect-sni 1 - -
+rs --seed 1 - -
+ws --write-seed 0 write-seed -
+wf --write-seed-file 1 write-seed -
-rc --require-peer-cert 0 peer-auth *
-vc --verify-peer-cert 0 peer-auth -
-ic --ignore-peer-cert 0 peer-auth -
-od --output-directory 1 - -
-B --normal 0 bitpreserving *
+B --bit-preserving 0 bitpreserving -
+F --write-file 0 fileformat *
-F --write-dataset 0 fileformat -
+t= --write-xfer-same 0 write-xfer *
+te --write-xfer-little 0 write-xfer -
+tb --write-xfer-big 0 write-xfer -
+ti --write-xfer-implicit 0 write-xfer -
+td --write-xfer-deflated 0 write-xfer -
+u --enable-new-vr 0 newvr *
-u --disable-new-vr 0 newvr -
+g= --group-length-recalc 0 grouplen *
+g --group-length-create 0 grouplen -
-g --group-length-remove 0 grouplen -
+e --length-explicit 0 seqlen *
-e --length-undefined 0 seqlen -
-p --padding-off 0 padding *
+p --padding-create 2 padding -
-uc --retain-un 0 un *
+uc --convert-un 0 un -
+cl --compression-level 1 - -
-ss --sort-conc-studies 1 sort -
-su --sort-on-study-uid 1 sort -
-sp --sort-on-patientname 0 sort -
-uf --default-filenames 0 filename *
+uf --unique-filenames 0 filename -
-tn --timenames 0 - -
-fe --filename-extension 1 - -
-xcr --exec-on-reception 1 - -
-xcs --exec-on-eostudy 1 - -
-rns --rename-on-eostudy 0 - -
-tos --eostudy-timeout 1 - -
-xs --exec-sync 0 - -
"""


LOG_LEVEL = "--log-level not allowed with --verbose, --debug or --quiet"
LOG_CONFIG = "--log-config not allowed with --verbose, --debug or --quiet"
SORTS = "--sort-conc-studies, --sort-on-study-uid or --sort-on-patientname"
STUDY_ENDS = (
    "--sort-conc-studies, --sort-on-study-uid, --sort-on-patientname, "
    "--exec-on-eostudy or --rename-on-eostudy"
)
COMPRESSED = (
    "lossless jpeg8 jpeg12 j2k-lossless j2k-lossy jls-lossless jls-lossy mpeg2 mpeg2-high mpeg4 "
    "mpeg4-bd mpeg4-2-2d mpeg4-2-3d mpeg4-2-st hevc hevc10 rle"
).split()
PREFERENCES = [f"--prefer-{name}" for name in ("little", "big", *COMPRESSED, "deflated")]
NEED_TLS = {
    "--std-passwd": "",
    "--use-passwd": " x",
    "--null-passwd": "",
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
    "--dhparam": " x",
    "--seed": " x",
    "--write-seed": "",
    "--write-seed-file": " x",
    "--require-peer-cert": "",
    "--verify-peer-cert": "",
    "--ignore-peer-cert": "",
}
BIT_PRESERVING = {
    "--enable-new-vr": "",
    "--disable-new-vr": "",
    "--group-length-recalc": "",
    "--group-length-create": "",
    "--group-length-remove": "",
    "--length-explicit": "",
    "--length-undefined": "",
    "--padding-create": " 1 1",
    "--sort-conc-studies": " x",
    "--sort-on-study-uid": " x",
    "--sort-on-patientname": "",
}

MESSAGES = [
    *((f"{option} -ll info", LOG_LEVEL) for option in ("-q", "-v", "-d")),
    *((f"{option} -lc x", LOG_CONFIG) for option in ("-q", "-v", "-d")),
    ("-lc x -ll info", "--log-config not allowed with --log-level"),
    ("-ll loud", "Invalid log level for --log-level option"),
    ("+v", "--verbose-pc only allowed with verbose mode"),
    ("--inetd --fork", "--inetd not allowed with --fork"),
    ("--max-associations 0 --inetd", "--max-associations only allowed with --fork"),
    ("--fork --single-process --max-associations 5", "--max-associations only allowed with --fork"),
    *(
        (f"{option} -xf file profile", f"--config-file not allowed with {option}")
        for option in (*PREFERENCES, "--implicit", "--accept-all", "--promiscuous")
    ),
    *(
        (f"--write-xfer-{syntax} {other}", f"--write-xfer-{syntax} not allowed with {other}")
        for syntax in ("little", "big", "implicit", "deflated")
        for other in (
            "--accept-all",
            "--bit-preserving",
            *(f"--prefer-{name}" for name in COMPRESSED),
        )
    ),
    (
        "--write-xfer-big --prefer-rle --bit-preserving",
        "--write-xfer-big not allowed with --bit-preserving",
    ),
    *(
        (f"{option}{value} +B", f"{option} not allowed with --bit-preserving")
        for option, value in BIT_PRESERVING.items()
    ),
    ("+p x 1 -F +B", "--padding-create not allowed with --write-dataset"),
    ("+p 1 x", "Invalid value for option --padding-create (x)"),
    *(
        (
            f"+cl 1 --write-xfer-{syntax}",
            "--compression-level only allowed with --write-xfer-deflated or --write-xfer-same",
        )
        for syntax in ("little", "big", "implicit")
    ),
    ("-uf +uf -tn", "--timenames not allowed with --unique-filenames"),
    ("--inetd -xcs x", "--exec-on-eostudy not allowed with --inetd"),
    ("--inetd -rns", "--rename-on-eostudy not allowed with --inetd"),
    ("--fork -xcs x -sp", "--exec-on-eostudy not allowed with --fork"),
    ("--fork -rns -sp", "--rename-on-eostudy not allowed with --fork"),
    ("-xcs x", f"--exec-on-eostudy only allowed with {SORTS}"),
    ("-rns", f"--rename-on-eostudy only allowed with {SORTS}"),
    ("-tos x", f"--eostudy-timeout only allowed with {STUDY_ENDS}"),
    *(
        (f"{option}{value}", f"{option} only allowed with --enable-tls")
        for option, value in NEED_TLS.items()
    ),
    ("--profile-aes", "--profile-basic only allowed with --enable-tls"),
    ("+tls k c -tls -pw", "--null-passwd only allowed with --enable-tls"),
    ("+tls k c +pz +cs x", "--cipher not allowed with --profile-bcp195-ex"),
    ("--expect-sni x --no-sni", "--no-sni not allowed with --expect-sni"),
    ("+tls k c +ws", "--write-seed only allowed with --seed"),
    ("+tls k c +wf x", "--write-seed-file only allowed with --seed"),
    *(
        (f"{option} {other}", f"{option.split()[0]} not allowed with --inetd or --inetd-wait")
        for option in ("--bind x", "--daemon")
        for other in ("--inetd", "--inetd-wait")
    ),
    *(
        (f"{option} --inetd", f"{option.split()[0]} not allowed with --inetd")
        for option in ("--inetd-wait", "--idle-exit 9", "--pid-file x")
    ),
    ("--on-limit reject", "--on-limit only allowed with --fork"),
    ("--max-associations-per-peer 2", "--max-associations-per-peer only allowed with --fork"),
    ("-lc x --syslog", "--syslog not allowed with --log-config"),
    ("--umask 8", "Invalid value for option --umask (8)"),
    ("--fork --on-limit queue", "Invalid action for --on-limit option"),
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
    done = run_reference("storescp", *arguments.split(), *PARAMETERS, directory=str(tmp_path))
    assert done == (1, error)


def test_messages_cover_all_checks() -> None:
    told = {error for _, error in MESSAGES}
    assert {check.sentence(row.long) for row in ROWS for check in row.checks} <= told


@pytest.mark.parametrize(
    "arguments",
    [
        "+te +xd",
        "+te +xe",
        "+ti +xi",
        "+tb +x=",
        "+B +te +t=",
        "+p 1 1 -p -F",
        "+cl 9",
        "+cl 0 +td",
        "-uf +uf -uf -tn",
        "-xf file profile +xa +x=",
        "--inetd --fork --single-process",
        "+B +uc",
        "-tos 0 -sp",
        "-xs",
        "--expect-sni x",
    ],
)
def test_what_goes_together(arguments: str) -> None:
    assert run(PROGRAM, *arguments.split(), *PARAMETERS).status is None


def test_inetd_needs_no_port_and_ignores_one() -> None:
    assert run(PROGRAM, "--inetd").accepted.port is None
    assert run(PROGRAM, "--inetd", "x").accepted.port is None
    assert run(PROGRAM, "--inetd", "1", "2").error == "Too many parameters"
    assert run(PROGRAM, "--refuse").error == "Missing parameter port"


def test_the_hook_of_inetd_comes_when_its_own_errors_were_told_and_before_all_others() -> None:
    called: list[bool] = []
    hooks: dict[str, cmdline.Hook] = {"inetd": lambda options: called.append(options.inetd)}
    for arguments in ("--inetd --fork", "--inetd --max-associations 5", "--inetd --what"):
        assert run(PROGRAM, *arguments.split(), hooks=hooks).error
        assert not called
    assert run(PROGRAM, "--inetd", "-ll", "x", hooks=hooks).error
    assert called == [True]


def test_process_mode_is_checked_before_the_port_and_the_port_before_the_rest() -> None:
    assert run(PROGRAM, "--max-associations", "1", "0").error.startswith("--max-associations only")
    assert run(PROGRAM, "-ll", "x", "0").error == "Invalid parameter value 0 (underflow)"


def test_lists_need_no_port_and_go_in_order() -> None:
    for arguments, heading in (
        (("--list-profiles", "--list-ciphers"), "Supported TLS ciphersuites are:"),
        (("+ph", "1", "2", "-ta", "x"), "Supported TLS Secure Transport Connection Profiles are:"),
        (("+cc", "--help"), "usage:"),
    ):
        outcome = run(PROGRAM, *arguments)
        assert outcome.status == 0
        assert heading in outcome.out

"""Configuration files: their syntax, their errors, and the command line that overrides them."""

import re
from pathlib import Path

import pytest
from harness.cmdlines import Outcome, companions, run, sample

from dcmstore.optiontable import Option
from storescpd.options import PROGRAM

SHIPPED = Path(__file__).parents[1] / "etc" / "storescpd.conf"
FOR_PERSONS = ("--conf", "--check-config")
ROWS = [row for row in PROGRAM.rows() if not row.exclusive and row.long not in FOR_PERSONS]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "storescpd.conf"


def parse(conf: Path, text: str, *arguments: str) -> Outcome:
    conf.write_text(text)
    return run(PROGRAM, "--conf", str(conf), *arguments)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.long)
def test_every_option_means_the_same_in_a_file(conf: Path, row: Option) -> None:
    before = companions(PROGRAM, row)
    direct = run(PROGRAM, *before, row.long, *sample(row), "11112").accepted
    for name in filter(None, (row.short, row.long)):
        line = " ".join([name, *sample(row)])
        found = parse(conf, f"{line}\n", *before, "11112").accepted
        assert found.conf == str(conf)
        found.conf = None
        assert found == direct


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("-aet CT", "CT"),
        ("  --aetitle\tCT  # the scanner's", "CT"),
        ("-aet CT#1", "CT#1"),
        ("-aet '#1'", "#1"),
        ('-aet "a b"', "a b"),
        ("-aet a' 'b", "a b"),
        ("-aet ''", ""),
        ('-aet ""', ""),
        (r'-aet "a\"b\\"', 'a"b\\'),
        (r"-aet 'a\b'", r"a\b"),
        (r"-aet a\ b\#", "a b#"),
        (r"-aet \#", "#"),
        ("-aet 'it is \"it\"'", 'it is "it"'),
        ("-aet -v", "-v"),
        ("-aet CT\r", "CT"),
        ("-aet \N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"),
        (
            "-aet M\N{LATIN SMALL LETTER U WITH DIAERESIS}",
            "M\N{LATIN SMALL LETTER U WITH DIAERESIS}",
        ),
    ],
)
def test_words(conf: Path, line: str, value: str) -> None:
    options = parse(conf, f"\n# comment\n   # another\n{line}\n11112").accepted
    assert options.aetitle == value
    assert options.port == 11112


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("--no-such-option", "Unknown option --no-such-option"),
        ("-aet", "Missing value for option --aetitle"),
        ("--config-file x", "Missing value for option --config-file"),
        ("--fork --max-associations 3", "more than one option or parameter"),
        ("-aet A B", "more than one option or parameter"),
        ("11112 104", "more than one option or parameter"),
        ("-aet 'CT", "unfinished quotation"),
        ('-aet "CT', "unfinished quotation"),
        ("-aet CT\\", "unfinished quotation"),
        ("--user ro\0ot", "NUL character"),
        ("-ta 0", "Invalid value for option --acse-timeout (underflow: 0)"),
        ("-ta x", "Invalid value for option --acse-timeout (x)"),
        ("-ll loud", "Invalid log level for --log-level option"),
        ("--max-associations 3", "--max-associations only allowed with --fork"),
        ("--add-cert-file x", "--add-cert-file only allowed with --enable-tls"),
        ("--umask 1000", "Invalid value for option --umask (overflow: 1000)"),
        ("104x5y", None),
        ("0", "Invalid parameter value 0 (underflow)"),
        ("http", "Invalid parameter value http"),
        ("@other", "Invalid parameter value @other"),
        ("--conf other", "--conf not allowed in a configuration file"),
        ("--check-config", "--check-config not allowed in a configuration file"),
        ("--help", "--help not allowed in a configuration file"),
        ("--version", "--version not allowed in a configuration file"),
        ("+ph", "--list-profiles not allowed in a configuration file"),
    ],
)
def test_errors_name_file_and_line(conf: Path, line: str, error: str | None) -> None:
    outcome = parse(conf, f"# one\n\n{line}\n", *(["104"] if line.startswith(("-", "+")) else []))
    if error is None:
        assert outcome.status is None
    else:
        assert (outcome.status, outcome.error) == (1, f"{conf}:3: {error}")


def test_a_byte_order_mark_is_no_part_of_the_first_line(conf: Path) -> None:
    assert parse(conf, "\ufeff--fork\n", "104").accepted.process == "fork"
    assert parse(conf, "\ufeff\ufeff-v\n11112\n").error == f"{conf}:2: Too many parameters"


def test_a_wrong_value_among_several_is_the_one_that_is_named(conf: Path) -> None:
    text = "--fork\n--max-associations 0\n--max-associations 3\n"
    assert parse(conf, text, "104").status is None, "only the last one counts"
    text = "--fork\n--max-associations 3\n--max-associations 0\n"
    assert parse(conf, text, "104").error.startswith(f"{conf}:3: ")


def test_a_port_too_many_is_named(conf: Path) -> None:
    assert parse(conf, "104\n-v\n11112\n").error == f"{conf}:3: Too many parameters"
    assert parse(conf, "104\n", "105", "106").error == "Too many parameters"


def test_errors_of_the_command_line_are_not_blamed_on_the_file(conf: Path) -> None:
    assert parse(conf, "-v\n", "-ta", "0", "104").error == (
        "Invalid value for option --acse-timeout (underflow: 0)"
    )
    assert parse(conf, "104\n", "0").error == "Invalid parameter value 0 (underflow)"
    assert parse(conf, "-v\n").error == "Missing parameter port"


@pytest.mark.parametrize("name", ["missing", ".", "a\0b"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    error = run(PROGRAM, "--conf", path, "104").error
    assert error.startswith(f"Cannot read configuration file '{path}': ")


def test_help_does_not_read_the_file(tmp_path: Path) -> None:
    outcome = run(PROGRAM, "--conf", str(tmp_path / "missing"), "--help")
    assert outcome.status == 0
    assert "--conf" in outcome.out


# What stands in the file, what on the command line, and what is in force then.
OVERRIDDEN: list[tuple[str, str, dict[str, object]]] = [
    ("11112", "104", {"port": 104}),
    ("-aet FILE", "-aet LINE", {"aetitle": "LINE"}),
    ("--fork", "--single-process", {"process": "single-process"}),
    ("-v", "-d", {"log_level": "debug"}),
    ("-v", "-ll trace", {"log_level": "trace"}),
    ("-ll trace", "-v", {"log_level": "info"}),
    ("-lc x", "-v", {"log_config": None, "log_level": "info"}),
    ("--bind ::1\n--bind 10.0.0.1", "--bind 127.0.0.1", {"bind": ["127.0.0.1"]}),
    ("--bind ::1\n--bind 10.0.0.1", "", {"bind": ["::1", "10.0.0.1"]}),
    ("--fork\n--max-associations 5", "", {"process": "fork", "max_associations": 5}),
    ("--fork\n--max-associations 5", "--inetd", {"inetd": True, "max_associations": None}),
    ("--fork\n--max-associations 5", "--single-process", {"max_associations": None}),
    ("--max-associations 5", "--fork", {"max_associations": 5}),
    ("--daemon\n--pid-file x\n--bind ::1", "--inetd", {"daemon": False, "pid_file": None}),
    ("--inetd", "--fork", {"inetd": False, "process": "fork"}),
    ("+te", "+B", {"write_xfer": "write-xfer-same", "bitpreserving": "bit-preserving"}),
    ("+td\n+cl 3", "+te", {"write_xfer": "write-xfer-little", "compression_level": 6}),
    ("+td\n+cl 3", "+t=", {"write_xfer": "write-xfer-same", "compression_level": 3}),
    ("-su S\n-rns\n-tos 5", "--fork", {"rename_on_eostudy": False, "eostudy_timeout": 5}),
    ("-su S\n-rns\n-tos 5", "+B", {"sort": None, "rename_on_eostudy": False}),
    ("-su S\n--sort-bit-preserving", "+B", {"sort": "sort-on-study-uid"}),
    ("-su S", "+B --sort-bit-preserving", {"sort": "sort-on-study-uid"}),
    ("-xf f p", "-pm", {"config_file": None, "promiscuous": True}),
    ("-pm\n+xr", "-xf f p", {"config_file": ("f", "p"), "promiscuous": False}),
    ("+tls k c\n-ic", "-tls", {"tls": "disable-tls", "peer_auth": "require-peer-cert"}),
]


@pytest.mark.parametrize(("file", "line", "expected"), OVERRIDDEN)
def test_the_command_line_wins(
    conf: Path, file: str, line: str, expected: dict[str, object]
) -> None:
    options = parse(conf, file, *line.split(), *([] if "11112" in file else ["11112"])).accepted
    assert {name: getattr(options, name) for name in expected} == expected


def test_what_the_file_has_wrong_does_not_matter_when_it_is_overridden(conf: Path) -> None:
    assert parse(conf, "-ta 0\nhttp\n", "-ta", "9", "104").accepted.acse_timeout == 9


def test_conflicts_within_the_file_are_errors(conf: Path) -> None:
    text = "+B\n+te\n"
    error = f"{conf}:2: --write-xfer-little not allowed with --bit-preserving"
    assert parse(conf, text, "104").error == error


def test_shown_arguments_hold_those_of_the_file(conf: Path) -> None:
    err = parse(conf, "-aet 'A B'\n", "--arguments", "104").err
    assert f"with 6 arguments: '--aetitle' 'A B' '--conf' '{conf}' '--arguments' '104'" in err


# The file that is shipped

# Commented out, but for the one option that all that is shipped with the file rely on.
LINE = re.compile(r"^#?(--[a-z0-9-]+)(?: (.*))?$", re.MULTILINE)
IN_FORCE = "--output-directory"


def shipped_default(row: Option) -> str | None:
    """What the shipped file says behind the option's name."""
    if not row.values:
        return None
    if row.default is not None and not isinstance(row.default, bool):
        return str(row.default) or "''"
    return " ".join(value.name.upper().replace(" ", "-") for value in row.values)


def test_shipped_file_has_every_option_in_order_with_its_default() -> None:
    found = [(name, value or None) for name, value in LINE.findall(SHIPPED.read_text())]
    assert found == [
        (row.long, "/var/lib/storescpd" if row.long == IN_FORCE else shipped_default(row))
        for row in ROWS
    ]
    active = [line for line in SHIPPED.read_text().splitlines() if line and line[0] != "#"]
    assert active == ["11112", f"{IN_FORCE} /var/lib/storescpd"]


def test_shipped_file_marks_the_defaults_of_alternatives() -> None:
    lines = SHIPPED.read_text().splitlines()
    for row in ROWS:
        if row.block and row.default is True:
            assert lines[lines.index(f"#{row.long}") - 1].endswith("(default)"), row.long


def test_shipped_file_as_it_is() -> None:
    options = run(PROGRAM, "--conf", str(SHIPPED)).accepted
    plain = run(PROGRAM, "-od", "/var/lib/storescpd", "11112").accepted
    assert options.__dict__ | {"conf": None} == plain.__dict__
    assert run(PROGRAM, "--conf", str(SHIPPED), "--inetd").accepted.port is None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.long)
def test_shipped_lines_can_be_taken_into_use(conf: Path, row: Option) -> None:
    text = SHIPPED.read_text()
    (line,) = [
        line for line in text.splitlines() if re.match(rf"#?{re.escape(row.long)}( |$)", line)
    ]
    wanted = line.removeprefix("#")
    if shipped_default(row) != wanted.partition(" ")[2] or (row.default is None and row.values):
        wanted = " ".join([row.long, *sample(row)])
    arguments = companions(PROGRAM, row)
    assert parse(conf, text.replace(f"{line}\n", f"{wanted}\n"), *arguments).accepted

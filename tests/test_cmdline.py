"""The grammar of command lines, on a small program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.cmdlines import error_text, run

from dcmstore import cmdline
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
from dcmstore.sharedoptions import GENERAL
from storescpd.options import PROGRAM as RECEIVER
from storescu.options import PROGRAM as SENDER

SMALL = Program(
    names=("small", "tiny"),
    title="a small program",
    logger="dcmtk.apps.small",
    parameters=(Parameter("port", "where to", optional=True),),
    sections=(
        GENERAL,
        Section(
            "small options",
            "",
            "small",
            (
                Option("-a", "--alpha", "first", default=True, block="letters"),
                Option("-b", "--beta", "second", block="letters", checks=(not_with("--lone"),)),
                Option("-g", "--gamma", "third, w", (Value("word"),), block="letters"),
                Option("-l", "--lone", "lone"),
                Option("-n", "--number", "n", (Value("number", INTEGER, -1, 9),), 5),
                Option("-u", "--unsigned", "u", (Value("units", UNSIGNED, 2, 9, 2),)),
                Option("-t", "--two", "two", (Value("file"), Value("word"))),
                Option("-m", "--many", "many", (Value("file"),), repeatable=True),
                Option("", "--needy", "needs", checks=(only_with("--lone", "--gamma", "--two"),)),
                Option("", "--default-needy", "needs the default", checks=(only_with("--alpha"),)),
            ),
        ),
    ),
    stages=("port", "logging", "verbose", "small", "identify"),
    long_width=12,
    libraries=(),
)


def test_no_arguments_show_the_usage() -> None:
    outcome = run(SMALL)
    assert outcome.status == 0
    assert outcome.out.startswith("$storescpd: small v")
    assert "usage: small [options] [port]" in outcome.out


def test_an_empty_command_file_is_no_argument(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(" \n")
    assert run(SMALL, f"@{tmp_path}/file").status == 0


def test_error_form_and_status() -> None:
    outcome = run(SMALL, "--what", called="/usr/bin/tiny")
    version, *rest = outcome.err.split("\n")
    assert version.startswith("$storescpd: tiny v")
    assert rest == ["", "tiny: a small program", "error: Unknown option --what", ""]
    assert (outcome.status, outcome.out) == (1, "")


@pytest.mark.parametrize("called", ["small", "/a/b/small", "python3", "__main__.py"])
def test_an_unknown_name_is_not_repeated(called: str) -> None:
    assert "\nsmall: a small program\n" in run(SMALL, "--what", called=called).err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--numb", "5"], "Unknown option --numb"),
        (["--number=5"], "Unknown option --number=5"),
        (["--"], "Unknown option --"),
        (["-lb"], "Unknown option -lb"),
        (["+l"], "Unknown option +l"),
        (["-L"], "Unknown option -L"),
        (["-n"], "Missing value for option --number"),
        (["-t", "x"], "Missing value for option --two"),
        (["-t", "-l"], "Missing value for option --two"),
        (["-h", "--what"], "Unknown option --what"),
        (["--what", "-n"], "Unknown option --what"),
        (["1", "2", "-n"], "Missing value for option --number"),
        (["1", "2"], "Too many parameters"),
        (["-l"], "Missing parameter port"),
        (["-", "-n", "x"], "Invalid parameter value -"),
        (["+"], "Invalid parameter value +"),
        (["@"], "Invalid parameter value @"),
        ([""], "Invalid parameter value "),
        (["-5"], "Invalid parameter value -5 (overflow)"),
        (["0"], "Invalid parameter value 0 (underflow)"),
        (["65536"], "Invalid parameter value 65536 (overflow)"),
        (["9" * 5000], f"Invalid parameter value {'9' * 5000} (overflow)"),
        (["x1"], "Invalid parameter value x1"),
        (["@/nonexistent/file", "--what"], "Cannot open command file '/nonexistent/file'"),
        (["@."], "Cannot open command file '.'"),
    ],
)
def test_syntax_errors(arguments: list[str], error: str) -> None:
    outcome = run(SMALL, *arguments)
    assert (outcome.status, outcome.error) == (1, error)


@pytest.mark.parametrize(
    ("text", "port"),
    [("104", 104), ("+5", 5), (" 11x", 11), ("0" * 5000 + "7", 7), ("65535", 65535)],
)
def test_ports(text: str, port: int) -> None:
    assert run(SMALL, text).accepted.port == port


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-1", -1), ("\t 7", 7), ("5x", 5), ("0x4000", 0), ("+9", 9), ("007", 7)],
)
def test_integers(text: str, value: int) -> None:
    assert run(SMALL, "-n", text, "1").accepted.number == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "Invalid value for option --number"),
        ("x", "Invalid value for option --number (x)"),
        ("- 1", "Invalid value for option --number (- 1)"),
        ("+-1", "Invalid value for option --number (+-1)"),
        ("-", "Invalid value for option --number (-)"),
        ("٣", "Invalid value for option --number (٣)"),
        ("-2", "Invalid value for option --number (underflow: -2)"),
        ("10z", "Invalid value for option --number (overflow: 10z)"),
        ("9" * 5000, f"Invalid value for option --number (overflow: {'9' * 5000})"),
    ],
)
def test_refused_integers(text: str, error: str) -> None:
    assert run(SMALL, "-n", text, "1").error == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("-3", "Invalid value for option --unsigned (-3)"),
        (" -3", "Invalid value for option --unsigned ( -3)"),
        ("1", "Invalid value for option --unsigned (underflow: 1)"),
        ("10", "Invalid value for option --unsigned (overflow: 10)"),
    ],
)
def test_refused_unsigned_integers(text: str, error: str) -> None:
    assert run(SMALL, "-u", text, "1").error == error


def test_a_multiple_is_rounded_down_to() -> None:
    assert run(SMALL, "-u", "7", "1").accepted.unsigned == 6


def test_values_are_taken_as_they_stand() -> None:
    options = run(SMALL, "-t", "-v", "", "-m", "--many", "-m", "@", "1").accepted
    assert options.two == ("-v", "")
    assert options.many == ["--many", "@"]
    assert options.verbosity is None


def test_the_rightmost_occurrence_counts_and_others_are_not_checked() -> None:
    assert run(SMALL, "-n", "x", "1", "-n", "3").accepted.number == 3
    assert run(SMALL, "-n", "3", "1", "-n", "x").error == "Invalid value for option --number (x)"


def test_defaults() -> None:
    options = run(SMALL, "1").accepted
    assert vars(options) == {
        "log_level": "warn",
        "help": False,
        "version": False,
        "arguments": False,
        "verbosity": None,
        "log_config": None,
        "verbose_pc": False,
        "letters": "alpha",
        "gamma": None,
        "lone": False,
        "number": 5,
        "unsigned": None,
        "two": None,
        "many": [],
        "needy": False,
        "default_needy": False,
        "port": 1,
    }


def test_the_rightmost_of_a_block_wins() -> None:
    assert run(SMALL, "-a", "-g", "x", "1").accepted.letters == "gamma"
    assert run(SMALL, "-a", "-g", "x", "1").accepted.gamma == "x"
    loser = run(SMALL, "-g", "x", "-b", "1").accepted
    assert (loser.letters, loser.gamma) == ("beta", None)


def test_a_loser_is_checked_only_if_nothing_before_it_in_the_table_stands_to_its_right() -> None:
    assert run(SMALL, "-l", "-b", "-a", "1").accepted.letters == "alpha"
    refused = "--beta not allowed with --lone"
    assert run(SMALL, "-l", "-a", "-b", "1").error == refused
    assert run(SMALL, "-l", "-b", "-g", "x", "1").error == refused
    assert run(SMALL, "-l", "-g", "x", "-b", "1").error == refused


def test_needs() -> None:
    error = "--needy only allowed with --lone, --gamma or --two"
    assert run(SMALL, "--needy", "1").error == error
    assert run(SMALL, "--needy", "-g", "x", "-a", "1").error == error
    assert run(SMALL, "--needy", "-g", "x", "1").accepted.needy is True
    assert run(SMALL, "--default-needy", "1").accepted.default_needy is True
    assert run(SMALL, "--default-needy", "-b", "1").error == (
        "--default-needy only allowed with --alpha"
    )


def test_hooks_are_called_in_the_midst_of_the_evaluation() -> None:
    seen: list[tuple[str, object]] = []
    hooks: dict[str, cmdline.Hook] = {
        "beta": lambda options: seen.append(("beta", options.number)),
        "number": lambda options: seen.append(("number", (options.letters, options.number))),
        "lone": lambda options: seen.append(("lone", None)),
    }
    run(SMALL, "-n", "7", "-b", "1", hooks=hooks)
    assert seen == [("beta", 5), ("number", ("beta", 7))]


def test_a_hook_may_refuse() -> None:
    def refuse(options: cmdline.Options) -> None:
        raise cmdline.UsageError(f"{options.number} is not to my taste")

    assert run(SMALL, "-n", "7", "1", hooks={"number": refuse}).error == "7 is not to my taste"


def test_help_goes_before_version_and_neither_counts_parameters() -> None:
    outcome = run(SMALL, "--version", "1", "2", "-h", "-n", "x")
    assert outcome.status == 0
    assert "usage: small" in outcome.out
    version = run(SMALL, "--version", "1", "2")
    assert (version.status, version.err) == (0, "")
    lines = version.out.splitlines()
    assert lines[1:4] == ["", "small: a small program", ""]
    assert [line.split(":")[0] for line in lines[4:7]] == [
        "Host type",
        "Character encoding",
        "Build options",
    ]
    assert lines[7:9] == ["", "External libraries used:"]
    assert lines[9].startswith("- Python, Version 3.")


def test_help_layout() -> None:
    lines = run(SMALL, "-h").out.splitlines()
    assert lines[1:9] == [
        "",
        "small: a small program",
        "usage: small [options] [port]",
        "",
        "parameters:",
        "  port                  where to",
        "",
        "general options:",
    ]
    at = lines.index("small options:")
    assert lines[at + 1 : at + 7] == [
        "  -a      --alpha          first (default)",
        "  -b      --beta           second",
        "  -g      --gamma          [w]ord: string",
        "                           third, w",
        "  -l      --lone           lone",
        "  -n      --number         [n]umber: integer -1..9 (default: 5)",
    ]


def test_a_closed_pipe_ends_the_help_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from storescu.options import PROGRAM; from dcmstore import cmdline; "
    done = subprocess.run(
        [sys.executable, "-c", code + "cmdline.parse(PROGRAM, ['storescu', '-h'])"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("program", ["storescpd", "storescu"])
@pytest.mark.parametrize("option", ["--help", "--version", "--list-ciphers", "--list-profiles"])
def test_no_room_for_what_was_asked_for(program: str, option: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", program, option],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert error_text(done.stderr) == "Cannot write to standard output: No space left on device"
    assert "Traceback" not in done.stderr


def test_a_command_file_with_what_no_argument_holds(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"7\0")
    assert (
        run(SMALL, f"@{tmp_path}/file").error == f"NUL character in command file '{tmp_path}/file'"
    )


def test_a_command_file_may_stand_for_a_value(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("7 -l")
    options = run(SMALL, "-n", f"@{tmp_path}/file", "1").accepted
    assert (options.number, options.lone) == (7, True)


def test_arguments_are_shown_even_in_quiet_mode() -> None:
    outcome = run(SMALL, "--arguments", "-q", "-t", "-v", "", "1", "-n", "a\nb", called="/x/tiny")
    assert outcome.err == (
        "I: calling '/x/tiny' with 8 arguments: "
        "'--arguments' '--quiet' '--two' '-v' '1' '--number' 'a\nI: b' \nI: \n"
    )
    assert outcome.status == 1


def test_passwords_are_not_shown() -> None:
    """Whoever they are for; the reference shows them."""
    for program, arguments in (
        (RECEIVER, ["+tls", "key", "cert", "+pw", "s3cret", "11112"]),
        (SENDER, ["-usr", "joe", "-pwd", "s3cret", "peer", "104", "file"]),
    ):
        outcome = run(program, "--arguments", *arguments)
        assert outcome.accepted
        assert "password' '***' " in outcome.err.replace("passwd", "password")
        assert "s3cret" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ([], "warn"),
        (["-q"], "fatal"),
        (["-v"], "info"),
        (["-d"], "debug"),
        (["-d", "-v"], "info"),
        (["-v", "-d"], "debug"),
        (["-ll", "TRACE"], "trace"),
        (["-ll", "All"], "all"),
        (["-ll", "off"], "off"),
    ],
)
def test_log_levels(arguments: list[str], level: str) -> None:
    assert run(SMALL, *arguments, "1").accepted.log_level == level


@pytest.mark.parametrize("arguments", [["-q"], ["-ll", "fatal"], ["-ll", "off"]])
def test_quiet_mode_hides_errors_found_after_it(arguments: list[str]) -> None:
    assert run(SMALL, *arguments, "1", "-n", "x")[1:] == (1, "", "")
    assert run(SMALL, *arguments, "0").error == "Invalid parameter value 0 (underflow)"
    assert run(SMALL, *arguments, "--what").error == "Unknown option --what"
    assert run(SMALL, "-ll", "error", "1", "-n", "x").error


def test_log_level_conflicts() -> None:
    verbosity = "--log-level not allowed with --verbose, --debug or --quiet"
    assert run(SMALL, "-q", "-ll", "x", "1").error == verbosity
    assert run(SMALL, "-ll", "x", "1").error == "Invalid log level for --log-level option"
    assert run(SMALL, "-ll", "", "1").error == "Invalid log level for --log-level option"
    assert run(SMALL, "-lc", "f", "-ll", "info", "1").error == (
        "--log-config not allowed with --log-level"
    )
    assert run(SMALL, "-v", "-lc", "f", "1").error == (
        "--log-config not allowed with --verbose, --debug or --quiet"
    )


@pytest.mark.parametrize("arguments", [["-v"], ["-d"], ["-ll", "info"], ["-ll", "trace"]])
def test_verbose_pc_needs_info(arguments: list[str]) -> None:
    assert run(SMALL, "+v", *arguments, "1").accepted.verbose_pc is True
    assert run(SMALL, "+v", "1").error == "--verbose-pc only allowed with verbose mode"
    assert (
        run(SMALL, "+v", "-ll", "warn", "1").error == "--verbose-pc only allowed with verbose mode"
    )


def test_the_identifier_is_the_first_debug_message() -> None:
    first, *rest = run(SMALL, "-d", "1", called="tiny").err.split("\n")
    assert first.startswith("D: $storescpd: tiny v")
    assert rest == ["D: ", ""]
    assert run(SMALL, "-v", "1").err == ""

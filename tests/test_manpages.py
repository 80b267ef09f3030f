"""The man pages say what the option tables, the code and the log say, and mandoc likes them."""

import ast
import os
import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import pytest
from harness import manpage
from harness.logconfigs import Told
from harness.manpage import Item

from dcmstore import (
    logconfig,
    logfiles,
    logfilters,
    loglayouts,
    logpattern,
    logproperties,
    logs,
    logsyslog,
    profiles,
)
from dcmstore.arguments import CommandLine
from dcmstore.logappenders import Setting
from dcmstore.optiontable import INT_MAX, KEYWORD, OCTAL, STRING, Option, Program
from storescpd import hooks
from storescpd.options import PROGRAM as RECEIVER
from storescu.options import PROGRAM as SENDER

ROOT = manpage.DIRECTORY.parent
PROGRAMS = {"storescpd.8": RECEIVER, "storescu.1": SENDER}

# Pages of others that ours refer to, and the Debian packages that bring them.
FOREIGN = {
    "fnmatch(3)": "manpages-dev",
    "hosts_access(5)": "libwrap0",
    "inetd(8)": "openbsd-inetd",
    "journalctl(1)": "systemd",
    "nohup(1)": "coreutils",
    "open(2)": "manpages-dev",
    "openssl-ca(1)": "openssl",
    "openssl-rehash(1)": "openssl",
    "ps(1)": "procps",
    "sd_listen_fds(3)": "libsystemd-dev",
    "sd_notify(3)": "libsystemd-dev",
    "sh(1)": "dash",
    "strftime(3)": "manpages-dev",
    "syslog(3)": "manpages-dev",
    "umask(2)": "manpages-dev",
    "xinetd(8)": "xinetd",
}

OPTIONS = [
    pytest.param(name, row, id=f"{name}:{row.name}")
    for name, program in PROGRAMS.items()
    for row in program.rows()
]


@pytest.fixture(autouse=True, scope="module")
def _mandoc() -> None:
    if shutil.which("mandoc"):
        return
    if os.geteuid() == 0:
        pytest.fail("the package mandoc is missing; `make check` installs it")
    pytest.skip("mandoc is not installed, and only root can install it")


@cache
def page(name: str) -> manpage.Page:
    return manpage.read(manpage.DIRECTORY / name)


@cache
def documented(name: str) -> dict[str, Item]:
    """The items of the page's option lists, by long name."""
    found: dict[str, Item] = {}
    for item in page(name).items:
        if item.section == "OPTIONS" and item.codes:
            assert item.codes[-1] not in found, f"{item.codes[-1]} is there twice"
            found[item.codes[-1]] = item
    return found


@cache
def texts_of_the_code() -> tuple[str, ...]:
    """All text that the code can say, with ``{}`` where it puts values."""
    texts = []
    for package in ("dcmstore", "storescpd", "storescu"):
        for path in (ROOT / package).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                texts.append(template(node))
    return tuple(text for text in texts if len(re.findall("[A-Za-z]", text)) > 3)


def template(node: ast.AST) -> str:
    """A string of the source as one line; empty for any other piece of code."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        text = template(node.left) + "{}"
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        text = "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"%[-+#0-9.]*[a-z]", "{}", node.value)
    else:
        return ""
    return " ".join(text.split())


def says(text: str, said: str) -> bool:
    """Tell whether a text of the code, with values in it, can read like this."""
    return bool(pattern(text).fullmatch(said) or pattern(text).fullmatch(said + " x"))


@cache
def pattern(text: str) -> re.Pattern[str]:
    """What a text of the code looks like with values in it."""
    return re.compile(re.escape(text).replace(r"\{\}", ".*"))


@pytest.mark.parametrize("path", manpage.pages(), ids=lambda path: path.name)
def test_mandoc_has_no_objections(path: Path) -> None:
    assert manpage.lint(path) == []


@pytest.mark.parametrize("path", manpage.pages(), ids=lambda path: path.name)
def test_references_lead_somewhere(path: Path) -> None:
    ours = {f"{p.stem}({p.suffix[1:]})" for p in manpage.pages()}
    unknown = page(path.name).references - ours - FOREIGN.keys()
    assert not unknown


@pytest.mark.parametrize(("name", "program"), PROGRAMS.items())
def test_no_option_is_made_up(name: str, program: Program) -> None:
    assert set(documented(name)) == {row.long for row in program.rows()}


@pytest.mark.parametrize(("name", "row"), OPTIONS)
def test_option_is_described_as_it_is(name: str, row: Option) -> None:
    item = documented(name)[row.long]
    names = [row.short, row.long] if row.short else [row.long]
    values = [value.name.replace(" ", "-") for value in row.values]
    assert list(item.codes) == names
    assert " ".join(item.arguments).split() == values
    assert item.term == " ".join([", ".join(names), *values])
    assert item.text


@pytest.mark.parametrize(("name", "row"), OPTIONS)
def test_default_is_told(name: str, row: Option) -> None:
    text = documented(name)[row.long].text
    default = row.default_text or row.default
    if default is None or default is True:
        assert ("This is the default." in text) == (default is True or "(default)" in row.help)
        return
    for part in str(default).split("; "):
        assert re.search(rf"[Dd]efault[^.]*\W{re.escape(part)}\W", text)


@pytest.mark.parametrize(("name", "row"), OPTIONS)
def test_values_are_told(name: str, row: Option) -> None:
    text = documented(name)[row.long].text
    for value in row.values:
        number = "{:o}" if value.kind == OCTAL else "{}"
        low, high = number.format(value.low), number.format(value.high)
        if value.kind == KEYWORD:
            assert re.findall(r"‘(\w+)’", text)[: len(value.words)] == list(value.words)
        elif value.kind != STRING and value.high == INT_MAX:
            assert f"{low} or more" in text.replace("−", "-")
        elif value.kind != STRING:
            assert f"from {low} to {high}" in text
    assert ("repeated" in text) == row.repeatable


@pytest.mark.parametrize(("name", "program"), PROGRAMS.items())
def test_parameters_are_described(name: str, program: Program) -> None:
    told = [i.term for i in page(name).items if i.section == "OPTIONS" and not i.codes]
    assert told == [parameter.name for parameter in program.parameters]


@pytest.mark.parametrize("path", manpage.pages(), ids=lambda path: path.name)
def test_examples_are_command_lines(path: Path) -> None:
    for _, text in page(path.name).displays:
        for line in text.replace("\\\n", " ").splitlines():
            check_command(line.removeprefix("$ ").removeprefix("# "))


def check_command(text: str) -> None:
    """Hold a command line of ours against the tables, and the commands that it runs in turn."""
    if not re.match("storesc(pd|u) ", text):
        return
    name, *words = shlex.split(text)
    line = CommandLine(RECEIVER if name == "storescpd" else SENDER)
    line.add(words)
    given = line.last.keys()
    if name == "storescu":
        assert len(line.parameters) > 2, text
    elif given.isdisjoint({"--inetd", "--inetd-wait", "--conf"}):
        assert len(line.parameters) == 1, text
    for option in given & {"--exec-on-reception", "--exec-on-eostudy"}:
        check_command(line.last[option].values[0])


def test_profile_examples_can_be_used(tmp_path: Path) -> None:
    displays = page("storescp.cfg.5").displays
    assert displays
    pieces = [text for section, text in displays if section == "DESCRIPTION"]
    whole = ["\n".join(pieces)]
    whole += [text for section, text in displays if section == "EXAMPLES" and "[[" in text]
    assert len(whole) == 3
    for text in whole:
        (tmp_path / "example.cfg").write_text(text + "\n")
        loaded = profiles.load(str(tmp_path / "example.cfg"), 128)
        for name in loaded:
            assert loaded[name].contexts


def test_hook_environment_is_described() -> None:
    everything = hooks.Facts(*["x"] * len(hooks.Facts._fields))
    known = {name.decode() for name in hooks.environment(everything)} - set(os.environ)
    told = {
        item.term for item in page("storescpd-hooks.7").items if item.subsection == "Environment"
    }
    assert told == known


LOG_PAGE = "storescpd-logging.5"


def log_terms(subsection: str) -> list[str]:
    return [
        item.term
        for item in page(LOG_PAGE).items
        if (item.section, item.subsection) == ("CONFIGURATION FILE", subsection)
    ]


def test_log_configuration_examples_can_be_used(tmp_path: Path) -> None:
    examples = [text for _, text in page(LOG_PAGE).displays if "log4cplus." in text]
    assert len(examples) == 4
    for text in examples:
        (tmp_path / "log.cfg").write_text(text.replace("/var/log/storescpd", str(tmp_path)) + "\n")
        told = Told()
        properties = logproperties.read(str(tmp_path / "log.cfg"), "storescpd", told)
        root = properties.text(logproperties.ROOT).split(", ")
        assert logproperties.level(root[0]) is not None
        appenders = properties.subset("log4cplus.appender.")
        names = {name for name in appenders.names() if "." not in name}
        setting = Setting("storescpd", "/", told, rehearsed=True)
        for name in names:
            logconfig.make(appenders.text(name), appenders.subset(name + "."), setting)
        named = set(root[1:])
        for logger in ("dcmtk.dcmnet",):
            named |= set(properties.text(f"log4cplus.logger.{logger}").split(", ")[1:])
        assert names == named
        assert told.lines == []


def test_log_configuration_types_are_described() -> None:
    appenders = {name.removeprefix("log4cplus::") for name in logconfig._FACTORIES}
    assert set(log_terms("Appenders")) == appenders | {"AsyncAppender"}
    layouts = {name.removeprefix("log4cplus::") for name in loglayouts._FACTORIES}
    assert set(log_terms("Layouts")) == layouts
    filters = {name.removeprefix("log4cplus::spi::") for name in logfilters._FACTORIES}
    assert set(log_terms("Filters")) == filters
    text = page(LOG_PAGE).sections["CONFIGURATION FILE"]
    for schedule in logfiles._SCHEDULES:
        assert f" {schedule} ." in " ".join(text.split())
    for conversion in logpattern._KINDS:
        assert re.search(rf"%{conversion}\b", text), conversion
    for level in logs.LEVELS:
        assert f"‘{level.upper()}’" in text
    facilities = set(logsyslog._FACILITIES)
    told = set(re.findall(r"‘(\w+)’", text))
    assert facilities - told == {f"local{number}" for number in range(1, 7)}


def properties_of_the_code() -> set[str]:
    """The keys that modules about logging read."""
    found: set[str] = set()
    for path in (ROOT / "dcmstore").glob("log*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("text", "flag", "number", "level")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found


def test_log_configuration_properties_are_described() -> None:
    known = properties_of_the_code()
    assert {"File", "Threshold", "AcceptOnMatch", "quietMode"} <= known
    text = page(LOG_PAGE).sections["CONFIGURATION FILE"]
    assert not {name for name in known if not re.search(rf"\b{name}\b", text)}


def complaints_of_the_code() -> set[str]:
    """What modules about logging complain of, with ``{}`` where they put values."""
    found: set[str] = set()
    for path in (ROOT / "dcmstore").glob("log*.py"):
        said: list[ast.AST] = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in ("error", "warn", "fail", "trouble", "UsageError"):
                    said.append(node.args[0])
            if isinstance(node, ast.FunctionDef) and node.name == "trouble":
                said += [one for one in ast.walk(node) if isinstance(one, ast.Return)]
        found |= {template(part) for one in said for part in ast.walk(one)}
    return {text for text in found if re.search("[A-Za-z]{3}", text)}


def test_log_configuration_faults_are_described() -> None:
    """What the code complains of is told, and what is told the code complains of."""
    told = log_terms("Faults")
    complaints = complaints_of_the_code()
    assert len(complaints) > 30
    assert not {text for text in complaints if not any(pattern(text).search(line) for line in told)}
    for line in told:
        assert any(pattern(text).search(line) for text in complaints), line


# Where pages tell what the programs say.
LINES = {
    "storescpd-logging.5": "LOG LINES",
    "storescpd-hooks.7": "DIAGNOSTICS",
    "storescp.cfg.5": "DIAGNOSTICS",
}


def lines(name: str) -> list[str]:
    """What the page says that the programs say, without the letters of the levels."""
    terms = [i.term for i in page(name).items if i.section == LINES[name] and i.codes]
    return [re.sub("^[FEWIDT]: ", "", term) for term in terms]


@pytest.mark.parametrize("name", LINES)
def test_lines_are_those_of_the_code(name: str) -> None:
    told = lines(name)
    assert len(told) > 4
    heads = {text.split("{}")[0] for text in texts_of_the_code()}
    for line in told:
        if any(says(text, line) for text in texts_of_the_code()):
            continue
        # Not told to its end.
        start = line.split("...")[0].rstrip(":")
        assert start != line, line
        assert any(
            len(head) > 8 and (start.startswith(head) or head.startswith(start)) for head in heads
        ), line


# At level debug these go without their parenthesis.
SHORTENED = {"Received Echo Request", "Received Store Request", "Received Store Response"}


@pytest.mark.parametrize("name", ["DaemonError", "DictionaryError"])
def test_every_line_that_ends_a_start_is_told(name: str) -> None:
    told = [line for page_name in LINES for line in lines(page_name)]
    raised = []
    for package in ("dcmstore", "storescpd"):
        for path in (ROOT / package).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                    raised.append(template(node.args[0]))
    assert raised
    assert [text for text in raised if not any(says(text, line) for line in told)] == []


def test_every_line_of_the_programs_is_told() -> None:
    told = [line for name in LINES for line in lines(name)]
    missing = []
    for package in ("storescpd", "storescu"):
        for path in (ROOT / package).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                if node.func.attr in ("info", "warning", "error", "critical") and node.args:
                    text = template(node.args[0])
                    if re.search("[A-Za-z]", text) and not any(says(text, one) for one in told):
                        missing.append(text)
    assert not set(missing) - SHORTENED

"""The reference's rulings on command lines, and that ours are the same."""

import subprocess
from pathlib import Path

import pytest
from harness.cmdlines import run, run_reference
from harness.receivers import dcmtk

from storescpd.options import PROGRAM as STORESCP
from storescu.options import PROGRAM as STORESCU

COMMAND_FILES = [
    ("a b\tc\rd\ne", ["a", "b", "c", "d", "e"]),
    ("  ", []),
    ("a\vb\fc", ["a\vb\fc"]),
    ("""'a b' "c 'd" 'e "f'""", ["a b", "c 'd", 'e "f']),
    ("""a"b"c x"" y'z'""", ["ab", "c", "x", "yz"]),
    ("""x '' "" y""", ["x", "", "", "y"]),
    ("x 'a\nb  c", ["x", "a\nb  c"]),
    ('x "', ["x"]),
    ('x a"', ["x", "a"]),
    ("@x # '@y' \\ \\'z'", ["@x", "#", "@y", "\\", "\\z"]),
    ("""a"b'c"d'e"f'g""", ["ab'c", 'de"f', "g"]),
    ("-", ["-"]),
    ("ä", ["ä"]),
]


@pytest.mark.parametrize(("content", "expected"), COMMAND_FILES)
def test_command_files(tmp_path: Path, content: str, expected: list[str]) -> None:
    (tmp_path / "file").write_bytes(content.encode())
    options = run(STORESCU, "peer", "1", "file", f"@{tmp_path}/file", "end").accepted
    assert options.dcmfile_in == ["file", *expected, "end"]


@pytest.mark.parametrize(("content", "expected"), COMMAND_FILES)
def test_the_reference_splits_command_files_so(
    tmp_path: Path, content: str, expected: list[str], reference: str
) -> None:
    (tmp_path / "file").write_bytes(content.encode())
    arguments = ["--arguments", "-ta", "0", "peer", "1", "x", "@file"]
    done = subprocess.run(
        [dcmtk("storescu"), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    shown = "".join(f"'{argument}' " for argument in ["peer", "1", "x", *expected] if argument)
    first = done.stderr.split("$dcmtk")[0].replace("\nI: ", "\n")
    assert first == (
        f"I: calling '{dcmtk('storescu')}' with {6 + len(expected)} arguments: "
        f"'--arguments' '--acse-timeout' '0' {shown}\n\n"
    )


PROGRAMS = {"storescp": STORESCP, "storescu": STORESCU}

# What the reference refuses. Where the point is that it accepts something, another fault follows.
REFUSED = [
    ("storescp", ["-h", "--what"]),
    ("storescp", ["-aet", "-v", "-h", "-x"]),
    ("storescp", ["1", "2"]),
    ("storescp", ["-ta", "5"]),
    ("storescp", ["0"]),
    ("storescp", ["65536"]),
    ("storescp", ["-5"]),
    ("storescp", ["x"]),
    ("storescp", [""]),
    ("storescp", ["@"]),
    ("storescp", ["@missing", "--what"]),
    ("storescp", ["11x", "-ta", "0"]),
    ("storescp", ["+5", "-ta", "0"]),
    ("storescp", ["11234", "-ta", ""]),
    ("storescp", ["11234", "-ta", "x"]),
    ("storescp", ["11234", "-ta", " -5x"]),
    ("storescp", ["11234", "-ta", "5", "-pdu", " -5"]),
    ("storescp", ["11234", "-pdu", "+x"]),
    ("storescp", ["11234", "-pdu", "0x4000"]),
    ("storescp", ["11234", "-pdu", "131073", "-ta", "0", "-ta", "1"]),
    ("storescp", ["11234", "+B", "+te", "+t=", "-ta", "0"]),
    ("storescp", ["11234", "+B", "+te", "+tb"]),
    ("storescp", ["11234", "+B", "+tb", "+te"]),
    ("storescp", ["11234", "-p", "+p", "1", "1", "-F"]),
    ("storescp", ["11234", "+p", "1", "1", "-p", "-F", "+ps"]),
    ("storescp", ["11234", "-ss", "a", "-sp", "+B"]),
    ("storescp", ["11234", "-q", "-ta", "0"]),
    ("storescp", ["11234", "-ll", "off", "-ta", "0"]),
    ("storescp", ["11234", "-q", "-ll", "x"]),
    ("storescp", ["11234", "+v"]),
    ("storescp", ["-rc", "11234", "+pa", "+ws", "-tos", "1"]),
    ("storescp", ["-rc", "11234", "+pa", "+ws"]),
    ("storescp", ["-rc", "11234", "+pa", "+cf", "x"]),
    ("storescp", ["+cf", "x", "11234", "+pa"]),
    ("storescu", ["-q"]),
    ("storescu", ["peer"]),
    ("storescu", ["peer", "x"]),
    ("storescu", ["peer", "x", "file"]),
    ("storescu", ["peer", "1", "file", "-usr", "u", "-pwd", "p", "-epw"]),
    ("storescu", ["peer", "1", "file", "-pwd", "p", "-epw"]),
    ("storescu", ["peer", "1", "file", "-epw", "-pwd", "p", "+ps"]),
    ("storescu", ["peer", "1", "file", "+cl", "10"]),
    ("storescu", ["peer", "1", "file", "+cl", "10", "-xd"]),
    ("storescu", ["peer", "1", "file", "--repeat", "-1", "-to", "0"]),
]


@pytest.mark.parametrize(("name", "arguments"), REFUSED)
def test_the_reference_refuses_in_the_same_words(
    name: str, arguments: list[str], reference: str, tmp_path: Path
) -> None:
    outcome = run(PROGRAMS[name], *arguments, called=name)
    assert outcome.status == 1
    assert (1, outcome.error) == run_reference(name, *arguments, directory=str(tmp_path))

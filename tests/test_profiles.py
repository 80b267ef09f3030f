"""Association negotiation profiles: what loads, what is refused, and in whose words.

Each faulty file is also given to the reference, which must find the same first fault.
"""

import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from harness.objects import small, write_part10
from harness.processes import free_port
from harness.receivers import dcmtk
from hypothesis import given
from hypothesis import strategies as st

from dcmstore.profiles import Profile, ProfileError, Profiles, load
from dcmstore.uids import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXAMPLES = Path(__file__).parent.parent / "etc"

TS = "[[TransferSyntaxes]]\n[u]\nTransferSyntax1 = LittleEndianImplicit\n"
PC = "[[PresentationContexts]]\n[c]\nPresentationContext1 = CTImageStorage\\u\n"
PR = "[[Profiles]]\n[p]\nPresentationContexts = c\n"
ROLE = "SCPSCURoleSelection = r\n"
EXT = "ExtendedNegotiation = e\n"


def syntaxes(entries: str) -> str:
    return "[[TransferSyntaxes]]\n[u]\n" + entries + PC + PR


def contexts(*values: str) -> str:
    lines = (f"PresentationContext{i} = {value}\n" for i, value in enumerate(values, 1))
    return TS + "[[PresentationContexts]]\n[c]\n" + "".join(lines) + PR


def roles(*values: str) -> str:
    lines = (f"Role{i} = {value}\n" for i, value in enumerate(values, 1))
    return TS + PC + "[[SCPSCURoleSelection]]\n[r]\n" + "".join(lines) + PR + ROLE


def extended(*values: str) -> str:
    lines = (f"ExtendedNegotiation{i} = {value}\n" for i, value in enumerate(values, 1))
    return TS + PC + "[[ExtendedNegotiation]]\n[e]\n" + "".join(lines) + PR + EXT


def loaded(folder: Path, text: str, limit: int | None = None) -> Profiles:
    file = folder / "profiles.cfg"
    file.write_bytes(text.encode())
    return load(str(file), limit)


def profile(folder: Path, text: str) -> Profile:
    return loaded(folder, text)["p"]


# A file that loads, and the one transfer syntax list in it that tells how it was read.
GOOD = {
    "plain": (TS + PC + PR, [IMPLICIT_LITTLE]),
    "CR LF": ((TS + PC + PR).replace("\n", "\r\n"), [IMPLICIT_LITTLE]),
    "no last newline": ((TS + PC + PR)[:-1], [IMPLICIT_LITTLE]),
    "indented": (syntaxes("   TransferSyntax1 = 1.2\n"), ["1.2"]),
    "insignificant characters": (
        "[[Transfer Syntaxes]]\n[ U ! ]\ntransfer Syntax!1 = 1.2\n" + PC + PR,
        ["1.2"],
    ),
    "value on the next line": (syntaxes("TransferSyntax1 =\n\n  1.2\n"), ["1.2"]),
    "entry behind a section": (
        "[[TransferSyntaxes]]\n[u] TransferSyntax1 = 1.2\n" + PC + PR,
        ["1.2"],
    ),
    "comments": (syntaxes("# one\nTransferSyntax1 = 1.2\n#[[two\n"), ["1.2"]),
    "symbolic with =": (syntaxes("TransferSyntax1 = =LittleEndianExplicit\n"), [EXPLICIT_LITTLE]),
    "local and opposite": (
        syntaxes("TransferSyntax1=LocalEndianExplicit\nTransferSyntax2=OppositeEndianExplicit\n"),
        [EXPLICIT_LITTLE, EXPLICIT_BIG],
    ),
    "gap ends the list": (syntaxes("TransferSyntax1 = 1.2\nTransferSyntax3 = Bad\n"), ["1.2"]),
    "first keyword counts": (syntaxes("TransferSyntax1=1.2\nTransferSyntax1=Bad\n"), ["1.2"]),
    "lists of a name join": (
        syntaxes("TransferSyntax1 = 1.2\n[U]\nTransferSyntax1 = 1.3\n"),
        ["1.2", "1.3"],
    ),
    "first super-section counts": (
        TS + "[[TransferSyntaxes]]\n[v]\nTransferSyntax1 = Bad\n" + PC + PR,
        [IMPLICIT_LITTLE],
    ),
    "entries outside of sections": (
        "x\n=y\n[z]\na=b\n[[TransferSyntaxes]]\nTransferSyntax1 = Bad\n[u]\nTransferSyntax1=1.2\n"
        + PC + PR,
        ["1.2"],
    ),
    "brackets too many": (
        "[[[TransferSyntaxes]]]\n[u]]\nTransferSyntax1 = 1.2\n" + PC + PR,
        ["1.2"],
    ),
    "rubbish at the end": (TS + PC + PR + "foo", [IMPLICIT_LITTLE]),
    "blanks around a key": (contexts("CTImageStorage\\ u "), [IMPLICIT_LITTLE]),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_files_load(name: str, tmp_path: Path) -> None:
    text, expected = GOOD[name]
    assert profile(tmp_path, text).contexts == ((CT, tuple(expected)),)


BAD = {
    "empty file": ("", "0006:041a", "cannot find section [[TRANSFERSYNTAXES]] in config file"),
    "no contexts": (
        TS + PR, "0006:041b", "cannot find section [[PRESENTATIONCONTEXTS]] in config file",
    ),
    "no profiles": (TS + PC, "0006:0424", "cannot find section [[PROFILES]] in config file"),
    "unknown syntax": (
        syntaxes("TransferSyntax1 = Foo\n"), "0006:0400", "not a valid transfer syntax UID: Foo",
    ),
    "trailing blank": (
        syntaxes("TransferSyntax1 = 1.2 \n"), "0006:0400", "not a valid transfer syntax UID: 1.2 ",
    ),
    "comment in a value": (
        syntaxes("TransferSyntax1 = 1.2 # x\n"),
        "0006:0400", "not a valid transfer syntax UID: 1.2 # x",
    ),
    "empty syntax": (
        syntaxes("TransferSyntax1 = \n"), "0006:0400", "not a valid transfer syntax UID: ",
    ),
    "continuation": (
        syntaxes("TransferSyntax1 = 1.2\n# c\n\n  TransferSyntax2 = 1.3\n"),
        "0006:0400", "not a valid transfer syntax UID: 1.2\nTransferSyntax2 = 1.3",
    ),
    "= before a number": (
        syntaxes("TransferSyntax1 = =1.2\n"), "0006:0400", "not a valid transfer syntax UID: =1.2",
    ),
    "case of a symbolic name": (
        syntaxes("TransferSyntax1 = littleendianimplicit\n"),
        "0006:0400", "not a valid transfer syntax UID: littleendianimplicit",
    ),
    "unused list": (
        syntaxes("TransferSyntax1 = 1.2\n[v]\nTransferSyntax1 = x\n"),
        "0006:0400", "not a valid transfer syntax UID: x",
    ),
    "unclosed section": (
        "[[TransferSyntaxes]]\n[u\nTransferSyntax1 = 1.2\n" + PC + PR,
        "0006:041b", "cannot find section [[PRESENTATIONCONTEXTS]] in config file",
    ),
    "no backslash": (
        contexts("CTImageStorage"),
        "0006:041c", "syntax error: missing '\\' in entry PRESENTATIONCONTEXT1 in config file",
    ),
    "unknown abstract syntax": (
        contexts("CTImageStorage\\u", "Bar\\u"),
        "0006:0401", "not a valid abstract syntax UID: Bar",
    ),
    "blank before the backslash": (
        contexts("CTImageStorage \\ u"),
        "0006:0401", "not a valid abstract syntax UID: CTImageStorage ",
    ),
    "undefined syntax list": (
        contexts("Bar\\Foo Bar!"), "0006:0407", "transfer syntax key undefined: FOOBAR!",
    ),
    "empty syntax list": (syntaxes(""), "0006:0407", "transfer syntax key undefined: U"),
    "undefined contexts": (
        TS + PC + PR.replace("= c", "= x y"),
        "0006:0409", "presentation context key undefined: XY",
    ),
    "empty contexts": (contexts(), "0006:0409", "presentation context key undefined: C"),
    "profile without contexts": (
        TS + PC + PR.replace("PresentationContexts", "Foo"),
        "0006:0425", "no PRESENTATIONCONTEXTS  entry in section P in config file",
    ),
    "role without backslash": (
        roles("CTImageStorage"),
        "0006:041d", "syntax error: missing '\\' in entry ROLE1 in config file",
    ),
    "unknown role": (
        roles("CTImageStorage\\SCP", "Bar\\ SCP"),
        "0006:041e", "syntax error: unknown role key in entry ROLE2 in config file",
    ),
    "role of an unknown class": (
        roles("Bar\\SCP"), "0006:0402", "not a valid abstract syntax UID: Bar",
    ),
    "role twice": (
        roles("CTImageStorage\\SCP", "=CTImageStorage\\SCU"),
        "0006:0403", "role selection defined twice for abstract syntax UID: =CTImageStorage",
    ),
    "undefined roles": (TS + PC + PR + ROLE, "0006:040a", "role selection key undefined: R"),
    "empty roles": (roles(), "0006:040a", "role selection key undefined: R"),
    "role without context": (
        roles("MRImageStorage\\SCP") + EXT,
        "0006:040c", "abstract syntax defined in role selection list 'R'"
        f" but not in presentation context list 'C': {MR}",
    ),
    "extended without backslash": (
        extended("CTImageStorage"),
        "0006:041f", "syntax error: missing '\\' in entry EXTENDEDNEGOTIATION1 in config file",
    ),
    "odd digits": (
        extended("Bar\\020"), "0006:0421",
        "parse error in extended negotiation data in entry EXTENDEDNEGOTIATION1 in config file",
    ),
    "not hexadecimal": (
        extended("CTImageStorage\\02 01"), "0006:0421",
        "parse error in extended negotiation data in entry EXTENDEDNEGOTIATION1 in config file",
    ),
    "extended data too long": (
        extended("CTImageStorage\\" + "11" * 1025), "0006:0422",
        "extended negotiation data too long, cannot handle > 1024 bytes"
        " in entry EXTENDEDNEGOTIATION1 in config file",
    ),
    "extended data of an unknown class": (
        extended("Bar\\02"), "0006:0404", "not a valid abstract syntax UID: Bar",
    ),
    "extended data twice": (
        extended("CTImageStorage\\02", "CTImageStorage\\03"),
        "0006:0405", "extended negotiation defined twice for abstract syntax UID: CTImageStorage",
    ),
    "undefined extended": (
        TS + PC + PR + EXT, "0006:040b", "extended negotiation key undefined: E",
    ),
    "extended without context": (
        extended("MRImageStorage\\02"),
        "0006:040c", "abstract syntax defined in role selection list 'E'"
        f" but not in presentation context list 'C': {MR}",
    ),
    "first fault first": (
        contexts("Bar\\u").replace("LittleEndianImplicit", "Foo"),
        "0006:0400", "not a valid transfer syntax UID: Foo",
    ),
    "unknown profile": (
        TS + PC + PR.replace("[p]", "[q]"),
        "0006:0426", "unknown configuration profile name: P",
    ),
    "duplicate abstract syntax": (
        contexts("CTImageStorage\\u", f"{CT}\\u"),
        "0006:0427",
        "profile 'P' is not valid for SCP use, duplicate abstract syntaxes found",
    ),
}  # fmt: skip


ACCEPTOR_ONLY = {"unknown profile", "duplicate abstract syntax"}


def fault(folder: Path, text: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        loaded(folder, text).acceptor(" p ")
    return caught.value


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name: str, tmp_path: Path) -> None:
    text, condition, expected = BAD[name]
    error = fault(tmp_path, text)
    assert (error.condition, error.text) == (condition, expected)


@pytest.mark.parametrize("name", BAD)
def test_the_reference_finds_the_same_fault(name: str, tmp_path: Path, reference: str) -> None:
    text, _, expected = BAD[name]
    file = tmp_path / "profiles.cfg"
    file.write_bytes(text.encode())
    done = subprocess.run(
        [dcmtk("storescp"), "-xf", str(file), " p ", "-od", str(tmp_path / "none"), "11112"],
        capture_output=True,
        text=True,
        check=False,
    )
    fatal = "\n".join(line.removeprefix("F: ") for line in done.stderr.splitlines())
    assert fatal.removeprefix("cannot read config file: ") == expected


@pytest.mark.parametrize("name", sorted(BAD.keys() - ACCEPTOR_ONLY))
def test_the_sender_of_the_reference_finds_it_too(
    name: str, tmp_path: Path, reference: str
) -> None:
    text, _, expected = BAD[name]
    file = tmp_path / "profiles.cfg"
    file.write_bytes(text.encode())
    done = subprocess.run(
        [dcmtk("storescu"), "-xf", str(file), "p", "localhost", "1", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    error = "\n".join(line.removeprefix("E: ") for line in done.stderr.splitlines())
    assert error.removeprefix("reading config file: ") == expected


@pytest.mark.parametrize("name", GOOD)
def test_the_reference_loads_good_files(name: str, tmp_path: Path, reference: str) -> None:
    file = tmp_path / "profiles.cfg"
    file.write_bytes(GOOD[name][0].encode())
    assert_reference_loads(file, "p", tmp_path)


def assert_reference_loads(file: Path, name: str, scratch: Path) -> None:
    # The next thing that storescp checks is its folder, and that ends it before it listens.
    done = subprocess.run(
        [dcmtk("storescp"), "-xf", str(file), name, "-od", str(scratch / "none"), "11112"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "F: specified output directory does not exist\n"


def test_a_missing_file() -> None:
    with pytest.raises(ProfileError) as caught:
        load("/nonexistent/profiles.cfg")
    assert str(caught.value) == (
        "0006:0412 unable to open configuration file: /nonexistent/profiles.cfg"
    )


def test_two_profiles_of_one_name_are_named_by_it(tmp_path: Path) -> None:
    # The reference names the context list instead, which sends the reader to the wrong line.
    error = fault(tmp_path, TS + PC + PR + "[P!]\nPresentationContexts = c\n")
    assert str(error) == "0006:0406 two profiles defined for key: P"


def test_nothing_before_the_backslash_is_not_a_uid(tmp_path: Path) -> None:
    assert fault(tmp_path, contexts("\\u")).text == "not a valid abstract syntax UID: "
    assert fault(tmp_path, extended("CTImageStorage\\")).condition == "0006:0421"


def test_a_requestor_has_room_for_128_contexts(tmp_path: Path) -> None:
    many = [f"1.2.{i}\\u" for i in range(129)]
    assert len(loaded(tmp_path, contexts(*many[:128]), 128)["P"].contexts) == 128
    assert len(loaded(tmp_path, contexts(*many))["P"].contexts) == 129
    with pytest.raises(ProfileError) as caught:
        loaded(tmp_path, contexts(*many), 128)
    assert str(caught.value) == ("0006:0408 presentation context list too long (> 128 entries): C")


def test_a_requestor_may_propose_a_class_twice(tmp_path: Path) -> None:
    both = profile(tmp_path, contexts("CTImageStorage\\u", "CTImageStorage\\u"))
    assert [abstract for abstract, _ in both.contexts] == [CT, CT]
    assert both.has_duplicates


def test_a_requestor_asks_for_a_profile_that_is_not_there(tmp_path: Path) -> None:
    profiles = loaded(tmp_path, TS + PC + PR)
    assert "P" in profiles
    assert "q" not in profiles
    with pytest.raises(ProfileError) as caught:
        profiles["q r"]
    assert str(caught.value) == "0006:0426 profile key undefined: QR"


def test_roles_and_extended_negotiation(tmp_path: Path) -> None:
    assert profile(tmp_path, roles("CTImageStorage\\both")).roles == {CT: "BOTH"}
    assert profile(tmp_path, extended("CTImageStorage\\0201fF")).extended == {CT: b"\2\1\xff"}
    assert profile(tmp_path, TS + PC + PR)[1:] == ({}, {})


@given(st.text(alphabet="[]=#\\ \n\tpucTransferSyntax1.") | st.text())
def test_no_text_makes_the_reader_stumble(text: str) -> None:
    with TemporaryDirectory() as folder:
        for whole in (text, TS + PC + text + PR, TS + text + PC + PR):
            with suppress(ProfileError):
                loaded(Path(folder), whole.encode(errors="replace").decode())


def test_the_example_for_the_daemon(tmp_path: Path) -> None:
    profiles = load(str(EXAMPLES / "storescp.cfg"))
    for name in profiles:
        listed = dict(profiles.acceptor(name).contexts)
        assert VERIFICATION in listed
        assert all(IMPLICIT_LITTLE in syntaxes for syntaxes in listed.values())


def test_the_example_for_the_sender() -> None:
    profiles = load(str(EXAMPLES / "storescu.cfg"), 128)
    assert len(list(profiles)) > 1
    assert all(profiles[name].contexts for name in profiles)


def test_the_reference_loads_the_examples(tmp_path: Path, reference: str) -> None:
    for name in load(str(EXAMPLES / "storescp.cfg")):
        assert_reference_loads(EXAMPLES / "storescp.cfg", name, tmp_path)
    sample = write_part10(tmp_path, small())
    file = EXAMPLES / "storescu.cfg"
    for name in load(str(file), 128):
        done = subprocess.run(
            [dcmtk("storescu"), "-xf", str(file), name, "localhost", str(free_port()), str(sample)],
            capture_output=True,
            text=True,
            check=False,
        )
        # It has loaded the profile and found it, and has come as far as calling nobody.
        assert "Association Request Failed" in done.stderr

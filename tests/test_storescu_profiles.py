"""Association negotiation profiles in the sender: what is proposed, and what is wrong with one."""

from pathlib import Path

import pytest
from harness import senders

from dcmstore import pdu, profiles, uids
from storescu import proposals

PROFILE = """
[[TransferSyntaxes]]
[Plain]
TransferSyntax1 = LittleEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[Images]
PresentationContext1 = CTImageStorage\\Plain
PresentationContext2 = MRImageStorage\\Plain
PresentationContext3 = CTImageStorage\\Plain
[[SCPSCURoleSelection]]
[Roles]
Role1 = CTImageStorage\\BOTH
[[ExtendedNegotiation]]
[Extras]
ExtendedNegotiation1 = MRImageStorage\\020100
[[Profiles]]
[Default]
PresentationContexts = Images
SCPSCURoleSelection = Roles
ExtendedNegotiation = Extras
"""


@pytest.fixture
def profile_file(tmp_path: Path) -> Path:
    path = tmp_path / "storescu.cfg"
    path.write_text(PROFILE)
    return path


def test_contexts_roles_and_extras_in_the_order_of_the_file(profile_file: Path) -> None:
    profile = profiles.load(str(profile_file), limit_contexts=proposals.MAX_CONTEXTS)["Default"]
    proposal = proposals.from_profile(profile)
    ct, mr = uids.by_name("CTImageStorage"), uids.by_name("MRImageStorage")
    assert [(one.id, one.abstract_syntax) for one in proposal.contexts] == [
        (1, ct),
        (3, mr),
        (5, ct),
    ]
    assert {one.transfer_syntaxes for one in proposal.contexts} == {
        (uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE)
    }
    # Once for each context of the class.
    assert proposal.roles == (pdu.RoleSelection(str(ct), True, True),) * 2
    assert proposal.extended == (pdu.ExtendedNegotiation(str(mr), b"\2\1\0"),)
    request = proposals.request("A", "B", proposal, 16384)
    assert pdu.decode(pdu.A_ASSOCIATE_RQ, pdu.encode(request)[6:]) == request


@pytest.mark.parametrize("flavour", ["storescpd", "dcmtk"])
def test_unknown_profile_is_told_after_the_files_were_checked(
    flavour: str, profile_file: Path
) -> None:
    sent = senders.send(flavour, 1, [profile_file], "-v", "-xf", str(profile_file), "Other")
    assert sent.code == 1
    assert "I: checking input files ..." in sent.stderr
    assert "F: 0006:0426 profile key undefined: OTHER" in sent.stderr
    assert "Traceback" not in sent.stderr


@pytest.mark.parametrize("flavour", ["storescpd", "dcmtk"])
def test_broken_file_is_told_before_anything_else(flavour: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.cfg"
    path.write_text(PROFILE.replace("LittleEndianImplicit", "1.2.x"))
    sent = senders.send(flavour, 1, [path], "-v", "-xf", str(path), "Default")
    assert sent.code == 1
    assert "E: reading config file: not a valid transfer syntax UID: 1.2.x" in sent.stderr
    assert "checking input files" not in sent.stderr

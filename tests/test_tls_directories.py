"""Directories of authorities and revocation lists, which are looked into for each client."""

import shutil
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import pki as pki_module
from harness import senders
from harness.objects import small, write_part10
from harness.pki import Authority, Pki
from harness.receivers import OURS, Receiver

BOTH_PROCESS_MODES = pytest.mark.parametrize("process", ["--fork", "--single-process"])


def rehash(folder: Path) -> None:
    pki_module.openssl("rehash", str(folder))


def hashed(folder: Path, *paths: Path) -> Path:
    """Make a directory of authorities, as openssl rehash leaves it."""
    folder.mkdir()
    for path in paths:
        shutil.copy(path, folder)
    rehash(folder)
    return folder


def lets_in(receiver: Receiver, tmp_path: Path, *options: str) -> bool:
    path = write_part10(tmp_path, small())
    sent = senders.send(OURS, receiver.port, [path], *options)
    assert receiver.holds(path.stem) == (sent.code == 0), sent.stderr
    return sent.code == 0


@BOTH_PROCESS_MODES
def test_directory_of_authorities(
    tmp_path: Path, start_receiver: StartReceiver, pki: Pki, process: str
) -> None:
    folder = hashed(tmp_path / "authorities", pki.authority.certificate)
    # Named as seen from where the daemon was started.
    receiver = start_receiver(
        OURS, process, "--chdir", "/", "+tls", *pki.server.files, "+cd", "../authorities"
    )
    own = ("+tls", *pki.client.files, "+cd", str(folder))
    stranger = ("+tls", *pki.stranger.files, "+cf", str(pki.authority.certificate))
    assert lets_in(receiver, tmp_path, *own)
    assert not lets_in(receiver, tmp_path, *stranger)
    # One that is added later is found, without a word to the daemon,
    added = Path(shutil.copy(pki.other.certificate, folder))
    rehash(folder)
    assert lets_in(receiver, tmp_path, *stranger)
    # and one that is removed does not count any more.
    added.unlink()
    rehash(folder)
    assert not lets_in(receiver, tmp_path, *stranger)
    assert lets_in(receiver, tmp_path, *own)


@BOTH_PROCESS_MODES
def test_list_that_is_replaced(
    tmp_path: Path, start_receiver: StartReceiver, pki: Pki, process: str
) -> None:
    authority = Authority(tmp_path, "authority")
    client = authority.issue("client", pki_module.RSA)
    folder = hashed(tmp_path / "folder", authority.certificate, authority.revocation_list())
    trusted = ("+cd", str(folder), "--enable-crl-vfy")
    receiver = start_receiver(OURS, process, "+tls", *pki.server.files, *trusted)
    assert lets_in(receiver, tmp_path, *pki.options(client))
    authority.revoke(client)
    shutil.copy(authority.revocation_list(), folder)
    assert not lets_in(receiver, tmp_path, *pki.options(client))
    receiver.wait_for_log("certificate verify failed (certificate revoked)")

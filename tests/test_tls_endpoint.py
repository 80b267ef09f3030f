"""What the contexts of a server have in common, and what they have not."""

import errno
import os
import socket
import ssl
from pathlib import Path

import pytest
from harness.cmdlines import run
from harness.pki import Pki

from dcmstore.connection import Connection
from dcmstore.errors import PeerError
from dcmstore.passphrase import Passphrase
from dcmstore.tls import Endpoint
from storescpd.options import PROGRAM


@pytest.mark.parametrize("mode", ["--single-process", "--fork"])
def test_a_key_is_not_decrypted_for_each_client(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    own = ("+tls", pki.server.encrypted("secret"), pki.server.files[1])
    options = run(PROGRAM, mode, *own, "+pw", "secret", "-ic", "11112").accepted
    endpoint = Endpoint(options, server=True)
    monkeypatch.delattr(Passphrase, "__call__")
    for _ in range(2):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            endpoint.link(ours, Connection(acceptor=True, max_pdu=16384), None)


def test_without_descriptors_nobody_gets_in(
    tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rather than by what was in the directory once; and the daemon lives on."""
    options = run(PROGRAM, "+tls", *pki.server.files, "+cd", str(tmp_path), "11112").accepted
    endpoint = Endpoint(options, server=True)

    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", full)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = endpoint.link(ours, Connection(acceptor=True, max_pdu=16384), None)
        assert caplog.messages == ["cannot set up TLS: [Errno 24] Too many open files"]
        client, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = pki.client_context().wrap_bio(client, said)
        with pytest.raises(ssl.SSLWantReadError):
            secured.do_handshake()
        theirs.sendall(said.read())
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(PeerError, match=r"no suitable signature algorithm|no shared cipher"):
            link.open()

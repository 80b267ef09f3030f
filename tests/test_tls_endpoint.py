"""What the contexts of a server have in common, and what they have not."""

import socket

import pytest
from harness.cmdlines import run
from harness.pki import Pki

from dcmstore.connection import Connection
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

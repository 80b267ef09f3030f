"""Keep the fuzz target of what TLS peers say alive: its seeds, and some hundred bred from them."""

import random

import pytest
from fuzz import fuzz_tls
from harness.pki import Pki
from test_fuzz_pdu import breed


@pytest.mark.parametrize("index", range(2))
def test_target_on_bred_inputs(pki: Pki, index: int) -> None:
    seed = fuzz_tls.seeds(pki.server.certificate)[index]
    fuzz_tls.fuzz_one(seed)
    chance = random.Random(index)
    for _ in range(500):
        fuzz_tls.fuzz_one(seed[:1] + breed(seed[1:], chance))


def test_target_on_random_inputs() -> None:
    chance = random.Random(7)
    fuzz_tls.fuzz_one(b"")
    for _ in range(300):
        fuzz_tls.fuzz_one(bytes((chance.randrange(2),)) + chance.randbytes(chance.randrange(90)))


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would notice a reader that lets another exception out."""

    def broken(data: bytes) -> object:
        raise IndexError

    monkeypatch.setattr("dcmstore.certificates.parse", broken)
    with pytest.raises(IndexError):
        fuzz_tls.fuzz_one(b"\1" + bytes(4))

"""Keep the fuzz target of the data sets alive: its seeds, and inputs bred from them."""

import random

import pytest
from fuzz import fuzz_elements
from harness import wire
from harness.datasets import mutated, wild

from dcmstore.dataset import OutputOptions
from dcmstore.elements import inspect

FIRST = {wire.EXPLICIT: 0, wire.IMPLICIT: 1, wire.BIG: 2, wire.JPEG_BASELINE: 3}


@pytest.mark.parametrize("index", range(len(fuzz_elements.OUTPUTS)))
def test_target_on_seeds(index: int) -> None:
    for seed in fuzz_elements.seeds()[4 * index : 4 * index + 4]:
        fuzz_elements.fuzz_one(seed)
        for number in range(40):
            fuzz_elements.fuzz_one(seed[:1] + mutated(seed[1:], 100 * index + number))


@pytest.mark.parametrize("index", range(len(fuzz_elements.OUTPUTS)))
def test_target_on_wild_data_sets(index: int) -> None:
    for seed in range(1000 * index, 1000 * index + 120):
        syntax, data = wild(seed)
        first = bytes((4 * index + FIRST[syntax],))
        fuzz_elements.fuzz_one(first + data)
        fuzz_elements.fuzz_one(first + mutated(data, seed))


def test_target_on_random_inputs() -> None:
    chance = random.Random(7)
    fuzz_elements.fuzz_one(b"")
    for _ in range(1000):
        fuzz_elements.fuzz_one(chance.randbytes(chance.randrange(90)))


def test_the_seeds_can_be_parsed() -> None:
    """A seed that is refused at once would breed nothing of use."""
    for seed in fuzz_elements.seeds():
        syntax = fuzz_elements.SYNTAXES[seed[0] % 4]
        found = inspect(memoryview(seed[1:]), 0, syntax, OutputOptions())
        assert found.unwritable == ""


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would notice a writer that adds bytes, and a walk that lets another exception out."""
    seed = fuzz_elements.seeds()[0]
    real = fuzz_elements.written
    monkeypatch.setattr(fuzz_elements, "written", lambda *given: real(*given) + bytes(4))
    with pytest.raises(AssertionError):
        fuzz_elements.fuzz_one(seed)

    def broken(*given: object) -> object:
        raise IndexError

    monkeypatch.setattr(fuzz_elements, "examine", broken)
    with pytest.raises(IndexError):
        fuzz_elements.fuzz_one(seed)

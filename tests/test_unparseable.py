"""Data sets that nobody can parse: they abort the association, or are stored if that is allowed."""

import struct

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import Object, small, split_part10
from harness.peer import Peer
from harness.receivers import OURS
from test_receive_encoding import deflated

ALLOWED = ("-v", "-ta", "1", "--store-unparseable")


def broken(pixels: int = 64) -> Object:
    """Return an object that ends in the middle of a value."""
    thing = small(pixels=pixels)
    return thing._replace(data=thing.data[:-20])


OPTIONS = [(), ("+ti",), ("+p", "64", "0"), ("-F",), ("+g", "-e"), ("--ignore",)]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("fragment", [16372, 100])
def test_unparseable_data_sets_are_stored_as_received(
    start_receiver: StartReceiver, options: tuple[str, ...], fragment: int
) -> None:
    receiver = start_receiver(OURS, *ALLOWED, *options)
    bad, good = broken(), small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(bad, 1, fragment=fragment) == 0
        assert peer.store(good, 2, fragment=fragment) == 0
        peer.release()
    if "--ignore" in options:
        assert receiver.names() == []
        return
    receiver.wait_for_log(f"W: storing unparseable data set: {receiver.folder}/CT.")
    content = receiver.stored(bad.sop_instance)
    assert receiver.holds(good.sop_instance)
    if "-F" in options:
        assert content == bad.data
        return
    meta, data = split_part10(content)
    assert data == bad.data
    # Whatever was asked for, it is what it came as.
    assert meta[0x10].rstrip(b"\0").decode() == wire.EXPLICIT
    assert meta[0x02].rstrip(b"\0").decode() == bad.sop_class
    assert meta[0x03].rstrip(b"\0").decode() == bad.sop_instance


def nested(levels: int) -> Object:
    """Return an object with sequences within sequences, all of undefined length."""
    thing = small()
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    at = thing.data.index(b"\xe0\x7f\x10\x00")
    inner = (sequence + item) * levels + ends * levels
    return thing._replace(data=thing.data[:at] + inner + thing.data[at:])


@pytest.mark.parametrize("fragment", [131060, 8192])
def test_nesting_beyond_the_bound_is_refused(start_receiver: StartReceiver, fragment: int) -> None:
    receiver = start_receiver(OURS, "-pdu", "131072")
    deep, deeper, good = nested(2000), nested(4200), small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(deep, 1, fragment=fragment) == 0
        assert peer.store(deeper, 2, fragment=fragment) == 0xC000
        assert peer.store(good, 3, fragment=fragment) == 0
        peer.release()
    receiver.wait_for_log("E: refusing data set: Sequences nested deeper than 4096 levels")
    assert len(receiver.names()) == 2


@pytest.mark.parametrize("options", [(), ("+te",)], ids=["same", "little"])
def test_deflated_nonsense(start_receiver: StartReceiver, options: tuple[str, ...]) -> None:
    receiver = start_receiver(OURS, *ALLOWED, "+xd", *options)
    whole = deflated(small(pixels=5000).data)
    things = [
        Object(wire.CT, f"1.2.{number}", wire.DEFLATED, data)
        for number, data in enumerate((b"\xff" * 64, whole[:200], deflated(broken().data)))
    ]
    with Peer.connect(receiver.port) as peer:
        peer.associate((1, wire.CT, (wire.DEFLATED,)))
        for thing in things:
            assert peer.store(thing) == 0
        peer.release()
    for thing in things:
        meta, data = split_part10(receiver.stored(thing.sop_instance))
        assert data == thing.data
        assert meta[0x10].rstrip(b"\0").decode() == wire.DEFLATED


def test_sorting_leaves_them_in_the_output_folder(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *ALLOWED, "-su", "S", "-rns")
    bad, good = broken(), small(study="1.2.3")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(bad, 1) == peer.store(good, 2) == 0
        peer.release()
    assert receiver.names() == [f"CT.{bad.sop_instance}", f"S_1.2.3/CT.{good.sop_instance}"]


def test_what_cannot_be_converted_is_still_refused(start_receiver: StartReceiver) -> None:
    """It can be parsed; storing it would not be what was asked for."""
    receiver = start_receiver(OURS, *ALLOWED)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small()._replace(data=b"")) == 0xA700
        peer.release()
    assert receiver.names() == []

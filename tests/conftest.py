"""Fixtures: receivers of both flavours, shared ones per module, and a corpus of objects."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import pki as pki_module
from harness import receivers
from harness.pki import Pki
from harness.receivers import OURS, REFERENCE, Receiver

StartReceiver = Callable[..., Receiver]

# A shell ignores SIGINT for what it starts in the background, and the programs under test, which
# inherit that, would go on ignoring it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _need(flavour: str) -> None:
    """The reference is installed wherever the tests run as root; elsewhere its absence is named."""
    if flavour == OURS or receivers.dcmtk_is_installed():
        return
    if os.geteuid() == 0:
        pytest.fail("the package dcmtk is missing; `make check` installs it")
    pytest.skip("DCMTK (package dcmtk) is not installed, and only root can install it")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Keys and certificates for the whole run; tests add to them, and change none."""
    if not pki_module.is_installed():
        if os.geteuid() == 0:
            pytest.fail("the package openssl is missing; `make check` installs it")
        pytest.skip("openssl is not installed, and only root can install it")
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def reference() -> str:
    """The name of the reference's flavour, where a test needs it as a peer."""
    _need(REFERENCE)
    return REFERENCE


@pytest.fixture(params=[OURS, REFERENCE])
def flavour(request: pytest.FixtureRequest) -> str:
    """Both flavours in turn: what is expected of ours is shown to be true of the reference."""
    name: str = request.param
    _need(name)
    return name


@pytest.fixture
def start_receiver(tmp_path: Path) -> Iterator[StartReceiver]:
    """Start receivers that live as long as the test: ``start_receiver(flavour, *options)``."""
    running: list[Receiver] = []

    def start(flavour: str, *options: str, **more: object) -> Receiver:
        _need(flavour)
        scratch = tmp_path / f"receiver{len(running)}"
        scratch.mkdir()
        running.append(Receiver(flavour, scratch, *options, **more))  # type: ignore[arg-type]
        return running[-1]

    yield start
    _stop_all(running)


@pytest.fixture(scope="module")
def shared_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartReceiver]:
    """Receivers that the tests of a module share, one for each flavour and set of options.

    Tests that use it make instance UIDs of their own and read the log from a mark on.
    """
    running: dict[tuple[str, ...], Receiver] = {}

    def start(flavour: str, *options: str) -> Receiver:
        _need(flavour)
        key = (flavour, *options)
        if key not in running:
            running[key] = Receiver(flavour, tmp_path_factory.mktemp("shared"), *options)
        assert running[key].process.poll() is None, f"died: {running[key].log()}"
        return running[key]

    yield start
    _stop_all(list(running.values()))


def _stop_all(running: list[Receiver]) -> None:
    try:
        for receiver in running:
            receiver.stop()
    finally:
        for receiver in running:
            receiver.kill()

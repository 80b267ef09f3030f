"""Run a sender against a storage SCP that the test plays, from the first PDU to the exit."""

from collections.abc import Callable, Iterable
from pathlib import Path

from harness import senders, wire
from harness.peer import Peer
from harness.scripted import Message, Proposal, ScriptedReceiver, serve
from harness.senders import Sent

Script = Callable[[Peer, Proposal], None]


def converse(
    flavour: str,
    files: Iterable[Path | str],
    *options: str,
    statuses: Iterable[int] = (),
    close_stdout: bool = False,
) -> tuple[list[Message], Sent]:
    """Let a sender send files to a peer that takes everything and answers with these statuses."""
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, files, *options)
        if close_stdout:
            assert process.stdout is not None
            process.stdout.close()
            process.stdout = None
        try:
            with receiver.accept() as peer:
                messages = serve(peer, statuses)
        finally:
            sent = senders.finish(process)
    return messages, sent


def scripted(flavour: str, files: Iterable[Path | str], *options: str, script: Script) -> Sent:
    """Let a sender talk to a peer that does what the script says once it got the proposal."""
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, files, *options)
        try:
            with receiver.accept() as peer:
                script(peer, Proposal(peer.expect(wire.ASSOCIATE_RQ)))
        finally:
            sent = senders.finish(process)
    return sent


def lines(sent: Sent) -> list[str]:
    """Return what a sender logged, without what only one of the two says or only at times."""
    left_out = ("I: Converting transfer syntax: ", "W: Dcm", "E: Dcm", "E: Found explicit ")
    return [line for line in sent.stderr.splitlines() if not line.startswith(left_out)]

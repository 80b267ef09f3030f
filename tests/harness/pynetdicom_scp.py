"""pynetdicom as a storage SCP: it keeps the data set bytes of every object that it receives."""

from typing import Any, NamedTuple, Self

from pynetdicom import AE, evt
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid, uid_to_service_class

from harness.processes import free_port


class Received(NamedTuple):
    """One C-STORE as it came in; ``data`` are the bytes of the data set."""

    sop_class: str
    sop_instance: str
    syntax: str
    data: bytes


def _make_known(sop_class: str) -> None:
    """pynetdicom aborts on storage classes that it does not know, retired ones above all."""
    if uid_to_service_class(sop_class) is not StorageServiceClass:
        keyword = "Class" + sop_class.replace(".", "_")
        register_uid(sop_class, keyword, StorageServiceClass)


class PynetdicomReceiver:
    """Listens on a free port while the ``with`` block lasts, and answers with ``status``."""

    def __init__(self, contexts: dict[str, list[str]], status: int = 0) -> None:
        self._entity = AE(ae_title="PYNETDICOM")
        for sop_class, syntaxes in contexts.items():
            _make_known(sop_class)
            self._entity.add_supported_context(sop_class, syntaxes)
        self._status = status
        self.received: list[Received] = []
        self.port = free_port()

    def __enter__(self) -> Self:
        handlers: Any = [(evt.EVT_C_STORE, self._store)]
        server = self._entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers
        )
        assert server is not None
        self._server = server
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        request = event.request
        self.received.append(
            Received(
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                request.DataSet.getvalue(),
            )
        )
        return self._status

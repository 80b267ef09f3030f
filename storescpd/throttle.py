"""Keeps what peers can cause at will from filling the log."""

import logging
import time

log = logging.getLogger("dcmtk.apps.storescp")


class Throttle:
    """Lets some warnings through in each interval, and counts the others.

    The number of those that were held back is told with the next one that is let through.
    """

    def __init__(self, burst: int = 10, interval: float = 60.0) -> None:
        self._burst = burst
        self._interval = interval
        self._begun = -interval
        self._shown = 0
        self._held = 0

    def warn(self, text: str, *arguments: object) -> None:
        """Log a warning, unless there were enough of them lately."""
        now = time.monotonic()
        if now - self._begun >= self._interval:
            if self._held:
                log.warning("%d more messages of the following kind were held back", self._held)
            self._begun = now
            self._shown = self._held = 0
        if self._shown < self._burst:
            self._shown += 1
            log.warning(text, *arguments)
        else:
            self._held += 1

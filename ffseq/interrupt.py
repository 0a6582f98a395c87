"""Ctrl-C and SIGTERM as a request to stop, not as an accident.

The first signal sets a flag that long work looks at between two steps; the second one ends the program at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupt:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        """True once a stop was requested."""
        return self.requested

    def install(self) -> None:
        """Take over SIGINT and SIGTERM. Does nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

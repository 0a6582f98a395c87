"""Ctrl-C and SIGTERM as a request to stop, not as an accident.

The first signal sets a flag that long work looks at between two steps; the second one ends the program at once. Work
that has nothing to save is ended by the first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_installed: Interrupt | None = None


@contextmanager
def nothing_to_save() -> Iterator[None]:
    """While this lasts a signal ends the program at once: around waiting for standard input, say."""
    interrupt = _installed
    if interrupt is None or interrupt.at_once:
        yield
        return
    interrupt.end_at_once()
    try:
        yield
    finally:
        interrupt.at_once = False


class Interrupt:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self.at_once = False
        #: Whether something is being drawn at the terminal that another line would tear.
        self.draws: Callable[[], bool] = lambda: False

    def __call__(self) -> bool:
        """True once a stop was requested."""
        return self.requested

    def install(self) -> None:
        """Take over SIGINT and SIGTERM. Does nothing outside the main thread, where Python allows no handlers."""
        global _installed
        if threading.current_thread() is not threading.main_thread():
            return
        _installed = self
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def over(self) -> None:
        """The work is done: what is called after it is not stopped by what was asked then."""
        global _installed
        if _installed is self:
            _installed = None

    def end_at_once(self) -> None:
        """From here on a signal ends the program: there is nothing to save. One that came before counts too."""
        if self.requested:
            raise KeyboardInterrupt
        self.at_once = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self.at_once:
            raise KeyboardInterrupt
        self.requested = True
        if sys.stderr.isatty():
            message = b"ffseq: stopping when all is saved; once more: stop now"
            # A table is drawn from its last line, which is empty, upwards: nothing but that line may change.
            os.write(sys.stderr.fileno(), b"\r\x1b[2K" + message if self.draws() else b"\n" + message + b"\n")

"""What a long job says while it works, on standard error: at a terminal a line or a table that renews itself, else
lines.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


def duration(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss.

    >>> duration(75), duration(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Writes progress for people. With quiet=True it writes nothing.

    Progress is not the work: where nobody can read it any more (a closed pipe, a full disk), it falls silent. As a
    context it takes away its line, or ends its table, when the work does.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None, plain_interval: float = 5.0) -> None:
        self.quiet = quiet
        self.stream = stream or sys.stderr
        self.live = not quiet and self.stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self.plain_interval = plain_interval
        self._last = 0.0
        self._width = 0
        self._table: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The work is over, or failed: what is written now begins a line."""
        self.close()
        self.end()

    @property
    def draws(self) -> bool:
        """Whether a table is being renewed: whoever writes to the terminal now tears it."""
        return self._table is not None

    def say(self, text: str) -> None:
        """A line that stays; above the table, if there is one."""
        if self.quiet:
            return
        if self._table is not None:
            try:
                self._table.console.print(text, markup=False, soft_wrap=True)
            except OSError:
                self.quiet = True
            return
        self._clear()
        self._write(text + "\n")

    def table(self, drawn: RenderableType) -> None:
        """A table about now, renewed in place, until `status` tells of something else or `close`. Only at a terminal.

        Whoever shows one has to see to `close`: a terminal hides its cursor meanwhile.
        """
        if not self.live or self.quiet:
            return
        from rich.console import Console
        from rich.live import Live

        try:
            if self._table is None:
                self._clear()
                console = Console(file=self.stream, highlight=False)
                self._table = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
                self._table.start()
            self._table.update(drawn, refresh=True)
        except OSError:
            self.quiet = True

    def close(self) -> None:
        """Leave the table as it stands, and the terminal as it was."""
        table, self._table = self._table, None
        if table is not None:
            try:
                table.stop()
            except OSError:
                self.quiet = True

    def status(self, text: str) -> None:
        """A line about now: renewed in place at a terminal; in a pipe written every few seconds."""
        if self.quiet:
            return
        self.close()
        now = time.monotonic()
        if self.live:
            if now - self._last >= 0.1:
                self._clear()
                shown = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be renewed
                self._write(shown)
                self._width, self._last = len(shown), now
        elif now - self._last >= self.plain_interval:
            self._last = now
            self._write(text + "\n")

    def step(self, text: str) -> None:
        """A line about what begins now: at a terminal it is never left out, however soon it follows another."""
        self._last = 0.0 if self.live else self._last
        self.status(text)

    def end(self) -> None:
        """Take away the line about now, before something else is written."""
        self._clear()

    def _clear(self) -> None:
        if self.live and self._width:
            self._write("\r\x1b[2K")
            self._width = 0

    def _write(self, text: str) -> None:
        try:
            # File names may hold bytes that are no text.
            self.stream.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
            self.stream.flush()
        except OSError:
            self.quiet = True


class Within(Progress):
    """Progress of one of many jobs: what it does now is told behind its title, and it has no lines of its own."""

    def __init__(self, outer: Progress, title: str) -> None:
        super().__init__(quiet=True, stream=outer.stream)
        self.outer, self.title = outer, title

    def status(self, text: str) -> None:
        """A line about now, behind the title of the job."""
        self.outer.status(f"{self.title}: {' '.join(text.split())}")

    def step(self, text: str) -> None:
        """A line about what begins now, behind the title of the job."""
        self.outer.step(f"{self.title}: {' '.join(text.split())}")


class Ahead:
    """How much of a long work of `total` parts is done, and how long the rest takes at the speed of this sitting.

    >>> ahead = Ahead(8)
    >>> ahead.advance(2, None)
    >>> ahead.advance(2, 60.0)
    >>> str(ahead)
    '50% done, about 2:00 left'
    """

    def __init__(self, total: int) -> None:
        self.total, self.passed, self.computed, self.seconds = total, 0, 0, 0.0

    def advance(self, parts: int, seconds: float | None) -> None:
        """So many parts are done: in so many seconds, or (None) they had been done before."""
        self.passed += parts
        if seconds is not None:
            self.computed, self.seconds = self.computed + parts, self.seconds + seconds

    def __str__(self) -> str:
        done = f"{self.passed / self.total:.0%} done"
        if not self.computed:
            return done
        return f"{done}, about {duration(self.seconds / self.computed * (self.total - self.passed))} left"

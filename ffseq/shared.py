"""Changes that the processes of one machine show each other in memory, instead of sending them.

Each process has a row of its own in a file that all have mapped; it writes its changes there, and once all have, each
adds up the rows of all. There are two sets of rows, taken in turns: who already writes into the next one does not
disturb who still reads. So one meeting of all in an update is enough.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class SharedRows:
    """rows: (2, n, N) in the type of the products, of n processes."""

    def __init__(self, path: Path, size: int, length: int, dtype: torch.dtype) -> None:
        count = 2 * size * length
        self.rows = torch.from_file(str(path), shared=True, size=count, dtype=dtype).view(2, size, length)
        self.turn = 0

    def show(self, rank: int, part: slice, change: Tensor) -> None:
        """Write a part of this process's changes where the others can read it."""
        self.rows[self.turn, rank, part].copy_(change)

    def add_up(self, part: slice, total: Tensor) -> None:
        """The sum over all processes, into `total`; only once all have shown their part."""
        # In the same order everywhere, so that all have the same bits.
        for number, row in enumerate(self.rows[self.turn, :, part]):
            total.copy_(row) if number == 0 else total.add_(row)

    def next(self) -> None:
        """The other set of rows, for the next update."""
        self.turn = 1 - self.turn


def opened(
    size: int, length: int, dtype: torch.dtype, *, leads: bool, told: Callable[[Any], Any], meet: Callable[[], Any]
) -> SharedRows | None:
    """Rows for n = `size` processes of N = `length` numbers; None, for all, where the first cannot make the file.

    told: says to all what the first process says; meet: waits for all. The file has no name any more when all have it.
    """
    path: Path | None = None
    if leads:
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        path = _made(folder, 2 * size * length * dtype.itemsize)
    try:
        seen = told(path)
        rows = None if seen is None else SharedRows(seen, size, length, dtype)
        meet()
        return rows
    finally:
        if path is not None:
            with suppress(OSError):  # some systems keep the name of what is open
                path.unlink()


def _made(folder: str | None, size: int) -> Path | None:
    """A new file of so many bytes, which are there (a page that is promised and not there ends the process that writes
    to it); None where there is no room.
    """
    try:
        handle, name = tempfile.mkstemp(prefix="ffseq-", dir=folder)
    except OSError:
        return None
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
        else:
            os.truncate(handle, size)
        return Path(name)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        return None
    finally:
        os.close(handle)

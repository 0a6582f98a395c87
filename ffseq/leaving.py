"""The end of a process."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def in_team() -> bool:
    """Whether torchrun has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leave(status: int, *, at_once: bool) -> NoReturn:
    """End this process with a status, everything printed.

    at_once: as one of a team has to, without taking the interpreter apart. Threads of gloo outlive the group
    that they served, and one of them that asks the interpreter for its lock while that ends takes the process down with
    it (SIGABRT), long after the work was done.
    """
    if not at_once:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    os._exit(status)

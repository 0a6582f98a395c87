"""Whether the threads of a run have cores of their own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from ffseq.compute import cores
from ffseq.progress import Progress

#: How many times slower than one thread all of them have to be for somebody to be told.
CROWDED = 1.5
#: Rounds in which that is timed, and the seconds of each.
ROUNDS, ROUND = 7, 0.015


def tell_if_crowded(progress: Progress, threads: int, device: torch.device) -> None:
    """Say so before a run begins whose threads will wait for each other, unless nobody listens."""
    if not progress.quiet and (sentence := crowded(threads, device)) is not None:
        progress.say(sentence)


def crowded(threads: int, device: torch.device) -> str | None:
    """A sentence for whoever watches, where so many CPU threads are slower than one: they have no cores of their own.

    After every operation threads wait for the last of them, spinning; and one that has lost its core is waited for
    until the system gives it another. Small operations are timed on one thread and on all, in turns, for a fifth of a
    second. Nothing is decided by it: another number of threads does not give the same bits.
    """
    if threads < 2 or device.type != "cpu":
        return None
    before, numbers = torch.get_num_threads(), torch.ones(min(threads, 16) << 16)
    rates: dict[int, list[float]] = {1: [], threads: []}
    try:
        for _ in range(ROUNDS):
            for count, found in rates.items():
                torch.set_num_threads(count)
                found.append(_rate(lambda: numbers.mul_(1.0)))
    finally:
        torch.set_num_threads(before)
    one, together = (statistics.median(found) for found in rates.values())
    if together * CROWDED > one:
        return None
    why = f"there are {cores()} cores" if threads > cores() else "other processes have their cores"
    return f"  {threads} threads wait for each other ({why}): a small net learns faster with --threads 1"


def _rate(function: Callable[[], object]) -> float:
    """Calls of a function in a second, within `ROUND` seconds."""
    function()
    began, calls, passed = time.perf_counter(), 0, 0.0
    while passed < ROUND:
        function()
        calls, passed = calls + 1, time.perf_counter() - began
    return calls / passed

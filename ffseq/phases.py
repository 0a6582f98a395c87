"""Wake and sleep: which phase comes when.

Awake a net has real text and no negatives; asleep it has negatives and no real text; interleaved, each update has both
and counts as two. A schedule is a sequence of stretches, each some updates of one phase; it depends on the settings
alone, so a resumed run knows where in its night it was.

    interleaved    both in every update
    sleep          WAKE updates awake, SLEEP updates asleep, and so on
    growing        the same, but nights begin with one update and grow by a factor until they are as long as that
    deprived       interleaved, but no negatives for LENGTH updates from update START
    sequence       stretches of your own, again and again: wake 100, sleep 100, interleaved 20
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import Literal, cast

from ffseq.config import PhasesConfig
from ffseq.errors import UsageError

Phase = Literal["interleaved", "wake", "sleep"]


@dataclass(frozen=True)
class Moment:
    """Where in the schedule an update is.

    since: updates of its stretch before it, of `length`; nights: stretches of sleep that have begun, this one
    included; read: updates before it that had real text.
    """

    phase: Phase
    since: int
    length: int
    nights: int
    read: int


def moments(config: PhasesConfig, done: int = 0) -> Iterator[Moment]:
    """The moment of each update, for ever; behind the first `done` updates.

    >>> [f"{m.phase} {m.since + 1}/{m.length}" for m, _ in zip(moments(PhasesConfig("sleep", 2, 1)), range(4))]
    ['wake 1/2', 'wake 2/2', 'sleep 1/1', 'wake 1/2']
    """
    nights = read = step = 0
    for phase, length in stretches(config):
        nights += phase == "sleep"
        first = min(max(done - step, 0), length)
        for since in range(first, length):
            yield Moment(phase, since, length, nights, read + (since if phase != "sleep" else 0))
        step += length
        read += length if phase != "sleep" else 0


def stretches(config: PhasesConfig) -> Iterator[tuple[Phase, int]]:
    """The phases and how many updates each has, for ever."""
    kind = config.kind
    if kind == "sequence":
        return cycle(sequence_of(config.sequence))
    if kind == "sleep":
        return cycle([("wake", config.wake), ("sleep", config.sleep)])
    if kind == "growing":
        return _growing(config)
    if kind == "deprived":
        return _deprived(config)
    return repeat(("interleaved", 1))


def _growing(config: PhasesConfig) -> Iterator[tuple[Phase, int]]:
    for _ in range(config.start // 2):
        yield "wake", 1
        yield "sleep", 1
    length = 1.0
    while True:
        yield "wake", min(int(length), config.wake)
        yield "sleep", min(int(length), config.sleep)
        length = min(length * config.growth, max(config.wake, config.sleep))


def _deprived(config: PhasesConfig) -> Iterator[tuple[Phase, int]]:
    if config.start:
        yield "interleaved", config.start
    yield "wake", config.length
    yield from repeat(("interleaved", 1))


def sequence_of(text: str | None) -> list[tuple[Phase, int]]:
    """The stretches that a text such as "wake 100, sleep 100" names. Raises UsageError.

    >>> sequence_of("wake 100, sleep 50")
    [('wake', 100), ('sleep', 50)]
    """
    found = [re.fullmatch(r"\s*(wake|sleep|interleaved)\s+([1-9]\d{0,8})\s*", part) for part in (text or "").split(",")]
    if not all(found):
        raise UsageError(
            "--phases.sequence has to be phases and their updates, separated by commas, such as 'wake 100, sleep 100, "
            f"interleaved 20', got {text!r}"
        )
    return [(cast(Phase, match[1]), int(match[2])) for match in found if match]


def updates_of(config: PhasesConfig, total: int) -> int:
    """What the first `total` updates of a schedule count: an interleaved one is a wake and a sleep update in one."""
    counted = done = 0
    for phase, length in stretches(config):
        some = min(length, total - done)
        counted += some * (2 if phase == "interleaved" else 1)
        done += some
        if done == total:
            return counted
    raise AssertionError("a schedule does not end")


def share_at_full_length(config: PhasesConfig, total: int) -> float:
    """The share of the first `total` updates that lie in phases of the full length."""
    full = done = 0
    for phase, length in stretches(config):
        some = min(length, total - done)
        full += some * (length == {"wake": config.wake, "sleep": config.sleep}.get(phase))
        done += some
        if done == total:
            return full / total
    raise AssertionError("a schedule does not end")

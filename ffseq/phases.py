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

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import cycle, repeat
from typing import Literal, cast

from ffseq.config import LearningConfig, PhasesConfig, TrainConfig
from ffseq.errors import UsageError

Phase = Literal["interleaved", "wake", "sleep"]

#: No phase may have more updates.
LONGEST = 2**31 - 1
#: The phase options that each kind of schedule uses.
_SLEEPING = ("asleep", "dreamer", "dream_length", "bank", "gated", "renew", "mechanism", "rate_cap")
_USED: dict[str, tuple[str, ...]] = {
    "interleaved": (),
    "sleep": ("wake", "sleep", *_SLEEPING),
    "growing": ("wake", "sleep", "growth", "start", *_SLEEPING),
    "deprived": ("start", "length", "rate_cap"),
    "sequence": ("sequence", *_SLEEPING),
}


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


def speaks_frozen(config: TrainConfig) -> bool:
    """Whether the net as it was at the onset of sleep speaks asleep, and not the net as it changes."""
    if config.phases.dreamer == "auto":
        return config.learning.objective == "nce"
    return config.phases.dreamer == "frozen"


def share_at_full_length(config: PhasesConfig, total: int) -> float:
    """The share of the first `total` updates of a `sleep` or `growing` schedule in phases of the full length."""
    full = done = 0
    for phase, length in stretches(config):
        some = min(length, total - done)
        full += some * (length == {"wake": config.wake, "sleep": config.sleep}.get(phase))
        done += some
        if done == total:
            return full / total
    raise AssertionError("a schedule does not end")


def check_phases(config: TrainConfig) -> None:
    """Refuse schedules that make no sense, what cannot sleep, and options that would do nothing. Raises UsageError."""
    phases, learn, net = config.phases, config.learning, config.network
    for name in ("wake", "sleep", "length", "dream_length", "renew"):
        value = getattr(phases, name)
        if not 1 <= value <= LONGEST:
            raise UsageError(f"--phases.{name} has to be 1 to {LONGEST}, got {value}")
    for name in ("start", "bank"):
        value = getattr(phases, name)
        if not 0 <= value <= LONGEST:
            raise UsageError(f"--phases.{name} has to be 0 to {LONGEST}, got {value}")
    if not 1 < phases.growth < math.inf:
        raise UsageError(f"--phases.growth has to be above 1: how many times longer each night is; got {phases.growth}")
    if phases.rate_cap is not None and not 0 < phases.rate_cap < math.inf:
        raise UsageError(f"--phases.rate_cap has to be a positive number, got {phases.rate_cap}")
    if phases.kind == "sequence":
        there = {phase for phase, _ in sequence_of(phases.sequence)}
        if phases.mechanism != "none" and not {"wake", "sleep"} <= there:
            raise UsageError(
                f"--phases.mechanism {phases.mechanism} weighs wake against sleep, and {phases.sequence!r} does not "
                "have both: leave it out, or add what is missing to --phases.sequence"
            )
    _check_use(config)
    if phases.kind == "interleaved":
        return
    if net.stack in ("causal", "literal"):
        raise UsageError("wake and sleep (--phases.kind) are for window stacks: add --stack window")
    cannot = {
        "--memory": net.memory > 0,
        "--black_box": net.black_box != "none",
        "--method twin": learn.method == "twin",
        "--stream": config.run.stream,
        "--hidden random": learn.hidden == "random",
        f"--negatives {learn.negatives}": learn.negatives not in ("auto", "sampled")
        and not (learn.objective == "likelihood" and learn.negatives == "expected"),
        "--objective difference": learn.objective == "difference",
    }
    for what, asked in cannot.items():
        if asked:
            raise UsageError(f"--phases.kind {phases.kind} does not go with {what}: leave one of them out")
    if learn.objective == "nce" and phases.dreamer == "live":
        raise UsageError(
            "--objective nce has to know the probability of what is said asleep, which a net that changes forgets: "
            "leave --phases.dreamer out, or use --objective threshold"
        )
    if phases.kind == "deprived":
        return
    if phases.gated and phases.asleep != "targets":
        raise UsageError(
            "--phases.gated weighs the real symbol by how sure the net was of it, and a symbol said asleep by whether "
            "it was wrong, which it has to be told: add --phases.asleep targets"
        )
    if phases.mechanism == "detectors" and net.goodness != "opposed":
        raise UsageError(
            "--phases.mechanism detectors has half of the units learn awake and the others asleep, whose goodness is "
            "subtracted: add --goodness opposed"
        )
    stops = phases.asleep == "contexts" or phases.gated or net.goodness == "bounded"
    if learn.objective == "likelihood" or (learn.objective == "contrast" and not stops):
        raise UsageError(
            f"--objective {learn.objective} without end raises real symbols awake, and --phases.asleep "
            f"{phases.asleep} do not bring them back: use --objective nce or threshold, or --goodness bounded"
        )
    if learn.objective == "nce" and phases.asleep == "targets":
        raise UsageError("--objective nce needs the truth among its negatives: use --phases.asleep contexts or dreams")


def _check_use(config: TrainConfig) -> None:
    """Refuse options that would do nothing under the schedule. Raises UsageError."""
    phases, learn = config.phases, config.learning
    for field in fields(phases):
        given = getattr(phases, field.name)
        if field.name != "kind" and given != field.default and field.name not in _USED[phases.kind]:
            kinds = [kind for kind, used in _USED.items() if field.name in used]
            raise UsageError(
                f"--phases.{field.name} does nothing with --phases.kind {phases.kind}: it goes with "
                f"{' or '.join(kinds)}"
            )
    if phases.kind in ("interleaved", "deprived"):
        return
    if phases.asleep != "dreams" and phases.dream_length != PhasesConfig.dream_length:
        raise UsageError(
            f"--phases.dream_length does nothing with --phases.asleep {phases.asleep}: there are no dreams"
        )
    if phases.asleep != "dreams" and phases.bank:
        raise UsageError(f"--phases.bank keeps dreams, and with --phases.asleep {phases.asleep} there are none")
    if phases.bank and not speaks_frozen(config):
        raise UsageError("--phases.bank keeps what a net says that does not change: add --phases.dreamer frozen")
    together = phases.kind == "sequence" and "interleaved" in (phases.sequence or "")
    for name in ("num_negatives", "exclude_truth"):
        if getattr(learn, name) != getattr(LearningConfig, name) and not together:
            raise UsageError(
                f"--{name} does nothing with --phases.kind {phases.kind}: asleep each context has one negative "
                "(--phases.asleep targets spares those that are true)"
            )

"""How far apart in time may positives and negatives be? The curve of a net against the length of its phases.

A point of the curve is a mechanism and a length: so many updates awake, as many asleep, again and again. All runs, the
interleaved ones with which they are compared included, have the same number of updates, an interleaved one counting
as two; and all have the same search of learning rates, on validation text alone. Phases of more than one update have a
cap of their rate and a longer memory of squares besides (LONG), which are not searched for.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from ffseq.config import PhasesConfig
from ffseq.errors import UsageError, nearest
from ffseq.mechanisms import own_balance
from ffseq.own import is_own
from ffseq.phases import share_at_full_length

#: At least this share of the updates lies in phases of the full length.
AT_FULL_LENGTH = 0.5
#: How many times longer each night is than the one before, while nights grow.
GROWTH = 2.0
#: A run has at least so many phases' worth of updates, so that one day and one night of the full length are whole.
FEWEST_PHASES = 4
#: Objectives of the interleaved nets; the better one on validation text is what all are compared with.
INTERLEAVED = ("contrast", "likelihood")
#: What is added where phases have more than one update, whatever the rate that was searched for.
LONG: dict[str, Any] = {"phases.rate_cap": 0.02, "beta2": 0.999}
#: Updates between lines of a run's log, at most; a phase has several.
LOG_INTERVAL, LINES = 50, 5


@dataclass(frozen=True)
class Mechanism:
    """A way to be awake and asleep. options: of `ffseq train`."""

    name: str
    label: str
    options: dict[str, Any]

    @property
    def offline(self) -> bool:
        """Whether a net asleep sees nothing real: the others are less than true separation."""
        return bool(self.options["phases.asleep"] == "dreams")


MECHANISMS: dict[str, Mechanism] = {
    one.name: one
    for one in (
        Mechanism("nce", "nce, dreams of the net at the onset of sleep",
                  {"objective": "nce", "phases.asleep": "dreams", "phases.dreamer": "frozen"}),
        Mechanism("bank", "nce, dreams of this night and of those before",
                  {"objective": "nce", "phases.asleep": "dreams", "phases.dreamer": "frozen", "phases.bank": 65536}),
        Mechanism("slow", "nce, changes averaged over 10,000 updates",
                  {"objective": "nce", "phases.asleep": "dreams", "phases.dreamer": "frozen", "beta1": 0.9999}),
        Mechanism("opponent", "nce, each phase with the other's average change",
                  {"objective": "nce", "phases.asleep": "dreams", "phases.dreamer": "frozen",
                   "phases.mechanism": "opponent"}),
        Mechanism("consolidated", "nce, both averages applied after each night",
                  {"objective": "nce", "phases.asleep": "dreams", "phases.dreamer": "frozen",
                   "phases.mechanism": "consolidated"}),
        Mechanism("detectors", "nce, detectors learn awake, constraints asleep, whose goodness is subtracted",
                  {"objective": "nce", "phases.asleep": "dreams", "phases.dreamer": "frozen",
                   "phases.mechanism": "detectors", "goodness": "opposed", "weight_decay": 1.0}),
        Mechanism("bounded", "contrast on bounded goodness, dreams of the net as it changes",
                  {"objective": "contrast", "phases.asleep": "dreams", "phases.dreamer": "live",
                   "goodness": "bounded"}),
        Mechanism("plain", "threshold, dreams of the net as it changes",
                  {"objective": "threshold", "phases.asleep": "dreams", "phases.dreamer": "live"}),
        Mechanism("contexts", "nce, asleep real contexts",
                  {"objective": "nce", "phases.asleep": "contexts", "phases.dreamer": "frozen"}),
        Mechanism("contrast", "contrast, asleep real contexts",
                  {"objective": "contrast", "phases.asleep": "contexts", "phases.dreamer": "live"}),
        Mechanism("targets", "threshold, asleep real contexts and their targets",
                  {"objective": "threshold", "phases.asleep": "targets", "phases.dreamer": "live"}),
        Mechanism("gated", "contrast by how wrong the net is, asleep real contexts and their targets",
                  {"objective": "contrast", "phases.asleep": "targets", "phases.dreamer": "live",
                   "phases.gated": True}),
    )
}  # fmt: skip


def mechanism_named(name: str) -> Mechanism:
    """The mechanism of that name; MODULE:NAME is `nce` with a balance of the user's own. Raises UsageError."""
    if is_own(name):
        own_balance(name)
        return Mechanism(name, f"nce, balanced by {name}", MECHANISMS["nce"].options | {"phases.mechanism": name})
    if name not in MECHANISMS:
        raise UsageError(
            f"--mechanisms: there is no {name!r}{nearest(name, list(MECHANISMS))}. Known: {', '.join(MECHANISMS)}, or "
            "what is yours as MODULE:NAME"
        )
    return MECHANISMS[name]


@dataclass(frozen=True)
class Plan:
    """What is measured. updates: of every run of the curve, an interleaved one counting as two; deprivation: numbers of
    updates without negatives, each followed by up to recovery_limit updates of sleep (None: as many), evaluated
    whenever the updates in all are a multiple of recovery_interval (None: a hundredth of that).
    """

    mechanisms: tuple[str, ...]
    lengths: tuple[int, ...]
    updates: int
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    search_seed: int
    search_share: float
    growing: bool
    deprivation: tuple[int, ...]
    recovery_limit: int | None
    recovery_interval: int | None

    @property
    def search_updates(self) -> int:
        """Updates of a run of the search: even, so that interleaved ones have as many."""
        return 2 * max(1, round(self.updates * self.search_share / 2))

    @property
    def shortest(self) -> int:
        """Updates of the shortest run that has phases: one rate is not searched for."""
        return self.updates if len(self.rates) == 1 else self.search_updates

    @property
    def healthy(self) -> int:
        """Interleaved updates before the negatives stop: half of those of a run."""
        return max(1, self.updates // 4)

    @property
    def healthy_search(self) -> int:
        """The same in the search."""
        return max(1, round(self.healthy * self.search_share))

    def recovery_of(self, length: int) -> tuple[int, int]:
        """Updates of sleep after `length` without negatives, at most, and how many between two evaluations."""
        limit = self.recovery_limit or length
        return limit, self.recovery_interval or max(1, limit // 100)

    def part(self, only: str | None) -> Plan:
        """The plan with nothing but the `curve` or the `deprivation`, or None: as it is."""
        if only is None:
            return self
        return replace(self, deprivation=()) if only == "curve" else replace(self, lengths=())

    def check(self) -> None:
        """Raises UsageError for what cannot be measured."""
        if self.updates < 2 or self.updates % 2:
            raise UsageError(
                f"--updates has to be an even number, since an interleaved update counts as two; got {self.updates}"
            )
        if not 0 < self.search_share <= 1:
            raise UsageError(f"--search_share has to be above 0 and at most 1, got {self.search_share}")
        if 0 in (self.recovery_limit, self.recovery_interval) or min(self.recovery_of(1)) < 1:
            raise UsageError("--recovery_limit and --recovery_interval have to be at least 1")
        for length in self.lengths:
            if length > 1 and FEWEST_PHASES * length > self.shortest:
                search = "" if len(self.rates) == 1 else " of the search"
                raise UsageError(
                    f"--lengths {length} is too long: a run{search} of {self.shortest:,} updates has less than "
                    f"{FEWEST_PHASES} phases of it; raise --updates"
                    + (" or --search_share, or give one of --rates" if search else "")
                )


@cache
def growing_nights(length: int, updates: int) -> PhasesConfig:
    """The schedule whose nights have one update for as long as they can, if half of the updates are to lie in phases of
    the full `length` (2 or more): then they double. In short runs they grow from the first night on, and faster.

    >>> growing_nights(10, 1000).start, growing_nights(10, 1000).growth
    (470, 2.0)
    >>> share_at_full_length(growing_nights(10, 1000), 1000)
    0.5
    """

    def share(start: int, growth: float) -> float:
        return share_at_full_length(PhasesConfig("growing", length, length, growth, start), updates)

    if share(0, GROWTH) < AT_FULL_LENGTH:
        return PhasesConfig("growing", length, length, _growth_for(partial(share, 0), length))
    pairs = bisect_left(range(updates // 2), True, key=lambda pairs: share(2 * pairs, GROWTH) < AT_FULL_LENGTH) - 1
    return PhasesConfig("growing", length, length, GROWTH, 2 * pairs)


def _growth_for(share: Callable[[float], float], length: int) -> float:
    """How slowly nights may grow from the first on, so that the share is right; as long as the full one at once, at
    worst.
    """
    slow, fast = GROWTH - 1, length - 1.0
    for _ in range(20):
        between = math.sqrt(slow * fast)
        if share(1 + between) >= AT_FULL_LENGTH:
            fast = between
        else:
            slow = between
    return 1 + fast


def options_of(mechanism: Mechanism, length: int, updates: int, *, growing: bool) -> dict[str, Any]:
    """Options of a run of so many updates with phases of that length."""
    options = mechanism.options | {"phases.kind": "sleep", "phases.wake": length, "phases.sleep": length}
    options["log_interval"] = max(1, min(LOG_INTERVAL, length // LINES)) if length > 1 else LOG_INTERVAL
    if length == 1:
        return options
    if growing:
        nights = growing_nights(length, updates)
        options |= {"phases.kind": nights.kind, "phases.growth": nights.growth, "phases.start": nights.start}
    return options | LONG

"""What updates computed on average, from one line of the log to the next, and the line of progress that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ffseq.learning import Update
from ffseq.phases import Moment


@dataclass
class Means:
    """Sums (float64) of bits and of goodness, of positives and negatives in each layer; and of how many updates."""

    totals: dict[str, Tensor] = field(default_factory=dict)
    updates: dict[str, int] = field(default_factory=dict)

    def add(self, update: Update, moment: Moment) -> None:
        """Asleep there are no positives, awake no negatives."""
        now = {"bits": update.bits, "positive": update.positive} if moment.phase != "sleep" else {}
        now |= {"negative": update.negative} if moment.phase != "wake" else {}
        for name, value in now.items():
            self.totals[name] = value.double() + self.totals[name] if name in self.totals else value.double()
            self.updates[name] = self.updates.get(name, 0) + 1

    def mean(self, name: str) -> Any:
        """A number, or a list of one for each layer; None where no update had it."""
        return (self.totals[name] / self.updates[name]).tolist() if name in self.totals else None

    def is_finite(self) -> bool:
        """Whether all sums are."""
        return all(bool(total.isfinite().all()) for total in self.totals.values())

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint: JSON holds float64 exactly."""
        return {"totals": {name: total.tolist() for name, total in self.totals.items()}, "updates": dict(self.updates)}

    @staticmethod
    def from_json(known: dict[str, Any], device: torch.device) -> Means:
        """The inverse of `to_json`."""
        totals = {name: torch.tensor(one, dtype=torch.float64, device=device) for name, one in known["totals"].items()}
        return Means(totals, known["updates"])


def goodness_in_words(positive: list[float] | None, negative: list[float] | None) -> str:
    """Mean goodness of positives and negatives layer by layer.

    >>> goodness_in_words([1.0, 2.5], [0.04, -1.0]), goodness_in_words(None, [-1.0])
    ('+1.0/+0.0 +2.5/-1.0', '-/-1.0')
    """
    nothing: list[float | None] = [None] * len(positive or negative or [])
    return " ".join(
        "/".join("-" if side is None else f"{side:+.1f}" for side in both)
        for both in zip(positive or nothing, negative or nothing, strict=True)
    )


def all_finite(*found: Any) -> bool:
    """Whether numbers, and lists of numbers, are finite; None is."""
    return all(
        math.isfinite(number)
        for one in found
        if one is not None
        for number in (one if isinstance(one, list) else [one])
    )

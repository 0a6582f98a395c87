"""What keeps awake and asleep in balance when they are long: a transform of the change before it is applied.

    none            each phase applies its changes
    opponent        each phase also applies the other phase's last average change
    consolidated    both only collect; at the end of sleep the sum of both averages is applied, once
    detectors       one half of each layer's units learns awake, the other half asleep

`opponent` and `consolidated` remember changes as large as all weights; so much is counted as state. With phases of one
update, real contexts asleep and `contrast`, `consolidated` is interleaved learning: no weight moves between the two.

Everything is done on the row that a net's changes stand in (ffseq/flat.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.config import Mechanism
from ffseq.flat import Flat
from ffseq.phases import Moment

SIDES = ("wake", "sleep")


class Balance:
    """A mechanism and what it remembers: `means` (2, N), the last average change awake and asleep; `total` (N,), of
    `count` updates, of the phase that is under way.
    """

    def __init__(self, mechanism: Mechanism, flat: Flat) -> None:
        self.mechanism, self.flat = mechanism, flat
        self.count = 0
        rows = 2 if mechanism in ("opponent", "consolidated") else 0
        self.means = flat.changes.new_zeros(rows, len(flat.changes))
        self.total = flat.changes.new_zeros(len(flat.changes) if rows else 0)
        self.learning = _halves(flat) if mechanism == "detectors" else None

    def transform(self, moment: Moment) -> bool:
        """Transform the changes in the row, of an update awake or asleep; whether they are to be applied."""
        changes, ends = self.flat.changes, moment.since + 1 == moment.length
        side = SIDES.index(moment.phase)
        if self.learning is not None:
            changes.mul_(self.learning[side])
        if not len(self.means):
            return True
        self.total += changes
        self.count += 1
        if ends:
            torch.div(self.total, self.count, out=self.means[side])
            self.total.zero_()
            self.count = 0
        if self.mechanism == "opponent":
            changes += self.means[1 - side]
            return True
        if moment.phase == "sleep" and ends:
            torch.sum(self.means, 0, out=changes)
            self.means.zero_()
            return True
        return False

    @property
    def state_bytes(self) -> int:
        """Bytes of what is remembered between updates."""
        return sum(one.numel() * one.element_size() for one in (self.means, self.total))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs to go on."""
        count = torch.tensor(self.count)
        return {"balance.means": self.means, "balance.total": self.total, "balance.count": count}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; other names are passed over."""
        self.means.copy_(tensors["balance.means"])
        self.total.copy_(tensors["balance.total"])
        self.count = int(tensors["balance.count"])


def _halves(flat: Flat) -> Tensor:
    """Ones where a weight learns awake and asleep, (2, N): those of the first and of the second half of the units.
    Candidates' biases, which belong to no unit, learn in both.
    """
    learning = torch.ones(2, len(flat.changes), dtype=flat.changes.dtype, device=flat.changes.device)
    for side, row in enumerate(learning):
        for places in flat.views(row):
            for name, place in places.items():
                if name != "candidate_bias":
                    half = place.shape[-1] // 2
                    (place[..., half:] if side == 0 else place[..., :half]).zero_()
    return learning

"""What keeps awake and asleep in balance when they are long.

    none            each phase applies its changes
    opponent        each phase also applies the other phase's last average change
    consolidated    both only collect; at the end of sleep the sum of both averages is applied, once
    detectors       one half of each layer's units learns awake, the other half asleep
    MODULE:NAME     a `Balance` of your own

A balance sees two things of an update: the strength of its signal, one number for each position, and its changes, on
the row that a net's changes stand in (ffseq/flat.py). It may transform both. Where a signal is not zero it cannot say:
awake that is the real symbol and nothing else, whoever wrote the balance.

`opponent` and `consolidated` remember changes as large as all weights; so much is counted as state. With phases of one
update, real contexts asleep and `contrast`, `consolidated` is interleaved learning: no weight moves between the two.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.config import MECHANISMS
from ffseq.errors import UsageError
from ffseq.flat import Flat
from ffseq.own import imported
from ffseq.phases import Moment

SIDES = ("wake", "sleep")


class Balance:
    """The balance `none`, and what another one changes of it.

    flat: the row with the changes (N,), `flat.changes`, and the places of the layers' weights in it. What a balance
    remembers from one update to the next stands in `state`, tensors by name: they are counted in `state_bytes`, and a
    run that was stopped goes on with them.
    """

    def __init__(self, flat: Flat) -> None:
        self.flat = flat
        self.state: dict[str, Tensor] = {}

    def signal(self, strength: Tensor, moment: Moment) -> Tensor:
        """The strength of the signal (B,), nowhere negative, as it is to be: by how much the goodness of the real
        symbol is to rise awake, and that of the dreamt one to fall asleep.
        """
        return strength

    def change(self, moment: Moment) -> bool:
        """Transform `flat.changes`, of an update awake or asleep; whether they are to be applied."""
        return True

    @property
    def state_bytes(self) -> int:
        """Bytes of what is remembered between updates."""
        return sum(one.numel() * one.element_size() for one in self.state.values())

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs to go on."""
        return {f"balance.{name}": value for name, value in self.state.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; other names are passed over."""
        for name, value in self.state.items():
            value.copy_(tensors[f"balance.{name}"])


class _Averages(Balance):
    """Remembers `means` (2, N), the last average change awake and asleep, and the `total` (N,) and `count` of updates
    of the phase that is under way.
    """

    def __init__(self, flat: Flat) -> None:
        super().__init__(flat)
        numbers = len(flat.changes)
        self.means, self.total = flat.changes.new_zeros(2, numbers), flat.changes.new_zeros(numbers)
        self.count = torch.zeros((), dtype=torch.int64, device=flat.changes.device)
        self.state = {"means": self.means, "total": self.total, "count": self.count}

    def collect(self, moment: Moment) -> bool:
        """Add the changes to what their phase has; whether it ends with them, and its average is known."""
        ends = moment.since + 1 == moment.length
        self.total += self.flat.changes
        self.count += 1
        if ends:
            torch.div(self.total, self.count, out=self.means[SIDES.index(moment.phase)])
            self.total.zero_()
            self.count.zero_()
        return ends


class Opponent(_Averages):
    """Each phase also applies the other phase's last average change."""

    def change(self, moment: Moment) -> bool:
        """As in `Balance`."""
        self.collect(moment)
        self.flat.changes.add_(self.means[1 - SIDES.index(moment.phase)])
        return True


class Consolidated(_Averages):
    """Both phases only collect; at the end of sleep the sum of both averages is applied, once."""

    def change(self, moment: Moment) -> bool:
        """As in `Balance`."""
        if not self.collect(moment) or moment.phase == "wake":
            return False
        torch.sum(self.means, 0, out=self.flat.changes)
        self.means.zero_()
        return True


class Detectors(Balance):
    """The first half of each layer's units, detectors, learns awake, and the second half, constraints, asleep.

    It goes with the goodness `opposed`, which subtracts what the constraints find from what the detectors find. What is
    masked is the changes: the optimiser's momentum and decay go on in both phases.
    Candidates' biases, which belong to no unit, learn in both.
    """

    def __init__(self, flat: Flat) -> None:
        super().__init__(flat)
        #: Ones where a weight learns awake and asleep, (2, N).
        self.learning = torch.ones(2, len(flat.changes), dtype=flat.changes.dtype, device=flat.changes.device)
        for side, row in enumerate(self.learning):
            for places in flat.views(row):
                for name, place in places.items():
                    if name != "candidate_bias":
                        half = place.shape[-1] // 2
                        (place[..., half:] if side == 0 else place[..., :half]).zero_()

    def change(self, moment: Moment) -> bool:
        """As in `Balance`."""
        self.flat.changes.mul_(self.learning[SIDES.index(moment.phase)])
        return True


SHIPPED: dict[str, type[Balance]] = {
    "none": Balance,
    "opponent": Opponent,
    "consolidated": Consolidated,
    "detectors": Detectors,
}


def own_balance(name: str) -> type[Balance]:
    """The class of a balance by its name, MODULE:NAME too. Raises UsageError where it is none."""
    found = SHIPPED.get(name) or imported("--phases.mechanism", name, MECHANISMS)
    if not (isinstance(found, type) and issubclass(found, Balance)):
        raise UsageError(f"--phases.mechanism {name} is no class made of ffseq.mechanisms.Balance")
    return found

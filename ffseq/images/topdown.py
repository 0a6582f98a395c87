"""Nets with top-down connections, run on an image as on a video that stands still (Hinton, arXiv 2212.13345,
section 3.4 and figure 3): the image at the bottom, a label at the top, and layers that see the one below and the one
above, or the label.

    a_l(t) = n(h_{l−1}(t−1)) W_l + n(h_{l+1}(t−1)) A_l + b_l        u_l(t) = ReLU(a_l(t))
    h_l(t) = d h_l(t−1) + (1 − d) u_l(t)                             G_l = mean over some t of Σ_j u_lj(t)²

n divides by the root mean square, d is the damping. The states begin with a single pass upward, with the neutral label.
A layer learns from its own u, its own goodness and what it saw: no derivative goes through time or to another layer.

Shape letters: B images, m labels of each, C classes, H units, L layers. Rows come label by label: row i·B + b.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from ffseq.goodness import normalised
from ffseq.images.fields import joined
from ffseq.products import outer

#: Which layers move in an iteration: all at once, or the even ones and then the odd ones.
Order = Literal["synchronous", "alternating"]


class Connection(Protocol):
    """How units see others: all of them (`Full`) or a local field (`ffseq.images.fields.Fields`)."""

    @property
    def hidden(self) -> int:
        """H, the units that see."""

    def windows(self, below: Tensor) -> Tensor:
        """What is seen of activities (B, I), as `product` and `change` want it."""

    def weights(self, generator: torch.Generator) -> Tensor:
        """Weights with which inputs of a mean square of one give pre-activities of one."""

    def product(self, windows: Tensor, weight: Tensor) -> Tensor:
        """x W (B, H)."""

    def change(self, windows: Sequence[Tensor], deltas: Sequence[Tensor], out: Tensor) -> None:
        """ΔW = Σ xᵀδ into `out`, over pairs of what was seen and δ (B, H)."""


@dataclass(frozen=True)
class Full:
    """Units that see all of so many inputs."""

    inputs: int
    hidden: int

    def windows(self, below: Tensor) -> Tensor:
        """All that there is (B, I)."""
        return below

    def weights(self, generator: torch.Generator) -> Tensor:
        """Weights (I, H)."""
        return torch.randn(self.inputs, self.hidden, generator=generator) / math.sqrt(self.inputs)

    def product(self, windows: Tensor, weight: Tensor) -> Tensor:
        """x W (B, H) of x (B, I)."""
        return windows @ weight

    def change(self, windows: Sequence[Tensor], deltas: Sequence[Tensor], out: Tensor) -> None:
        """ΔW = Σ xᵀδ into `out` (I, H) float32, over pairs of inputs and δ."""
        outer(joined(windows), joined(deltas), out)


class TopDownLayer(nn.Module):
    """Weights from below (`weight`) and from above (`above`; of the top layer: (C, H), a row for each class), biases
    (H,), all float32 without gradients, and the running mean (H,) of the positives' activity.

    from_above: None for the top layer; strength: size of the first weights from above, as a share of those from below.
    """

    running_mean: Tensor

    def __init__(
        self,
        from_below: Connection,
        from_above: Connection | None,
        classes: int,
        strength: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.from_below, self.from_above = from_below, from_above
        units = from_below.hidden
        self.weight = nn.Parameter(from_below.weights(generator), requires_grad=False)
        label = torch.randn(classes, units, generator=generator) if from_above is None else None
        above = from_above.weights(generator) if from_above is not None else label
        assert above is not None
        self.above = nn.Parameter(above * strength, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(units), requires_grad=False)
        self.register_buffer("running_mean", torch.zeros(units))


@dataclass(frozen=True)
class Seen:
    """What a layer saw and did in an iteration: windows from below (None: the image) and above (None: the label), and
    u (m·B, H).
    """

    below: Tensor | None
    above: Tensor | None
    units: Tensor


class TopDown:
    """Runs layers on images. weights: for each layer its weights by name, in the type of the products."""

    def __init__(self, layers: Sequence[TopDownLayer], damping: float, order: Order = "synchronous") -> None:
        self.layers, self.damping, self.order = list(layers), damping, order

    def upward(self, image: Tensor, weights: Sequence[dict[str, Tensor]]) -> list[Tensor]:
        """The states (B, H) of all layers after one pass upward, with the neutral label; image: what the first layer
        gets from it, `from_image`.
        """
        states: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            if number == 0:
                pre = image.clone()
            else:
                below = layer.from_below.windows(normalised(states[-1]))
                pre = layer.from_below.product(below, weights[number]["weight"]).add_(weights[number]["bias"])
            if layer.from_above is None:
                pre.add_(weights[number]["above"].mean(0))
            states.append(pre.relu_())
        return states

    def from_image(self, windows: Tensor, weights: Sequence[dict[str, Tensor]]) -> Tensor:
        """x W + b of the first layer (B, H), the same in all iterations and for all labels."""
        return self.layers[0].from_below.product(windows, weights[0]["weight"]).add_(weights[0]["bias"])

    def run(
        self,
        image: Tensor,
        states: Sequence[Tensor],
        codes: Tensor,
        weights: Sequence[dict[str, Tensor]],
        first: int,
        last: int,
    ) -> list[list[Seen]]:
        """What every layer sees and does in the iterations `first` to `last`, counted from 1.

        image: (B, H) as `from_image` gives it; states: (B, H) of every layer at the beginning; codes: (m, B) int64, the
        labels at the top.
        """
        label = weights[-1]["above"][codes.flatten()].add_(weights[-1]["bias"])
        # Until the label has come down to a layer, its state is the same for all labels, and has B rows.
        held, counted = list(states), []
        numbers = range(len(held))
        turns = [numbers] if self.order == "synchronous" else [numbers[::2], numbers[1::2]]
        for iteration in range(1, last + 1):
            if iteration == first:
                held = [state.repeat(len(label) // len(state), 1) for state in held]
            seen: dict[int, Seen] = {}
            for turn in turns:
                shown = {near: normalised(held[near]) for near in self._neighbours(turn)}
                seen |= {number: self._step(number, shown, image, label, weights[number]) for number in turn}
                for number in turn:
                    old, new = _by_label(held[number], seen[number].units)
                    held[number] = torch.lerp(new, old, self.damping).flatten(0, 1)
            if iteration >= first:
                counted.append([seen[number] for number in numbers])
        return counted

    def _neighbours(self, turn: Sequence[int]) -> set[int]:
        return {near for one in turn for near in (one - 1, one + 1) if 0 <= near < len(self.layers)}

    def _step(
        self, number: int, shown: dict[int, Tensor], image: Tensor, label: Tensor, weights: dict[str, Tensor]
    ) -> Seen:
        """What a layer sees and does, from the normalised states of its neighbours."""
        layer = self.layers[number]
        below = layer.from_below.windows(shown[number - 1]) if number else None
        above = layer.from_above.windows(shown[number + 1]) if layer.from_above is not None else None
        pre = image if below is None else layer.from_below.product(below, weights["weight"])
        if layer.from_above is None or above is None:
            pre = _sum(pre, label)
        else:
            pre = _sum(layer.from_above.product(above, weights["above"]), pre)
            if number:
                pre.add_(weights["bias"])
        return Seen(below, above, pre.relu_())


def _by_label(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of B or m·B images as (1, B, H) or (m, B, H)."""
    count = min(len(one), len(other))
    return one.view(-1, count, one.shape[1]), other.view(-1, count, other.shape[1])


def _sum(one: Tensor, other: Tensor) -> Tensor:
    """Their sum in a new tensor; one of them may be the same for all labels and have B rows only."""
    first, second = _by_label(one, other)
    return (first + second).flatten(0, 1)

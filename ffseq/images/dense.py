"""Fully connected layers that learn from their own goodness, the sum of their squared activities.

    a = x W + b        h = ReLU(a)        G = Σ_j h_j²        what goes up: h divided by its root mean square

Shape letters: B rows, I inputs, H units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ffseq.config import OptimiserConfig
from ffseq.flat import Flat
from ffseq.goodness import normalised
from ffseq.images.config import at_full_rate
from ffseq.layers.literal import follow, peer_push, squares_change
from ffseq.negatives import Negatives
from ffseq.objective import signal as signal_of
from ffseq.optim import apply_changes, make_optimisers
from ffseq.products import outer
from ffseq.randomness import generator


class DenseLayer(nn.Module):
    """Weights (I, H) and biases (H,), float32 without gradients, and the running mean (H,) of the positives' activity.

    Inputs have a mean square of one, and so do the first pre-activities.
    """

    running_mean: Tensor

    def __init__(self, inputs: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.randn(inputs, units, generator=generator) / math.sqrt(inputs)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(units), requires_grad=False)
        self.register_buffer("running_mean", torch.zeros(units))


class DenseStack:
    """Layers with their weights in one row (see `ffseq.flat`) and the optimiser that moves it.

    layers: a module for each, with parameters `weight` and `bias`; `products`: the type of the products.
    """

    def __init__(self, layers: Sequence[nn.Module], step: OptimiserConfig, batch_size: int, products: torch.dtype):
        self.layers, self.products = list(layers), products
        self.flat = Flat(self.layers)
        self.optimisers = make_optimisers(self.layers, step, batch_size, self.flat)
        for optimiser in self.optimisers:
            at_full_rate(optimiser, step)

    def weight(self, number: int) -> Tensor:
        """The weights of a layer in the type of the products; in bfloat16 overwritten by the next call for it."""
        if self.products == torch.float32:
            found: Tensor = self.layers[number].get_parameter("weight")
            return found
        return self.flat.rounded(number, self.products)["weight"]

    def place(self, number: int) -> dict[str, Tensor]:
        """Where the changes of a layer's weights are written, float32."""
        return self.flat.places[number]

    def apply(self, changes: Sequence[dict[str, Tensor]], share: float) -> None:
        """One step along the changes, at a share of the full rate."""
        apply_changes(self.optimisers, self.layers, changes, share, self.flat)


def dense_layers(inputs: int, units: int, count: int, seed: int, device: torch.device) -> list[DenseLayer]:
    """So many layers of so many units each, initialised by the seed."""
    random = generator(seed, "weights")
    widths = [inputs] + [units] * count
    return [DenseLayer(below, above, random).to(device) for below, above in pairwise(widths)]


def parts_of(passes: Sequence[tuple[Tensor, Tensor]], first: int, rows: int | None = None) -> list[Tensor]:
    """The normalised activities (rows, H) of the layers from `first` (counted from 0) on, of the first rows or all.

    passes: of every layer what it sees and its activity. What a layer sees is the normalised activity of the one below.
    """
    seen = [inputs[:rows] for inputs, _ in passes[first + 1 :]]
    return [*seen, normalised(passes[-1][1][:rows])]


def activity(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """h = ReLU(x W + b), (B, H) in the type of the inputs."""
    return torch.addmm(bias.to(inputs.dtype), inputs, weight).relu_()


def goodness(units: Tensor) -> Tensor:
    """G = Σ_j h_j² of every row, float32 (B,)."""
    return units.float().square().sum(1)


def pair_signal(
    objective: Literal["threshold", "difference"],
    goodness: Tensor,
    *,
    threshold: float,
    temperature: float,
    low: bool = False,
) -> Tensor:
    """s = −∂loss/∂G (2, B) float32, averaged over the batch, from the goodness (2, B) of positives and negatives.

    The losses, with G₊ and G₋ of the same image: threshold T log(1 + exp((θ − G₊)/T)) + T log(1 + exp((G₋ − θ)/T))
    (Hinton, equation 1, with a temperature); difference T log(1 + exp((G₋ − G₊)/T)) (SymBa, arXiv 2303.08418).
    low: positives are to have the lower sum of squares, so G is minus that, and θ too.

    >>> pair_signal("difference", torch.tensor([[1.0], [1.0]]), threshold=0.0, temperature=1.0)
    tensor([[ 0.5000],
            [-0.5000]])
    """
    count = goodness.shape[1]
    sign = -1.0 if low else 1.0
    scores = goodness.t() * (sign / temperature)
    first = torch.zeros(count, dtype=torch.long, device=scores.device)
    negative = torch.tensor([[0.0, 1.0]], device=scores.device).expand(count, 2)
    found, _ = signal_of(objective, scores, first, Negatives(negative, None), threshold=sign * threshold / temperature)
    return found.t() * (sign / count)


def hidden_delta(units: Tensor, signal: Tensor, *, running_mean: Tensor, peer: float, positives: int) -> Tensor:
    """δ (rows, H) = s ∂G/∂a, in the type of `units`, with what peer normalisation adds on the positives.

    units: h (rows, H), the first `positives` rows those of positives; signal: s = −∂loss/∂G (rows,) float32.
    peer: λ; positives push each unit's mean activity towards that of its layer, on and off units alike; the running
    mean (H,) follows them.
    """
    delta = squares_change(units, signal)
    if peer:
        follow(running_mean, units[:positives])
        delta[:positives] += peer_push(running_mean, peer / positives).to(delta.dtype)
    return delta


def weight_change(inputs: Tensor, delta: Tensor, out: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """ΔW = xᵀδ and Δb = Σ δ, written to `out` where it is given."""
    if out is None:
        return {"weight": (inputs.t() @ delta).float(), "bias": delta.float().sum(0)}
    outer(inputs, delta, out["weight"])
    torch.sum(delta, 0, dtype=torch.float32, out=out["bias"])
    return out


def upward(stack: DenseStack, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of every layer, what it sees (B, I) and its activity (B, H), for inputs of a mean square of one."""
    found = []
    for number, layer in enumerate(stack.layers):
        units = activity(inputs, stack.weight(number), layer.get_parameter("bias"))
        found.append((inputs, units))
        inputs = normalised(units)
    return found

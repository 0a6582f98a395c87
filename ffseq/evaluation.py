"""How well a net predicts text that it has not seen.

Every scored symbol is predicted once, in order, from the text before it, without dropout.

Shape letters: B positions in a batch, V alphabet size, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ffseq.goodness import Activity
from ffseq.passes import passes
from ffseq.sampling import bits_of
from ffseq.segments import leading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffseq.corpus import Part, Segment
    from ffseq.network import SequenceNetwork

#: Numbers held at once while a temperature is fitted, at most: 200 MB in float32.
FITTED_SCORES = 50_000_000

#: What looks at single predictions: numbers among the scored positions (B,), natural log probabilities (B, V), true
#: symbols (B,).
Note = Callable[[Tensor, Tensor, Tensor], None]


@dataclass(frozen=True)
class LayerFigures:
    """Figures of one layer: by its own goodness alone, and by the score summed from the first layer up to it.

    alone_bits, up_to_bits: bits per symbol; *_accuracy: share of symbols; positive: mean goodness of the real
    symbols; dead: share of units that no scored context switched on.
    """

    alone_bits: float
    alone_accuracy: float
    up_to_bits: float
    up_to_accuracy: float
    positive: float
    dead: float


@dataclass(frozen=True)
class Evaluation:
    """bits: total over all scored symbols; symbols: how many; accuracy: share whose most probable symbol was right."""

    bits: float
    symbols: int
    accuracy: float
    layers: tuple[LayerFigures, ...]

    @property
    def bits_per_symbol(self) -> float:
        """Mean bits of a scored symbol."""
        return self.bits / self.symbols


@torch.no_grad()
def evaluate_segments(
    network: SequenceNetwork,
    symbols: NDArray[np.integer],
    segments: Sequence[Segment],
    *,
    alone: Sequence[float] | None = None,
    batch_size: int = 2048,
    tick: Callable[[int], None] = lambda done: None,
    note: Note | None = None,
) -> Evaluation:
    """Score every position of the segments of `symbols` (N,).

    alone: for each layer the temperature at which its own goodness is read out (see `alone_temperatures`); without it
    the net's, which is made for the sum of all layers. tick: told after each batch how many symbols are scored. note:
    given every batch's numbers among the scored positions, log probabilities and true symbols.
    """
    from ffseq.network import goodness_of  # not before: the net's own module uses this one's neighbours

    depth = len(list(network.stack()))
    at = [float(network.temperature)] * depth if alone is None else alone
    sums = torch.zeros(depth, 5, dtype=torch.float64)
    alive: list[Tensor] = []
    bits, correct, count = 0.0, 0, 0
    for one in passes(network, symbols, segments, batch_size=batch_size):
        total: Tensor | None = None
        targets = one.targets
        known = network.prior if one.black_box is None else network.prior + one.black_box
        for number, (layer, _, activity) in enumerate(network.upward(one.contexts, past=one.past)):
            own = goodness_of(layer, activity)[one.scored]
            total = own if total is None else total + own
            # A unit of a memory is one context: a text that lacks the context says nothing about the unit.
            on = (activity.units > 0).any(0) if isinstance(activity, Activity) else torch.ones(1, dtype=torch.bool)
            if number == len(alive):
                alive.append(on)
            else:
                alive[number] = alive[number] | on
            by_itself = torch.log_softmax(own / at[number] + known, 1)
            up_to = network.log_probabilities(total, one.black_box)
            sums[number] += torch.stack([
                bits_of(by_itself, targets).sum(), (by_itself.argmax(1) == targets).double().sum(),
                bits_of(up_to, targets).sum(), (up_to.argmax(1) == targets).double().sum(),
                own.gather(1, targets[:, None]).double().sum(),
            ]).cpu()  # fmt: skip
        assert total is not None
        log_p = network.log_probabilities(total, one.black_box)
        bits += float(bits_of(log_p, targets).sum())
        correct += int((log_p.argmax(1) == targets).sum())
        count += len(targets)
        if note is not None:
            note(one.which, log_p, targets)
        tick(count)
    means = (sums / max(count, 1)).tolist()
    dead = [1 - float(on.float().mean()) for on in alive]
    layers = tuple(LayerFigures(*[*row, share]) for row, share in zip(means, dead, strict=True))
    return Evaluation(bits, count, correct / max(count, 1), layers)


@torch.no_grad()
def fit_temperature(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], *, limit: int = 50_000
) -> float:
    """The read-out temperature with the fewest bits on the first `limit` positions of the segments.

    Fewer positions are used for an alphabet of thousands of symbols, so that their scores fit in memory.
    """
    goodness, targets, known = _goodness_of(network, symbols, segments, limit)
    return _best_temperature(goodness.sum(0), targets, known)


@torch.no_grad()
def alone_temperatures(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], *, limit: int = 10_000
) -> list[float]:
    """For each layer the temperature at which its own goodness alone has the fewest bits; as `fit_temperature`."""
    goodness, targets, known = _goodness_of(network, symbols, segments, limit)
    return [_best_temperature(own, targets, known) for own in goodness]


def _goodness_of(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Goodness (L, n, V), targets (n,), and what is added to the scores, (V,) or (n, V), of the first positions of the
    segments.
    """
    limit = max(1, min(limit, FITTED_SCORES // len(network.alphabet) // len(list(network.stack()))))
    goodness, targets, outside = [], [], []
    for one in passes(network, symbols, leading(segments, limit)):
        goodness.append(network.goodness(one.contexts, one.past)[:, one.scored])
        targets.append(one.targets)
        if one.black_box is not None:
            outside.append(one.black_box)
    known = network.prior + torch.cat(outside) if outside else network.prior
    return torch.cat(goodness, 1), torch.cat(targets), known


def _best_temperature(scores: Tensor, targets: Tensor, known: Tensor) -> float:
    """The T of the fewest bits of softmax(S / T + what is known).

    Bits are convex in 1/T, so golden-section search over log T finds the one minimum, to a part in a thousand.
    """

    def bits(log_t: float) -> float:
        return float(bits_of(torch.log_softmax(scores / math.exp(log_t) + known, 1), targets).mean())

    low, high = math.log(0.05), math.log(200.0)
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if bits(left) < bits(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def figures(evaluation: Evaluation, part: Part) -> dict[str, float]:
    """Figures of a whole part as the reports name them.

    Bits per character divide all bits by the Unicode characters of the original text that the scored symbols stand
    for, dropped and replaced ones counted; bits per byte by its UTF-8 bytes.
    """
    return {
        "bits_per_character": evaluation.bits / part.characters,
        "bits_per_byte": evaluation.bits / part.bytes,
        "bits_per_symbol": evaluation.bits_per_symbol,
        "accuracy": evaluation.accuracy,
    }

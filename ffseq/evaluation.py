"""How well a net predicts text that it has not seen.

Every scored symbol is predicted once, in order, from the text before it, without dropout.

Shape letters: B positions in a batch, V alphabet size, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ffseq.sampling import bits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffseq.corpus import Part, Segment
    from ffseq.network import SequenceNetwork


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
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], *, batch_size: int = 2048
) -> Evaluation:
    """Score every position of the segments of `symbols` (N,).

    A layer alone is read out at T, except in a net whose T makes up for L overlapping layers (more than one): there
    at T/L, or at 1 if that is larger.
    """
    depth = network.config.layers
    alone_temperature = max(float(network.temperature) / depth, 1.0) if float(network.temperature) > 1 else None
    sums = torch.zeros(depth, 5, dtype=torch.float64)
    alive: list[Tensor] = []
    bits, correct, count = 0.0, 0, 0
    for contexts, targets, past, scored in network.passes(symbols, segments, batch_size=batch_size):
        total: Tensor | None = None
        targets = targets[scored]
        for number, (layer, _, activity) in enumerate(network.upward(contexts, past=past)):
            own = layer.goodness(activity)[scored]
            total = own if total is None else total + own
            on = activity.gate.amax(0) > 0
            if number == len(alive):
                alive.append(on)
            else:
                alive[number] = alive[number] | on
            scaled = own if alone_temperature is None else own * (float(network.temperature) / alone_temperature)
            alone, up_to = network.log_probabilities(scaled), network.log_probabilities(total)
            sums[number] += torch.stack([
                bits_of(alone, targets).sum(), (alone.argmax(1) == targets).double().sum(),
                bits_of(up_to, targets).sum(), (up_to.argmax(1) == targets).double().sum(),
                own.gather(1, targets[:, None]).double().sum(),
            ]).cpu()  # fmt: skip
        assert total is not None
        log_p = network.log_probabilities(total)
        bits += float(bits_of(log_p, targets).sum())
        correct += int((log_p.argmax(1) == targets).sum())
        count += len(targets)
    means = (sums / max(count, 1)).tolist()
    dead = [1 - float(on.float().mean()) for on in alive]
    layers = tuple(LayerFigures(*[*row, share]) for row, share in zip(means, dead, strict=True))
    return Evaluation(bits, count, correct / max(count, 1), layers)


@torch.no_grad()
def fit_temperature(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], *, limit: int = 50_000
) -> float:
    """The read-out temperature with the fewest bits on the first `limit` positions of the segments.

    Bits are convex in 1/T, so golden-section search over log T finds the one minimum, to a part in a thousand.
    """
    scores, targets = [], []
    seen = 0
    for contexts, real, past, scored in network.passes(symbols, segments):
        scores.append(network.scores(contexts, past)[scored])
        targets.append(real[scored])
        seen += len(targets[-1])
        if seen >= limit:
            break
    stacked, real = torch.cat(scores), torch.cat(targets)

    def bits(log_t: float) -> float:
        log_p = torch.log_softmax(stacked / math.exp(log_t) + network.prior, 1)
        return float(bits_of(log_p, real).mean())

    low, high = math.log(0.05), math.log(200.0)
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if bits(left) < bits(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def leading(segments: Sequence[Segment], limit: int) -> list[Segment]:
    """The segments cut off after `limit` scored positions."""
    from dataclasses import replace

    kept: list[Segment] = []
    for segment in segments:
        if limit <= 0:
            break
        kept.append(replace(segment, stop=min(segment.stop, segment.start + limit)))
        limit -= segment.stop - segment.start
    return kept


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

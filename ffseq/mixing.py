"""A net and a black box, mixed by weights that learn online, each from its own loss.

    P(next) = Σ_i λ_i P_i(next)        λ = softmax(w), one vector w for each pair (is the net sure, is the box sure)

P_0 is the net's prediction, the others are the black box's: one, or, for a model that counts on, one for each of
several lengths of context. Every symbol is predicted first; then the vector that was used takes a step along the
derivative of its own log likelihood, ∂ log P(r) / ∂w_i = λ_i (P_i(r) − P(r)) / P(r). No derivative goes down into the
net or into the box. All weights start at 0 and learn from nothing but the text that is being predicted. (Mixing online,
from a local loss, is what PAQ does: Mahoney 2005.)

Shape letters: n symbols in order, V alphabet size, M predictors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from ffseq.learning_on import predicted
from ffseq.sampling import bits_of
from ffseq.segments import Segment, positions_of, scored_symbols

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffseq.blackbox import BlackBox
    from ffseq.evaluation import Note
    from ffseq.network import SequenceNetwork

#: Kinds of sureness of either side: by its highest probability, in halves.
KINDS = 2
#: Step size of the weights.
RATE = 0.3
#: Positions whose mixed rows are computed at once.
CHUNK = 16_384


@dataclass
class Mixer:
    """The weights w of `predictors` predictors: (KINDS · KINDS, M) float64, by how sure the first and the last are."""

    predictors: int
    weights: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = np.zeros((KINDS * KINDS, self.predictors))

    def mix(self, predictions: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Natural log probabilities (n, V) float32 of the mixture, each row made before its target (n,) was learned.

        predictions: M tensors (n, V), natural log probabilities of the same positions, in order, in any float dtype;
        every row is normalised.
        """
        index = targets[:, None]
        real = torch.stack([_log_p(one).gather(1, index)[:, 0] for one in predictions], 1).double().exp().numpy()
        kinds = (_kind(predictions[0]) * KINDS + _kind(predictions[-1])).numpy()
        shares = np.empty_like(real)
        for position, (kind, p) in enumerate(zip(kinds, real, strict=True)):
            weights = self.weights[kind]
            share = np.exp(weights - weights.max())
            share /= share.sum()
            shares[position] = share
            mixed = float(share @ p)
            if mixed > 0:
                weights += RATE * share * (p - mixed) / mixed
                weights -= weights.mean()  # of no effect but that numbers stay small
                np.clip(weights, -12, 12, out=weights)  # no share becomes exactly 0: it can always come back
        rows = torch.empty(predictions[0].shape)
        for first in range(0, len(rows), CHUNK):
            some = slice(first, first + CHUNK)
            parts = [
                _log_p(one[some]).double().exp() * torch.from_numpy(share[some, None])
                for one, share in zip(predictions, shares.T, strict=True)
            ]
            rows[some] = torch.stack(parts).sum(0).log()
        return rows


@torch.no_grad()
def mixture_on(
    network: SequenceNetwork,
    box: BlackBox,
    symbols: NDArray[np.integer],
    segments: Sequence[Segment],
    *,
    learn_on: bool = False,
    hidden: Literal["learned", "random"] = "learned",
    progress: Callable[[int], None] = lambda done: None,
    note: Note | None = None,
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Total bits and accuracy of the mixture, of the net and of the box, each on the segments of `symbols` (N,).

    learn_on, hidden: see `ffseq.learning_on.predicted`. progress: called with the number of
    positions that the net has predicted. note: given all predictions of the mixture, as by
    `ffseq.evaluation.evaluate_segments`. The net must not have a box of its own.
    """
    tables = [torch.from_numpy(table) for table in box.each_of_text(symbols, *positions_of(segments))]
    net = torch.empty(tables[-1].shape)
    done = 0
    for one, log_p in predicted(network, symbols, segments, learn_on=learn_on, hidden=hidden):
        net[one.which] = log_p.cpu()
        done += len(one.which)
        progress(done)
    targets = torch.from_numpy(scored_symbols(symbols, segments))
    mixed = Mixer(1 + len(tables)).mix([net, *tables], targets)
    if note is not None:
        note(torch.arange(len(targets)), mixed, targets)
    return figures_of(mixed, targets), figures_of(net, targets), figures_of(_log_p(tables[-1]), targets)


def figures_of(log_p: Tensor, targets: Tensor) -> tuple[float, float]:
    """Total bits and accuracy of natural log probabilities (n, V)."""
    return float(bits_of(log_p, targets).sum()), float((log_p.argmax(1) == targets).double().mean())


def _log_p(logs: Tensor) -> Tensor:
    return torch.log_softmax(logs.float(), 1)


def _kind(logs: Tensor) -> Tensor:
    """How sure each row (n, V) is: 0 to KINDS − 1, int64 (n,)."""
    return (_log_p(logs).amax(1).exp() * KINDS).long().clamp_(max=KINDS - 1)

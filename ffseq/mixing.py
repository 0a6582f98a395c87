"""A net and a black box, mixed by weights that learn online, each from its own loss.

    P(next) = λ P_net(next) + (1 − λ) q(next)        λ = σ(w), one w for each pair (how sure the net is, how sure q is)

Every symbol is predicted first; then the one weight that was used takes a step along the derivative of its own log
likelihood, ∂ log P(r) / ∂w = λ(1 − λ)(P_net(r) − q(r)) / P(r). No derivative goes down into the net or into the box.
All weights start at 0, λ = ½, and learn from nothing but the text that is being predicted. (Mixing online, from a local
loss, is what PAQ does: Mahoney 2005.)

Shape letters: n symbols in order, V alphabet size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ffseq.sampling import bits_of
from ffseq.splits import Segment, positions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffseq.blackbox import BlackBox
    from ffseq.network import SequenceNetwork

#: Kinds of sureness of either side: by its highest probability, in quarters.
KINDS = 4
#: Step size of the weights.
RATE = 0.1


@dataclass
class Mixer:
    """The weights w, by how sure the net is and how sure the black box is: KINDS × KINDS numbers."""

    weights: list[list[float]] = field(default_factory=lambda: [[0.0] * KINDS for _ in range(KINDS)])

    def mix(self, net: Tensor, box: Tensor, targets: Tensor) -> Tensor:
        """Natural log probabilities (n, V) of the mixture, each row made before its target (n,) was learned.

        net, box: natural log probabilities (n, V) of the same positions, in order.
        """
        index = targets[:, None]
        p_net = net.gather(1, index)[:, 0].double().exp().tolist()
        p_box = box.gather(1, index)[:, 0].double().exp().tolist()
        sure = [_kind(net).tolist(), _kind(box).tolist()]
        shares = []
        for p, q, row, column in zip(p_net, p_box, *sure, strict=True):
            share = 1 / (1 + math.exp(-self.weights[row][column]))
            shares.append(share)
            mixed = share * p + (1 - share) * q
            if mixed > 0:
                step = RATE * share * (1 - share) * (p - q) / mixed
                # Bounded, so that a share never becomes exactly 0 or 1 and can always come back.
                self.weights[row][column] = max(-12.0, min(12.0, self.weights[row][column] + step))
        lam = torch.tensor(shares, dtype=torch.float64, device=net.device)[:, None]
        return torch.logaddexp(net.double() + lam.log(), box.double() + torch.log1p(-lam)).float()


@torch.no_grad()
def mixture_on(
    network: SequenceNetwork, box: BlackBox, symbols: NDArray[np.integer], segments: Sequence[Segment]
) -> tuple[float, float, tuple[float, float]]:
    """Total bits and accuracy of the mixture on the segments of `symbols` (N,), and those of the box alone.

    The net must not have a box of its own.
    """
    box_log_p = torch.log_softmax(torch.from_numpy(box.of_text(symbols, *positions_of(segments))).float(), 1)
    net_log_p = torch.empty_like(box_log_p)
    for one in network.passes(symbols, segments):
        scores = network.scores(one.contexts, one.past)[one.scored]
        net_log_p[one.which] = network.log_probabilities(scores).cpu()
    targets = torch.from_numpy(np.take(symbols, positions_of(segments)[0]).astype(np.int64))
    mixed = Mixer().mix(net_log_p, box_log_p, targets)
    return *_figures(mixed, targets), _figures(box_log_p, targets)


def _figures(log_p: Tensor, targets: Tensor) -> tuple[float, float]:
    """Total bits and accuracy."""
    return float(bits_of(log_p, targets).sum()), float((log_p.argmax(1) == targets).double().mean())


def _kind(log_p: Tensor) -> Tensor:
    """How sure each row (n, V) is: 0 to KINDS − 1, int64 (n,)."""
    return (log_p.amax(1).exp() * KINDS).long().clamp_(max=KINDS - 1)

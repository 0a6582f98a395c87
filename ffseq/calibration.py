"""How much the goodness of each layer counts in the prediction: gains, fitted on text that was not learned.

    S = Σ_l g_l h_l · E_l + biases            one gain g for each layer, and one for each length of context of a memory

Layers learn together under dropout, and what is sure in one of them (a long context that the training text had once or
twice) may be worth less on new text. The bits are convex in the gains, so Newton's method finds the one minimum. A
normal prior around 1 keeps them there where little text speaks for anything else. In learning all of them are 1.

Shape letters: N positions, V alphabet size, G gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ffseq.evaluation import FITTED_SCORES
from ffseq.goodness import Activity
from ffseq.layers.window import WindowLayer
from ffseq.network import SequenceNetwork, goodness_of
from ffseq.passes import passes
from ffseq.segments import leading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ffseq.segments import Segment

#: Standard deviation of the prior around 1.
PRIOR = 0.3
#: Newton steps at most; some five are needed.
STEPS = 50


@torch.no_grad()
def fit_gains(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], *, limit: int = 20_000
) -> Tensor:
    """The gains (G,) float32 with the fewest bits, at the net's temperature, on the first `limit` positions of the
    segments. The net's own gains are set to 1.
    """
    network.gains.fill_(1.0)
    shares, targets, known = _shares(network, symbols, segments, limit)
    index = targets[:, None]
    real = shares.gather(2, index.expand(len(shares), -1, -1))[:, :, 0].mean(1)
    weight = 1 / (PRIOR**2 * len(targets))

    def loss(gains: Tensor) -> float:
        log_p = torch.log_softmax(torch.einsum("gnv,g->nv", shares, gains) + known, 1)
        return float(weight / 2 * (gains - 1).square().sum() - log_p.gather(1, index).mean())

    gains = torch.ones(len(shares), device=known.device)
    best = loss(gains)
    for _ in range(STEPS):
        p = torch.softmax(torch.einsum("gnv,g->nv", shares, gains) + known, 1)
        weighed = shares * p
        mean = weighed.sum(2)
        slope = real - mean.mean(1) - weight * (gains - 1)
        curve = weighed.flatten(1) @ shares.flatten(1).t() / len(targets) - mean @ mean.t() / len(targets)
        step = torch.linalg.solve(curve + weight * torch.eye(len(gains), device=curve.device), slope)
        while (after := loss(gains + step)) > best and step.abs().max() > 1e-4:
            step /= 2
        if not math.isfinite(after) or after > best:
            break
        gains, best = gains + step, after
        if step.abs().max() < 1e-4:
            break
    return gains


def _shares(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What each gain stands before, divided by the temperature (G, N, V); targets (N,); and the rest of the score
    (N, V).
    """
    limit = max(1, min(limit, FITTED_SCORES // len(network.alphabet) // len(network.gains)))
    shares, targets, rest = [], [], []
    for one in passes(network, symbols, leading(segments, limit)):
        found: list[Tensor] = []
        known = network.prior.expand(len(one.targets), -1)
        if one.black_box is not None:
            known = known + one.black_box
        for layer, _, activity in network.upward(one.contexts, past=one.past):
            if isinstance(activity, Activity):
                assert isinstance(layer, WindowLayer)
                bias = layer.candidate_bias * (layer.kind != "squares")
                found.append((goodness_of(layer, activity)[one.scored] - bias) / network.temperature)
                known = known + bias / network.temperature
            else:
                rows, keep = activity.rows[one.scored], activity.keep[one.scored]
                found += [
                    layer.candidates[rows[:, number]] * keep[:, number, None] / network.temperature
                    for number in range(rows.shape[1])
                ]
        shares.append(torch.stack(found))
        targets.append(one.targets)
        rest.append(known)
    return torch.cat(shares, 1), torch.cat(targets), torch.cat(rest)

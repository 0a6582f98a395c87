"""Two more ways to value a candidate, written as one writes one's own (`ffseq.goodness.GoodnessFunction`).

    bounded    g(c) = C tanh(u · E_c / C)                              C = `BOUND`
    opposed    g(c) = Σ_j σ_j [u_j > 0] (u_j + E_cj)²                  σ_j = 1 of detectors, −1 of constraints

`bounded` is agreement that cannot leave −C..C: what raises it without end, as `contrast` does awake, stops by itself,
since its derivative, 1 − (g/C)², goes to zero at the bound. `opposed` is a sum of squares of one half of the units, the
detectors, less that of the other half, the constraints.

Shape letters: B positions in a batch, V alphabet size, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.goodness import GoodnessFunction

#: C, in nats: what a layer at its bound says of a candidate makes it e⁴ ≈ 55 times as likely as a silent layer would.
BOUND = 4.0


def _wide(values: Tensor) -> Tensor:
    """The same in at least float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _bounded_value(units: Tensor, candidates: Tensor) -> Tensor:
    return BOUND * torch.tanh(_wide(units @ candidates.t()) / BOUND)


def _within(units: Tensor, candidates: Tensor, signal: Tensor) -> Tensor:
    """The signal times the derivative of the bound, (B, V) in the dtype of the units."""
    share = _bounded_value(units, candidates) / BOUND
    return (signal * (1 - share.square())).to(units.dtype)


def _bounded_activity_change(units: Tensor, candidates: Tensor, signal: Tensor) -> Tensor:
    return _within(units, candidates, signal) @ candidates


def _bounded_candidate_change(units: Tensor, candidates: Tensor, signal: Tensor) -> Tensor:
    return _within(units, candidates, signal).t() @ units


def _signs(units: Tensor) -> Tensor:
    """σ (H,) in the dtype of the units: the first half of the units are detectors."""
    signs = units.new_ones(units.shape[1])
    signs[units.shape[1] // 2 :] = -1
    return signs


def _opposed_value(units: Tensor, candidates: Tensor) -> Tensor:
    signs = _signs(units)
    own = (_wide(units).square() @ _wide(signs))[:, None]
    on = (units > 0).to(units.dtype) * signs
    return own + _wide(2 * (units * signs) @ candidates.t()) + _wide(on @ candidates.square().t())


def _opposed_activity_change(units: Tensor, candidates: Tensor, signal: Tensor) -> Tensor:
    return 2 * _signs(units) * (units * signal.sum(1, keepdim=True) + signal @ candidates) * (units > 0)


def _opposed_candidate_change(units: Tensor, candidates: Tensor, signal: Tensor) -> Tensor:
    on = (units > 0).to(units.dtype)
    return 2 * _signs(units) * (signal.t() @ units + (signal.t() @ on) * candidates)


bounded = GoodnessFunction(_bounded_value, _bounded_activity_change, _bounded_candidate_change)
opposed = GoodnessFunction(_opposed_value, _opposed_activity_change, _opposed_candidate_change)

"""Goodness of every candidate next symbol in a layer, and its derivatives.

A layer sees a context as pre-activities a (B, H). Units with a > 0 that dropout left in are on; u (B, H) is a where a
unit is on and 0 elsewhere, and κ is the dropout scale, 1/(1 − drop), or 1. The activity is h = κ u. Candidate c reaches
the layer as a vector E_c, a row of `candidates` (V, H). Two ways to say how well a candidate goes with a context:

    agreement   G(c) = h · E_c + e_c
    squares     G(c) = κ Σ_j [u_j > 0] (a_j + E_cj)²  =  κ (Σ_j u_j²  +  2 u · E_c  +  [u > 0] · E_c²)

`squares` is Hinton's sum of squared activities (arXiv 2212.13345, section 2) of a layer to which the candidate is a
further input, with the gate held where the context put it; `agreement` is its first-order part. Any other way is a
`GoodnessFunction`: two more of ours (`ffseq.further_goodness`), or one of yours.

    bounded, opposed, MODULE:NAME        G(c) = κ g(u, E)(c) + e_c       e = 0 for `bounded` and `squares`

Everything here is a pure function; the derivatives are written out and tested against autograd, and yours can be
checked against differences (ffseq/derivatives.py).

Shape letters: B positions in a batch, V alphabet size, H units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ffseq.config import GOODNESS, Goodness
from ffseq.errors import UsageError
from ffseq.own import imported

#: Kinds that are written out here, as products.
PRODUCTS = ("agreement", "squares")
#: Kinds without a bias for every candidate, which would be bounded by nothing or is one of the squares.
UNBIASED = ("squares", "bounded")


@dataclass(frozen=True)
class Activity:
    """What a layer makes of a batch of contexts.

    units: u (B, H), in the dtype of the products, not yet scaled; scale: κ.
    """

    units: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class GoodnessFunction:
    """A goodness g other than a product, with its derivatives in closed form; products may be in bfloat16.

    value: from u (B, H), nowhere negative, and E (V, H) to g (B, V). activity_change and candidate_change: from u, E
    and the signal s (B, V) to Σ_c s(c) ∂g(c)/∂u (B, H) and Σ_b s(c) ∂g(c)/∂E (V, H). None may change its arguments.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    activity_change: Callable[[Tensor, Tensor, Tensor], Tensor]
    candidate_change: Callable[[Tensor, Tensor, Tensor], Tensor]


@cache
def own_goodness(name: str) -> GoodnessFunction:
    """The goodness function of that name, one of ours or MODULE:NAME. Raises UsageError where it is none."""
    place = f"ffseq.further_goodness:{name}" if name in GOODNESS else name
    found = imported("--goodness", place, GOODNESS)
    if not isinstance(found, GoodnessFunction):
        raise UsageError(f"--goodness {name} is a {type(found).__name__}, not a ffseq.goodness.GoodnessFunction")
    return found


def normalised(units: Tensor) -> Tensor:
    """Activity (B, H) divided by its root mean square over the units, in the same dtype."""
    norm: Tensor = torch.linalg.vector_norm(units, dim=1, keepdim=True)
    inverse: Tensor = math.sqrt(units.shape[1]) / norm.clamp(min=1e-4)
    return units * inverse.to(units.dtype)


def goodness(kind: Goodness, activity: Activity, candidates: Tensor, candidate_bias: Tensor) -> Tensor:
    """Goodness of every candidate (B, V), in the dtype of the bias.

    candidates: E (V, H), float32 or in the dtype of the activity; candidate_bias: e (V,) float32, which `squares`
    and `bounded` do not add.

    >>> activity = Activity(torch.tensor([[1.0, 0.0]]))
    >>> E = torch.tensor([[3.0, 5.0], [0.5, 1.0]])
    >>> goodness("agreement", activity, E, torch.zeros(2))
    tensor([[3.0000, 0.5000]])
    >>> goodness("squares", activity, E, torch.zeros(2))
    tensor([[16.0000,  2.2500]])
    """
    # In training a product may round to the three digits of bfloat16: far less than what sampling a batch leaves open.
    # Figures are computed in float32. Sums of squares, large and the same for all candidates, never round.
    units, weights = activity.units, candidates.to(activity.units.dtype)
    if kind not in PRODUCTS:
        value = own_goodness(kind).value(units, weights).to(candidate_bias.dtype)
        return value * activity.scale if kind in UNBIASED else torch.add(candidate_bias, value, alpha=activity.scale)
    cross = (units @ weights.t()).to(candidate_bias.dtype)
    if kind == "agreement":
        return torch.add(candidate_bias, cross, alpha=activity.scale)
    square = ((units > 0).to(units.dtype) @ (weights**2).t()).to(candidate_bias.dtype)
    own = units.to(candidate_bias.dtype).square().sum(1, keepdim=True)
    return (own + 2 * cross + square) * activity.scale


def pre_activity_change(kind: Goodness, activity: Activity, candidates: Tensor, signal: Tensor) -> Tensor:
    """δ = Σ_c s(c) ∂G(c)/∂a, (B, H) in the dtype of the activity. signal: s (B, V) float32.

    agreement: δ = [u > 0] ∘ κ s E.  squares: δ = 2 [u > 0] ∘ (κ s E + κ Σ_c s(c) u).
    """
    units = activity.units
    scaled = _scaled(signal, activity)
    if kind not in PRODUCTS:
        change = own_goodness(kind).activity_change(units, candidates.to(units.dtype), scaled.to(units.dtype))
        change = change.to(units.dtype)
    else:
        change = scaled.to(units.dtype) @ candidates.to(units.dtype)
    if kind == "squares":
        change.addcmul_(units, scaled.sum(1, keepdim=True).to(units.dtype)).mul_(2)
    # The derivative of ReLU: what comes from units that are not on is nothing.
    learned: Tensor = torch.ops.aten.threshold_backward(change, units, 0)
    return learned


def candidate_change(kind: Goodness, activity: Activity, candidates: Tensor, signal: Tensor) -> Tensor:
    """ΔE = Σ_b Σ_c s(c) ∂G(c)/∂E, (V, H) in the dtype of the activity, or for `squares` of E.

    agreement: ΔE = κ sᵀ u.  squares: ΔE = 2 κ (sᵀ u + (sᵀ [u > 0]) ∘ E).
    """
    units = activity.units
    if kind not in PRODUCTS:
        scaled = _scaled(signal, activity).to(units.dtype)
        return own_goodness(kind).candidate_change(units, candidates.to(units.dtype), scaled)
    rows = _scaled(signal, activity).to(units.dtype).t()
    change: Tensor = rows @ units
    if kind == "agreement":
        return change
    return (
        change.to(candidates.dtype)
        .addcmul_((rows @ (units > 0).to(units.dtype)).to(candidates.dtype), candidates)
        .mul_(2)
    )


def _scaled(signal: Tensor, activity: Activity) -> Tensor:
    """κ s."""
    return signal if activity.scale == 1.0 else signal * activity.scale

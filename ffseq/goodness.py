"""Goodness of every candidate next symbol in a layer, and its derivatives.

A layer sees a context as pre-activities `a` (B, H). The gate g (B, H) says which units take part: 1 where a > 0 and
0 elsewhere, times the dropout scale where there is dropout. The activity is h = g ∘ a. Candidate c reaches the layer
as a vector E_c, a row of `candidates` (V, H). Two ways to say how well a candidate goes with a context:

    agreement   G(c) = h · E_c + e_c
    squares     G(c) = Σ_j g_j (a_j + E_cj)²  =  Σ_j g_j a_j²  +  2 h · E_c  +  g · E_c²

`squares` is Hinton's sum of squared activities (arXiv 2212.13345, section 2) of a layer to which the candidate is a
further input, with the gate held where the context put it; `agreement` is its first-order part. Everything here is a
pure function; the derivatives are written out and tested against autograd.

Shape letters: B positions in a batch, V alphabet size, H units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ffseq.config import Goodness


@dataclass(frozen=True)
class Activity:
    """What a layer makes of a batch of contexts, in the dtype of the products.

    pre: a (B, H) pre-activities; gate: g (B, H), 0 or the dropout scale; units: h = g ∘ a (B, H).
    """

    pre: Tensor
    gate: Tensor
    units: Tensor


def goodness(kind: Goodness, activity: Activity, candidates: Tensor, candidate_bias: Tensor) -> Tensor:
    """Goodness of every candidate (B, V), in the dtype of the candidates.

    candidates: E (V, H) float32; candidate_bias: e (V,) float32, used by `agreement` only.

    >>> a = torch.tensor([[1.0, -2.0]])
    >>> activity = Activity(pre=a, gate=(a > 0).float(), units=a.clamp(min=0))
    >>> E = torch.tensor([[3.0, 5.0], [0.5, 1.0]])
    >>> goodness("agreement", activity, E, torch.zeros(2))
    tensor([[3.0000, 0.5000]])
    >>> goodness("squares", activity, E, torch.zeros(2))
    tensor([[16.0000,  2.2500]])
    """
    # Scores add up over layers and enter a softmax: bfloat16's three digits would show, so this product is float32.
    units = activity.units.to(candidates.dtype)
    if kind == "agreement":
        return torch.addmm(candidate_bias, units, candidates.t())
    context = (units * activity.pre.to(units.dtype)).sum(1, keepdim=True)
    return context + 2 * units @ candidates.t() + activity.gate.to(units.dtype) @ (candidates**2).t()


def pre_activity_change(kind: Goodness, activity: Activity, candidates: Tensor, signal: Tensor) -> Tensor:
    """δ = Σ_c s(c) ∂G(c)/∂a, (B, H) in the dtype of the activity. signal: s (B, V) float32.

    agreement: δ = g ∘ (s E).  squares: δ = 2 (h Σ_c s(c) + g ∘ (s E)).
    """
    dtype = activity.units.dtype
    change = (signal.to(dtype) @ candidates.to(dtype)).mul_(activity.gate)
    if kind == "agreement":
        return change
    return change.addcmul_(activity.units, signal.sum(1, keepdim=True).to(dtype)).mul_(2)


def candidate_change(kind: Goodness, activity: Activity, candidates: Tensor, signal: Tensor) -> Tensor:
    """ΔE = Σ_b Σ_c s(c) ∂G(c)/∂E, (V, H) in the dtype of E.

    agreement: ΔE = sᵀ h.  squares: ΔE = 2 (sᵀ h + (sᵀ g) ∘ E).
    """
    rows = signal.to(activity.units.dtype).t()
    change = (rows @ activity.units).to(candidates.dtype)
    if kind == "agreement":
        return change
    return change.addcmul_((rows @ activity.gate).to(candidates.dtype), candidates).mul_(2)

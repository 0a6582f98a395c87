"""A black box between layers: something without a derivative that activity passes through on its way up.

Hinton's own argument for Forward-Forward (arXiv 2212.13345, section 1): where the forward pass contains something whose
derivative nobody knows, backpropagation stops, and a layer that learns from its own goodness does not notice.

    quantised    each unit's activity rounded to 0, 1, 2 or 3 times the root mean square
    projected    a fixed random rotation of the activities, as a random medium would mix them
    stepped      a fixed unknown non-linearity: a staircase of sixteen random heights, the same for every unit

Each takes and gives normalised activity (B, H). No derivative comes back: the twin, trained by backpropagation, learns
above and below the box and not through it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.config import Between
from ffseq.randomness import generator

#: Steps of the staircase, and how many of them there are for one root mean square.
STEPS, PER_UNIT = 16, 4


def box_between(kind: Between, layer: int, units: int) -> Tensor | None:
    """What a box is made of, the same in every net: a rotation (H, H), heights (16,), or nothing."""
    random = generator(0, f"between {kind}", layer)
    if kind == "projected":
        rotation: Tensor = torch.linalg.qr(torch.randn(units, units, generator=random)).Q
        return rotation
    if kind == "stepped":
        return torch.randn(STEPS, generator=random)
    return None


@torch.no_grad()
def through(kind: Between, made_of: Tensor | None, units: Tensor) -> Tensor:
    """Normalised activity (B, H) after the box, in the same dtype."""
    units = units.detach()
    if kind == "quantised":
        return units.round().clamp_(max=3)
    assert made_of is not None
    if kind == "projected":
        return units @ made_of.to(units)
    step = (units * PER_UNIT).long().clamp_(max=STEPS - 1)
    return made_of.to(units)[step]

"""Hybrid images, the negatives of unsupervised learning (Hinton, arXiv 2212.13345, section 3.2 and figure 1).

A mask of large regions of ones and zeros is made by blurring a random bit image again and again with [1/4, 1/2, 1/4] in
both directions and comparing with 1/2. A hybrid is one image where the mask is one, and another where it is zero: alike
to an image over short distances, and not over long ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ffseq.errors import UsageError


@dataclass(frozen=True)
class HybridSettings:
    """What layers learn from that tell images from hybrids."""

    hidden: Literal["learned", "random"] = "learned"
    """random: the layers stay as they were initialised and only the read-out learns, to compare with."""
    blurs: int = 6
    """How often the bits of a mask are blurred: the more, the larger its regions."""
    threshold: float = 1.0
    """θ of every layer, as a mean square of its activities: the threshold of the sum is so many times the units."""
    temperature: float = 1.0
    """What (goodness − θ) is divided by in the logistic function."""
    peer_normalisation: float = 0.06
    """λ, how strongly units are pushed towards the mean activity of their layer (Hinton's 0.03 is 0.06 here)."""


def check(own: HybridSettings, batch_size: int) -> None:
    """Refuse settings out of range. Raises UsageError."""
    if own.blurs < 0:
        raise UsageError(f"--blurs cannot be negative, got {own.blurs}")
    if own.temperature <= 0:
        raise UsageError("--temperature has to be positive")
    if batch_size < 2:
        raise UsageError("--batch_size has to be 2 or more: a hybrid is made of two images of a batch")


def masks(count: int, rows: int, columns: int, blurs: int, random: torch.Generator) -> Tensor:
    """Masks of zeros and ones, float32 (count, rows, columns), from so many blurs; at the border the edge goes on."""
    bits = torch.randint(0, 2, (count, 1, rows, columns), generator=random, device=random.device).float()
    for _ in range(blurs):
        bits = _blurred(bits, 2)
        bits = _blurred(bits, 3)
    return (bits > 0.5).float()[:, 0]


def hybrids(images: Tensor, shape: tuple[int, int, int], blurs: int, random: torch.Generator) -> Tensor:
    """Hybrids (B, I) of each image with another one of the batch; the images (B, I) stay as they are. B > 1."""
    planes, rows, columns = shape
    partner = torch.randint(1, len(images), (1,), generator=random, device=random.device)
    others = images.roll(int(partner), 0)
    mask = masks(len(images), rows, columns, blurs, random).repeat(1, planes, 1).flatten(1)
    return torch.lerp(others, images, mask)


def _blurred(bits: Tensor, dimension: int) -> Tensor:
    size = bits.shape[dimension]
    padded = F.pad(bits, (0, 0, 1, 1) if dimension == 2 else (1, 1, 0, 0), mode="replicate")
    before, here, after = (padded.narrow(dimension, first, size) for first in range(3))
    return (before + after).mul_(0.25).add_(here, alpha=0.5)

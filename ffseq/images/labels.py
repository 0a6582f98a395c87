"""The label in the first ten pixels (Hinton, arXiv 2212.13345, section 3.3), and the neutral one that names no class.

The first C pixels of an image with C classes are overwritten: with a one for its class and zeros else, or with 1/C
each, which is the neutral label. Codes: 0 to C − 1 for a class, C for neutral.
"""

from __future__ import annotations

import torch
from torch import Tensor


def label_pixels(classes: int) -> Tensor:
    """What the first pixels hold for each code, the neutral one last: float32 (C + 1, C).

    >>> label_pixels(2)
    tensor([[1.0000, 0.0000],
            [0.0000, 1.0000],
            [0.5000, 0.5000]])
    """
    return torch.cat([torch.eye(classes), torch.full((1, classes), 1 / classes)])


def with_label(images: Tensor, codes: Tensor, classes: int) -> Tensor:
    """Images (B, I) with their first C pixels overwritten for the codes (B,) int64; a copy."""
    labelled = images.clone()
    labelled[:, :classes] = label_pixels(classes).to(images)[codes]
    return labelled


def wrong_labels(logits: Tensor, labels: Tensor, random: torch.Generator, temperature: float = 1.0) -> Tensor:
    """One wrong label (B,) int64 for each image, drawn from softmax(logits / temperature) with the truth masked.

    logits: (B, C) float32, what the net says of an image with the neutral label: the likelier it takes a wrong label
    to be, the more often it has to tell it from the truth. labels: (B,) int64.
    """
    masked = (logits / temperature).scatter(1, labels[:, None], -torch.inf)
    drawn: Tensor = torch.multinomial(torch.softmax(masked, 1), 1, generator=random)[:, 0]
    return drawn

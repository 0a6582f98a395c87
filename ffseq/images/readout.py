"""The softmax read-out: a linear classifier on the normalised activities of chosen layers. It teaches no layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Readout(nn.Module):
    """Weights (F, C) and biases (C,), float32, that begin at zero; F: the units of all layers read."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, classes), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(classes), requires_grad=False)

    def logits(self, parts: Sequence[Tensor]) -> Tensor:
        """Float32 (B, C) from the normalised activities of the layers read, (B, H) each."""
        # Summed layer by layer: putting the activities side by side would copy all of them.
        total = self.bias.expand(len(parts[0]), -1)
        for part, weight in zip(parts, self._weights(parts), strict=True):
            total = total + (part @ weight.to(part.dtype)).to(total.dtype)
        return total

    def change(self, parts: Sequence[Tensor], signal: Tensor) -> dict[str, Tensor]:
        """Changes by name. signal: onehot − softmax (B, C) float32, averaged over the batch."""
        change = torch.empty_like(self.weight)
        for part, place in zip(parts, change.split([part.shape[1] for part in parts]), strict=True):
            place.copy_(part.t() @ signal.to(part.dtype))
        return {"weight": change, "bias": signal.sum(0)}

    def _weights(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        return self.weight.split([part.shape[1] for part in parts])


def softmax_signal(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """s = (target − softmax(logits)) / B, float32 (B, C): −∂/∂logits of the mean cross-entropy.

    smoothing: share of the target that is spread over all classes.
    """
    batch, classes = logits.shape
    signal = torch.softmax(logits, 1).neg_().add_(smoothing / classes)
    signal.scatter_add_(1, labels[:, None], signal.new_full((batch, 1), 1 - smoothing))
    return signal.div_(batch)

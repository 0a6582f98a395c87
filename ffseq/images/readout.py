"""The softmax read-out: a linear classifier on the normalised activities of chosen layers. It teaches no layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ffseq.images.config import StepConfig, at_full_rate, optimiser_of
from ffseq.optim import apply_changes, make_optimiser


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
        for part, weight in zip(parts, _split(self.weight, parts), strict=True):
            total = total + (part @ weight.to(part.dtype)).to(total.dtype)
        return total

    def change(self, parts: Sequence[Tensor], signal: Tensor) -> dict[str, Tensor]:
        """Changes by name. signal: onehot − softmax (B, C) float32, averaged over the batch."""
        change = torch.empty_like(self.weight)
        for part, place in zip(parts, _split(change, parts), strict=True):
            place.copy_(part.t() @ signal.to(part.dtype))
        return {"weight": change, "bias": signal.sum(0)}


def _split(rows: Tensor, parts: Sequence[Tensor]) -> Sequence[Tensor]:
    """The rows (F, C) that belong to each part."""
    found: Sequence[Tensor] = torch.split(rows, [part.shape[1] for part in parts])
    return found


def softmax_signal(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """s = (target − softmax(logits)) / B, float32 (B, C): −∂/∂logits of the mean cross-entropy.

    smoothing: share of the target that is spread over all classes.
    """
    batch, classes = logits.shape
    signal = torch.softmax(logits, 1).neg_().add_(smoothing / classes)
    signal.scatter_add_(1, labels[:, None], signal.new_full((batch, 1), 1 - smoothing))
    return signal.div_(batch)


class LearnedReadout:
    """A read-out with its optimiser, of layers with so many units in all."""

    def __init__(self, features: int, classes: int, step: StepConfig, device: torch.device) -> None:
        self.module = Readout(features, classes).to(device)
        settings = optimiser_of(step, readout=True)
        self.optimiser = make_optimiser([self.module], settings)
        at_full_rate(self.optimiser, settings)

    def logits(self, parts: Sequence[Tensor]) -> Tensor:
        """Float32 (B, C), see `Readout.logits`."""
        return self.module.logits(parts)

    def learn(self, parts: Sequence[Tensor], logits: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
        """One step of softmax regression, at a share of the full rate. logits: of these parts.

        Returns means over the batch before the step: nats of the truth, and the percentage that was wrong.
        """
        change = self.module.change(parts, softmax_signal(logits, labels))
        apply_changes([self.optimiser], [self.module], [change], share)
        nats = -torch.log_softmax(logits, 1).gather(1, labels[:, None]).mean()
        return {"readout_nats": nats, "readout_error": (logits.argmax(1) != labels).float().mean() * 100}

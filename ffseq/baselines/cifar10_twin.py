"""The local fields of `ffseq.images.cifar10`, trained by backpropagation: a baseline, which uses autograd.

Bottom-up only, as in the paper (Hinton, arXiv 2212.13345, section 4): the same maps, ReLU between them, and a softmax
on all units of the last one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffseq.baselines.backprop_images import derivatives
from ffseq.errors import UsageError
from ffseq.images.cifar10 import same_map, standardised
from ffseq.images.config import ImagesConfig, at_full_rate, optimiser_of
from ffseq.images.data import ImageData
from ffseq.images.experiment import Learned, Test
from ffseq.images.fields import FieldLayer
from ffseq.images.readout import Readout
from ffseq.optim import apply_changes, make_optimiser
from ffseq.randomness import generator


@dataclass(frozen=True)
class Settings:
    """The net."""

    layers: int = 2
    """L, number of layers between image and label."""
    channels: int = 3
    """Units at every place of a layer."""
    field: int = 11
    """Places on the side of a receptive field, an odd number."""
    dropout: float = 0.0
    """Share of every layer's units left out of each update."""
    smoothing: float = 0.0
    """Share of the target that is spread over all classes."""


def make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> Twin:
    """The experiment at its beginning. Raises UsageError for settings out of range."""
    own: Settings = config.own
    if min(own.layers, own.channels) < 1:
        raise UsageError("--layers and --channels have to be 1 or more")
    if not (0 <= own.dropout < 1 and 0 <= own.smoothing < 1):
        raise UsageError("--dropout and --smoothing have to be at least 0 and below 1")
    return Twin(data, config, device, products)


class Twin:
    """The net trained end to end; see `ffseq.images.experiment.Experiment`."""

    tests: tuple[Test, ...] = ("output",)

    def __init__(self, data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> None:
        self.own: Settings = config.own
        self.products, self.shape = products, data.shape
        random = generator(config.run.seed, "weights")
        first = same_map(data, data.shape[0], self.own.channels, self.own.field)
        higher = same_map(data, self.own.channels, self.own.channels, self.own.field)
        self.layers = [FieldLayer(higher if number else first, random) for number in range(self.own.layers)]
        for layer in self.layers:
            layer.weight.mul_(math.sqrt(2))  # so that the signal keeps its size through ReLU
        self.readout = Readout(self.layers[-1].fields.hidden, data.classes)
        self.net = nn.ModuleList([*self.layers, self.readout]).to(device)
        settings = optimiser_of(config.step)
        self.optimiser = make_optimiser([self.net], settings)
        at_full_rate(self.optimiser, settings)

    @property
    def modules(self) -> nn.ModuleDict:
        """The net."""
        return nn.ModuleDict({"net": self.net})

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Its only one."""
        return [self.optimiser]

    def update(self, images: Tensor, labels: Tensor, *, random: torch.Generator, share: float, done: float) -> Learned:
        """Learn one batch, see `ffseq.images.experiment.Experiment`."""
        learned, changes = derivatives(self.net, lambda: self._logits(images, random), labels, self.own.smoothing)
        # A unit learns nothing of what is outside its field.
        for number, layer in enumerate(self.layers):
            if layer.fields.mask is not None:
                changes[f"{number}.weight"].mul_(layer.fields.mask.to(images.device))
        apply_changes([self.optimiser], [self.net], [changes], share)
        return learned

    def scores(self, images: Tensor, test: Test) -> Tensor:
        """Logits, float32 (B, C)."""
        return self._logits(images, None)

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """None of its own."""
        return {}

    def figures(self) -> dict[str, Any]:
        """None of its own."""
        return {}

    def _logits(self, images: Tensor, random: torch.Generator | None) -> Tensor:
        """Float32 (B, C); random: for dropout, or None to leave nothing out."""
        hidden = standardised(images, self.shape).to(self.products)
        for layer in self.layers:
            weight, bias = (layer.get_parameter(name).to(self.products) for name in ("weight", "bias"))
            hidden = F.relu(layer.fields.product(layer.fields.windows(hidden), weight) + bias)
            if random is not None and self.own.dropout:
                keep = torch.rand(hidden.shape, generator=random, device=hidden.device) >= self.own.dropout
                hidden = hidden * keep.to(hidden.dtype).div_(1 - self.own.dropout)
        return self.readout.logits([hidden])

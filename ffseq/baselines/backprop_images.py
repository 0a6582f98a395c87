"""Nets trained by backpropagation on the same images, to compare with: this is a baseline and uses autograd.

`plain`: a perceptron. `regularised`: the same with dropout and label smoothing, and if asked for with noise and batch
normalisation. `conv`: a small convolutional net with dropout and label smoothing. None of the first two knows how the
pixels lie beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffseq.errors import UsageError
from ffseq.images.config import ImagesConfig, at_full_rate, optimiser_of
from ffseq.images.data import ImageData
from ffseq.images.experiment import Learned, Test
from ffseq.optim import apply_changes, make_optimiser
from ffseq.randomness import generator

Net = Literal["plain", "regularised", "conv"]

#: Share of a batch in the running means and variances that tests are normalised by.
FOLLOWS = 0.01


@dataclass(frozen=True)
class Settings:
    """The net."""

    net: Net = "plain"
    """plain: a perceptron. regularised: the same with dropout and label smoothing. conv: a small convolutional net with
    both."""
    layers: int = 2
    """Hidden layers of a perceptron."""
    units: int = 1000
    """H, units in a hidden layer."""
    channels: int = 32
    """Channels of the first convolution; the second one has twice as many."""
    dropout: float = 0.5
    """Share of the hidden units left out of each update; of the pixels two fifths of that (not for plain)."""
    smoothing: float = 0.1
    """Share of the target that is spread over all classes (not for plain)."""
    batch_norm: bool = False
    """Normalise what comes to each hidden unit over the batch (Ioffe & Szegedy, arXiv 1502.03167); regularised only."""
    noise: float = 0.0
    """Standard deviation of what is added to every pixel and to what comes to each hidden unit, after batch
    normalisation (as in the baseline of Rasmus et al., arXiv 1507.02672, section 4.1); regularised only."""


def make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> Backprop:
    """The experiment at its beginning."""
    own: Settings = config.own
    if min(own.layers, own.units, own.channels) < 1:
        raise UsageError("--layers, --units and --channels have to be 1 or more")
    if not (0 <= own.dropout < 1 and 0 <= own.smoothing < 1):
        raise UsageError("--dropout and --smoothing have to be at least 0 and below 1")
    if not (own.noise >= 0 and math.isfinite(own.noise)):
        raise UsageError(f"--noise cannot be negative, got {own.noise}")
    if own.net != "regularised" and (own.batch_norm or own.noise):
        raise UsageError(f"--batch_norm and --noise belong to --net regularised, not to {own.net}")
    if own.batch_norm and config.run.batch_size < 2:
        raise UsageError("--batch_size has to be 2 or more with --batch_norm")
    return Backprop(data, config, device, products)


class Backprop:
    """A net trained end to end; see `ffseq.images.experiment.Experiment`."""

    tests: tuple[Test, ...] = ("output",)

    def __init__(self, data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> None:
        self.own: Settings = config.own
        self.products, self.shape = products, data.shape
        self.net = _net(self.own, data, config.run.seed).to(device)
        self.net.requires_grad_(False)
        hidden = self.own.layers if self.own.batch_norm else 0
        norms = [nn.BatchNorm1d(self.own.units, affine=False, momentum=FOLLOWS) for _ in range(hidden)]
        self.norms = nn.ModuleList(norms).to(device)
        settings = optimiser_of(config.step)
        self.optimiser = make_optimiser([self.net], settings)
        at_full_rate(self.optimiser, settings)

    @property
    def modules(self) -> nn.ModuleDict:
        """The net, and what its batch normalisation follows."""
        return nn.ModuleDict({"net": self.net, "norms": self.norms})

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Its only one."""
        return [self.optimiser]

    def update(self, images: Tensor, labels: Tensor, *, random: torch.Generator, share: float, done: float) -> Learned:
        """Learn one batch, see `ffseq.images.experiment.Experiment`."""
        regularised = self.own.net != "plain"
        smoothing = self.own.smoothing if regularised else 0.0
        learned, changes = derivatives(
            self.net, lambda: self._logits(images, random if regularised else None), labels, smoothing
        )
        apply_changes([self.optimiser], [self.net], [changes], share)
        return learned

    def scores(self, images: Tensor, test: Test) -> Tensor:
        """Logits, float32 (B, C)."""
        return self._logits(images, None)

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """None of its own."""
        return {}

    def figures(self) -> dict[str, Any]:
        """Which net it was."""
        return {"net": self.own.net}

    def _logits(self, images: Tensor, random: torch.Generator | None) -> Tensor:
        """Float32 (B, C); random: for dropout and noise, or None for a test: nothing is left out or added, and batch
        normalisation goes by its running means.
        """
        hidden = images.to(self.products)
        if self.own.net == "conv":
            hidden = hidden.view(-1, *self.shape)
        stages = list(self.net.children())
        for number, stage in enumerate(stages):
            if random is not None and self.own.noise:
                hidden = hidden + _noise(hidden, self.own.noise, random)
            if number:
                hidden = F.relu(hidden)
            if isinstance(stage, nn.Linear):
                hidden = hidden.flatten(1)
                drop = self.own.dropout * (0.4 if number == 0 else 1.0)
                if random is not None and drop:
                    hidden = hidden * _kept(hidden, drop, random)
            if number < len(self.norms):
                hidden = _normalised(stage, hidden, self.norms[number].train(random is not None))
            else:
                hidden = _through(stage, hidden)
            if isinstance(stage, nn.Conv2d):
                hidden = F.max_pool2d(hidden, 2)
        return hidden.float()


def derivatives(
    net: nn.Module, logits: Callable[[], Tensor], labels: Tensor, smoothing: float
) -> tuple[Learned, dict[str, Tensor]]:
    """Loss and error of a batch, and the changes of all weights of the net by name: minus what autograd finds, for
    changes are ascent directions here as everywhere. logits: computes them, (B, C).
    """
    weights = dict(net.named_parameters())
    net.requires_grad_(True)
    try:
        with torch.enable_grad():
            found = logits()
            loss = F.cross_entropy(found, labels, label_smoothing=smoothing)
            gradients = torch.autograd.grad(loss, list(weights.values()))
    finally:
        net.requires_grad_(False)
    error = (found.argmax(1) != labels).float().mean() * 100
    changes = {name: -gradient for name, gradient in zip(weights, gradients, strict=True)}
    return Learned({"nats": loss.detach(), "error": error}), changes


def _net(own: Settings, data: ImageData, seed: int) -> nn.Sequential:
    planes, rows, columns = data.shape
    stages: list[nn.Linear | nn.Conv2d]
    if own.net == "conv":
        flat = 2 * own.channels * (rows // 4) * (columns // 4)
        stages = [
            nn.Conv2d(planes, own.channels, 5, padding=2),
            nn.Conv2d(own.channels, 2 * own.channels, 5, padding=2),
            nn.Linear(flat, own.units),
            nn.Linear(own.units, data.classes),
        ]
    else:
        widths = (data.pixels, *[own.units] * own.layers, data.classes)
        stages = [nn.Linear(below, above) for below, above in pairwise(widths)]
    random = generator(seed, "weights")
    for number, stage in enumerate(stages):
        fan_in = stage.weight[0].numel()
        gain = 2.0 if number + 1 < len(stages) else 1.0
        stage.weight.data.normal_(0, (gain / fan_in) ** 0.5, generator=random)
        stage.get_parameter("bias").data.zero_()
    return nn.Sequential(*stages)


def _through(stage: nn.Module, hidden: Tensor) -> Tensor:
    """A stage with its weights in the type of what goes through it."""
    weight, bias = (stage.get_parameter(name).to(hidden.dtype) for name in ("weight", "bias"))
    return F.conv2d(hidden, weight, bias, padding=2) if isinstance(stage, nn.Conv2d) else F.linear(hidden, weight, bias)


def _normalised(stage: nn.Module, hidden: Tensor, norm: nn.Module) -> Tensor:
    """What comes to the units of a stage, over the batch of mean 0 and variance 1 before their biases are added.

    There is no gain: with one the units could drown the noise.
    """
    weight, bias = (stage.get_parameter(name) for name in ("weight", "bias"))
    sums = F.linear(hidden, weight.to(hidden.dtype))
    units: Tensor = norm(sums.float()) + bias
    return units.to(hidden.dtype)


def _noise(hidden: Tensor, deviation: float, random: torch.Generator) -> Tensor:
    """Normal noise of a shape and type."""
    noise = torch.randn(hidden.shape, generator=random, device=hidden.device)
    return noise.mul_(deviation).to(hidden.dtype)


def _kept(hidden: Tensor, drop: float, random: torch.Generator) -> Tensor:
    """A dropout mask that keeps the mean."""
    keep = torch.rand(hidden.shape, generator=random, device=hidden.device) >= drop
    return keep.to(hidden.dtype).div_(1 - drop)

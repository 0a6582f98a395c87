"""Unsupervised learning: is this an image, or a hybrid of two? (Hinton, arXiv 2212.13345, section 3.2)

Positives are images, negatives hybrids of two; all layers learn at once, each from its own goodness, and none sees a
label. Beside that a softmax read-out learns the labels from the normalised activities of the last three layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ffseq.errors import UsageError
from ffseq.goodness import normalised
from ffseq.images.config import ImagesConfig, optimiser_of
from ffseq.images.data import ImageData
from ffseq.images.dense import (
    DenseStack,
    dense_layers,
    goodness,
    hidden_delta,
    pair_signal,
    parts_of,
    upward,
    weight_change,
)
from ffseq.images.experiment import Learned, Test
from ffseq.images.hybrid import HybridSettings, check, hybrids
from ffseq.images.pictures import hybrid_figure, receptive_fields
from ffseq.images.readout import LearnedReadout
from ffseq.randomness import generator


@dataclass(frozen=True)
class Settings(HybridSettings):
    """The net, and what its layers learn from."""

    layers: int = 4
    """L, number of layers."""
    units: int = 2000
    """H, units in a layer."""
    read_layers: int = 3
    """How many layers, from the top, the read-out looks at."""


def make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> Unsupervised:
    """The experiment at its beginning."""
    own: Settings = config.own
    if min(own.layers, own.units, own.read_layers) < 1:
        raise UsageError("--layers, --units and --read_layers have to be 1 or more")
    check(own, config.run.batch_size)
    return Unsupervised(data, config, device, products)


class Unsupervised:
    """A stack of dense layers and its read-out; see `ffseq.images.experiment.Experiment`."""

    tests: tuple[Test, ...] = ("one_pass",)

    def __init__(self, data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> None:
        self.own: Settings = config.own
        self.shape = data.shape
        layers = dense_layers(data.pixels, self.own.units, self.own.layers, config.run.seed, device)
        self.stack = DenseStack(layers, optimiser_of(config.step), config.run.batch_size, products)
        self.read_from = max(0, self.own.layers - self.own.read_layers)
        features = (self.own.layers - self.read_from) * self.own.units
        self.readout = LearnedReadout(features, data.classes, config.step, device)
        self.theta = self.own.threshold * self.own.units

    @property
    def modules(self) -> nn.ModuleDict:
        """The layers and the read-out."""
        return nn.ModuleDict({"layers": nn.ModuleList(self.stack.layers), "readout": self.readout.module})

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """That of the layers and that of the read-out."""
        return [*self.stack.optimisers, self.readout.optimiser]

    def update(self, images: Tensor, labels: Tensor, *, random: torch.Generator, share: float, done: float) -> Learned:
        """Learn one batch, see `ffseq.images.experiment.Experiment`."""
        count, learns = len(images), self.own.hidden == "learned"
        shown = torch.cat([images, hybrids(images, self.shape, self.own.blurs, random)]) if learns else images
        passes = upward(self.stack, normalised(shown).to(self.stack.products))
        parts = parts_of(passes, self.read_from, count)
        figures = self.readout.learn(parts, self.readout.logits(parts), labels, share)
        if not learns:
            return Learned(figures)
        sides = [goodness(units).view(2, count) for _, units in passes]
        self.stack.apply([self._change(number, passes[number], side) for number, side in enumerate(sides)], share)
        every = torch.stack(sides).mean(2)
        return Learned(figures, every[:, 0], every[:, 1])

    def scores(self, images: Tensor, test: Test) -> Tensor:
        """Logits, float32 (B, C)."""
        passes = upward(self.stack, normalised(images).to(self.stack.products))
        return self.readout.logits(parts_of(passes, self.read_from))

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Hybrid images with their masks, and the receptive fields of the first layer."""
        return {
            "hybrids": hybrid_figure(images, self.shape, self.own.blurs, generator(0, "hybrid figure")),
            "receptive_fields": receptive_fields(self.stack.layers[0].get_parameter("weight"), self.shape),
        }

    def figures(self) -> dict[str, Any]:
        """Whether the layers learned."""
        return {"hidden": self.own.hidden}

    def _change(self, number: int, own: tuple[Tensor, Tensor], side: Tensor) -> dict[str, Tensor]:
        """The changes of one layer, from what it sees, its activity and its own goodness."""
        inputs, units = own
        delta = hidden_delta(
            units,
            pair_signal("threshold", side, threshold=self.theta, temperature=self.own.temperature).flatten(),
            running_mean=self.stack.layers[number].get_buffer("running_mean"),
            peer=self.own.peer_normalisation,
            positives=side.shape[1],
        )
        return weight_change(inputs, delta, self.stack.place(number))

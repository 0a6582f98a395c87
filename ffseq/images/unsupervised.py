"""Unsupervised learning: is this an image, or a hybrid of two? (Hinton, arXiv 2212.13345, section 3.2)

Positives are images, negatives hybrids of two; all layers learn at once, each from its own goodness, and none sees a
label. Beside that a softmax read-out learns the labels from the normalised activities of the last three layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ffseq.errors import UsageError
from ffseq.goodness import normalised
from ffseq.images.config import ImagesConfig
from ffseq.images.data import ImageData
from ffseq.images.dense import dense_layers, parts_of, upward, weight_change
from ffseq.images.hybrid import HybridSettings, check
from ffseq.images.pictures import hybrid_figure, receptive_fields
from ffseq.images.unlabelled import Passes, Unlabelled
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


class Unsupervised(Unlabelled):
    """A stack of dense layers and its read-out; see `ffseq.images.experiment.Experiment`."""

    def __init__(self, data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> None:
        own: Settings = config.own
        layers = dense_layers(data.pixels, own.units, own.layers, config.run.seed, device)
        read = min(own.read_layers, own.layers)
        self.read_from = own.layers - read
        super().__init__(data, config, layers, [own.units] * own.layers, read, device, products)

    def upward(self, images: Tensor) -> Passes:
        """See `Unlabelled.upward`."""
        return upward(self.stack, normalised(images).to(self.stack.products))

    def parts(self, passes: Passes, rows: int | None = None) -> list[Tensor]:
        """See `Unlabelled.parts`."""
        return parts_of(passes, self.read_from, rows)

    def change(self, number: int, inputs: Tensor, delta: Tensor) -> dict[str, Tensor]:
        """See `Unlabelled.change`."""
        return weight_change(inputs, delta, self.stack.place(number))

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Hybrid images with their masks, and the receptive fields of the first layer."""
        return {
            "hybrids": hybrid_figure(images, self.shape, self.hybrid.blurs, generator(0, "hybrid figure")),
            "receptive_fields": receptive_fields(self.stack.layers[0].get_parameter("weight"), self.shape),
        }

"""A net with top-down connections on MNIST, fully connected (Hinton, arXiv 2212.13345, section 3.4 and figure 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ffseq.errors import UsageError
from ffseq.goodness import normalised
from ffseq.images.config import ImagesConfig
from ffseq.images.data import ImageData
from ffseq.images.still_video import StillVideo, VideoSettings, check
from ffseq.images.topdown import Full, TopDownLayer
from ffseq.randomness import generator


@dataclass(frozen=True)
class Settings(VideoSettings):
    """The net, how it runs, and what its layers learn from."""

    layers: int = 2
    """L, number of layers between image and label."""
    units: int = 2000
    """H, units in a layer."""


def make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> StillVideo:
    """The experiment at its beginning. Raises UsageError for settings out of range."""
    own: Settings = config.own
    check(own)
    if min(own.layers, own.units) < 1:
        raise UsageError("--layers and --units have to be 1 or more")
    random = generator(config.run.seed, "weights")
    layers = []
    for number in range(own.layers):
        top = number == own.layers - 1
        layers.append(
            TopDownLayer(
                Full(own.units if number else data.pixels, own.units),
                None if top else Full(own.units, own.units),
                data.classes,
                own.label_strength if top else own.top_down,
                random,
            )
        )
    return StillVideo(layers, data, config, device, products, normalised)

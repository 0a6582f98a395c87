"""Local fields of 11×11 with top-down connections on CIFAR-10 (Hinton, arXiv 2212.13345, section 4).

Every layer is a map as large as the image with 3 units at each place. A unit sees a field of 11×11 places of the layer
below and one of the layer above, or the label; no weights are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ffseq.errors import UsageError
from ffseq.goodness import normalised
from ffseq.images.config import ImagesConfig
from ffseq.images.data import ImageData
from ffseq.images.fields import Fields, by_place
from ffseq.images.still_video import StillVideo, VideoSettings, check
from ffseq.images.topdown import TopDownLayer
from ffseq.randomness import generator

#: Places on the side of a tile, the first that divides the side of the image: what is fastest (see `fields`).
TILES = (8, 7, 4, 2, 1)


@dataclass(frozen=True)
class Settings(VideoSettings):
    """The net, how it runs, and what its layers learn from."""

    first_iteration: int = 4
    """The first iteration whose goodness counts, from 1."""
    last_iteration: int = 6
    """The last one. The paper's nets run on to 10; nothing of that is used, so these do not."""
    top_down: float = 0.3
    """Size of the first top-down weights, as a share of the bottom-up ones."""
    label_strength: float = 0.5
    """Size of the first weights from the label, as a share of what the layer gets from below."""
    temperature: float = 100.0
    """What goodness is divided by in the logistic function."""
    layers: int = 2
    """L, number of layers between image and label."""
    channels: int = 3
    """Units at every place of a layer."""
    field: int = 11
    """Places on the side of a receptive field, an odd number."""
    squares: Literal["up", "down"] = "up"
    """Whether positives are to have the higher sum of squares, or the lower."""


def make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> StillVideo:
    """The experiment at its beginning. Raises UsageError for settings out of range."""
    own: Settings = config.own
    check(own)
    if min(own.layers, own.channels) < 1:
        raise UsageError("--layers and --channels have to be 1 or more")
    random = generator(config.run.seed, "weights")
    first = same_map(data, data.shape[0], own.channels, own.field)
    higher = same_map(data, own.channels, own.channels, own.field)
    layers = []
    for number in range(own.layers):
        top = number == own.layers - 1
        layers.append(
            TopDownLayer(
                higher if number else first,
                None if top else higher,
                data.classes,
                own.label_strength if top else own.top_down,
                random,
            )
        )
    return StillVideo(
        layers, data, config, device, products, lambda images: standardised(images, data.shape), own.squares == "down"
    )


def same_map(data: ImageData, channels: int, units: int, field: int) -> Fields:
    """Fields of a layer whose map has the size of the image. Raises UsageError where there are none."""
    _, rows, columns = data.shape
    if rows != columns:
        raise UsageError(f"{data.name} has images of {rows}×{columns} pixels; local fields need square ones")
    if field < 1 or field % 2 == 0:
        raise UsageError(f"--field has to be an odd number, got {field}")
    tile = next(tile for tile in TILES if rows % tile == 0)
    return Fields(rows, channels, field, step=1, margin=field // 2, units=units, tile=tile)


def standardised(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images (B, I) as maps with a mean of zero and a mean square of one, each for itself."""
    return normalised(by_place(images - images.mean(1, keepdim=True), shape))

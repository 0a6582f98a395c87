"""Unsupervised learning with local receptive fields and no shared weights (Hinton, arXiv 2212.13345, section 3.2).

The paper's net for images of 28×28: 4×4 places whose 128 units see 10×10 pixels, 6 apart; 3×3 places whose 220 units
see all units of 2×2 places below; 2×2 places with 512 units that do the same. About 2,000 units in each layer, kept
equally busy by peer normalisation. Everything else is as in `ffseq.images.unsupervised`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ffseq.errors import UsageError
from ffseq.goodness import normalised
from ffseq.images.config import ImagesConfig
from ffseq.images.data import ImageData
from ffseq.images.fields import FieldLayer, Fields, by_place
from ffseq.images.hybrid import HybridSettings, check
from ffseq.images.pictures import hybrid_figure, local_receptive_fields
from ffseq.images.unlabelled import Passes, Unlabelled
from ffseq.randomness import generator


@dataclass(frozen=True)
class Settings(HybridSettings):
    """The net, and what its layers learn from."""

    channels: list[int] = field(default_factory=lambda: [128, 220, 512])
    """Units at every place, layer by layer."""
    first_field: int = 10
    """Pixels on the side of what a unit of the first layer sees."""
    first_step: int = 6
    """Pixels between neighbouring places of the first layer. Each layer above sees 2×2 places, one apart."""


def make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> LocalFields:
    """The experiment at its beginning. Raises UsageError for settings out of range."""
    own: Settings = config.own
    if not own.channels or min(own.channels) < 1:
        raise UsageError("--channels has to be a list of numbers of 1 or more")
    check(own, config.run.batch_size)
    return LocalFields(data, config, device, products)


class LocalFields(Unlabelled):
    """A stack of layers with local fields and its read-out; see `ffseq.images.experiment.Experiment`."""

    def __init__(self, data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> None:
        self.fields = maps(config.own, data)
        random = generator(config.run.seed, "weights")
        layers = [FieldLayer(one, random).to(device) for one in self.fields]
        units = [one.hidden for one in self.fields]
        super().__init__(data, config, layers, units, len(units), device, products)

    def upward(self, images: Tensor) -> Passes:
        """See `Unlabelled.upward`; what a layer sees is the windows of its tiles (P, rows, F)."""
        inputs = normalised(by_place(images, self.shape)).to(self.stack.products)
        found = []
        for number, fields in enumerate(self.fields):
            windows = fields.windows(inputs)
            pre = fields.product(windows, self.stack.weight(number))
            units = pre.add_(self.stack.layers[number].get_parameter("bias").to(pre.dtype)).relu_()
            found.append((windows, units))
            inputs = normalised(units)
        return found

    def parts(self, passes: Passes, rows: int | None = None) -> list[Tensor]:
        """See `Unlabelled.parts`."""
        return [normalised(units[:rows]) for _, units in passes]

    def change(self, number: int, inputs: Tensor, delta: Tensor) -> dict[str, Tensor]:
        """See `Unlabelled.change`."""
        place = self.stack.place(number)
        self.fields[number].change([inputs], [delta], place["weight"])
        torch.sum(delta, 0, dtype=torch.float32, out=place["bias"])
        return place

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Hybrids, and what units of the first layer look for in their fields."""
        random = generator(0, "picture")
        return {
            "hybrids": hybrid_figure(images, self.shape, self.hybrid.blurs, random),
            "receptive_fields": local_receptive_fields(self.fields[0], self.stack.layers[0].get_parameter("weight")),
        }


def maps(own: Settings, data: ImageData) -> list[Fields]:
    """How each layer looks at the one below. Raises UsageError where the fields do not fit."""
    planes, rows, columns = data.shape
    if rows != columns:
        raise UsageError(f"{data.name} has images of {rows}×{columns} pixels; local fields need square ones")
    found: list[Fields] = []
    try:
        for units in own.channels:
            if found:
                below = found[-1]
                found.append(Fields(below.places, below.units, field=2, step=1, margin=0, units=units))
            else:
                found.append(Fields(rows, planes, own.first_field, own.first_step, margin=0, units=units))
    except ValueError:
        raise UsageError(
            f"{len(own.channels)} layers with --first_field {own.first_field} and --first_step {own.first_step} do not "
            f"fit images of {rows}×{columns} pixels"
        ) from None
    return found

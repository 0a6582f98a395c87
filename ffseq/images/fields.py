"""Layers with local receptive fields and no shared weights: every place of a map has units and weights of its own.

A map is a square of places with some channels each, (B, side · side · channels), place by place, row by row. A unit
sees a square field of the map below, all of its channels; a field that reaches over the edge sees zeros there.

Fields of neighbouring places overlap, so places are put together in square tiles whose units see the same window, the
union of their fields: a few large products instead of many small ones. A mask keeps each unit to its own field.

Shape letters: B rows, H units, P tiles, F numbers in a window, M units of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Fields:
    """How a layer looks at the map below.

    side, channels: of the map below; field: places on a side of a receptive field; step: places between the fields of
    neighbours; margin: places of zeros around the map; units: channels of the layer itself; tile: places on the side of
    a tile.
    """

    side: int
    channels: int
    field: int
    step: int
    margin: int
    units: int
    tile: int = 1

    def __post_init__(self) -> None:
        left = self.side + 2 * self.margin - self.field
        if left < 0 or left % self.step or (left // self.step + 1) % self.tile:
            raise ValueError(f"tiles of {self.tile} with fields of {self.field} do not cover a side of {self.side}")

    @property
    def places(self) -> int:
        """Places on a side of the layer's own map."""
        return (self.side + 2 * self.margin - self.field) // self.step + 1

    @property
    def hidden(self) -> int:
        """H, units of the layer."""
        return self.places**2 * self.units

    @property
    def inputs(self) -> int:
        """Numbers in the receptive field of a unit."""
        return self.field**2 * self.channels

    @property
    def window(self) -> int:
        """Places on the side of a window."""
        return self.field + (self.tile - 1) * self.step

    @property
    def shape(self) -> tuple[int, int, int]:
        """P, F, M: the shape of the weights."""
        tiles = self.places // self.tile
        return tiles**2, self.window**2 * self.channels, self.tile**2 * self.units

    def fields_of(self, weight: Tensor, units: Sequence[int]) -> Tensor:
        """Of weights (P, F, M), those of some units within their own fields (channels · field², n), plane by plane."""
        across = self.places // self.tile
        found = []
        for unit in units:
            place, channel = divmod(unit, self.units)
            row, column = divmod(place, self.places)
            at = (row % self.tile, column % self.tile)
            tile = (row // self.tile) * across + column // self.tile
            number = (at[0] * self.tile + at[1]) * self.units + channel
            seen = weight[tile, :, number].view(self.window, self.window, self.channels)
            top, left = at[0] * self.step, at[1] * self.step
            found.append(seen[top : top + self.field, left : left + self.field].movedim(2, 0).flatten())
        return torch.stack(found, 1)

    def windows(self, below: Tensor) -> Tensor:
        """What every tile sees (P, B, F) of the map below (B, side · side · channels)."""
        count, wide = len(below), self.side + 2 * self.margin
        edge = self.margin
        padded = F.pad(below.view(count, self.side, -1), (edge * self.channels,) * 2 + (edge, edge))
        tiles, stride = self.places // self.tile, self.tile * self.step
        row = wide * self.channels
        seen = padded.as_strided(
            (tiles, tiles, count, self.window, self.window * self.channels),
            (stride * row, stride * self.channels, wide * row, row, 1),
        )
        return seen.reshape(tiles * tiles, count, -1)

    def spread(self, tiles: Tensor) -> Tensor:
        """From the units of every tile (P, B, M) to the layer's own map (B, H)."""
        across, count = self.places // self.tile, tiles.shape[1]
        parts = tiles.view(across, across, count, self.tile, self.tile * self.units)
        return parts.permute(2, 0, 3, 1, 4).reshape(count, -1)

    def gathered(self, units: Tensor) -> Tensor:
        """The inverse of `spread`."""
        across, count = self.places // self.tile, len(units)
        parts = units.view(count, across, self.tile, across, self.tile * self.units)
        return parts.permute(1, 3, 0, 2, 4).reshape(across * across, count, -1)

    @cached_property
    def mask(self) -> Tensor | None:
        """Ones where a unit of a tile sees a number of the window, float32 (F, M); None where it sees them all."""
        if self.tile == 1:
            return None
        first = torch.arange(self.tile) * self.step
        place = torch.arange(self.window)
        inside = ((place[:, None] >= first) & (place[:, None] < first + self.field)).float()  # (window, tile)
        both = torch.einsum("rt,cs->rcts", inside, inside)
        wide = both[:, :, None, :, :, None].expand(-1, -1, self.channels, -1, -1, self.units)
        return wide.reshape(self.shape[1], self.shape[2])

    def weights(self, generator: torch.Generator) -> Tensor:
        """Weights (P, F, M) with which inputs of a mean square of one give pre-activities of one; zero outside."""
        weight = torch.randn(self.shape, generator=generator) / math.sqrt(self.inputs)
        return weight if self.mask is None else weight * self.mask

    def product(self, windows: Tensor, weight: Tensor) -> Tensor:
        """x W (B, H) of windows x (P, B, F) and weights (P, F, M), each tile with its own."""
        return self.spread(torch.bmm(windows, weight))

    def change(self, windows: Sequence[Tensor], deltas: Sequence[Tensor], out: Tensor) -> None:
        """ΔW = Σ xᵀδ of every tile, nothing outside a unit's own field, into `out` (P, F, M) float32.

        windows and deltas: pairs of x (P, B, F) and δ (B, H).
        """
        seen = joined(windows, 1).transpose(1, 2)
        delta = joined([self.gathered(one) for one in deltas], 1)
        if seen.dtype == torch.float32:
            torch.bmm(seen, delta, out=out)
        else:
            out.copy_(torch.bmm(seen, delta))
        if self.mask is not None:
            out.mul_(self.mask.to(out.device))


def joined(parts: Sequence[Tensor], dimension: int = 0) -> Tensor:
    """Tensors one after the other, for one product in place of many that are added up; a single one as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dimension)


class FieldLayer(nn.Module):
    """Weights (P, F, M) and biases (H,), float32 without gradients, and the running mean (H,) of the positives.

    Inputs have a mean square of one over the map, and so about do the first pre-activities.
    """

    running_mean: Tensor

    def __init__(self, fields: Fields, generator: torch.Generator) -> None:
        super().__init__()
        self.fields = fields
        self.weight = nn.Parameter(fields.weights(generator), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(fields.hidden), requires_grad=False)
        self.register_buffer("running_mean", torch.zeros(fields.hidden))


def by_place(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images (B, I), planes of rows of pixels, as a map: pixel by pixel with its colours."""
    planes, rows, columns = shape
    return images if planes == 1 else images.view(-1, planes, rows, columns).movedim(1, 3).reshape(len(images), -1)

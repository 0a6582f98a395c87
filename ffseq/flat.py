"""All weights of a stack in one row, so that what happens to every weight is one operation and not one for each.

The layers keep their weights by name; those are views of the row. A change is written to its place in a second row,
which the optimiser applies at once; a third has the weights in the type of the products. An update of a small net is
mostly the price of calling operations, and these are the ones that can be saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Every weight begins at a multiple of so many numbers, where products are fastest.
ALIGNED = 64

#: For each layer, something of the shape of each of its weights, by parameter name.
Views = list[dict[str, Tensor]]


class Flat:
    """The weights of layers in one row. Making it moves them there; their values stay.

    values: (N,) float32, weights first, biases from `biases` on; changes: (N,) float32; places: the weights' places in
    the changes. Between two weights there may be a few zeros that belong to none.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._shapes = [{name: weight.shape for name, weight in layer.named_parameters()} for layer in layers]
        self._places: list[dict[str, int]] = [{} for _ in layers]
        #: Where the weights of each layer begin, and where the last one's end; then the same of the biases.
        self._ends: tuple[list[int], list[int]] = ([], [])
        first = 0
        for biases in (False, True):
            for shapes, places in zip(self._shapes, self._places, strict=True):
                self._ends[biases].append(first)
                for name, shape in shapes.items():
                    if ("bias" in name) == biases:
                        places[name] = first
                        first += -(-shape.numel() // ALIGNED) * ALIGNED
            self._ends[biases].append(first)
        self.biases = self._ends[True][0]
        like = next(layers[0].parameters())
        with torch.inference_mode(False):  # a net's weights stay what autograd can look at, wherever the row is made
            self.values, self.changes = torch.zeros(2, first, dtype=like.dtype, device=like.device)
        self.places = self.views(self.changes)
        #: For each type of the products, of every layer: its part of a row of that type, of this row, and its weights.
        self._rounded: dict[torch.dtype, list[tuple[Tensor, Tensor, dict[str, Tensor]]]] = {}
        for layer, views in zip(layers, self.views(self.values), strict=True):
            for name, view in views.items():
                weight = getattr(layer, name)
                view.copy_(weight)
                weight.data = view  # the same parameter: an optimiser that was made before goes on moving it
        self._starts = _starts(layers)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """None: the weights of a copied net are its own, and it makes its own row of them."""

    def holds(self, layers: Iterable[nn.Module]) -> bool:
        """Whether the layers' weights are those of the row: no longer, once a net has been moved or copied."""
        return _starts(layers) == self._starts

    def views(self, row: Tensor) -> Views:
        """The weights' places in a row (N,), or in the beginning of one."""
        return [
            {
                name: row[place : place + shapes[name].numel()].view(shapes[name])
                for name, place in places.items()
                if place < len(row)
            }
            for shapes, places in zip(self._shapes, self._places, strict=True)
        ]

    def part(self, number: int) -> slice:
        """Where the weights of a layer are in a row, without its biases."""
        return self.parts(range(number, number + 1))[0]

    def parts(self, layers: range) -> tuple[slice, slice]:
        """Where the weights of neighbouring layers are in a row, and where their biases."""
        weights, biases = (slice(ends[layers.start], ends[layers.stop]) for ends in self._ends)
        return weights, biases

    def rounded(self, number: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weights of a layer as they are now, without its biases, in `dtype`; overwritten by the next call."""
        if dtype not in self._rounded:
            with torch.inference_mode(False):  # it stays, and is written to wherever a net is looked through
                row = torch.empty_like(self.values[: self.biases], dtype=dtype)
            self._rounded[dtype] = [
                (row[self.part(layer)], self.values[self.part(layer)], views)
                for layer, views in enumerate(self.views(row))
            ]
        own, weights, views = self._rounded[dtype][number]
        own.copy_(weights)
        return views


def _starts(layers: Iterable[nn.Module]) -> list[int]:
    return [weight.data_ptr() for layer in layers for weight in layer.parameters() if weight.numel()]

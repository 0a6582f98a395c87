"""Supervised learning: is this label the image's own? (Hinton, arXiv 2212.13345, section 3.3)

Positives are images with their label in the first pixels, negatives the same images with a wrong label that the net
itself takes for likely: drawn from its softmax read-out on a pass with the neutral label, the truth masked. All layers
learn at once, each from its own goodness. Two tests: the read-out in one pass with the neutral label, on all layers but
the first; and the goodness of all layers but the first, summed, with every label in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ffseq.errors import UsageError
from ffseq.goodness import normalised
from ffseq.images.config import ImagesConfig, optimiser_of
from ffseq.images.data import ImageData
from ffseq.images.dense import (
    DenseStack,
    activity,
    dense_layers,
    goodness,
    hidden_delta,
    pair_signal,
    parts_of,
    weight_change,
)
from ffseq.images.experiment import Learned, Test
from ffseq.images.labelled import Images, first_activity, first_change, first_product
from ffseq.images.labels import wrong_labels
from ffseq.images.pictures import receptive_fields
from ffseq.images.readout import LearnedReadout


@dataclass(frozen=True)
class Settings:
    """The net, and what its layers learn from."""

    layers: int = 4
    """L, number of layers."""
    units: int = 2000
    """H, units in a layer."""
    threshold: float = 1.0
    """θ of every layer, as a mean square of its activities: the threshold of the sum is so many times the units."""
    objective: Literal["threshold", "difference"] = "threshold"
    """threshold: positives above it, negatives below it (the paper). difference: the positive above the negative of
    the same image (SymBa)."""
    temperature: float = 1.0
    """What goodness is divided by in the logistic function."""
    peer_normalisation: float = 0.06
    """λ, how strongly units are pushed towards the mean activity of their layer (Hinton's 0.03 is 0.06 here)."""
    negatives_temperature: float = 1.0
    """Temperature of the read-out when wrong labels are drawn from it."""
    greedy: bool = False
    """One layer after the other, in equal shares of the run, instead of all at once."""


def make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> Supervised:
    """The experiment at its beginning."""
    own: Settings = config.own
    if min(own.layers, own.units) < 1:
        raise UsageError("--layers and --units have to be 1 or more")
    if min(own.temperature, own.negatives_temperature) <= 0:
        raise UsageError("--temperature and --negatives_temperature have to be positive")
    return Supervised(data, config, device, products)


class Supervised:
    """A stack of dense layers and its read-out; see `ffseq.images.experiment.Experiment`."""

    tests: tuple[Test, ...] = ("one_pass", "every_label")

    def __init__(self, data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> None:
        self.own: Settings = config.own
        self.classes, self.shape = data.classes, data.shape
        layers = dense_layers(data.pixels, self.own.units, self.own.layers, config.run.seed, device)
        self.stack = DenseStack(layers, optimiser_of(config.step), config.run.batch_size, products)
        #: The first layer that the tests look at, from 0.
        self.read_from = min(1, self.own.layers - 1)
        read = (self.own.layers - self.read_from) * self.own.units
        self.readout = LearnedReadout(read, self.classes, config.step, device)
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
        batch = Images.of(images, self.classes, self.stack.products)
        product = first_product(batch, self.stack.weight(0))
        neutral = parts_of(self._upward(batch, product, torch.full_like(labels, self.classes)[None]), self.read_from)
        logits = self.readout.logits(neutral)
        wrong = wrong_labels(logits, labels, random, self.own.negatives_temperature)
        codes = torch.stack([labels, wrong])
        passes = self._upward(batch, product, codes)
        sides = [goodness(units).view(codes.shape) for _, units in passes]
        active = min(int(done * self.own.layers), self.own.layers - 1) if self.own.greedy else None
        if active is not None:
            self.stack.flat.changes.zero_()  # the layers whose turn it is not do not change
        changes = [
            self._change(number, batch, codes, passes[number], side) if active in (None, number) else {}
            for number, side in enumerate(sides)
        ]
        self.stack.apply(changes, share)
        figures = self.readout.learn(neutral, logits, labels, share)
        every = torch.stack(sides).mean(2)
        return Learned(figures, every[:, 0], every[:, 1])

    def scores(self, images: Tensor, test: Test) -> Tensor:
        """Logits, or goodness with every label: float32 (B, C)."""
        batch = Images.of(images, self.classes, self.stack.products)
        product = first_product(batch, self.stack.weight(0))
        codes = torch.arange(self.classes + 1, device=images.device)[:, None].expand(-1, len(images))
        if test == "one_pass":
            return self.readout.logits(parts_of(self._upward(batch, product, codes[-1:]), self.read_from))
        passes = self._upward(batch, product, codes[:-1])[self.read_from :]
        return torch.stack([goodness(units) for _, units in passes]).sum(0).view(self.classes, -1).t()

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """The receptive fields of the first layer."""
        weight = self.stack.layers[0].get_parameter("weight")
        return {"receptive_fields": receptive_fields(weight, self.shape)}

    def figures(self) -> dict[str, Any]:
        """None of its own."""
        return {}

    def _upward(self, batch: Images, product: Tensor, codes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of every layer what it sees, (m·B, H) (of the first: the images), and its activity."""
        first = self.stack.layers[0].get_parameter("bias")
        passes = [(batch.pixels, first_activity(batch, product, codes, self.stack.weight(0), first))]
        for number, layer in enumerate(self.stack.layers[1:], start=1):
            inputs = normalised(passes[-1][1])
            passes.append((inputs, activity(inputs, self.stack.weight(number), layer.get_parameter("bias"))))
        return passes

    def _change(
        self, number: int, batch: Images, codes: Tensor, own: tuple[Tensor, Tensor], side: Tensor
    ) -> dict[str, Tensor]:
        """The changes of one layer, from what it sees, its activity and its own goodness."""
        inputs, units = own
        signal = pair_signal(self.own.objective, side, threshold=self.theta, temperature=self.own.temperature).flatten()
        delta = hidden_delta(
            units,
            signal,
            running_mean=self.stack.layers[number].get_buffer("running_mean"),
            peer=self.own.peer_normalisation,
            positives=codes.shape[1],
        )
        if number == 0:
            return first_change(batch, codes, delta, self.stack.place(0))
        return weight_change(inputs, delta, self.stack.place(number))

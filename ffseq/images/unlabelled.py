"""Layers that tell images from hybrids of two and see no label; what their experiments have in common.

Positives are images, negatives hybrids; all layers learn at once, each from its own goodness. Beside that a softmax
read-out learns the labels from normalised activities, of the images alone. How activity goes up is for the experiment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ffseq.images.config import ImagesConfig, optimiser_of
from ffseq.images.data import ImageData
from ffseq.images.dense import DenseStack, goodness, hidden_delta, pair_signal
from ffseq.images.experiment import Learned, Test
from ffseq.images.hybrid import HybridSettings, hybrids
from ffseq.images.readout import LearnedReadout

#: Of every layer what it sees, and its activity (rows, H).
Passes = Sequence[tuple[Tensor, Tensor]]


class Unlabelled(ABC):
    """A stack that learns from images and hybrids, and its read-out; see `ffseq.images.experiment.Experiment`.

    layers: with `weight`, `bias` and `running_mean`; units: of every layer, in numbers; read: so many of them, from the
    top, the read-out looks at.
    """

    tests: tuple[Test, ...] = ("one_pass",)

    def __init__(
        self,
        data: ImageData,
        config: ImagesConfig,
        layers: Sequence[nn.Module],
        units: Sequence[int],
        read: int,
        device: torch.device,
        products: torch.dtype,
    ) -> None:
        self.hybrid: HybridSettings = config.own
        self.shape = data.shape
        self.stack = DenseStack(layers, optimiser_of(config.step), config.run.batch_size, products)
        self.readout = LearnedReadout(sum(units[-read:]), data.classes, config.step, device)
        self.thetas = [self.hybrid.threshold * width for width in units]

    @property
    def modules(self) -> nn.ModuleDict:
        """The layers and the read-out."""
        return nn.ModuleDict({"layers": nn.ModuleList(self.stack.layers), "readout": self.readout.module})

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """That of the layers and that of the read-out."""
        return [*self.stack.optimisers, self.readout.optimiser]

    @abstractmethod
    def upward(self, images: Tensor) -> Passes:
        """What images (rows, I) float32 become, layer by layer."""

    @abstractmethod
    def parts(self, passes: Passes, rows: int | None = None) -> list[Tensor]:
        """What the read-out looks at: normalised activities (rows, H), of the first rows or all."""

    @abstractmethod
    def change(self, number: int, inputs: Tensor, delta: Tensor) -> dict[str, Tensor]:
        """The changes of a layer, by name, from what it sees and its δ (rows, H)."""

    def update(self, images: Tensor, labels: Tensor, *, random: torch.Generator, share: float, done: float) -> Learned:
        """Learn one batch, see `ffseq.images.experiment.Experiment`."""
        count, learns = len(images), self.hybrid.hidden == "learned"
        shown = torch.cat([images, hybrids(images, self.shape, self.hybrid.blurs, random)]) if learns else images
        passes = self.upward(shown)
        parts = self.parts(passes, count)
        figures = self.readout.learn(parts, self.readout.logits(parts), labels, share)
        if not learns:
            return Learned(figures)
        sides = [goodness(units).view(2, count) for _, units in passes]
        changes = [
            self.change(number, inputs, self._delta(number, units, sides[number]))
            for number, (inputs, units) in enumerate(passes)
        ]
        self.stack.apply(changes, share)
        every = torch.stack(sides).mean(2)
        return Learned(figures, every[:, 0], every[:, 1])

    def scores(self, images: Tensor, test: Test) -> Tensor:
        """Logits, float32 (B, C)."""
        return self.readout.logits(self.parts(self.upward(images)))

    def figures(self) -> dict[str, Any]:
        """Whether the layers learned."""
        return {"hidden": self.hybrid.hidden}

    def _delta(self, number: int, units: Tensor, side: Tensor) -> Tensor:
        """δ (2B, H) of a layer, from its activity (2B, H) and its own goodness (2, B)."""
        own = self.hybrid
        signal = pair_signal("threshold", side, threshold=self.thetas[number], temperature=own.temperature)
        return hidden_delta(
            units,
            signal.flatten(),
            running_mean=self.stack.layers[number].get_buffer("running_mean"),
            peer=own.peer_normalisation,
            positives=side.shape[1],
        )

"""Learning in nets with top-down connections (see `ffseq.images.topdown`): `recurrent` and `cifar10`.

Positives are images with their label at the top, negatives the same images with a wrong label that the net itself takes
for likely: drawn from its softmax read-out on the first pass upward, the truth masked. Every layer learns from its own
goodness over some iterations. Two tests: the read-out on that first pass; and the goodness of all layers over the same
iterations, summed, with every label in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ffseq.errors import UsageError
from ffseq.goodness import normalised
from ffseq.images.config import ImagesConfig, optimiser_of
from ffseq.images.data import ImageData
from ffseq.images.dense import DenseStack, goodness, hidden_delta, pair_signal
from ffseq.images.experiment import Learned, Test
from ffseq.images.fields import Fields
from ffseq.images.labels import wrong_labels
from ffseq.images.pictures import local_receptive_fields, receptive_fields
from ffseq.images.readout import LearnedReadout
from ffseq.images.topdown import Order, Seen, TopDown, TopDownLayer

#: Rows that a test runs together: more would not fit the processor's caches.
ROWS = 500


@dataclass(frozen=True)
class VideoSettings:
    """How the net runs, and what its layers learn from."""

    first_iteration: int = 3
    """The first iteration whose goodness counts, from 1."""
    last_iteration: int = 5
    """The last one. The paper's nets run on; nothing of that is used, so these do not."""
    damping: float = 0.3
    """Share of the old state in the new one."""
    order: Order = "synchronous"
    """All layers at once, or alternating: the even layers and then the odd ones, which see what the even ones did."""
    top_down: float = 1.0
    """Size of the first top-down weights, as a share of the bottom-up ones."""
    label_strength: float = 1.0
    """Size of the first weights from the label, as a share of what the layer gets from below."""
    objective: Literal["threshold", "difference"] = "difference"
    """threshold: positives above it, negatives below it (the paper). difference: the positive above the negative of
    the same image (SymBa)."""
    threshold: float = 1.0
    """θ of every layer, as a mean square of its activities: the threshold of the sum is so many times the units."""
    temperature: float = 30.0
    """What goodness is divided by in the logistic function."""
    peer_normalisation: float = 0.0
    """λ, how strongly units are pushed towards the mean activity of their layer."""
    negatives_temperature: float = 1.0
    """Temperature of the read-out when wrong labels are drawn from it."""


def check(own: VideoSettings) -> None:
    """Refuse settings out of range. Raises UsageError."""
    if not 1 <= own.first_iteration <= own.last_iteration:
        raise UsageError("--first_iteration has to be 1 or more and no later than --last_iteration")
    if not 0 <= own.damping < 1:
        raise UsageError(f"--damping has to be a share of 1 and less than 1, got {own.damping}")
    if min(own.temperature, own.negatives_temperature) <= 0:
        raise UsageError("--temperature and --negatives_temperature have to be positive")
    if min(own.top_down, own.label_strength) < 0:
        raise UsageError("--top_down and --label_strength cannot be negative")


class StillVideo:
    """A net with top-down connections and its read-out; see `ffseq.images.experiment.Experiment`.

    prepared: from images (B, I) to what the first layer looks at, with a mean square of one; low: whether positives are
    to have the lower sum of squares.
    """

    tests: tuple[Test, ...] = ("one_pass", "every_label")

    def __init__(
        self,
        layers: Sequence[TopDownLayer],
        data: ImageData,
        config: ImagesConfig,
        device: torch.device,
        products: torch.dtype,
        prepared: Callable[[Tensor], Tensor],
        low: bool = False,
    ) -> None:
        self.own: VideoSettings = config.own
        self.classes, self.shape, self.prepared, self.low = data.classes, data.shape, prepared, low
        moved = [layer.to(device) for layer in layers]
        self.stack = DenseStack(moved, optimiser_of(config.step), config.run.batch_size, products)
        self.net = TopDown(moved, self.own.damping, self.own.order)
        units = sum(layer.from_below.hidden for layer in layers)
        self.readout = LearnedReadout(units, data.classes, config.step, device)

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
        weights = self._weights()
        windows, image, states = self._upward(images, weights)
        parts = [normalised(state) for state in states]
        logits = self.readout.logits(parts)
        codes = torch.stack([labels, wrong_labels(logits, labels, random, self.own.negatives_temperature)])
        figures = self.readout.learn(parts, logits, labels, share)
        counted = self._counted(image, states, codes, weights)
        sides = [mean_goodness([seen[number].units for seen in counted], codes) for number in range(len(states))]
        self.stack.apply(
            [self._change(n, windows, codes, [seen[n] for seen in counted], side) for n, side in enumerate(sides)],
            share,
        )
        every = torch.stack(sides).mean(2)
        return Learned(figures, every[:, 0], every[:, 1])

    def scores(self, images: Tensor, test: Test) -> Tensor:
        """Logits, or goodness with every label: float32 (B, C)."""
        weights = self._weights()
        found = []
        together = ROWS if test == "one_pass" else max(1, ROWS // self.classes)
        for some in torch.split(images, together):
            _, image, states = self._upward(some, weights)
            if test == "one_pass":
                found.append(self.readout.logits([normalised(state) for state in states]))
                continue
            codes = torch.arange(self.classes, device=images.device)[:, None].expand(-1, len(some))
            counted = self._counted(image, states, codes, weights)
            layers = [mean_goodness([seen[n].units for seen in counted], codes) for n in range(len(states))]
            total = torch.stack(layers).sum(0).t()
            found.append(-total if self.low else total)
        return torch.cat(found)

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """What units of the first layer look for in the image."""
        seen, weight = self.net.layers[0].from_below, self.net.layers[0].weight
        if isinstance(seen, Fields):
            return {"receptive_fields": local_receptive_fields(seen, weight)}
        return {"receptive_fields": receptive_fields(weight, self.shape)}

    def figures(self) -> dict[str, Any]:
        """None of its own."""
        return {}

    def _weights(self) -> list[dict[str, Tensor]]:
        """Every layer's weights by name, in the type of the products."""
        layers, products = self.stack.layers, self.stack.products
        if products == torch.float32:
            return [dict(layer.named_parameters()) for layer in layers]
        return [
            {**self.stack.flat.rounded(number, products), "bias": layer.get_parameter("bias").to(products)}
            for number, layer in enumerate(layers)
        ]

    def _upward(self, images: Tensor, weights: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """What the first layer sees of the images, what it gets from it, and all states after one pass upward."""
        windows = self.net.layers[0].from_below.windows(self.prepared(images).to(self.stack.products))
        image = self.net.from_image(windows, weights)
        return windows, image, self.net.upward(image, weights)

    def _counted(
        self, image: Tensor, states: list[Tensor], codes: Tensor, weights: list[dict[str, Tensor]]
    ) -> list[list[Seen]]:
        """What the layers saw and did in the iterations whose goodness counts."""
        return self.net.run(image, states, codes, weights, self.own.first_iteration, self.own.last_iteration)

    def _change(self, number: int, windows: Tensor, codes: Tensor, seen: list[Seen], side: Tensor) -> dict[str, Tensor]:
        """The changes of one layer, from what it saw, its activities and its own goodness."""
        layer, place = self.net.layers[number], self.stack.place(number)
        theta = self.own.threshold * layer.from_below.hidden
        own = pair_signal(
            self.own.objective, side, threshold=theta, temperature=self.own.temperature, low=self.low
        ).flatten()
        deltas = [
            hidden_delta(
                one.units,
                own / len(seen),
                running_mean=layer.running_mean,
                peer=self.own.peer_normalisation / len(seen),
                positives=codes.shape[1],
            )
            for one in seen
        ]
        total = torch.stack(deltas).sum(0)
        torch.sum(total, 0, dtype=torch.float32, out=place["bias"])
        below = [one.below for one in seen if one.below is not None]
        if below:
            layer.from_below.change(below, deltas, place["weight"])
        else:
            layer.from_below.change([windows], [total.view(*codes.shape, -1).sum(0)], place["weight"])
        above = [one.above for one in seen if one.above is not None]
        if layer.from_above is not None:
            layer.from_above.change(above, deltas, place["above"])
        else:
            one_hot = nn.functional.one_hot(codes.flatten(), self.classes).to(total)
            place["above"].copy_(one_hot.t() @ total)
        return place


def mean_goodness(units: Sequence[Tensor], codes: Tensor) -> Tensor:
    """G (m, B) float32, the mean over iterations of the sums of squares of u (m·B, H)."""
    return torch.stack([goodness(one) for one in units]).mean(0).view(codes.shape)

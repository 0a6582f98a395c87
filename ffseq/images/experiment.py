"""What the loop asks of an experiment, and the list of experiments.

Each experiment is one module with a dataclass `Settings` (its own options) and a function
`make(data: ImageData, config: ImagesConfig, device: torch.device, products: torch.dtype) -> Experiment`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ffseq.errors import UsageError, nearest

#: How an image is classified: by the read-out in one pass, by the goodness with every label, or by a net's output.
Test = Literal["one_pass", "every_label", "output"]

#: name → module, and what it is
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "supervised": ("ffseq.images.supervised", "the label in the first pixels, wrong labels as negatives"),
    "jitter": ("ffseq.images.supervised", "the same with images shifted by up to two pixels"),
    "unsupervised": ("ffseq.images.unsupervised", "images against hybrids of two, no label but in the read-out"),
    "local-fields": ("ffseq.images.local_fields", "unsupervised, each unit with a small field of its own"),
    "recurrent": ("ffseq.images.recurrent", "the label at the top, layers that see the one below and the one above"),
    "cifar10": ("ffseq.images.cifar10", "the same with local fields, on CIFAR-10"),
    "cifar10-backprop": ("ffseq.baselines.cifar10_twin", "the same fields trained by backpropagation"),
    "backprop": ("ffseq.baselines.backprop_images", "nets trained by backpropagation, to compare with"),
}


@dataclass(frozen=True)
class Learned:
    """What an update computed, as means over its batch.

    figures: 0-dimensional tensors by name; positive, negative: goodness of every layer (L,), or None where there is
    no goodness.
    """

    figures: dict[str, Tensor]
    positive: Tensor | None = None
    negative: Tensor | None = None


class Experiment(Protocol):
    """What the loop asks of an experiment."""

    #: The tests it has; the first is the one that validation shows while it learns.
    tests: tuple[Test, ...]

    @property
    def modules(self) -> nn.ModuleDict:
        """All that is learned, by name: what a checkpoint holds."""

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """The optimisers, always in the same order."""

    def update(self, images: Tensor, labels: Tensor, *, random: torch.Generator, share: float, done: float) -> Learned:
        """Learn one batch: images (B, I) float32 in 0..1, labels (B,) int64, both on the device.

        random: for every random choice; share: of the full rates; done: share of the run that is behind us.
        """

    def scores(self, images: Tensor, test: Test) -> Tensor:
        """What a test says of every class, float32 (B, C): the highest is its answer. Images as `update` gets them."""

    def pictures(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Further pictures by name, each a matplotlib Figure; images (n, I), labels (n,): of the validation part."""

    def figures(self) -> dict[str, Any]:
        """Further figures of the finished run, for result.json."""


def module_of(experiment: str) -> ModuleType:
    """The module of an experiment. Raises UsageError for a name that is none."""
    if experiment not in EXPERIMENTS:
        known = list(EXPERIMENTS)
        raise UsageError(
            f"there is no image experiment {experiment!r}{nearest(experiment, known)}. Experiments: {', '.join(known)}"
        )
    return import_module(EXPERIMENTS[experiment][0])

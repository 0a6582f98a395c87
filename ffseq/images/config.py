"""Settings that all image experiments share. What an experiment has of its own is a `Settings` beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from ffseq.config import OptimiserConfig
from ffseq.errors import UsageError


@dataclass(frozen=True)
class DataConfig:
    """The images."""

    dataset: str = "glyphs"
    """glyphs (drawn by the program, no download), mnist, fashion-mnist, cifar10, or hub:owner/name[:config] for a data
    set of images with labels, of the Hub or in a folder laid out like one."""
    data_dir: str | None = None
    """Folder with the files of the data set, or with a folder of its name. By default the one FFSEQ_DATA names."""
    train_images: int = 0
    """Learn from so many training images only; 0: all of them."""
    jitter: int = 0
    """Shift every training image by up to so many pixels in both directions, anew each time it is seen."""
    mirror: bool = False
    """Turn half of the training images around, left to right, anew each time they are seen."""
    drop_pixels: float = 0.0
    """Share of the pixels of a training image that are left out, anew each time it is seen (dropout, of the inputs
    only). The others are brightened so that their sum of squares stays what it was on average: layers look at images of
    a fixed mean square, and a label in the first pixels keeps its part of it."""


@dataclass(frozen=True)
class StepConfig:
    """How changes become weights."""

    optimiser: Literal["sgd", "adamw"] = "sgd"
    """Of the layers: gradient descent with momentum, or AdamW."""
    learning_rate: float = 5e-4
    """Step size of the layers at its highest. Hinton's 0.01, on averaged changes without the factor 2 of a square, is
    5e-4 here."""
    momentum: float = 0.9
    """Momentum; with adamw the averaging of changes."""
    weight_decay: float = 0.02
    """Decay of the layers' weights, in units of the learning rate (Hinton's 0.001 is 0.02 here)."""
    readout_rate: float = 1e-2
    """Step size of the softmax read-out (Hinton's 0.1, on averaged changes)."""
    readout_optimiser: Literal["sgd", "adamw"] = "sgd"
    """Of the softmax read-out. Gradient descent wants a smaller rate for more units and for harder images."""
    readout_decay: float = 0.003
    """Decay of the read-out's weights, in units of its step size."""
    constant_share: float = 0.5
    """Share of the run at the full rates, before they fall linearly."""
    final_rate: float = 0.0
    """The rates at the end, as a share of the highest."""


@dataclass(frozen=True)
class ImageRunConfig:
    """The run."""

    out_dir: str | None = None
    """Run folder. By default runs/EXPERIMENT-DATE-TIME; a folder that is not empty is refused without --resume."""
    resume: str | None = None
    """auto: go on from the checkpoint of --out_dir, if it has one. Or the path of a run."""
    epochs: int = 60
    """How often every training image is seen."""
    batch_size: int = 100
    """B, images in one update."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; one is always written at the end and when interrupted."""
    seed: int = 0
    """Seed of every random choice."""
    threads: int = 0
    """CPU threads; 0: all cores."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. auto: a GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the matrix products; weights are always float32. auto: bfloat16 where a product is faster in it."""


#: The groups of options of every experiment, before its own.
GROUPS: dict[str, type] = {"data": DataConfig, "step": StepConfig, "run": ImageRunConfig}
#: What a resumed run may do differently.
CHANGEABLE = frozenset({"data_dir", "out_dir", "resume", "checkpoint_seconds", "threads", "device", "dtype"})


@dataclass(frozen=True)
class ImagesConfig:
    """All settings of one run; `own` is the `Settings` of its experiment."""

    experiment: str
    own: Any
    data: DataConfig = DataConfig()
    step: StepConfig = StepConfig()
    run: ImageRunConfig = ImageRunConfig()


def from_flat(experiment: str, own: type, options: dict[str, Any]) -> ImagesConfig:
    """Settings from one flat dictionary. own: the `Settings` class. Raises UsageError for values out of range."""
    rest = dict(options)
    groups = {
        name: kind(**{field.name: rest.pop(field.name) for field in fields(kind) if field.name in rest})
        for name, kind in {**GROUPS, "own": own}.items()
    }
    if rest:
        raise UsageError(f"unknown option {sorted(rest)[0]!r}")
    config = ImagesConfig(experiment=experiment, **groups)
    _check(config)
    return config


def to_flat(config: ImagesConfig) -> dict[str, Any]:
    """The inverse of `from_flat`."""
    groups = [config.data, config.step, config.run, config.own]
    return {field.name: getattr(group, field.name) for group in groups for field in fields(group)}


def optimiser_of(step: StepConfig, *, readout: bool = False) -> OptimiserConfig:
    """The optimiser's settings, for the layers or for the softmax read-out."""
    return OptimiserConfig(
        optimiser=step.readout_optimiser if readout else step.optimiser,
        learning_rate=step.readout_rate if readout else step.learning_rate,
        beta1=step.momentum,
        weight_decay=step.readout_decay if readout else step.weight_decay,
    )


def at_full_rate(optimiser: torch.optim.Optimizer, step: OptimiserConfig) -> None:
    """Let the rate that `apply_changes` is given be a share of the full rate."""
    assert step.learning_rate is not None
    for group in optimiser.param_groups:
        group["share"] *= step.learning_rate


def share_at(step: StepConfig, done: float) -> float:
    """Share of the full rates when so much of the run is done (0 to 1): constant, then linear (see `rate_at`)."""
    falling = max(0.0, done - step.constant_share) / max(1e-9, 1 - step.constant_share)
    return 1 - (1 - step.final_rate) * min(1.0, falling)


def _check(config: ImagesConfig) -> None:
    positive = {
        "learning_rate": config.step.learning_rate, "readout_rate": config.step.readout_rate,
        "batch_size": config.run.batch_size, "checkpoint_seconds": config.run.checkpoint_seconds,
    }  # fmt: skip
    not_negative = {
        "train_images": config.data.train_images, "jitter": config.data.jitter, "epochs": config.run.epochs,
        "weight_decay": config.step.weight_decay, "readout_decay": config.step.readout_decay,
        "seed": config.run.seed, "threads": config.run.threads,
    }  # fmt: skip
    shares = {
        "momentum": config.step.momentum, "constant_share": config.step.constant_share,
        "final_rate": config.step.final_rate, "drop_pixels": config.data.drop_pixels,
    }  # fmt: skip
    for name, value in positive.items():
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"--{name} has to be a positive number, got {value}")
    for name, value in not_negative.items():
        if not (value >= 0 and math.isfinite(value)):
            raise UsageError(f"--{name} cannot be negative, got {value}")
    for name, value in shares.items():
        if not 0 <= value <= 1 or (name in ("momentum", "drop_pixels") and value == 1):
            raise UsageError(f"--{name} has to be a share of 1, got {value}")

"""Sensible settings for a text of a given size, for everything that the user left open."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ffseq.config import TrainConfig

#: (training symbols up to, block_size, units, dropout, passes over the text): what the presets for Aesop, the fables
#: and tiny Shakespeare were chosen to be on validation text; the last two rows continue their trend.
BY_SIZE: tuple[tuple[float, int, int, float, float], ...] = (
    (40_000, 10, 500, 0.5, 40.0),
    (200_000, 16, 640, 0.5, 14.0),
    (2_000_000, 24, 768, 0.1, 3.0),
    (20_000_000, 24, 1024, 0.1, 1.0),
    (float("inf"), 24, 1024, 0.0, 1.0),
)
MOST_ITERATIONS = 20_000

T = TypeVar("T")


def resolved(config: TrainConfig, training_symbols: int) -> TrainConfig:
    """The settings with every open one filled in for a training text of so many symbols."""
    block_size, units, dropout, passes = next(row[1:] for row in BY_SIZE if training_symbols <= row[0])
    network = replace(
        config.network,
        block_size=_or(config.network.block_size, block_size),
        units=_or(config.network.units, units),
        dropout=_or(config.network.dropout, dropout),
    )
    iterations = round(min(MOST_ITERATIONS, max(200, training_symbols * passes / config.run.batch_size)))
    max_iters = _or(config.run.max_iters, iterations)
    run = replace(
        config.run,
        max_iters=max_iters,
        eval_interval=_or(config.run.eval_interval, max(1, max_iters // 20)),
        sample_interval=_or(config.run.sample_interval, max(1, max_iters // 4)),
    )
    return replace(config, network=network, run=run)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value

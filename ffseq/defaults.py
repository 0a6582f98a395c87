"""Sensible settings for a text of a given size, for everything that the user left open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from ffseq.config import TrainConfig
from ffseq.options import check


@dataclass(frozen=True)
class Recipe:
    """What is chosen for a text: passes is how often it is read."""

    stack: Literal["window", "causal", "literal"]
    block_size: int
    layers: int
    units: int
    dropout: float
    passes: float


#: (training symbols up to, recipe): what the presets for Aesop, the fables and tiny Shakespeare were chosen to be on
#: validation text; the last two rows continue their trend.
BY_SIZE: tuple[tuple[float, Recipe], ...] = (
    (40_000, Recipe("window", 10, 2, 500, 0.5, 40.0)),
    (200_000, Recipe("window", 16, 2, 640, 0.5, 14.0)),
    (2_000_000, Recipe("causal", 8, 5, 640, 0.1, 8.0)),
    (20_000_000, Recipe("causal", 8, 5, 640, 0.05, 2.0)),
    (float("inf"), Recipe("causal", 8, 5, 640, 0.0, 1.0)),
)
#: Where a user chose another stack than the text's recipe has.
OTHER: dict[str, Recipe] = {
    "window": Recipe("window", 24, 2, 768, 0.1, 3.0),
    "causal": Recipe("causal", 8, 4, 384, 0.3, 14.0),
    "literal": Recipe("literal", 10, 2, 1000, 0.0, 10.0),
}
#: Positions in one update and the learning rate that goes with them.
UPDATE: dict[str, tuple[int, float]] = {"window": (256, 1e-3), "causal": (2048, 2e-3), "literal": (128, 1e-2)}
#: Characters seen in one run, at most, unless the user asks for more.
MOST_SEEN = 10_000_000

T = TypeVar("T")


def resolved(config: TrainConfig, training_symbols: int) -> TrainConfig:
    """The settings with every open one filled in for a training text of so many symbols.

    Raises UsageError where what was filled in does not go with what was given.
    """
    recipe = next(recipe for most, recipe in BY_SIZE if training_symbols <= most)
    if config.network.stack not in (None, recipe.stack):
        recipe = OTHER[config.network.stack]
    chosen: dict[str, Any] = {
        name: _or(getattr(config.network, name), getattr(recipe, name))
        for name in ("stack", "block_size", "layers", "units", "dropout")
    }
    batch_size, learning_rate = UPDATE[recipe.stack]
    batch_size = _or(config.run.batch_size, batch_size)
    seen = min(MOST_SEEN, training_symbols * recipe.passes)
    max_iters = _or(config.run.max_iters, max(200, round(seen / batch_size)))
    run = replace(
        config.run,
        batch_size=batch_size,
        max_iters=max_iters,
        eval_interval=_or(config.run.eval_interval, max(1, max_iters // 20)),
        sample_interval=_or(config.run.sample_interval, max(1, max_iters // 4)),
    )
    optimiser = replace(config.optimiser, learning_rate=_or(config.optimiser.learning_rate, learning_rate))
    filled = replace(config, network=replace(config.network, **chosen), optimiser=optimiser, run=run)
    check(filled)
    return filled


def _or(value: T | None, default: T) -> T:
    return default if value is None else value

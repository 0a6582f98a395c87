"""The nets that are measured, and one update of each: what a step of `ffseq train` does, on random text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from ffseq.alphabet import FIXED, Alphabet
from ffseq.baselines.twin import backpropagate
from ffseq.batches import Batches
from ffseq.config import LearningConfig, NetworkConfig, OptimiserConfig
from ffseq.learning import learn, untracked
from ffseq.network import SequenceNetwork
from ffseq.optim import apply_changes, make_optimisers
from ffseq.parallel import Team
from ffseq.randomness import generator

#: Characters of a training string of a causal net.
STRING_LENGTH = 64
ALPHABET = Alphabet.named("aesop30")
_TEXT = np.random.default_rng(0).integers(0, len(FIXED["aesop30"]), 1 << 20).astype(np.uint8)


@dataclass(frozen=True)
class Net:
    """A net and how it learns. batch: positions in an update."""

    name: str
    batch: int
    network: NetworkConfig
    learning: LearningConfig


def net_of(fields: dict[str, Any]) -> Net:
    """The inverse of dataclasses.asdict."""
    configs = {"network": NetworkConfig(**fields["network"]), "learning": LearningConfig(**fields["learning"])}
    return Net(**fields | configs)


def window(layers: int, units: int, batch: int) -> Net:
    """Ten characters of thirty kinds, then layers of so many units, as Hinton's nets for text: 300-H-H-H."""
    config = NetworkConfig(stack="window", block_size=10, layers=layers, units=units, context_to_all=False, dropout=0.0)
    return Net(
        "300-" + "-".join([str(units)] * layers), batch, config, LearningConfig(objective="contrast", num_negatives=1)
    )


def causal(layers: int, units: int, batch: int) -> Net:
    """A causal stack that sees eight characters in every layer."""
    config = NetworkConfig(stack="causal", block_size=8, layers=layers, units=units, dropout=0.0)
    return Net(f"causal {units}x{layers}", batch, config, LearningConfig(objective="likelihood"))


def update_of(
    net: Net,
    method: Literal["ff", "twin"],
    dtype: torch.dtype,
    *,
    scope: Literal["own", "below", "all"] = "all",
    recompute: bool = False,
    network: SequenceNetwork | None = None,
    team: Team | None = None,
) -> Callable[[], None]:
    """A function that makes one update: cuts a batch, learns, moves the weights.

    network: by default a new one. team: the processes that share every batch, of which this is one; by default this
    process has all of it.
    """
    network = network or SequenceNetwork(net.network, ALPHABET)
    network.products = dtype
    learning = replace(net.learning, scope=scope, recompute=recompute)
    layers, flat = list(network.stack()), network.flat()
    optimisers = make_optimisers(layers, OptimiserConfig(learning_rate=1e-3), net.batch, flat)
    places = flat.places if flat is not None else None
    learned = None
    if team is not None:
        assert flat is not None
        learned = partial(team.share, flat, network.products)
    batches = Batches(
        _TEXT,
        0,
        len(_TEXT),
        batch_size=net.batch,
        length=STRING_LENGTH if network.is_causal else None,
        block_size=network.block_size,
        alphabet_size=len(ALPHABET),
        seed=0,
        short_contexts=0.01,
    )
    step = 0

    def update() -> None:
        nonlocal step
        contexts, targets, _ = batches.at(step)
        random = generator(0, "learn", step)
        if team is not None:
            contexts, targets, random, _ = team.share_of(contexts, targets, random)
        if method == "ff":
            with untracked(network, learning):
                found = learn(network, contexts, targets, learning, random=random, places=places, learned=learned)
        else:
            found = backpropagate(network, contexts, targets, learning, random=random)
        if team is not None:
            assert flat is not None
            found = team.averaged(found, flat, network.products)
        apply_changes(optimisers, layers, found.changes, 1e-4, flat)
        step += 1

    return update

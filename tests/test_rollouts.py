"""Negatives that the net writes itself, beside real text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_network
from torch import Tensor

from ffseq.apart import asleep, awake
from ffseq.checkpoint import load_checkpoint
from ffseq.config import TrainConfig
from ffseq.errors import Interrupted, UsageError
from ffseq.negatives import draw
from ffseq.network import SequenceNetwork
from ffseq.options import from_flat
from ffseq.randomness import generator
from ffseq.rollouts import Rollouts
from ffseq.runs import train

SIZE, LENGTH = 5, 4


def setting(source: str, scope: str = "all", objective: str = "threshold") -> TrainConfig:
    options = {"negatives": source, "objective": objective, "rollout_length": LENGTH, "scope": scope, "batch_size": 30}
    return from_flat(options)


def batch(network: SequenceNetwork, number: int) -> tuple[Tensor, Tensor]:
    random = generator(0, "batch", number)
    contexts = torch.randint(0, SIZE, (30, network.block_size), generator=random)
    return contexts, torch.randint(0, SIZE, (30,), generator=random)


@pytest.mark.parametrize("source", ["rollout", "dream"])
def test_strings_are_what_the_net_wrote_from_real_contexts_or_from_nothing(source: str) -> None:
    """The contexts of each update are the ones before with a symbol more; every LENGTH symbols a string begins anew."""
    network = small_network()
    rollouts = Rollouts(network, setting(source))
    begun = 0
    for step in range(3 * LENGTH):
        contexts, targets = batch(network, step)
        before, ages = rollouts.strings.contexts, rollouts.strings.ages
        fresh = (before == SIZE).all(1)
        assert bool(fresh.all()) if step == 0 else torch.equal(fresh, ages == 0)
        begun += int(fresh.sum())
        rollouts.learn(network, contexts, targets, random=generator(0, "learn", step))
        after, lasts = rollouts.strings.contexts, ages + 1 < LENGTH
        root = torch.where(fresh[:, None], contexts, before) if source == "rollout" else before
        assert torch.equal(after[lasts, 1:], root[lasts, :-1])
        assert bool((after[lasts, 0] < SIZE).all())
        assert bool((after[~lasts] == SIZE).all())
    assert begun > 2 * 30


@pytest.mark.parametrize("source", ["rollout", "dream"])
@pytest.mark.parametrize("scope", ["own", "below", "all"])
def test_an_update_is_one_awake_and_one_asleep_in_the_strings(source: str, scope: str) -> None:
    network = small_network(goodness="agreement")
    config = setting(source, scope)
    learning, rollouts = config.learning, Rollouts(network, config)
    for step in range(3):
        contexts, targets = batch(network, step)
        own = rollouts.strings.contexts
        if source == "rollout":
            own = torch.where((own == SIZE).all(1, keepdim=True), contexts, own)
        both = rollouts.learn(network, contexts, targets, random=generator(0, "n", step))
        more: dict[str, Any] = {"random": generator(0, "n", step), "drop": 0.0, "frozen": None}
        day = awake(network, contexts, targets, learning, **more)
        night, _ = asleep(network, own, replace(learning, negatives="sampled"), **more)
        for one, two, three in zip(day.changes, night.changes, both.changes, strict=True):
            for name in three:
                torch.testing.assert_close(one[name] + two[name], three[name], rtol=1e-4, atol=1e-5)


SMALL: dict[str, Any] = {
    "layers": 2, "units": 24, "block_size": 5, "dropout": 0.0, "batch_size": 32, "max_iters": 60, "stack": "window",
    "learning_rate": 3e-3, "eval_interval": 20, "sample_interval": 0, "floors": "no", "threads": 1,
    "dtype": "float32", "alphabet": "characters", "objective": "nce", "negatives": "rollout",
}  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"negatives": "dream", "objective": "threshold", "rollout_length": 7}], ids=str)
def test_interrupted_it_is_the_same_run(more: dict[str, Any], text: str, tmp_path: Path) -> None:
    options = SMALL | {"corpus": text} | more
    train(from_flat(options | {"out_dir": str(tmp_path / "a")}))
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(from_flat(options | {"out_dir": str(tmp_path / "b")}), interrupted=lambda: next(calls) >= 17)
    train(from_flat(options | {"out_dir": str(tmp_path / "b"), "resume": "auto"}))
    one, two = (load_checkpoint(tmp_path / name / "last") for name in "ab")
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    assert one.trainer_tensors is not None
    assert two.trainer_tensors is not None
    for name in ("rollouts.contexts", "rollouts.ages"):
        assert torch.equal(one.trainer_tensors[name], two.trainer_tensors[name])


def test_it_learns_by_its_own_text_nearly_as_well_as_beside_the_real_one(text: str, tmp_path: Path) -> None:
    options = SMALL | {"corpus": text, "max_iters": 300, "eval_interval": 150}
    found = {
        source: train(from_flat(options | {"negatives": source, "out_dir": str(tmp_path / source)}))
        for source in ("sampled", "rollout")
    }
    assert found["rollout"]["bits_per_character"] < found["sampled"]["bits_per_character"] + 0.25


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"objective": "contrast"}, "does not go with negatives 'rollout'"),
        ({"method": "twin"}, "--method twin"),
        ({"stack": "causal", "batch_size": 64}, "--stack causal"),
        ({"num_negatives": 2}, "one for each position"),
        ({"exclude_truth": True, "objective": "threshold"}, "nobody knows"),
        ({"memory": 64, "memory_lengths": "2"}, "--memory"),
        ({"negatives": "sampled", "rollout_length": 3}, "does nothing without"),
        ({"rollout_length": 0}, "--rollout_length"),
    ],
)
def test_what_does_not_go_with_them_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_flat(SMALL | more)


@pytest.mark.parametrize("source", ["rollout", "dream"])
def test_where_nothing_is_rolled_out_none_are_drawn(source: str) -> None:
    with pytest.raises(ValueError, match="contexts of their own"):
        draw(source, torch.zeros(2, SIZE), torch.zeros(2, dtype=torch.int64))

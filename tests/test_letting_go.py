"""Layers let go of their activities once they have learned: memory does not grow with depth."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from conftest import small_network

from ffseq.config import LearningConfig
from ffseq.errors import UsageError
from ffseq.goodness import Activity
from ffseq.layers.window import WindowLayer
from ffseq.learning import Update, learn
from ffseq.network import Past
from ffseq.options import from_flat
from ffseq.randomness import generator

NETS: list[dict[str, Any]] = [
    {},
    {"stack": "causal"},
    {"memory": 64, "memory_lengths": "1,3", "memory_dropout": 0.4},
    {"stack": "causal", "memory": 64, "memory_lengths": "1,3"},
]


def update(options: dict[str, Any], learning: LearningConfig, past: Past | None, layers: int = 4) -> Update:
    network = small_network(layers=layers, **options)
    contexts = torch.randint(0, 6, (6, 3, 4), generator=generator(0, "contexts"))
    targets = torch.randint(0, 5, (18,), generator=generator(0, "targets"))
    contexts = contexts if network.is_causal else contexts.view(18, 4)
    return learn(network, contexts, targets, learning, random=generator(0, "l"), drop=0.3, past=past)


@pytest.mark.parametrize("options", NETS)
@pytest.mark.parametrize(
    "choice",
    [
        {"objective": "likelihood", "negatives": "expected"},
        {"objective": "contrast", "negatives": "sampled"},
        {"objective": "threshold", "negatives": "argmax"},
    ],
)
def test_going_up_twice_changes_no_bit(options: dict[str, Any], choice: dict[str, Any]) -> None:
    past: Past | None = None
    if options.get("stack") == "causal":
        past = {number: torch.randn(2**number, 3, 12, generator=generator(number, "past")) for number in (1, 2, 3)}
    pasts = [copy.deepcopy(past), copy.deepcopy(past)]
    once, twice = (
        update(options, LearningConfig(**choice, recompute=recompute), one)
        for recompute, one in zip((False, True), pasts, strict=True)
    )
    for one, two in zip(once.changes, twice.changes, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(_dense(one[name]), _dense(two[name])) for name in one)
    for name in ("bits", "correct", "positive", "negative", "scores"):
        assert torch.equal(getattr(once, name), getattr(twice, name))
    if past is not None:
        assert all(torch.equal(pasts[0][number], pasts[1][number]) for number in past)  # type: ignore[index]
        assert not torch.equal(pasts[0][1], past[1])  # type: ignore[index]  # and they went on


@pytest.mark.parametrize(
    ("scope", "recompute", "most"), [("own", False, 2), ("below", False, 2), ("all", True, 2), ("all", False, 12)]
)
def test_how_many_layers_of_activity_live_at_once(
    scope: str, recompute: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    living: list[weakref.ref[torch.Tensor]] = []
    counts: list[int] = []
    forward = WindowLayer.forward

    def counted(self: WindowLayer, *args: Any, **kwargs: Any) -> Activity:
        activity = forward(self, *args, **kwargs)
        living.append(weakref.ref(activity.units))
        counts.append(sum(one() is not None for one in living))
        return activity

    monkeypatch.setattr(WindowLayer, "forward", counted)
    gc.disable()  # let go of by itself, not by a sweep
    try:
        learning = LearningConfig(objective="likelihood", scope=scope, recompute=recompute)  # type: ignore[arg-type]
        update({}, learning, None, layers=12)
    finally:
        gc.enable()
    assert max(counts) == 12 if most == 12 else max(counts) <= most


def _dense(change: torch.Tensor) -> torch.Tensor:
    return change.to_dense() if change.is_sparse else change


def test_what_makes_no_sense_is_refused() -> None:
    for options in ({"scope": "own"}, {"scope": "all", "method": "twin"}):
        with pytest.raises(UsageError, match="--recompute"):
            from_flat({"recompute": True, **options})

"""Gains: how much each layer counts at rest, fitted on text that was not learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network

from ffseq.calibration import PRIOR, fit_gains
from ffseq.config import LearningConfig
from ffseq.errors import UsageError
from ffseq.evaluation import evaluate_segments
from ffseq.learning import learn
from ffseq.network import SequenceNetwork
from ffseq.options import from_flat
from ffseq.randomness import generator
from ffseq.runs import train
from ffseq.segments import Segment
from ffseq.windows import contexts_at

TEXT = np.random.default_rng(0).choice(5, 900, p=[0.4, 0.3, 0.15, 0.1, 0.05]).astype(np.uint8)
TEXT[1::3] = TEXT[::3]
SEGMENTS = [Segment(0, 0, 300), Segment(300, 310, 700)]
NETS: list[dict[str, Any]] = [
    {},
    {"stack": "causal"},
    {"goodness": "squares"},
    {"memory": 64, "memory_lengths": "1,2,4"},
    {"stack": "causal", "memory": 64, "memory_lengths": "1,3"},
]


def net(options: dict[str, Any]) -> SequenceNetwork:
    network = small_network(**options)
    for layer in network.layers:
        layer.candidate_bias.normal_(generator=generator(1, "bias"))
    if network.memory is not None:
        network.memory.claim(contexts_at(TEXT, np.arange(200), 4, 5))
        network.memory.candidates.normal_(generator=generator(2, "memory"))
    network.temperature.fill_(1.3)
    return network


def loss(network: SequenceNetwork, gains: torch.Tensor) -> float:
    """What the fit minimises, the long way: nats for each symbol by a real evaluation, and the prior."""
    network.gains.copy_(gains)
    n = sum(one.stop - one.start for one in SEGMENTS)
    nats = evaluate_segments(network, TEXT, SEGMENTS).bits_per_symbol * np.log(2)
    return float(nats + (gains - 1).square().sum() / (2 * PRIOR**2 * n))


@pytest.mark.parametrize("options", NETS)
def test_no_other_gains_are_better(options: dict[str, Any]) -> None:
    network = net(options)
    gains = fit_gains(network, TEXT, SEGMENTS)
    assert gains.shape == network.gains.shape
    assert torch.equal(network.gains, torch.ones_like(gains))
    best = loss(network, gains)
    assert best < loss(network, torch.ones_like(gains)) - 1e-3
    for number in range(len(gains)):
        for change in (-0.03, 0.03):
            other = gains.clone()
            other[number] += change
            assert loss(network, other) > best


@pytest.mark.parametrize("options", NETS)
def test_learning_knows_nothing_of_them(options: dict[str, Any]) -> None:
    network = net(options)
    contexts = contexts_at(TEXT, np.arange(50, 74), 4, 5)
    targets = torch.from_numpy(TEXT[50:74].astype(np.int64))
    contexts = contexts.view(8, 3, 4) if network.is_causal else contexts
    learning = LearningConfig(objective="likelihood")
    one = learn(network, contexts, targets, learning, random=generator(0, "l"))
    network.gains.mul_(0.5)
    two = learn(network, contexts, targets, learning, random=generator(0, "l"))
    assert torch.equal(one.scores, two.scores)
    rest = learn(network, contexts, targets, learning, random=None)
    torch.testing.assert_close(rest.scores, network.scores(contexts))
    assert not torch.allclose(rest.scores, one.scores)


SMALL: dict[str, Any] = {
    "layers": 2, "units": 16, "block_size": 6, "dropout": 0.25, "batch_size": 32, "max_iters": 60, "stack": "window",
    "learning_rate": 1e-3, "eval_interval": 20, "sample_interval": 0, "floors": "no", "threads": 1,
    "dtype": "float32", "alphabet": "characters", "memory": 256, "memory_lengths": "2,4", "objective": "likelihood",
}  # fmt: skip


def test_a_run_fits_them_or_takes_those_that_are_given(text: str, tmp_path: Path) -> None:
    options = SMALL | {"corpus": text}
    plain = train(from_flat(options | {"out_dir": str(tmp_path / "plain")}))
    fitted = train(from_flat(options | {"calibrate": True, "out_dir": str(tmp_path / "fitted")}))
    assert fitted["validation_bits_per_character"] < plain["validation_bits_per_character"]
    network = SequenceNetwork.from_pretrained(tmp_path / "fitted")
    assert len(network.gains) == 4
    assert (network.gains != 1).all()
    given = {"gains": ",".join(map(str, network.gains.tolist())), "temperature": float(network.temperature)}
    again = train(from_flat(options | given | {"out_dir": str(tmp_path / "given")}))
    assert again["bits_per_character"] == pytest.approx(fitted["bits_per_character"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gains": "1,1,1"}, "2 lengths of context in the memory and 2 layers"),
        ({"gains": "1,x"}, "--gains has to be numbers"),
        ({"gains": "1,1,1,nan"}, "--gains has to be numbers"),
        ({"gains": "1,1,1,1", "calibrate": True}, "either given or fitted"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_flat(SMALL | options)


def test_gains_that_are_given_stay_where_a_temperature_is_fitted(text: str, tmp_path: Path) -> None:
    options = SMALL | {"corpus": text, "scope": "own", "average": 0.9, "gains": "1,0.5,2,0.5"}
    train(from_flat(options | {"out_dir": str(tmp_path / "run")}))
    network = SequenceNetwork.from_pretrained(tmp_path / "run")
    assert network.gains.tolist() == [1, 0.5, 2, 0.5]
    assert network.temperature != 1


def test_a_stream_has_none(text: str, tmp_path: Path) -> None:
    options = {"corpus": text, "stream": True, "out_dir": str(tmp_path / "run")}
    with pytest.raises(UsageError, match="--gains"):
        train(from_flat(options | {"gains": "1,1,1,1"}))
    with pytest.raises(UsageError, match="look further back"):
        train(from_flat(options | {"memory": 256, "memory_lengths": "3,12"}))

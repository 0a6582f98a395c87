"""A trained net that goes on learning: each block is predicted by what came before it, then learned, and no earlier."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network

from ffseq import learning_on
from ffseq.cli import main
from ffseq.layers.memory import MemoryLayer
from ffseq.learning_on import BLOCK, RATE, Learner, predicted
from ffseq.network import SequenceNetwork
from ffseq.passes import passes
from ffseq.segments import Segment
from ffseq.windows import contexts_at

TEXT = np.random.default_rng(0).integers(0, 5, 700).astype(np.uint8)
#: One that begins the text, one with text before it, and one that may not look back.
SEGMENTS = [Segment(0, 0, 150), Segment(0, 200, 400), Segment(450, 450, 560)]
NETS = {
    "window": {"block_size": 6},
    "causal": {"block_size": 6, "stack": "causal"},
    "memory": {"block_size": 6, "memory": 64, "memory_lengths": "1,3"},
    "causal memory": {"block_size": 6, "stack": "causal", "memory": 64, "memory_lengths": "1,3"},
}


def predictions(network: SequenceNetwork, text: np.ndarray, segments: list[Segment], **options: Any) -> torch.Tensor:
    """Log probabilities (n, V) of all positions."""
    rows = torch.full((sum(one.stop - one.start for one in segments), 5), torch.nan)
    for one, log_p in predicted(network, text, segments, **options):
        rows[one.which] = log_p
    return rows


def trained(name: str) -> SequenceNetwork:
    """A net whose read-out has everything: a temperature, a prior, gains."""
    network = small_network(**NETS[name])  # type: ignore[arg-type]
    network.temperature.fill_(1.7)
    network.prior.normal_(generator=torch.Generator().manual_seed(1))
    network.gains.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))
    if network.memory is not None:
        network.memory.claim(contexts_at(TEXT, np.arange(100), 6, 5))
        network.memory.candidates.normal_(generator=torch.Generator().manual_seed(3))
    return network


@pytest.mark.parametrize("name", NETS)
def test_without_a_step_it_predicts_as_the_net_at_rest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = trained(name)
    monkeypatch.setattr(learning_on, "RATE", 0.0)
    monkeypatch.setattr(learning_on, "MEMORY_RATE", 0.0)
    monkeypatch.setattr(MemoryLayer, "claim", lambda self, contexts: None)  # to know a context is to have learned it
    rest = predictions(network, TEXT, SEGMENTS)
    torch.testing.assert_close(predictions(network, TEXT, SEGMENTS, learn_on=True), rest, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_no_block_knows_what_it_predicts_and_the_net_is_left_as_it_was(name: str) -> None:
    network = trained(name)
    weights = copy.deepcopy(network.state_dict())
    before = predictions(network, TEXT, SEGMENTS, learn_on=True)
    rest = predictions(network, TEXT, SEGMENTS)
    torch.testing.assert_close(before[:BLOCK], rest[:BLOCK], rtol=1e-4, atol=1e-4)  # nothing has been learned yet
    place = 150 + 90  # in the second segment
    changed = TEXT.copy()
    changed[200 + 90] = (changed[200 + 90] + 1) % 5
    after = predictions(network, changed, SEGMENTS, learn_on=True)
    assert torch.equal(before[: place + 1], after[: place + 1])
    assert not torch.allclose(before[-50:], after[-50:], rtol=0, atol=1e-7)  # but it has learned from it
    assert all(torch.equal(weight, weights[key]) for key, weight in network.state_dict().items())


def test_it_is_gradient_descent_block_by_block() -> None:
    """One layer, so that the layer's own change is the whole derivative: against autograd, written anew."""
    network = small_network(block_size=4, layers=1)
    network.temperature.fill_(1.7)
    network.prior.normal_(generator=torch.Generator().manual_seed(1))
    network.gains.fill_(0.6)
    found = predictions(network, TEXT, [Segment(0, 100, 100 + 3 * BLOCK)], learn_on=True)
    twin = copy.deepcopy(network)
    rows = []
    for first in range(100, 100 + 3 * BLOCK, BLOCK):
        positions = np.arange(first, first + BLOCK)
        contexts, targets = contexts_at(TEXT, positions, 4, 5), torch.from_numpy(TEXT[positions].astype(np.int64))
        weights = [weight.requires_grad_(True) for weight in twin.layers.parameters() if weight.numel()]
        log_p = twin.log_probabilities(twin.scores(contexts))
        rows.append(log_p.detach())
        slopes = torch.autograd.grad(log_p.gather(1, targets[:, None]).mean(), weights)
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight += RATE * slope
    torch.testing.assert_close(found, torch.cat(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["causal", "memory"])
def test_it_learns_what_the_training_text_never_had(name: str) -> None:
    network = trained(name)
    text = np.tile(np.array([0, 1, 2, 3, 4, 4, 3], dtype=np.uint8), 300)
    segment = [Segment(0, 0, len(text))]
    rest, on = (predictions(network, text, segment, learn_on=choice) for choice in (False, True))
    targets = torch.from_numpy(text.astype(np.int64))[:, None]
    late = [float(-one.gather(1, targets)[-300:].mean()) for one in (rest, on)]
    assert late[1] < 0.6 * late[0]


def test_hidden_layers_that_were_left_random_stay_so() -> None:
    network = trained("causal")
    for hidden, same in (("random", True), ("learned", False)):
        net = copy.deepcopy(network)
        learner = Learner(net, hidden)  # type: ignore[arg-type]
        for one in passes(net, TEXT, SEGMENTS, batch_size=BLOCK):
            learner.block(one)
        for name, weight in net.named_parameters():
            if name.split(".")[-1] in ("context", "below", "bias"):
                assert torch.equal(weight, dict(network.named_parameters())[name]) == same or not weight.numel()
            elif weight.numel():
                assert not torch.equal(weight, dict(network.named_parameters())[name])


def test_evaluate_learning_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, run = tmp_path / "text.txt", str(tmp_path / "run")
    text.write_text("the cat sat on the mat; " * 80 + "a dog ran to the log, and on, and on; " * 60, encoding="utf-8")
    small = ["--layers", "2", "--units", "16", "--block_size", "5", "--batch_size", "16", "--max_iters", "60",
             "--threads", "1", "--dtype", "float32", "--quiet"]  # fmt: skip
    assert main(["train", str(text), *small, "--out_dir", run]) == 0
    capsys.readouterr()
    results = {}
    for name, words in {"rest": [], "on": ["--learn_on", "true"], "box": ["--black_box", "online"],
                        "both": ["--learn_on", "true", "--black_box", "online"]}.items():  # fmt: skip
        assert main(["evaluate", run, "--json", "--quiet", *words]) == 0
        results[name] = json.loads(capsys.readouterr().out)
    bits = {name: result["bits_per_character"] for name, result in results.items()}
    assert bits["on"] < bits["rest"]
    assert bits["both"] < bits["box"]
    assert results["rest"]["learned_on"] is False
    assert results["rest"]["at_rest"] is None
    assert results["on"]["at_rest"]["bits_per_character"] == bits["rest"]
    assert results["both"]["net_alone"]["bits_per_character"] == pytest.approx(bits["on"], abs=1e-9)
    assert main(["evaluate", run, "--learn_on", "true"]) == 0
    out = capsys.readouterr().out
    assert "this net, learning on" in out
    assert "this net at rest" in out


def test_a_literal_net_does_not_learn_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    small = ["--stack", "literal", "--objective", "threshold", "--layers", "2", "--units", "16", "--block_size", "5",
             "--batch_size", "16", "--max_iters", "5", "--threads", "1", "--quiet"]  # fmt: skip
    assert main(["train", "markov", *small, "--out_dir", run]) == 0
    assert main(["evaluate", run, "--learn_on", "true"]) == 2
    assert "--learn_on" in capsys.readouterr().err

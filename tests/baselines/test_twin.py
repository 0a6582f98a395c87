"""The twin is the same net: same scores, same batches, same masks; only the way down differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import small_network

from ffseq.baselines.twin import backpropagate
from ffseq.config import LearningConfig
from ffseq.goodness import normalised
from ffseq.learning import learn
from ffseq.options import from_flat
from ffseq.randomness import generator
from ffseq.runs import train

CONTEXTS = torch.randint(0, 6, (7, 4), generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(0, 5, (7,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("objective", ["likelihood", "contrast", "threshold"])
@pytest.mark.parametrize("goodness", ["agreement", "squares"])
def test_of_one_layer_the_twin_is_the_forward_forward_net(objective: str, goodness: str) -> None:
    """Where there is nothing below, there is nothing to send down: the same changes, bits and goodness."""
    network = small_network(layers=1, goodness=goodness)
    learning = LearningConfig(objective=objective)
    ours = learn(network, CONTEXTS, TARGETS, learning, random=generator(0, "t"), drop=0.25)
    twin = backpropagate(network, CONTEXTS, TARGETS, learning, random=generator(0, "t"), drop=0.25)
    for name, change in twin.changes[0].items():
        torch.testing.assert_close(change, ours.changes[0][name], rtol=1e-4, atol=1e-6)
    for name in ("bits", "positive", "negative"):
        torch.testing.assert_close(getattr(twin, name), getattr(ours, name))


@pytest.mark.parametrize("stack", ["window", "causal"])
def test_both_see_the_same_net_masks_and_negatives(stack: str) -> None:
    """The top layer and the read-outs have nothing above them: there the two agree, and only there."""
    network = small_network(stack=stack)
    contexts = CONTEXTS if stack == "window" else CONTEXTS[None]
    learning = LearningConfig(objective="contrast")
    ours = learn(network, contexts, TARGETS, learning, random=generator(0, "t"), drop=0.25)
    twin = backpropagate(network, contexts, TARGETS, learning, random=generator(0, "t"), drop=0.25)
    torch.testing.assert_close(twin.bits, ours.bits)
    torch.testing.assert_close(twin.positive, ours.positive)
    for number, (mine, its) in enumerate(zip(ours.changes, twin.changes, strict=True)):
        assert mine.keys() == its.keys()
        for name in mine:
            close = torch.allclose(mine[name], its[name], rtol=1e-4, atol=1e-6)
            assert close == (number == 2 or name in ("candidates", "candidate_bias")), (number, name)
    assert not any(weight.requires_grad or weight.grad is not None for weight in network.parameters())


def test_the_change_is_the_derivative_of_the_summed_scores_cross_entropy() -> None:
    """Against a net written out anew, position by position, with nothing detached."""
    network = small_network(context_to_all=False).double()
    network.products = torch.float64
    layers = list(network.stack())
    weights = [{n: w.detach().clone().requires_grad_() for n, w in layer.named_parameters()} for layer in layers]
    scores = []
    for row in CONTEXTS:
        score, below = 0.0, None
        for layer, w in zip(layers, weights, strict=True):
            a = w["bias"]
            if below is None:
                for d in range(4):
                    a = a + layer.scale[d] * w["context"][d * 6 + row[d]]
            else:
                a = a + normalised(below[None])[0] @ w["below"]
            below = F.relu(a)
            score = score + w["candidates"] @ below + w["candidate_bias"]
        scores.append(score)
    F.cross_entropy(torch.stack(scores), TARGETS).backward()
    twin = backpropagate(network, CONTEXTS, TARGETS, LearningConfig(objective="likelihood"), random=generator(0, "t"))
    for change, w in zip(twin.changes, weights, strict=True):
        for name, weight in w.items():
            torch.testing.assert_close(change[name], -weight.grad, rtol=1e-5, atol=1e-8)


def test_a_twin_is_trained_like_any_net_and_sees_the_same_batches(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat and the dog ran to the log; " * 60)
    common = {
        "corpus": str(path), "layers": 1, "units": 24, "block_size": 6, "dropout": 0.25, "batch_size": 32,
        "max_iters": 30, "eval_interval": 10, "sample_interval": 0, "floors": "no", "threads": 1, "dtype": "float32",
        "objective": "likelihood",
    }  # fmt: skip
    ours = train(from_flat(common | {"out_dir": str(tmp_path / "ff")}))
    twin = train(from_flat(common | {"out_dir": str(tmp_path / "twin"), "method": "twin"}))
    # Of one layer the two are the same net: any difference in batches, masks or order would show.
    assert twin["bits_per_character"] == pytest.approx(ours["bits_per_character"], rel=1e-4)
    deeper = [
        train(from_flat(common | {"layers": 3, "method": method, "out_dir": str(tmp_path / f"{method}3")}))
        for method in ("ff", "twin")
    ]
    assert deeper[0]["bits_per_character"] != pytest.approx(deeper[1]["bits_per_character"], rel=1e-4)

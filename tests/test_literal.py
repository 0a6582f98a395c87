"""Hinton's literal net: every change against autograd, nothing crosses a layer, scores are those of V single passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import small_network
from torch import Tensor

from ffseq.config import LearningConfig
from ffseq.errors import Interrupted, UsageError
from ffseq.goodness import normalised
from ffseq.layers.literal import FOLLOWING, LiteralLayer
from ffseq.literal import candidate_goodness, learn_literal, literal_layers, threshold_of, wrong_characters
from ffseq.network import SequenceNetwork
from ffseq.options import from_flat
from ffseq.randomness import generator, keep_mask
from ffseq.runs import load_network, train

B, V, K = 7, 5, 4
LEARNING = LearningConfig(objective="threshold", num_negatives=3)
HIDDEN = ("context", "candidates", "below", "bias")


def literal_network(**options: object) -> SequenceNetwork:
    return small_network(stack="literal", **options)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, V + 1, (B, K), generator=random), torch.randint(0, V, (B,), generator=random)


def pre_activity(layer: LiteralLayer, weights: dict[str, Tensor], contexts: Tensor, slot: Tensor,
                 below: Tensor | None) -> Tensor:  # fmt: skip
    """a of one slot (B,) in each context, written out with one-hot vectors and differentiable in `weights`."""
    a = weights["bias"] + torch.zeros(len(slot), len(weights["bias"]), dtype=weights["bias"].dtype)
    if layer.context is not None:
        one_hot = F.one_hot(contexts, V + 1).to(a.dtype) * layer.scale[:, None].to(a.dtype)
        a = a + one_hot.flatten(1) @ weights["context"]
        a = a + F.one_hot(slot, V + 1).to(a.dtype)[:, :V] @ weights["candidates"]
    return a if below is None else a + below @ weights["below"]


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("kind", ["sum", "mean", "minus"])
def test_change_is_the_gradient_of_the_layers_own_threshold(kind: str, everywhere: bool) -> None:
    network = literal_network(literal_goodness=kind, goodness_scale=0.7, context_to_all=everywhere).double()
    network.products = torch.float64
    for layer in literal_layers(network):
        layer.readout.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    contexts, targets = batch()
    drop = 0.25
    update = learn_literal(network, contexts, targets, LEARNING, random=generator(1, "t"), drop=drop)

    # Once more by hand: the same masks, the same wrong characters, autograd's answer for each layer.
    random = generator(1, "t")
    layers = literal_layers(network)
    weights = [{n: w.detach().clone().requires_grad_() for n, w in layer.named_parameters()} for layer in layers]

    def masks() -> list[Tensor]:
        return [keep_mask((B, 12), drop, random, torch.device("cpu"), torch.float64)[0] for _ in layers]

    below, logits = None, torch.zeros(B, V, dtype=torch.float64)
    for layer, own, keep in zip(layers, weights, masks(), strict=True):
        neutral = (pre_activity(layer, own, contexts, torch.full_like(targets, V), below).relu() * keep).detach()
        below = normalised(neutral)
        if layer.is_read:
            logits = logits + below @ own["readout"] + own["readout_bias"]
    F.cross_entropy(logits, targets).backward()
    wrong = wrong_characters(torch.log_softmax(logits.detach(), 1), targets, LEARNING, random)
    keeps, theta = masks(), threshold_of(network, LEARNING)
    for slot, share, sign in [(targets, 1.0, 1.0), *((wrong[:, i], 1 / 3, -1.0) for i in range(3))]:
        below = None
        for layer, own, keep in zip(layers, weights, keeps, strict=True):
            h = pre_activity(layer, own, contexts, slot, below).relu() * keep
            square = h.square().sum(1) / (1 - drop)
            goodness = 0.7 * {"sum": square, "mean": square / 12, "minus": -square}[kind]
            (share * F.softplus(sign * (theta - goodness)).mean()).backward()
            below = normalised(h.detach())
    for number, (change, own) in enumerate(zip(update.changes, weights, strict=True)):
        for name, weight in own.items():
            if not weight.numel():
                continue
            assert weight.grad is not None, (number, name)
            torch.testing.assert_close(change[name].double(), -weight.grad, rtol=1e-5, atol=1e-7)
            assert weight.grad.abs().max() > 0


def test_nothing_crosses_a_layer() -> None:
    """Other weights above, the read-out's part of them aside, leave what a layer learns as it was, bit for bit."""
    contexts, targets = batch()
    for source in ("softmax", "first"):
        learning = replace(LEARNING, negatives_from=source)
        before = learn_literal(literal_network(), contexts, targets, learning, random=generator(0, "t")).changes
        network = literal_network()
        top = literal_layers(network)[2]
        for weight in (top.below, top.context, top.candidates, top.bias):
            weight.normal_(generator=torch.Generator().manual_seed(5))
        after = learn_literal(network, contexts, targets, learning, random=generator(0, "t")).changes
        for number in (0, 1):
            assert all(torch.equal(before[number][name], after[number][name]) for name in before[number])
        assert not torch.equal(before[2]["bias"], after[2]["bias"])


@pytest.mark.parametrize("source", ["softmax", "first", "goodness"])
def test_wrong_characters_are_never_the_truth(source: str) -> None:
    network = literal_network()
    contexts, targets = batch()
    scores = candidate_goodness(network, contexts, layers=1) * 100  # so sure that rounding leaves nothing else
    targets = scores.argmax(1) if source != "softmax" else targets
    learning = replace(LEARNING, negatives_from=source, num_negatives=200)
    wrong = wrong_characters(scores, targets, learning, generator(0, "t"))
    assert wrong.shape == (B, 200)
    assert not (wrong == targets[:, None]).any()


@pytest.mark.parametrize("kind", ["sum", "mean", "minus"])
@pytest.mark.parametrize("readout", ["softmax", "goodness", "both"])
def test_scores_are_those_of_single_passes(kind: str, readout: str) -> None:
    network = literal_network(literal_goodness=kind, readout=readout)
    contexts, _ = batch()
    layers = literal_layers(network)
    for layer in layers:
        layer.readout.normal_(generator=torch.Generator().manual_seed(2))
    expected = torch.zeros(B, V)
    for candidate in range(V + 1):
        slots = torch.full((1, B), candidate)
        for layer, _, activity in network.upward(contexts, slots=slots):
            if layer is layers[0]:
                continue  # readout_from is 2
            if candidate == V and readout != "goodness":
                expected += normalised(activity.units) @ layer.readout + layer.readout_bias
            elif candidate < V and readout != "softmax":
                square = activity.units.square().sum(1)
                expected[:, candidate] += {"sum": square, "mean": square / 12, "minus": -square}[kind]
    torch.testing.assert_close(network.scores(contexts), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network.goodness(contexts).sum(0), expected, rtol=1e-5, atol=1e-5)


def test_peer_normalisation_is_its_formula() -> None:
    contexts, targets = batch()
    plain, pushed = literal_network(), literal_network()
    strong = replace(LEARNING, peer_normalisation=0.03)
    before = learn_literal(plain, contexts, targets, LEARNING, random=generator(0, "t")).changes
    after = learn_literal(pushed, contexts, targets, strong, random=generator(0, "t")).changes
    passes = pushed.upward(contexts, slots=targets[None])
    for number, (layer, _, activity) in enumerate(passes):
        assert isinstance(layer, LiteralLayer)
        mean = FOLLOWING * activity.units.mean(0)  # from zero, one batch on
        torch.testing.assert_close(layer.running_mean, mean)
        push = 0.03 * (mean.mean() - mean)  # B positives, each a B-th, whether a unit is on or off
        torch.testing.assert_close(after[number]["bias"] - before[number]["bias"], push, rtol=1e-4, atol=1e-6)
    assert (literal_layers(plain)[0].running_mean == 0).all()


def test_greedy_teaches_one_layer_at_a_time() -> None:
    learning = replace(LEARNING, greedy=True)
    for done, active in ((0.0, 0), (0.4, 1), (0.99, 2), (1.0, 2)):
        changes = learn_literal(literal_network(), *batch(), learning, random=generator(0, "t"), done=done).changes
        assert [number for number, change in enumerate(changes) if set(change) & set(HIDDEN)] == [active]
        assert [number for number, change in enumerate(changes) if "readout" in change] == [1, 2]


def test_random_hidden_layers_learn_only_the_softmax() -> None:
    changes = learn_literal(
        literal_network(), *batch(), replace(LEARNING, hidden="random"), random=generator(0, "t")
    ).changes
    assert [set(change) for change in changes] == [set(), {"readout", "readout_bias"}, {"readout", "readout_bias"}]


def test_default_threshold_is_a_mean_square_of_one() -> None:
    for kind, theta in (("sum", 24.0), ("mean", 2.0), ("minus", -24.0)):
        assert threshold_of(literal_network(literal_goodness=kind, goodness_scale=2.0), LEARNING) == theta
    assert threshold_of(literal_network(), replace(LEARNING, threshold=3.0)) == 3.0


OPTIONS = {
    "split_rule": "80/10/10", "stack": "literal", "objective": "threshold", "block_size": 3, "layers": 2, "units": 48,
    "goodness_scale": 0.2, "candidate_init": 0.3, "negatives_from": "first", "readout_from": 1, "learning_rate": 1e-2,
    "batch_size": 64, "max_iters": 120, "eval_interval": 60, "sample_interval": 0, "threads": 1, "floors": "no",
    "dtype": "float32",
}  # fmt: skip


def markov_text(folder: Path) -> str:
    """4,000 characters in which the two before decide the next, three times in four."""
    random = torch.Generator().manual_seed(0)
    text = [0, 1]
    while len(text) < 4000:
        likely = (3 * text[-1] + 5 * text[-2] * text[-1] + text[-2]) % 8
        other = int(torch.randint(0, 8, (), generator=random))
        text.append(likely if float(torch.rand((), generator=random)) < 0.75 else other)
    path = folder / "markov.txt"
    path.write_text("".join("abcdefgh"[c] for c in text), encoding="utf-8")
    return str(path)


def test_learning_beats_its_control(tmp_path: Path) -> None:
    text = markov_text(tmp_path)
    results = {}
    for hidden in ("learned", "random"):
        given = OPTIONS | {"corpus": text, "hidden": hidden, "out_dir": str(tmp_path / hidden), "max_iters": 400}
        results[hidden] = train(from_flat(given))
    for name, sign in (("bits_per_character", 1), ("accuracy", -1)):
        assert sign * results["learned"][name] < sign * results["random"][name], name


def test_interrupted_is_uninterrupted_and_the_net_can_be_used(tmp_path: Path) -> None:
    given = OPTIONS | {"corpus": markov_text(tmp_path), "peer_normalisation": 0.01, "readout": "both", "average": 0.9}
    train(from_flat(given | {"out_dir": str(tmp_path / "whole")}))
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(from_flat(given | {"out_dir": str(tmp_path / "cut")}), interrupted=lambda: next(calls) >= 70)
    train(from_flat(given | {"out_dir": str(tmp_path / "cut"), "resume": "auto"}))
    files = [tmp_path / name / "last" for name in ("whole", "cut")]
    for name in ("model.safetensors", "trainer_state.safetensors"):
        assert files[0].joinpath(name).read_bytes() == files[1].joinpath(name).read_bytes()
    network, checkpoint = load_network(tmp_path / "cut" / "last")
    assert checkpoint.path is not None
    network.save_pretrained(tmp_path / "saved")
    again = SequenceNetwork.from_pretrained(tmp_path / "saved")
    assert again.generate("abc", max_new_tokens=20, seed=3) == network.generate("abc", max_new_tokens=20, seed=3)
    assert torch.equal(again.score("abcdefgh"), network.score("abcdefgh"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective": "contrast"}, "--objective threshold"),
        ({"method": "twin"}, "no twin"),
        ({"stream": True}, "--stream"),
        ({"negatives": "unigram"}, "--negatives_from"),
        ({"goodness_scale": 0.0}, "--goodness_scale"),
        ({"readout_from": 0}, "--readout_from"),
        ({"peer_normalisation": -1.0}, "--peer_normalisation"),
    ],
)
def test_refusals_are_sentences(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        from_flat({"stack": "literal", "objective": "threshold"} | options)

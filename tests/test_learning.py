"""The heart: what each layer learns, against autograd on the same layer's objective, and what never reaches it."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from conftest import small_network
from torch import Tensor

from ffseq import learning as learning_module
from ffseq.config import ROLLOUTS, LearningConfig, source_of
from ffseq.goodness import normalised
from ffseq.layers.window import Below
from ffseq.learning import layer_signal, learn, means_of_all, threshold_of
from ffseq.negatives import Negatives
from ffseq.network import SequenceNetwork
from ffseq.objective import SOURCES
from ffseq.randomness import generator, keep_mask

B, V, K = 7, 5, 4
UNIGRAM = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15])


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    contexts = torch.randint(0, V + 1, (B, K), generator=random)
    return contexts, torch.randint(0, V, (B,), generator=random)


def pairs() -> list[tuple[str, str]]:
    """All but rollouts, which have an update of their own (see test_rollouts.py)."""
    return [
        (objective, source) for objective, sources in SOURCES.items() for source in sources if source not in ROLLOUTS
    ]


def loss_of(
    objective: str, S: Tensor, r: Tensor, w: Tensor, log_q: Tensor | None, theta: float, alpha: float
) -> Tensor:
    """The objective as a loss, in torch's own words; w and q are given, as the layer takes them."""
    real = S[: len(r)].gather(1, r[:, None])[:, 0]
    there = S[-len(r) :]  # where the negatives are: the same contexts, or contexts of their own
    if objective == "contrast":
        return (-real + (w * there).sum(1)).mean()
    if objective == "likelihood":
        return F.cross_entropy(S, r)
    if objective == "nce":
        assert log_q is not None
        up = F.softplus(-(real - log_q.gather(1, r[:, None])[:, 0]))
        return (up + (w * F.softplus(there - log_q)).sum(1)).mean()
    if objective == "threshold":
        return (F.softplus(theta - real) + (w * F.softplus(there - theta)).sum(1)).mean()
    return (w * F.softplus(-alpha * (real[:, None] - there))).sum(1).mean()


def layer_goodness(layer: torch.nn.Module, weights: dict[str, Tensor], contexts: Tensor, below: Tensor | None,
                   keep: Tensor, drop: float) -> Tensor:  # fmt: skip
    """A layer's goodness written out anew, differentiable in its weights, position by position."""
    a = weights["bias"] + torch.zeros(len(contexts), len(weights["bias"]), dtype=weights["bias"].dtype)
    if below is not None:
        a = a + below @ weights["below"]
    if layer.context is not None:
        one_hot = F.one_hot(contexts, V + 1).to(a.dtype) * layer.scale[:, None].to(a.dtype)
        a = a + one_hot.flatten(1) @ weights["context"]
    gate = ((a > 0) & (keep > 0)).to(a.dtype).detach() / (1 - drop)
    E = weights["candidates"]
    if layer.kind == "agreement":
        return (gate * a) @ E.t() + weights["candidate_bias"]
    # The gate held fixed: a sum of squares of the units that the context switched on.
    return (gate[:, None, :] * (a[:, None, :] + E[None]) ** 2).sum(2)


@pytest.mark.parametrize("goodness", ["agreement", "squares"])
@pytest.mark.parametrize("scope", ["own", "below", "all"])
@pytest.mark.parametrize(("objective", "source"), pairs())
def test_change_is_the_gradient_of_the_layers_own_objective(
    goodness: str, scope: str, objective: str, source: str
) -> None:
    network = small_network(goodness=goodness, context_to_all=True).double()
    network.products = torch.float64
    drop = 0.25
    learning = LearningConfig(
        objective=objective, scope=scope, negatives=source, num_negatives=3, threshold=1.5, alpha=0.7
    )
    contexts, targets = batch()
    update = learn(network, contexts, targets, learning, random=generator(1, "t"), drop=drop, unigram=UNIGRAM.double())

    # The same pass once more, by hand: same masks, same negatives, autograd's answer for each layer.
    random = generator(1, "t")
    if source == "corrupted":
        from ffseq.negatives import corrupt

        contexts = torch.cat([contexts, corrupt(contexts, V, learning.corruption, random)])
    layers = list(network.stack())
    goodnesses, weights_of, below = [], [], None
    pending = []
    for number, layer in enumerate(layers, start=1):
        shape = (len(contexts), len(layer.bias))
        keep, _ = keep_mask(shape, drop, random, torch.device("cpu"), torch.float64)
        weights = {name: weight.detach().clone().requires_grad_() for name, weight in layer.named_parameters()}
        own = layer_goodness(layer, weights, contexts, below, keep, drop)
        lower = sum((g.detach() for g in goodnesses), torch.zeros_like(own))
        goodnesses.append(own)
        weights_of.append(weights)
        pending.append(lower)
        seen = None if below is None else Below(below, (0,), len(below))
        activity = layer(contexts, seen, keep, drop, dtype=torch.float64)
        below = normalised(activity.units)
        if scope != "all":
            score = own if scope == "own" else own + lower
            count = 1 if scope == "own" else number
            _, negatives = layer_signal(
                network, learning, score.detach(), targets, random, layers=count, unigram=UNIGRAM.double()
            )
            loss_of(objective, score, targets, negatives.weights, negatives.log_q, 1.5, 0.7).backward()
    if scope == "all":
        total = sum(g.detach() for g in goodnesses)
        _, negatives = layer_signal(
            network, learning, total, targets, random, layers=len(layers), unigram=UNIGRAM.double()
        )
        for own in goodnesses:
            score = own + (total - own.detach())
            loss_of(objective, score, targets, negatives.weights, negatives.log_q, 1.5, 0.7).backward()
    for change, weights in zip(update.changes, weights_of, strict=True):
        for name, weight in weights.items():
            if weight.grad is None:
                assert name == "candidate_bias"
                assert goodness == "squares"
                continue
            torch.testing.assert_close(change[name].double(), -weight.grad, rtol=2e-5, atol=2e-6)
            assert weight.grad.abs().max() > 0


@pytest.mark.parametrize("scope", ["own", "below", "all"])
def test_no_weight_reaches_another_layers_change_except_through_activities_and_the_score(scope: str) -> None:
    """Change the candidates of one layer: the activities stay, so only the broadcast score can carry it.

    With the likelihood objective and goodness shifted by the same amount for all candidates, the score's softmax
    stays too, and so must the change of every other layer, bit for bit.
    """
    contexts, targets = batch()
    learning = LearningConfig(objective="likelihood", scope=scope)

    def changes(network: SequenceNetwork) -> list[dict[str, Tensor]]:
        return learn(network, contexts, targets, learning, random=generator(0, "t")).changes

    before = changes(small_network())
    network = small_network()
    list(network.stack())[1].candidate_bias += 1.0  # the same for all candidates: softmax does not see it
    after = changes(network)
    for number in (0, 2):
        for name in before[number]:
            torch.testing.assert_close(after[number][name], before[number][name], rtol=1e-5, atol=1e-6)
    # Different candidate vectors above leave the layers below alone, in the scopes that only look down.
    network = small_network()
    list(network.stack())[2].candidates += torch.randn(V, 12, generator=torch.Generator().manual_seed(3))
    after = changes(network)
    for number in (0, 1):
        for name in before[number]:
            same = torch.equal(after[number][name], before[number][name])
            assert same == (scope != "all"), f"layer {number + 1}, {name}"


def test_weights_into_a_layer_do_not_travel_down() -> None:
    """In every scope, what layer 1 learns does not depend on how layer 2 reads it, given the same score."""
    contexts, targets = batch()
    network = small_network(layers=2)
    top = list(network.stack())[1]
    top.candidates.zero_()  # layer 2 adds nothing to the score, whatever its input weights are
    learning = LearningConfig(objective="likelihood", scope="all")
    before = learn(network, contexts, targets, learning, random=generator(0, "t")).changes[0]
    top.below.normal_(generator=torch.Generator().manual_seed(5))
    after = learn(network, contexts, targets, learning, random=generator(0, "t")).changes[0]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_learning_leaves_no_autograd_graph_and_touches_no_weight() -> None:
    network = small_network()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    update = learn(network, *batch(), LearningConfig(), random=generator(0, "t"))
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not any(value.requires_grad for change in update.changes for value in change.values())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_contrast_averages_to_likelihood() -> None:
    """The mean of contrast's signal over many draws is likelihood's, within four standard errors."""
    network = small_network()
    scores = torch.randn(B, V, generator=torch.Generator().manual_seed(2))
    targets = batch()[1]
    contrast = LearningConfig(objective="contrast", num_negatives=4000)
    sampled, _ = layer_signal(network, contrast, scores, targets, generator(0, "t"), layers=1, unigram=None)
    exact, _ = layer_signal(
        network, LearningConfig(objective="likelihood"), scores, targets, generator(0, "t"), layers=1, unigram=None
    )
    p = torch.softmax(scores, 1)
    error = (p * (1 - p) / 4000).sqrt()
    assert ((sampled - exact).abs() <= 4 * error + 1e-6).all()
    assert not torch.equal(sampled, exact)


@pytest.mark.parametrize("scope", ["own", "below"])
def test_layers_draw_negatives_of_their_own(scope: str) -> None:
    network = small_network()
    seen = []
    original = torch.rand

    def spy(*args: object, **kwargs: object) -> Tensor:
        seen.append(args)
        return original(*args, **kwargs)  # type: ignore[call-overload, no-any-return]

    torch.rand = spy  # type: ignore[assignment]
    try:
        learn(network, *batch(), LearningConfig(scope=scope), random=generator(0, "t"))
    finally:
        torch.rand = original
    assert len(seen) == 3


def test_threshold_defaults() -> None:
    squares, agreement = small_network(goodness="squares"), small_network()
    assert threshold_of(squares, LearningConfig(), 3) == 36.0
    assert threshold_of(agreement, LearningConfig(), 3) == 0.0
    assert threshold_of(squares, LearningConfig(threshold=2.5), 3) == 2.5


def test_random_hidden_layers_learn_only_their_readout() -> None:
    update = learn(small_network(), *batch(), LearningConfig(hidden="random"), random=generator(0, "t"))
    assert all(set(change) == {"candidates", "candidate_bias"} for change in update.changes)


def test_bits_come_from_the_targets() -> None:
    """The reported bits are −log2 P of the targets: other targets, other bits (no figure that never looks)."""
    network = small_network()
    contexts, targets = batch()
    learning = LearningConfig(objective="likelihood")
    for shift in range(V):
        shifted = (targets + shift) % V
        bits = learn(network, contexts, shifted, learning, random=generator(0, "t")).bits
        log_p = torch.log_softmax(network.scores(contexts), 1)
        expected = -torch.stack([log_p[i, c] for i, c in enumerate(shifted)]).mean() / torch.log(torch.tensor(2.0))
        torch.testing.assert_close(bits, expected)


def test_auto_negatives() -> None:
    assert source_of(LearningConfig(objective="likelihood")) == "expected"
    assert {source_of(LearningConfig(objective=o)) for o in ("contrast", "nce", "threshold", "difference")} == {
        "sampled"
    }


def test_every_pair_of_goodness_and_scope_is_covered() -> None:
    """The parametrised test above covers the whole declared table (a guard against a silently shrinking list)."""
    assert len(pairs()) * len(list(itertools.product(["agreement", "squares"], ["own", "below", "all"]))) == 14 * 6


def test_normalised_activity_has_a_mean_square_of_one() -> None:
    units = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)).relu() * torch.tensor([[1e-2], [1], [9]] * 2)
    torch.testing.assert_close(normalised(units).square().mean(1), torch.ones(6), rtol=1e-3, atol=0)
    assert (normalised(torch.zeros(1, 5)) == 0).all()


def test_probabilities_are_the_softmax_of_scores_over_temperature_with_the_prior() -> None:
    network = small_network()
    network.temperature.fill_(2.0)
    network.prior.copy_(torch.tensor([0.0, 1.0, 0.0, -1.0, 0.5]))
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    expected = torch.softmax(torch.tensor([[0.5, 2.0, 1.5, 1.0, 3.0]]), 1)
    torch.testing.assert_close(network.log_probabilities(scores).exp(), expected)


def test_reported_goodness_is_that_of_the_targets_and_of_the_expected_negatives() -> None:
    network = small_network()
    contexts, targets = batch()
    update = learn(network, contexts, targets, LearningConfig(objective="likelihood"), random=generator(0, "t"))
    goodness = network.goodness(contexts)
    p = torch.softmax(goodness.sum(0), 1)
    for number, own in enumerate(goodness):
        real = torch.stack([own[i, c] for i, c in enumerate(targets)]).mean()
        torch.testing.assert_close(update.positive[number], real)
        torch.testing.assert_close(update.negative[number], (own * p).sum(1).mean())


def test_in_scope_own_the_threshold_is_that_of_one_layer() -> None:
    network = small_network(goodness="squares")
    by_default, stated = (
        learn(network, *batch(), LearningConfig(objective="threshold", scope="own", threshold=theta),
              random=generator(0, "t")) for theta in (None, 12.0)
    )  # fmt: skip
    for one, two in zip(by_default.changes, stated.changes, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_fresh_layers_have_pre_activities_of_standard_deviation_one() -> None:
    network = small_network(units=400, block_size=8)
    contexts = torch.randint(0, V, (200, 8), generator=torch.Generator().manual_seed(0))
    for _, _, activity in network.upward(contexts):
        # Half of a standard normal is on, with a mean square of one half over all units.
        assert 0.45 < float((activity.units > 0).float().mean()) < 0.55
        assert 0.8 < (2 * float(activity.units.square().mean())) ** 0.5 < 1.2


@pytest.mark.parametrize("together", [0, 1 << 16])
def test_mean_goodness_is_that_of_every_layers_positives_and_negatives(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_module, "TOGETHER", together)
    random = torch.Generator().manual_seed(1)
    every = [torch.randn(10, 4, generator=random) for _ in range(3)]  # the negatives have contexts of their own
    targets, weights = torch.tensor([0, 3, 1, 1, 2]), torch.rand(5, 4, generator=random)
    positive, negative = means_of_all(every, targets, Negatives(weights, None))
    for number, own in enumerate(every):
        assert float(positive[number]) == pytest.approx(
            sum(float(own[row, symbol]) for row, symbol in enumerate(targets.tolist())) / 5, abs=1e-6
        )
        assert float(negative[number]) == pytest.approx(
            sum(float(own[5 + row, symbol] * weights[row, symbol]) for row in range(5) for symbol in range(4)) / 5,
            abs=1e-6,
        )

"""One update awake and one asleep: what they may look at, and that together they are an interleaved one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ffseq import dreams
from ffseq.apart import asleep, awake, falling, log_q_of, rising, say
from ffseq.config import LearningConfig
from ffseq.learning import learn
from ffseq.network import SequenceNetwork
from ffseq.randomness import generator

NCE = LearningConfig(objective="nce", scope="all")
THRESHOLD = LearningConfig(objective="threshold", scope="all")
CONTRAST = LearningConfig(objective="contrast", scope="all", num_negatives=1)


def batch(network: SequenceNetwork, n: int = 40) -> tuple[Tensor, Tensor]:
    random = generator(0, "batch")
    size = len(network.alphabet)
    contexts = torch.randint(0, size + 1, (n, network.block_size), generator=random)
    return contexts, torch.randint(0, size, (n,), generator=random)


def changes_of(network: SequenceNetwork, learning: LearningConfig, contexts: Tensor, targets: Tensor) -> list[Tensor]:
    update = awake(network, contexts, targets, learning, random=generator(0, "l"), drop=0.0, frozen=small_network())
    return [change for layer in update.changes for change in layer.values()]


@pytest.mark.parametrize("learning", [NCE, THRESHOLD, CONTRAST], ids=lambda one: one.objective)
@pytest.mark.parametrize("scope", ["own", "below", "all"])
def test_awake_no_other_candidate_is_looked_at(learning: LearningConfig, scope: str) -> None:
    """Whatever the goodness of all other candidates is, nothing that is learned about the real one changes, and
    nothing at all is learned about candidates that were not real.
    """
    learning = replace(learning, scope=scope)
    network = small_network()
    contexts, targets = batch(network)
    targets = targets % 2  # candidates 2, 3 and 4 never come
    before = changes_of(network, learning, contexts, targets)
    candidates = [c for layer in awake(
        network, contexts, targets, learning, random=generator(0, "l"), drop=0.0, frozen=small_network()
    ).changes for name, c in layer.items() if name.startswith("candidate")]  # fmt: skip
    assert all(not one[2:].any() for one in candidates)
    assert all(one[:2].abs().sum() > 0 for one in candidates)
    for layer in network.layers:
        layer.candidates[2:] += 3.0
        layer.candidate_bias[2:] -= 5.0
    for one, two in zip(before, changes_of(network, learning, contexts, targets), strict=True):
        torch.testing.assert_close(one, two)


@given(
    objective=st.sampled_from(["nce", "threshold"]),
    score=st.floats(-30, 30),
    log_q=st.floats(-20, 0),
    threshold=st.floats(-5, 5),
)
def test_signals_are_bounded_and_balance_where_theory_says(
    objective: str, score: float, log_q: float, threshold: float
) -> None:
    """At S = log q (or θ) real and dreamt symbols pull alike; the two always share one unit of force."""
    given_q, s = torch.tensor([log_q]), torch.tensor([score])
    up, down = (f(objective, s, log_q=given_q, threshold=threshold) for f in (rising, falling))  # type: ignore[operator]
    assert 0 <= up <= 1
    torch.testing.assert_close(up + down, torch.ones(1))
    level = given_q if objective == "nce" else torch.tensor([threshold])
    assert rising(objective, level, log_q=given_q, threshold=threshold) == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["own", "below", "all"])
def test_a_pair_of_updates_is_an_interleaved_one_when_contexts_are_real(scope: str) -> None:
    """Contrast: the change awake and the change asleep, in the same contexts with the same draws, add up to it."""
    network = small_network(goodness="agreement")
    contexts, targets = batch(network)
    learning = replace(CONTRAST, scope=scope)
    day = awake(network, contexts, targets, learning, random=generator(0, "d"), drop=0.0, frozen=None)
    night, _ = asleep(network, contexts, learning, random=generator(0, "n"), drop=0.0, frozen=None)
    both = learn(network, contexts, targets, learning, random=generator(0, "n"))
    for one, two, three in zip(day.changes, night.changes, both.changes, strict=True):
        for name in three:
            torch.testing.assert_close(one[name] + two[name], three[name], rtol=1e-4, atol=1e-5)


def test_asleep_a_pair_that_is_true_is_spared_where_the_net_is_told() -> None:
    network = small_network()
    contexts, _ = batch(network)
    frozen = small_network(seed=3)
    more = {"random": generator(0, "n"), "drop": 0.0, "frozen": frozen}
    _, said = asleep(network, contexts, THRESHOLD, **more)  # type: ignore[arg-type]
    more["random"] = generator(0, "n")
    update, again = asleep(network, contexts, THRESHOLD, truth=said, **more)  # type: ignore[arg-type]
    assert torch.equal(said, again)
    assert all(not change.any() for layer in update.changes for change in layer.values())


def test_what_was_dreamt_before_is_learned_as_if_it_were_said_now() -> None:
    network, frozen = small_network(), small_network(seed=3)
    contexts, _ = batch(network)
    said = say(frozen, contexts, NCE, generator(0, "n"))
    now, symbols = asleep(network, contexts, NCE, random=generator(0, "n"), drop=0.0, frozen=frozen)
    again, _ = asleep(network, contexts, NCE, random=generator(1, "n"), drop=0.0, frozen=None, again=said)
    assert torch.equal(symbols, said.symbols)
    for one, two in zip(now.changes, again.changes, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_gated_in_expectation_a_pair_of_updates_stands_still_where_the_net_is_right() -> None:
    """One context whose next symbol is drawn from the net's own softmax: awake 1 − P of the real symbol, asleep those
    that the net says and that are wrong.
    """
    network = small_network(layers=1, goodness="agreement")
    context = torch.tensor([[1, 0, 2, 5]]).expand(60_000, -1)
    real = torch.multinomial(
        torch.softmax(network.scores(context[:1])[0], 0), 60_000, True, generator=generator(0, "r")
    )
    learning = replace(CONTRAST, negatives_temperature=1.0)
    more = {"random": generator(0, "n"), "drop": 0.0, "frozen": None}
    day = awake(network, context, real, learning, gated=True, **more).changes[0]["candidate_bias"]  # type: ignore[arg-type]
    night = asleep(network, context, learning, truth=real, **more)[0].changes[0]["candidate_bias"]  # type: ignore[arg-type]
    assert day.min() > 0.02
    assert (day + night).abs().max() < 0.01


def test_a_frozen_net_speaks_by_its_own_probabilities() -> None:
    """The symbols said in one context, counted; against softmax(S / τ) of the frozen net."""
    network, frozen = small_network(), small_network(seed=3)
    learning = replace(NCE, negatives_temperature=0.7)
    context = torch.tensor([[1, 0, 2, 5]]).expand(20_000, -1)
    _, said = asleep(network, context, learning, random=generator(0, "n"), drop=0.0, frozen=frozen)
    shares = np.bincount(said.numpy(), minlength=5) / 20_000
    expected = log_q_of(frozen, context[:1], learning).exp()[0].numpy()
    assert np.abs(shares - expected).max() < 0.015
    assert np.abs(expected - 0.2).max() > 0.02


@given(length=st.integers(1, 12), count=st.integers(1, 9), steps=st.integers(0, 40), seed=st.integers(0, 99))
@settings(deadline=None)
def test_dreams_remember_what_they_said_and_no_more(length: int, count: int, steps: int, seed: int) -> None:
    """Against lists."""
    random = np.random.default_rng(seed)
    now = dreams.begun(count, block_size=3, alphabet_size=5, length=length, device=torch.device("cpu"))
    said: list[list[int]] = [[] for _ in range(count)]
    ages = now.ages.tolist()
    for _ in range(steps):
        symbols = random.integers(0, 5, count)
        now = dreams.onward(now, torch.from_numpy(symbols), alphabet_size=5, length=length)
        for which, symbol in enumerate(symbols.tolist()):
            said[which].append(symbol)
            ages[which] += 1
            if ages[which] >= length:
                said[which], ages[which] = [], 0
    expected = [([*one[::-1], 5, 5, 5])[:3] for one in said]
    assert now.contexts.tolist() == expected
    assert now.contexts.shape == (count, 3)
    assert int(now.ages.max()) < length


def test_nce_finds_the_distribution_whatever_the_noise() -> None:
    """One context, one layer of biases: awake and asleep in turns, against a frozen net that says something else. The
    softmax of what is learned is the distribution of what was real.
    """
    network, frozen = small_network(layers=1, seed=1), small_network(layers=1, seed=2)
    for layer in frozen.layers:
        layer.candidate_bias.copy_(torch.tensor([1.0, 0.0, -1.0, 0.5, 0.0]))
    real = torch.tensor([0.5, 0.25, 0.15, 0.06, 0.04])
    context = torch.full((512, network.block_size), 5)
    layer = network.layers[0]
    for step in range(600):
        targets = torch.multinomial(real, 512, replacement=True, generator=generator(0, "real", step))
        rate = 4.0 * 0.995**step
        for update in (
            awake(network, context, targets, NCE, random=generator(0, "d", step), drop=0.0, frozen=frozen),
            asleep(network, context, NCE, random=generator(0, "n", step), drop=0.0, frozen=frozen)[0],
        ):
            layer.candidate_bias += rate * update.changes[0]["candidate_bias"]
    found = torch.softmax(network.scores(context[:1])[0], 0)
    assert (found - real).abs().max() < 0.02

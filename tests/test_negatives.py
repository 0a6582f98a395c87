"""Where negatives come from: the right distribution, never the truth where it is excluded, and sane mixtures."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.config import TrainConfig
from ffseq.errors import UsageError
from ffseq.negatives import Negatives, corrupt, draw
from ffseq.objective import SOURCES, check_combination, excludes_truth, readout_temperature, signal
from ffseq.options import from_flat, to_flat
from ffseq.randomness import generator

SOURCES_ALL = ["sampled", "expected", "argmax", "unigram", "corrupted"]
UNIGRAM = torch.tensor([0.5, 0.2, 0.2, 0.1, 0.0])


@given(
    source=st.sampled_from(SOURCES_ALL),
    seed=st.integers(0, 1000),
    size=st.floats(0, 60),
    count=st.integers(1, 5),
)
@settings(deadline=None, max_examples=60)
def test_the_truth_is_never_a_negative_where_it_is_excluded(source: str, seed: int, size: float, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(40, 5, generator=random) * size
    targets = torch.randint(0, 5, (40,), generator=random)
    negatives = draw(source, scores, targets, count=count, exclude_truth=True, unigram=UNIGRAM, generator=random)
    assert (negatives.weights.gather(1, targets[:, None]) == 0).all()
    assert (negatives.weights >= 0).all()


@pytest.mark.parametrize("source", ["sampled", "expected", "argmax"])
def test_the_truth_is_no_negative_even_where_the_net_is_sure_of_it(source: str) -> None:
    scores = torch.zeros(8, 5).scatter(1, torch.full((8, 1), 4), 300.0)
    targets = torch.full((8,), 4)
    weights = draw(source, scores, targets, count=2, exclude_truth=True, generator=generator(0, "t")).weights
    assert (weights[:, 4] == 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(8))


def test_what_is_left_of_a_source_without_the_truth_is_a_distribution() -> None:
    """q without the truth is q(c) / (1 − q(r)), weights and log q alike."""
    scores, targets = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 5
    negatives = draw("expected", scores, targets, exclude_truth=True)
    q = torch.softmax(scores, 1)
    expected = (q / (1 - q.gather(1, targets[:, None]))).scatter(1, targets[:, None], 0)
    torch.testing.assert_close(negatives.weights, expected)


@given(source=st.sampled_from(SOURCES_ALL), seed=st.integers(0, 1000), count=st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_weights_are_a_distribution(source: str, seed: int, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(30, 5, generator=random)
    targets = torch.randint(0, 5, (30,), generator=random)
    negatives = draw(source, scores, targets, count=count, unigram=UNIGRAM, generator=random)
    torch.testing.assert_close(negatives.weights.sum(1), torch.ones(30))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_negatives_follow_the_nets_prediction(temperature: float) -> None:
    scores = torch.tensor([[2.0, 0.0, -1.0, 0.5, -3.0]]).expand(40_000, 5)
    targets = torch.zeros(40_000, dtype=torch.int64)
    negatives = draw("sampled", scores, targets, temperature=temperature, generator=generator(0, "t"))
    expected = torch.softmax(scores[0] / temperature, 0)
    error = (expected * (1 - expected) / 40_000).sqrt()
    assert ((negatives.weights.mean(0) - expected).abs() < 4 * error + 1e-6).all()
    torch.testing.assert_close(negatives.log_q[0], expected.log())


def test_a_symbol_of_probability_zero_is_never_drawn() -> None:
    targets = torch.zeros(50_000, dtype=torch.int64)
    scores = torch.zeros(50_000, 5)
    negatives = draw("unigram", scores, targets, unigram=UNIGRAM, generator=generator(1, "t"))
    assert (negatives.weights[:, 4] == 0).all()


def test_argmax_is_the_best_wrong_candidate() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    weights = draw("argmax", scores, torch.tensor([0, 1])).weights
    assert weights.argmax(1).tolist() == [1, 0]


def test_corrupted_contexts_change_the_asked_share_and_keep_padding() -> None:
    contexts = torch.full((2000, 10), 3)
    contexts[:, 9] = 5  # padding in an alphabet of 5
    changed = corrupt(contexts, 5, 0.2, generator(0, "t"))
    assert (changed[:, 9] == 5).all()
    assert changed.max() <= 5
    share = (changed[:, :9] != 3).float().mean().item()
    assert abs(share - 0.2 * 4 / 5) < 0.01


def test_unigram_needs_frequencies() -> None:
    with pytest.raises(ValueError, match="frequencies"):
        draw("unigram", torch.zeros(1, 3), torch.tensor([0]))


@pytest.mark.parametrize("objective", list(SOURCES))
@pytest.mark.parametrize("source", SOURCES_ALL)
def test_the_declared_table_is_what_is_accepted(objective: str, source: str) -> None:
    if source in SOURCES[objective]:
        check_combination(objective, source, exclude_truth=None, temperature=1.0)
    else:
        with pytest.raises(UsageError, match="does not go with"):
            check_combination(objective, source, exclude_truth=None, temperature=1.0)


@pytest.mark.parametrize("objective", ["contrast", "likelihood", "nce"])
def test_excluding_the_truth_is_refused_where_it_has_no_fixed_point(objective: str) -> None:
    with pytest.raises(UsageError, match="needs the truth"):
        check_combination(objective, SOURCES[objective][0], exclude_truth=True, temperature=1.0)


@pytest.mark.parametrize("objective", ["contrast", "likelihood"])
def test_other_temperatures_are_refused_for_the_nets_own_prediction(objective: str) -> None:
    with pytest.raises(UsageError, match="temperature 1"):
        check_combination(objective, SOURCES[objective][0], exclude_truth=None, temperature=0.5)


def test_rules_that_always_exclude_the_truth_say_so() -> None:
    assert excludes_truth("difference", "sampled", None)
    assert excludes_truth("threshold", "argmax", None)
    assert not excludes_truth("threshold", "sampled", None)
    with pytest.raises(UsageError, match="always exclude"):
        check_combination("difference", "sampled", exclude_truth=False, temperature=1.0)
    with pytest.raises(UsageError, match="always exclude"):
        check_combination("threshold", "argmax", exclude_truth=False, temperature=1.0)


def _settle(objective: str, p: torch.Tensor, *, scores: torch.Tensor, rate: float, **options: object) -> torch.Tensor:
    """Follow the exact mean signal of one context, whose next symbol has distribution p, to its fixed point."""
    everything = torch.arange(len(p))
    for _ in range(6000):
        rows = scores.expand(len(p), len(p))
        weights = {k: options[k] for k in ("temperature", "exclude_truth", "unigram") if k in options}
        source = options["source"]
        if source == "unigram":  # the expectation over its draws
            q = options["unigram"].expand_as(rows)
            negatives = Negatives(q, q)
        else:
            negatives = draw("expected", rows, everything, **weights)
        s, _ = signal(objective, rows, everything, negatives)
        scores = scores + rate * (p[:, None] * s).sum(0)
    return scores


P = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])


def test_difference_against_frequencies_settles_where_the_readout_puts_it_right() -> None:
    """Truth left out, αS = log P − log q − log(1 − q) + const: the prior of the read-out is log q + log(1 − q)."""
    q = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15])
    everything = torch.arange(5)
    scores = torch.zeros(5)
    for _ in range(6000):
        rows = scores.expand(5, 5)
        without = q.expand(5, 5).scatter(1, everything[:, None], 0.0)
        negatives = Negatives(without / without.sum(1, keepdim=True), None)
        s, _ = signal("difference", rows, everything, negatives)
        scores = scores + 0.5 * (P[:, None] * s).sum(0)
    torch.testing.assert_close(torch.softmax(scores + q.log() + torch.log1p(-q), 0), P, atol=1e-4, rtol=0)


def test_nce_settles_at_the_log_probabilities_up_to_a_constant() -> None:
    """Its fixed point is S = log P + const, whatever the distribution of the negatives (here: unigram, or its own)."""
    q = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15])
    for options in ({"source": "unigram", "unigram": q}, {"source": "expected"}):
        scores = _settle("nce", P, scores=torch.zeros(5), rate=0.5, **options)
        torch.testing.assert_close(torch.softmax(scores, 0), P, atol=2e-3, rtol=0)
    torch.testing.assert_close(
        _settle("nce", P, scores=torch.zeros(5), rate=0.5, source="unigram", unigram=q), P.log(), atol=1e-2, rtol=0
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_threshold_against_its_own_softmax_settles_at_a_known_temperature(temperature: float) -> None:
    scores = _settle("threshold", P, scores=torch.zeros(5), rate=0.5, source="expected", temperature=temperature)
    readout = readout_temperature(
        "threshold",
        "sampled",
        exclude_truth=False,
        negatives_temperature=temperature,
        scope="all",
        goodness="agreement",
    )
    assert readout is not None
    torch.testing.assert_close(torch.softmax(scores / readout, 0), P, atol=2e-3, rtol=0)


def test_likelihood_settles_at_the_log_probabilities() -> None:
    scores = _settle("likelihood", P, scores=torch.zeros(5), rate=0.5, source="expected")
    torch.testing.assert_close(torch.softmax(scores, 0), P, atol=1e-4, rtol=0)


def test_logistic_signals_do_not_overflow() -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0]])
    for objective in ("threshold", "nce", "difference"):
        negatives = draw("expected", scores, torch.tensor([1]), exclude_truth=objective == "difference")
        s, _ = signal(objective, scores, torch.tensor([1]), negatives)
        assert s.isfinite().all()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "learning_rate": st.floats(1e-6, 1, allow_nan=False),
            "layers": st.integers(1, 5),
            "objective": st.sampled_from(["threshold", "contrast"]),
            "seed": st.integers(0, 10),
        },
    )
)
def test_settings_survive_flattening(options: dict[str, object]) -> None:
    config = from_flat(options)
    assert from_flat(to_flat(config)) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", float("nan")), ("learning_rate", -1.0), ("learning_rate", float("inf")), ("dropout", 1.0),
        ("dropout", -0.1), ("layers", 0), ("units", 0), ("block_size", 0), ("batch_size", 0), ("max_seconds", -1.0),
        ("beta1", 1.0), ("threshold", float("nan")), ("num_negatives", 0), ("max_iters", -1), ("final_rate", 2.0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_the_name_that_was_typed(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{name}"):
        from_flat({name: value})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match="learning_rat"):
        from_flat({"learning_rat": 1.0})
    assert from_flat({}) == TrainConfig()

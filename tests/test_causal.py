"""A causal stack: what it sees, how a stream equals a whole string, and that no layer learns from the future."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.config import LearningConfig
from ffseq.errors import UsageError
from ffseq.evaluation import evaluate_segments
from ffseq.layers.causal import with_past
from ffseq.learning import learn
from ffseq.network import Past, SequenceNetwork
from ffseq.options import from_flat
from ffseq.randomness import generator
from ffseq.sampling import bits_of, prompt_context
from ffseq.segments import Segment
from ffseq.windows import contexts_at, ordered_strings, training_strings

TEXT = np.random.default_rng(0).integers(0, 5, 200).astype(np.uint8)


def causal(**options: object) -> SequenceNetwork:
    return small_network(stack="causal", layers=4, block_size=3, **options)


def contexts_of(symbols: np.ndarray, network: SequenceNetwork) -> torch.Tensor:
    """The contexts of all positions of one string, (T, 1, K)."""
    return contexts_at(symbols, np.arange(len(symbols)), network.block_size, 5)[:, None]


def test_a_layer_sees_below_now_and_d_positions_ago() -> None:
    units = torch.arange(12.0).view(2, 6).t().reshape(12, 1)  # two strings of six, 0 to 5 and 6 to 11
    below, past = with_past(units, 2, 2, None)
    now, then = (block.view(6, 2).t().tolist() for block in below.blocks())
    assert now == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert then == [[0, 0, 0, 1, 2, 3], [0, 0, 6, 7, 8, 9]]
    assert past.squeeze(2).t().tolist() == [[4, 5], [10, 11]]
    below, past = with_past(torch.tensor([[100.0], [200.0]]), 2, 2, past)
    assert [block.flatten().tolist() for block in below.blocks()] == [[100, 200], [4, 10]]
    assert past.squeeze(2).t().tolist() == [[5, 100], [11, 200]]


@given(cuts=st.lists(st.integers(1, 39), max_size=6, unique=True))
@settings(deadline=None, max_examples=40)
def test_a_stream_scores_as_the_whole_string_does_wherever_it_is_cut(cuts: list[int]) -> None:
    network = causal()
    contexts = contexts_of(TEXT[:40], network)
    whole = network.scores(contexts)
    past: Past = {}
    ends = [0, *sorted(cuts), 40]
    pieces = [network.scores(contexts[a:b], past) for a, b in itertools.pairwise(ends)]
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-5, atol=1e-5)


def test_what_is_remembered_does_not_grow() -> None:
    network = causal()
    past: Past = {}
    sizes = []
    for position in range(40):
        network.scores(contexts_of(TEXT[:40], network)[position : position + 1], past)
        sizes.append(sum(one.numel() for one in past.values()))
    assert len(set(sizes)) == 1
    assert sizes[0] == (2 + 4 + 8) * 12


def test_a_prediction_depends_on_its_reach_and_on_nothing_else() -> None:
    network = causal()
    assert network.reach == 3 + 2 + 4 + 8
    before = network.scores(contexts_of(TEXT[:60], network))
    for place in (20, 45, 59):
        changed = TEXT[:60].copy()
        changed[place] = (changed[place] + 1) % 5
        after = network.scores(contexts_of(changed, network))
        moved = (after - before).abs().amax(1) > 0
        assert not moved[: place + 1].any(), "a character changed a prediction before it, or its own"
        assert not moved[place + 1 + network.reach :].any()
        if place == 20:
            assert moved[place + network.reach]


def test_evaluation_in_pieces_beside_and_after_each_other_is_the_whole_string() -> None:
    network = causal()
    whole = network.log_probabilities(network.scores(contexts_of(TEXT, network)))
    bits = bits_of(whole, torch.from_numpy(TEXT.astype(np.int64)))
    result = evaluate_segments(network, TEXT, [Segment(0, 70, 170)], batch_size=16)
    assert result.symbols == 100
    assert result.bits == pytest.approx(float(bits[70:170].sum()), rel=1e-5)
    # Strings that know nothing of each other: each is a text of its own.
    segments = [Segment(a, a + 4, a + 20) for a in range(0, 100, 20)]
    result = evaluate_segments(network, TEXT, segments, batch_size=64)
    alone = 0.0
    for a in range(0, 100, 20):
        log_p = network.log_probabilities(network.scores(contexts_of(TEXT[a : a + 20], network)))
        alone += float(bits_of(log_p, torch.from_numpy(TEXT[a : a + 20].astype(np.int64)))[4:].sum())
    assert result.bits == pytest.approx(alone, rel=1e-5)


@given(
    batch_size=st.integers(1, 50),
    reach=st.integers(0, 30),
    starts=st.lists(st.integers(0, 150), min_size=1, max_size=4),
)
@settings(deadline=None)
def test_every_scored_position_comes_once_in_order(batch_size: int, reach: int, starts: list[int]) -> None:
    segments = [Segment(max(0, start - 7), start, start + 9) for start in starts]
    seen = []
    for contexts, targets, which, _ in ordered_strings(
        TEXT, segments, block_size=2, alphabet_size=5, reach=reach, batch_size=batch_size
    ):
        assert contexts.shape[0] * contexts.shape[1] == len(targets) == len(which)
        seen += list(zip(which[which >= 0].tolist(), targets[which >= 0].tolist(), strict=True))
    whole = [int(s) for one in segments for s in TEXT[one.start : one.stop]]
    assert sorted(seen) == list(enumerate(whole))


def test_generation_keeps_what_the_whole_string_would_give() -> None:
    network = causal()
    text = network.generate("abcd", max_new_tokens=40, temperature=0)
    symbols = np.array(["abcde".index(c) for c in text], dtype=np.uint8)
    scores = network.scores(contexts_of(np.append(symbols, 0).astype(np.uint8), network))
    for end in range(4, len(text)):
        assert text[end] == "abcde"[int(scores[end].argmax())]
    assert network.generate("", max_new_tokens=5, seed=1) == network.generate("", max_new_tokens=5, seed=1)


def test_a_long_prompt_is_read_only_as_far_as_it_matters() -> None:
    network = causal()
    prompt = TEXT.tolist()
    contexts = prompt_context(network, prompt)
    assert contexts.shape == (network.reach + 1, 1, 3)
    whole = network.scores(contexts_of(np.append(TEXT, 0), network))[-1]
    torch.testing.assert_close(network.scores(contexts)[-1], whole, rtol=1e-5, atol=1e-5)


def test_score_gives_the_bits_of_each_character() -> None:
    network = causal()
    text = "abcabdeeabcde" * 3
    bits = network.score(text)
    ids = np.array(["abcde".index(c) for c in text])
    log_p = network.log_probabilities(network.scores(contexts_of(ids, network)))
    torch.testing.assert_close(bits, bits_of(log_p, torch.from_numpy(ids)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scope", ["own", "below", "all"])
@pytest.mark.parametrize("goodness", ["agreement", "squares"])
def test_change_is_the_gradient_of_each_layers_own_objective(scope: str, goodness: str) -> None:
    """Against autograd on the same layer, everything below it held fixed, its two inputs taken position by position."""
    network = causal(goodness=goodness).double()
    network.products = torch.float64
    S, T = 3, 9
    contexts, targets, _ = training_strings(
        TEXT, 0, 200, step=0, batch_size=S * T, length=T, block_size=3, alphabet_size=5, seed=0
    )
    learning = LearningConfig(objective="likelihood", scope=scope)
    update = learn(network, contexts, targets, learning, random=generator(0, "t"))
    activities = [activity.units.view(T, S, -1) for _, _, activity in network.upward(contexts)]
    own = network.goodness(contexts)
    for number, layer in enumerate(network.stack()):
        weights = {name: w.detach().clone().requires_grad_() for name, w in layer.named_parameters()}
        rows = []
        for t in range(T):
            for s in range(S):
                a = weights["bias"]
                for d in range(3):
                    a = a + layer.scale[d] * weights["context"][d * 6 + contexts[t, s, d]]
                if number:
                    now = activities[number - 1][t, s]
                    now = now / now.square().mean().sqrt()
                    a = a + now @ weights["below"][:12]
                    if t - 2**number >= 0:
                        then = activities[number - 1][t - 2**number, s]
                        then = then / then.square().mean().sqrt()
                        a = a + then @ weights["below"][12:]
                gate = (a > 0).double().detach()
                if goodness == "agreement":
                    rows.append((gate * a) @ weights["candidates"].t() + weights["candidate_bias"])
                else:
                    rows.append((gate * (a + weights["candidates"]) ** 2).sum(1))
        mine = torch.stack(rows)
        if scope == "all":
            score = mine + own.sum(0) - own[number]
        else:
            score = mine + (own[:number].sum(0) if scope == "below" else 0.0)
        torch.nn.functional.cross_entropy(score, targets).backward()
        for name, weight in weights.items():
            if weight.grad is None:
                assert (name, goodness) == ("candidate_bias", "squares")
                continue
            torch.testing.assert_close(update.changes[number][name].double(), -weight.grad, rtol=2e-5, atol=1e-6)
            assert weight.grad.abs().max() > 0


def strings(step: int, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    base = {"batch_size": 24, "length": 8, "block_size": 4, "alphabet_size": 200, "seed": 3}
    return training_strings(np.arange(100, dtype=np.uint8), 20, 90, step=step, **(base | options))[:2]  # type: ignore[arg-type]


def test_training_strings_are_whole_and_stay_inside_the_training_part() -> None:
    seen = set()
    for step in range(200):
        contexts, targets = strings(step)
        assert contexts.shape == (8, 3, 4)
        for row, string in zip(targets.view(8, 3).t().tolist(), contexts.transpose(0, 1).tolist(), strict=True):
            assert row == list(range(row[0], row[0] + 8))
            assert 20 <= row[0] <= 82
            seen |= set(row)
            for target, context in zip(row, string, strict=True):
                assert context == [target - d if target - d >= 20 else 200 for d in (1, 2, 3, 4)]
    assert seen == set(range(20, 90))
    again = strings(7)
    assert torch.equal(again[0], strings(7)[0])
    assert not torch.equal(again[1], strings(8)[1])


def test_some_strings_see_nothing_before_their_first_character() -> None:
    contexts, targets = strings(0, batch_size=400, short_contexts=0.5)
    contexts, targets = contexts.transpose(0, 1), targets.view(8, 50).t()
    alone = (contexts[:, 0] == 200).all(1)
    assert 0.3 < alone.float().mean() < 0.7
    for string, row in zip(contexts[alone].tolist(), targets[alone].tolist(), strict=True):
        assert string[2] == [row[1], row[0], 200, 200]


def test_corrupted_windows_are_refused() -> None:
    with pytest.raises(UsageError, match="--stack window"):
        from_flat({"stack": "causal", "objective": "threshold", "negatives": "corrupted"})

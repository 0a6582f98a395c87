"""Text out: filters, prompts, stops, and the same text from the same seed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.alphabet import Alphabet
from ffseq.config import NetworkConfig
from ffseq.errors import FfseqError, UsageError
from ffseq.network import SequenceNetwork
from ffseq.randomness import generator
from ffseq.sampling import continue_contexts, filtered, prompt_context, stream_text

ROWS = st.lists(st.floats(-30, 30), min_size=1, max_size=12)


@given(
    row=ROWS,
    temperature=st.floats(0.05, 5),
    top_k=st.one_of(st.none(), st.integers(1, 15)),
    top_p=st.one_of(st.none(), st.floats(0.01, 1)),
)
@settings(deadline=None)
def test_filtered_rows_are_distributions_over_the_most_probable_symbols(
    row: list[float], temperature: float, top_k: int | None, top_p: float | None
) -> None:
    log_p = torch.log_softmax(torch.tensor([row]), 1)
    p = filtered(log_p, temperature=temperature, top_k=top_k, top_p=top_p)[0]
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    kept = p > 0
    assert 1 <= kept.sum() <= (top_k or len(row))
    if (~kept).any() and top_k is None and top_p is None:
        assert (log_p[0] / temperature)[~kept].max() < -80  # only by underflow
    if (~kept).any():
        assert log_p[0][kept].min() >= log_p[0][~kept].max() - 1e-6


@given(row=ROWS, top_p=st.floats(0.01, 1))
@settings(deadline=None)
def test_top_p_keeps_the_smallest_set_that_reaches_the_mass(row: list[float], top_p: float) -> None:
    p = torch.softmax(torch.tensor([row], dtype=torch.float64), 1)
    kept = filtered(p.log(), top_p=top_p)[0] > 0
    mass = p[0][kept].sum().item()
    assert mass >= top_p - 1e-9
    if kept.sum() > 1:
        assert mass - p[0][kept].min().item() < top_p + 1e-9


def test_no_filter_is_the_softmax_and_zero_is_the_argmax() -> None:
    log_p = torch.log_softmax(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)), 1)
    torch.testing.assert_close(filtered(log_p), log_p.exp())
    assert filtered(log_p, temperature=0).argmax(1).tolist() == log_p.argmax(1).tolist()
    assert filtered(torch.zeros(1, 4), temperature=0).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(filtered(log_p, temperature=2), torch.softmax(log_p / 2, 1))


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1.0}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0}, {"top_p": 0.0},
     {"top_p": 1.5}, {"top_p": math.nan}],
)  # fmt: skip
def test_bad_sampling_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(options))}"):
        filtered(torch.zeros(1, 3), **options)


def test_same_seed_same_text() -> None:
    network = small_network()
    assert network.generate("ab", seed=4) == network.generate("ab", seed=4)
    assert network.generate("ab", seed=4) != network.generate("ab", seed=5)
    assert network.generate("ab", max_new_tokens=10).startswith("ab")
    assert len(network.generate("ab", max_new_tokens=10)) == 12
    assert network.generate("ab", max_new_tokens=0) == "ab"


def test_sampled_frequencies_follow_the_net() -> None:
    network = small_network()
    contexts = prompt_context(network, [0, 1, 2, 3]).expand(30_000, -1)
    expected = network.log_probabilities(network.scores(contexts[:1])).exp()[0]
    symbols = next(continue_contexts(network, contexts, random=generator(0, "t")))
    seen = torch.bincount(symbols, minlength=5) / 30_000
    assert (seen - expected).abs().max() < 0.015


def test_a_prompt_shorter_than_the_context_is_padded_and_a_longer_one_cut() -> None:
    network = small_network()
    assert prompt_context(network, [0, 1]).tolist() == [[1, 0, 5, 5]]
    assert prompt_context(network, []).tolist() == [[5, 5, 5, 5]]
    assert prompt_context(network, [0, 1, 2, 3, 4]).tolist() == [[4, 3, 2, 1]]


def test_generation_continues_with_the_symbols_it_wrote() -> None:
    """Each step's distribution is that of the context made of prompt and text so far (argmax, step by step)."""
    network = small_network()
    text = network.generate("abc", max_new_tokens=6, temperature=0)
    for end in range(3, 9):
        ids = ["abcde".index(c) for c in text[:end]]
        assert text[end] == "abcde"[int(network.scores(prompt_context(network, ids)).argmax())]


def pieces_of(network: SequenceNetwork, text: list[int], stop: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    stream = ([torch.tensor([symbol])] for symbol in itertools.chain(text, itertools.repeat(0)))
    monkeypatch.setattr("ffseq.sampling.continue_contexts", lambda *a, **k: (row[0] for row in stream))
    return list(stream_text(network, [], max_new_tokens=len(text), random=generator(0, "t"), stop=stop))


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("abcde", "cd", "ab"),
        ("abcab", "cab", "ab"),
        ("ababac", "abac", "ab"),
        ("aaab", "zz", "aaab"),
        ("abc", "abc", ""),
    ],
)
def test_text_ends_before_the_stop_and_never_shows_a_part_of_it(
    text: str, stop: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small_network()
    pieces = pieces_of(network, ["abcde".index(c) for c in text], stop, monkeypatch)
    assert "".join(pieces) == expected
    shown = ""
    for piece in pieces:
        shown += piece
        assert expected.startswith(shown)


def test_bytes_become_text_when_a_character_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    config = NetworkConfig(block_size=3, units=8, layers=1, dropout=0.0)
    network = SequenceNetwork(config, Alphabet.named("bytes"))
    pieces = pieces_of(network, list("aé€".encode()), "", monkeypatch)
    assert "".join(pieces) == "aé€"
    assert all("�" not in piece for piece in pieces)
    broken = pieces_of(network, list("é".encode())[:1], "", monkeypatch)
    assert "".join(broken) == "�"


def test_an_unknown_character_in_a_prompt_is_named() -> None:
    with pytest.raises(FfseqError, match=r"U\+0078"):
        small_network().generate("abx")


def test_score_gives_the_bits_of_each_character() -> None:
    network = small_network()
    text = "abcabdee"
    bits = network.score(text)
    assert bits.shape == (len(text),)
    for end in (0, 1, 5):
        ids = ["abcde".index(c) for c in text[:end]]
        log_p = network.log_probabilities(network.scores(prompt_context(network, ids)))[0]
        assert bits[end].item() == pytest.approx(-log_p["abcde".index(text[end])].item() / math.log(2), abs=1e-5)
    assert network.score("").shape == (0,)


def test_score_of_bytes_adds_up_to_characters() -> None:
    network = SequenceNetwork(NetworkConfig(block_size=3, units=8, layers=1, dropout=0.0), Alphabet.named("bytes"))
    for layer in network.stack():
        layer.candidates.zero_()
        layer.candidate_bias.zero_()
    torch.testing.assert_close(network.score("aé€"), torch.tensor([8.0, 16.0, 24.0], dtype=torch.float64))


def test_a_uniform_net_needs_log2_v_bits() -> None:
    network = small_network()
    for layer in network.stack():
        layer.candidates.zero_()
        layer.candidate_bias.zero_()
    torch.testing.assert_close(network.score("abcde"), torch.full((5,), math.log2(5), dtype=torch.float64))

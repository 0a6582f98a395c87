"""The generated grammar: its entropy rate against chains of whole stacks, against all strings, and against its text."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from ffseq.corpus import load_corpus
from ffseq.grammar import PAIRS, entropy_rate, grammar_text, rows, stationary, symbol_bits

#: Letters and the chance of a letter after each symbol, opening bracket, what is awaited: written out once more.
AFTER = {
    "s": "a50 b25 c20 (5", "a": "a10 b50 c20 d12 (8", "b": "a20 b10 c50 d15 (5", "c": "a45 b15 c10 d20 (10",
    "d": "a15 b10 c5 !70", "S": "s30 !70", "(": "s100", ")": "a25 b30 c25 d20",
}  # fmt: skip
CLASS = {"p": "s", "P": "S", "[": "(", "{": "(", "]": ")", "}": ")"}


@cache
def continuations(last: str, awaited: str, depth: int) -> tuple[tuple[str, str, float], ...]:
    """(symbol, what is awaited then, P) after a past that ends in `last` and awaits these symbols, innermost last."""
    opened = sum(symbol in ")]}" for symbol in awaited)
    weights: dict[str, float] = {}
    for word in AFTER[CLASS.get(last, last)].split():
        symbol, weight = word[0], float(word[1:])
        if symbol == "(" and opened < depth:
            weights |= dict.fromkeys("([{", weight / 3)
        elif symbol == "s":
            weights |= dict.fromkeys("sp", weight / 2)
        elif symbol == "!" and awaited:
            weights[awaited[-1]] = weight
        elif symbol in "abcd":
            weights[symbol] = weight
    total = sum(weights.values())
    return tuple(
        (one, awaited[:-1] if one in ")]}SP" else awaited + PAIRS.get(one, ""), weight / total)
        for one, weight in weights.items()
    )


def whole_chain(depth: int) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Every state (last symbol, all that is awaited) that can be reached, and the moves between them."""
    states = [("S", "")]
    for last, awaited in states:
        for symbol, then, _ in continuations(last, awaited, depth):
            if (symbol, then) not in states:
                states.append((symbol, then))
    moves = np.zeros((len(states), len(states)))
    for number, (last, awaited) in enumerate(states):
        for symbol, then, p in continuations(last, awaited, depth):
            moves[number, states.index((symbol, then))] += p
    return states, moves


def eigenvector(moves: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eig(moves.T)
    pi = np.real(vectors[:, np.argmin(abs(values - 1))])
    return pi / pi.sum()


def strings(last: str, awaited: str, depth: int, length: int, p: float = 1.0) -> list[float]:
    """The probabilities of all strings of this length after such a past."""
    if length == 0:
        return [p]
    found = []
    for symbol, then, q in continuations(last, awaited, depth):
        found += strings(symbol, then, depth, length - 1, p * q)
    return found


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_entropy_rate_is_that_of_the_chain_of_whole_stacks(depth: int) -> None:
    states, moves = whole_chain(depth)
    assert len(states) == len(set(states)) > 10 * 6**depth
    pi = eigenvector(moves)
    logs = np.log2(moves, where=moves > 0, out=np.zeros_like(moves))
    assert entropy_rate(depth) == pytest.approx(-float(pi @ (moves * logs).sum(1)), abs=1e-10)
    by_depth = np.zeros(depth + 1)
    for (_, awaited), share in zip(states, pi, strict=True):
        by_depth[sum(symbol in ")]}" for symbol in awaited)] += share
    np.testing.assert_allclose(stationary(rows(depth)).sum(1), by_depth, atol=1e-10)


def test_the_entropy_rate_is_the_entropy_of_all_strings() -> None:
    # Given the past, n symbols have n times the rate, averaged over pasts: here over every string of four symbols.
    states, moves = whole_chain(1)
    total = 0.0
    for (last, awaited), share in zip(states, eigenvector(moves), strict=True):
        probabilities = strings(last, awaited, 1, 4)
        assert sum(probabilities) == pytest.approx(1)
        total -= share * sum(p * math.log2(p) for p in probabilities)
    assert total / 4 == pytest.approx(entropy_rate(1), abs=1e-10)


def test_the_true_model_of_a_text_is_the_product_of_its_continuations() -> None:
    text = grammar_text(3000, seed=5, depth=2)
    last, awaited = "S", ""
    for symbol, bits in zip(text, symbol_bits(text, depth=2), strict=True):
        ((then, p),) = ((then, p) for one, then, p in continuations(last, awaited, 2) if one == symbol)
        assert bits == pytest.approx(-math.log2(p))
        last, awaited = symbol, then


def test_a_long_text_has_the_entropy_rate_within_its_standard_error() -> None:
    text = grammar_text()
    assert len(text) == 300_000
    assert text[:111] == (
        "pcabbcacabdPpadPsabcacc{pababcbcacabcabadP}babcbcdSsacabcadSpcdPsadSpacabcdabcabcbbc{pcadPscdabca(p{pabb[sacaca"
    )
    assert text != grammar_text(seed=1)
    bits = symbol_bits(text)
    # Standard error from batches of 3,000 symbols, longer than almost all that hangs together.
    means = bits.reshape(100, -1).mean(1)
    error = float(means.std(ddof=1)) / 10
    assert error < 0.005
    assert abs(float(bits.mean()) - entropy_rate()) < 3 * error


@pytest.mark.parametrize(("text", "position"), [("a", 0), ("saS", 2), ("sadP", 3), ("sadS)", 4), ("pa(sadS]", 7)])
def test_a_text_that_is_not_of_the_grammar_has_no_bits(text: str, position: int) -> None:
    with pytest.raises(ValueError, match=f"at position {position}"):
        symbol_bits(text)


def test_the_corpus_knows_its_process() -> None:
    corpus = load_corpus("grammar")
    assert len(corpus.alphabet) == 14
    assert corpus.entropy_rate == entropy_rate()
    exact = corpus.exact_bits()
    assert exact is not None
    assert exact.sum() == pytest.approx(symbol_bits(grammar_text()).sum())
    dropped = load_corpus("grammar", alphabet="text8", unknown="drop")
    assert dropped.exact_bits() is None
    assert load_corpus("fables").process is None

"""The generated corpus: its entropy rate against brute force and against the text itself."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from ffseq.corpus import load_corpus
from ffseq.markov import CONTEXTS, SYMBOLS, V, entropy_rate, markov_text, stationary, symbol_bits, transitions


def chain(rows: np.ndarray) -> np.ndarray:
    """The transition matrix between contexts (512, 512), entry by entry."""
    matrix = np.zeros((CONTEXTS, CONTEXTS))
    for context in range(CONTEXTS):
        for symbol in range(V):
            matrix[context, context % V**2 * V + symbol] += rows[context, symbol]
    return matrix


@pytest.mark.parametrize("seed", [0, 1])
def test_the_stationary_distribution_is_the_eigenvector_of_the_chain(seed: int) -> None:
    rows = transitions(seed)
    matrix = chain(rows)
    values, vectors = np.linalg.eig(matrix.T)
    expected = np.real(vectors[:, np.argmin(abs(values - 1))])
    np.testing.assert_allclose(stationary(rows), expected / expected.sum(), atol=1e-10)


def test_the_entropy_rate_is_the_growth_of_the_block_entropy() -> None:
    # H(X1..Xn+1) − H(X1..Xn) for n >= 3, from the exact distribution of blocks of 3 and 4 symbols.
    rows = transitions()
    three = stationary(rows)
    four = (three[:, None] * rows).ravel()

    def bits(p: np.ndarray) -> float:
        return -sum(float(x) * math.log2(x) for x in p if x > 0)

    assert entropy_rate() == pytest.approx(bits(four) - bits(three), abs=1e-9)
    assert 0.5 < entropy_rate() < math.log2(V)


def test_the_text_follows_its_table() -> None:
    text = markov_text(400_000)
    assert set(text) == set(SYMBOLS)
    assert text == markov_text(400_000)
    assert text != markov_text(400_000, seed=1)
    counts = Counter(text[i : i + 4] for i in range(len(text) - 3))
    rows = transitions()
    surprise = 0.0
    for block, count in counts.items():
        a, b, c, d = (SYMBOLS.index(symbol) for symbol in block)
        surprise -= count * math.log2(rows[a * V * V + b * V + c, d])
    # The surprise of the true table on its own text: the rate, up to the chance of 400,000 symbols.
    assert surprise / sum(counts.values()) == pytest.approx(entropy_rate(), rel=0.005)


def test_the_true_model_of_a_text_is_the_product_of_its_continuations() -> None:
    text = markov_text(40)
    numbers = [SYMBOLS.index(symbol) for symbol in text]
    joint, rows = stationary(transitions()).reshape(V, V, V), transitions().reshape(V, V, V, V)
    a, b, c = numbers[:3]
    assert 2 ** -symbol_bits(text[:1]).sum() == pytest.approx(joint[a].sum())
    assert 2 ** -symbol_bits(text[:2]).sum() == pytest.approx(joint[a, b].sum())
    p = joint[a, b, c]
    for block in zip(numbers, numbers[1:], numbers[2:], numbers[3:], strict=False):
        p *= rows[block]
    assert symbol_bits(text).sum() == pytest.approx(-math.log2(p))


def test_the_corpus_knows_its_limit(tmp_path: object) -> None:
    corpus = load_corpus("markov")
    assert corpus.entropy_rate == entropy_rate()
    assert len(corpus.symbols) == 1_000_000

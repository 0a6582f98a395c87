"""Kneser-Ney against a direct transcription of its definition."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.baselines.ngram import Counts, KneserNey, choose


def brute(text: list[int], size: int, order: int, discount: float, context: tuple[int, ...], symbol: int) -> float:
    """P(symbol | context) by the definition, with dictionaries; context: at most order − 1 symbols, oldest first."""

    def grams(n: int) -> dict[tuple[int, ...], int]:
        counts: dict[tuple[int, ...], int] = defaultdict(int)
        for i in range(len(text) - n + 1):
            counts[tuple(text[i : i + n])] += 1
        return counts

    def count(n: int) -> dict[tuple[int, ...], int]:
        if n == order:
            return grams(n)
        counts: dict[tuple[int, ...], int] = defaultdict(int)
        for gram in grams(n + 1):
            counts[gram[1:]] += 1
        return counts

    def p(n: int) -> float:
        if n == 0:
            return 1 / size
        lower = p(n - 1)
        before = context[len(context) - (n - 1) :]
        if len(before) < n - 1:
            return lower
        counts = {gram: value for gram, value in count(n).items() if gram[:-1] == before}
        total = sum(counts.values())
        if total == 0:
            return lower
        share = max(counts.get((*before, symbol), 0) - discount, 0) / total
        return share + discount * len(counts) / total * lower

    return p(order)


@settings(deadline=None, max_examples=60)
@given(
    text=st.lists(st.integers(0, 3), min_size=2, max_size=40),
    held_out=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    order=st.integers(1, 5),
    discount=st.floats(0.05, 0.95),
)
def test_probabilities_are_those_of_the_definition_and_sum_to_one(
    text: list[int], held_out: list[int], order: int, discount: float
) -> None:
    symbols = np.array(text + held_out, dtype=np.uint8)
    model = KneserNey.fit(symbols[: len(text)], 4, order, discount)
    positions = np.arange(len(text), len(symbols))
    begins = np.zeros_like(positions)
    p = model.probabilities(symbols, positions, begins)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    for row, at in zip(p, positions, strict=True):
        context = tuple(int(one) for one in symbols[max(0, at - order + 1) : at])
        expected = [brute(text, 4, order, discount, context, symbol) for symbol in range(4)]
        np.testing.assert_allclose(row, expected, atol=1e-12)
    targets = model.target_probabilities(symbols, positions, begins)
    np.testing.assert_allclose(targets, p[np.arange(len(positions)), symbols[positions]], atol=1e-12)


def test_nothing_before_the_beginning_of_a_segment_is_seen() -> None:
    text = np.array([0, 1, 2] * 20, dtype=np.uint8)
    model = KneserNey.fit(text, 3, 3, 0.5)
    one = np.array([0, 1, 2], dtype=np.uint8)
    other = np.array([2, 1, 2], dtype=np.uint8)
    begins = np.array([1])
    same = [model.probabilities(symbols, np.array([2]), begins) for symbols in (one, other)]
    np.testing.assert_array_equal(*same)
    assert not np.allclose(
        model.probabilities(one, np.array([2]), np.array([0])), model.probabilities(other, np.array([2]), np.array([0]))
    )


def test_a_large_alphabet_and_a_long_order_do_not_overflow() -> None:
    random = np.random.default_rng(0)
    text = random.integers(0, 60_000, 3000).astype(np.uint16)
    model = KneserNey.fit(np.concatenate([text, text]), 60_000, 9, 0.5)
    at = np.arange(4000, 4100)
    p = model.target_probabilities(np.concatenate([text, text]), at, np.zeros_like(at))
    assert p.min() > 0.05
    assert p.max() <= 1


def test_choose_takes_the_best_of_all_orders_and_discounts() -> None:
    random = np.random.default_rng(1)
    text = np.cumsum(random.integers(0, 2, 600)).astype(np.uint8) % 5
    positions = np.arange(400, 600)
    begins = np.zeros_like(positions)
    counts = Counts.of(text[:400], 5, 6)
    orders, discounts = range(1, 7), (0.3, 0.6, 0.9)
    bits = {
        (order, discount): -np.log2(
            KneserNey(counts, order, discount).target_probabilities(text, positions, begins)
        ).mean()
        for order in orders
        for discount in discounts
    }
    chosen = choose(counts, text, positions, begins, orders=orders, discounts=discounts)
    assert bits[chosen] == pytest.approx(min(bits.values()), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    documents=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=2, max_size=8),
    order=st.integers(1, 4),
    discount=st.floats(0.05, 0.95),
)
def test_documents_are_counted_as_texts_that_begin_with_a_symbol_of_their_own(
    documents: list[list[int]], order: int, discount: float
) -> None:
    *known, asked = documents
    edge = 3

    def count(n: int) -> dict[tuple[int, ...], int]:
        """Grams of n symbols: raw at the top and where nothing can come before, else their different predecessors."""
        raw: dict[tuple[int, ...], int] = defaultdict(int)
        before: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for one in known:
            text = [edge, *one]
            for i in range(1, len(text)):
                if i - n + 1 >= 0:
                    gram = tuple(text[i - n + 1 : i + 1])
                    raw[gram] += 1
                    if i - n >= 0:
                        before[gram].add(text[i - n])
        return {gram: raw[gram] if n == order or gram[0] == edge else len(before[gram]) for gram in raw}

    counts = [count(n) for n in range(1, order + 1)]

    def p(n: int, context: list[int], symbol: int) -> float:
        if n == 0:
            return 1 / 3
        lower, seen = p(n - 1, context, symbol), tuple(context[len(context) - n + 1 :])
        found = {gram: value for gram, value in counts[n - 1].items() if gram[:-1] == seen}
        if len(context) < n - 1 or not sum(found.values()):
            return lower
        kinds = sum(value > 0 for value in found.values())
        return (max(found.get((*seen, symbol), 0) - discount, 0) + discount * kinds * lower) / sum(found.values())

    symbols = np.array([one for text in documents for one in text], dtype=np.uint8)
    begins = np.cumsum([0, *map(len, known)])
    counted = Counts.of(symbols[: begins[-1]], 3, order, begins[:-1])
    positions = np.arange(begins[-1], len(symbols))
    model = KneserNey(counted, order, discount)
    table = model.probabilities(symbols, positions, np.full_like(positions, begins[-1]))
    for i, row in enumerate(table):
        np.testing.assert_allclose(row, [p(order, [edge, *asked[:i]], symbol) for symbol in range(3)], atol=1e-12)
    targets = model.target_probabilities(symbols, positions, np.full_like(positions, begins[-1]))
    np.testing.assert_allclose(targets, table[np.arange(len(positions)), asked], atol=1e-12)

"""Interpolated Kneser-Ney: how well counting predicts the next symbol.

    p_n(c | x) = max(N(x c) − D, 0) / N(x)  +  D · types(x) / N(x) · p_{n−1}(c | x shortened by its oldest symbol)

with N raw counts at the top order n and below it continuation counts (how many different symbols were seen before
x c), types(x) the number of different c after x, and p_0 = 1/V. Where x was never seen, p_n = p_{n−1}. One discount D
serves all orders. (Kneser & Ney 1995; the interpolated form of Chen & Goodman 1999.)

Order n looks at n − 1 symbols of context. Everything is counted over the training symbols as one sequence. Where that
has documents, no context goes beyond the beginning of its own; there it has one symbol more, "before the beginning",
as the nets have it, and as nothing comes before that, what follows it is counted raw in all orders. Contexts are
numbered by rank, order by order, so that no key overflows however large V and n are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffseq.segments import begins_at

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Counts:
    """Raw or continuation counts of one context length: of each gram, and of each context its sum and its types."""

    gram: Ints
    total: Ints
    types: Ints


@dataclass(frozen=True)
class _Level:
    """What was seen after contexts of one length m.

    contexts: sorted keys (number of the context of length m − 1) · V + (its oldest symbol); a context's number is its
    rank. grams: sorted keys (number of the context) · V + (next symbol). first: where each context's grams begin.
    """

    contexts: Ints
    grams: Ints
    first: Ints
    raw: _Counts
    continuation: _Counts


@dataclass(frozen=True)
class Counts:
    """All counts of a training text up to some order; serves every order and discount.

    edge: 1 if contexts know "before the beginning", symbol V, else 0.
    """

    alphabet_size: int
    levels: tuple[_Level, ...]
    edge: int = 0

    @classmethod
    def of(cls, symbols: NDArray[np.integer], alphabet_size: int, order: int, documents: Ints | None = None) -> Counts:
        """Count a training text (N,) up to n-grams of `order` symbols.

        documents: where they begin (n,), sorted, the first at 0, or None for one text.
        """
        text = symbols.astype(np.int64)
        edge = int(documents is not None)
        base, reach = alphabet_size + edge, np.arange(len(text))
        if documents is not None:
            reach -= begins_at(documents, reach)
        number = np.zeros(len(text), dtype=np.int64)
        keys = np.zeros(1, dtype=np.int64)
        tables: list[tuple[Ints, Ints, Ints]] = []
        for length in range(order + 1):  # one more than needed: continuation counts look one symbol further back
            has = np.flatnonzero(reach >= length - edge)
            if length:
                oldest = np.where(reach[has] >= length, text[has - length], alphabet_size)
                keys, ranks = np.unique(number[has] * base + oldest, return_inverse=True)
                number = np.full(len(text), -1, dtype=np.int64)
                number[has] = ranks
            grams, counts = np.unique(number[has] * alphabet_size + text[has], return_counts=True)
            tables.append((keys, grams, counts))
        levels = []
        for length in range(order):
            keys, grams, counts = tables[length]
            longer_keys, longer, _ = tables[length + 1]
            # A gram one symbol longer, its oldest symbol left out: one more different predecessor for that gram.
            shortened = longer_keys[longer // alphabet_size] // base * alphabet_size + longer % alphabet_size
            predecessors = np.bincount(np.searchsorted(grams, shortened), minlength=len(grams))
            owner = grams // alphabet_size
            predecessors = np.where(keys[owner] % base == alphabet_size, counts, predecessors)
            levels.append(
                _Level(
                    contexts=keys,
                    grams=grams,
                    first=np.searchsorted(owner, np.arange(len(keys) + 1)),
                    raw=_summed(counts, owner, len(keys)),
                    continuation=_summed(predecessors, owner, len(keys)),
                )
            )
        return cls(alphabet_size, tuple(levels), edge)

    def contexts_of(self, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> list[Ints]:
        """For every length m the number of the context before each position, or −1 where it was never seen.

        Symbols before `begins` (n,) are not looked at.
        """
        found = [np.zeros(len(positions), dtype=np.int64)]
        for length in range(1, len(self.levels)):
            back = positions - length
            allowed = (back >= begins - self.edge) & (found[-1] >= 0)
            oldest = np.where(back >= begins, symbols[np.maximum(back, 0)], self.alphabet_size).astype(np.int64)
            keys = found[-1] * (self.alphabet_size + self.edge) + oldest
            found.append(np.where(allowed, _rank(self.levels[length].contexts, keys), -1))
        return found


@dataclass(frozen=True)
class KneserNey:
    """Counts read out with an order and a discount."""

    counts: Counts
    order: int
    discount: float

    @classmethod
    def fit(cls, symbols: NDArray[np.integer], alphabet_size: int, order: int, discount: float) -> KneserNey:
        """A model of a training text (N,)."""
        return cls(Counts.of(symbols, alphabet_size, order), order, discount)

    def probabilities(self, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> Floats:
        """P(every symbol) at each position of `symbols`, (n, V), rows summing to one."""
        size = self.counts.alphabet_size
        p = np.full((len(positions), size), 1 / size)
        found = self.counts.contexts_of(symbols, positions, begins)
        for length, level in enumerate(self.counts.levels[: self.order]):
            counts = self._at(length)
            rows = np.flatnonzero(found[length] >= 0)
            context = found[length][rows]
            rows, context = rows[counts.total[context] > 0], context[counts.total[context] > 0]
            total = counts.total[context]
            p[rows] *= (self.discount * counts.types[context] / total)[:, None]
            begin, size_of = level.first[context], level.first[context + 1] - level.first[context]
            offsets = np.arange(size_of.sum()) - np.repeat(size_of.cumsum() - size_of, size_of)
            grams = np.repeat(begin, size_of) + offsets
            share = np.maximum(counts.gram[grams] - self.discount, 0) / np.repeat(total, size_of)
            p[np.repeat(rows, size_of), level.grams[grams] % size] += share
        return p

    def target_probabilities(self, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> Floats:
        """P(the symbol that is there) at each position, (n,): the same numbers for a fraction of the work."""
        seen = lookups(self.counts, symbols, positions, begins)
        p = np.full(len(positions), 1 / self.counts.alphabet_size)
        for length in range(self.order):
            p = interpolate(seen[length][0 if length == self.order - 1 else 1], self.discount, p)
        return p

    def _at(self, length: int) -> _Counts:
        level = self.counts.levels[length]
        return level.raw if length == self.order - 1 else level.continuation


#: Of each position: the count of its symbol after its context, the context's total (0: never seen) and types.
Looked = tuple[Ints, Ints, Ints]


def lookups(counts: Counts, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> list[tuple[Looked, Looked]]:
    """For every context length the raw and the continuation counts that the targets of the positions meet."""
    found = counts.contexts_of(symbols, positions, begins)
    targets = symbols[positions].astype(np.int64)
    looked = []
    for length, level in enumerate(counts.levels):
        context = found[length]
        gram = _rank(level.grams, context * counts.alphabet_size + targets)
        gram = np.where(context >= 0, gram, -1)
        looked.append((_looked(level.raw, context, gram), _looked(level.continuation, context, gram)))
    return looked


def interpolate(looked: Looked, discount: float, lower: Floats) -> Floats:
    """One step of the recursion for the targets: (n,) probabilities of the next order up."""
    gram, total, types = looked
    safe = np.maximum(total, 1)
    higher = (np.maximum(gram - discount, 0) + discount * types * lower) / safe
    return np.where(total > 0, higher, lower)


def choose(
    counts: Counts,
    symbols: NDArray[np.integer],
    positions: Ints,
    begins: Ints,
    *,
    orders: Sequence[int],
    discounts: Sequence[float],
) -> tuple[int, float]:
    """The order and the discount with the fewest bits at the given positions."""
    seen = lookups(counts, symbols, positions, begins)
    best: tuple[float, int, float] | None = None
    for discount in discounts:
        lower = np.full(len(positions), 1 / counts.alphabet_size)
        for order in range(1, max(orders) + 1):
            raw, continuation = seen[order - 1]
            if order in orders:
                bits = float(-np.log2(interpolate(raw, discount, lower)).mean())
                if best is None or bits < best[0]:
                    best = (bits, order, discount)
            lower = interpolate(continuation, discount, lower)
    assert best is not None
    return best[1], best[2]


def _summed(gram: NDArray[Any], owner: Ints, contexts: int) -> _Counts:
    total = np.bincount(owner, weights=gram, minlength=contexts).astype(np.int64)
    types = np.bincount(owner[gram > 0], minlength=contexts)
    return _Counts(gram.astype(np.int64), total, types)


def _rank(keys: Ints, wanted: Ints) -> Ints:
    """Where each wanted key stands among the sorted keys, or −1."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _looked(counts: _Counts, context: Ints, gram: Ints) -> Looked:
    known = context >= 0
    context = np.maximum(context, 0)
    return (
        np.where(gram >= 0, counts.gram[np.maximum(gram, 0)], 0) if len(counts.gram) else np.zeros_like(gram),
        np.where(known, counts.total[context], 0) if len(counts.total) else np.zeros_like(gram),
        np.where(known, counts.types[context], 0) if len(counts.types) else np.zeros_like(gram),
    )

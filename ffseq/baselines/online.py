"""Kneser-Ney that goes on counting: every symbol is predicted from all that came before it, then counted.

The model is that of `ffseq.baselines.ngram`; what differs is that its counts grow with every symbol. Nothing is walked
through symbol by symbol, though. Positions are sorted by their context, and the counts that one of them meets are a
running sum over the earlier positions of the same context:

    counts before t  =  counts in what was known at the beginning  +  symbols at earlier positions of the same context

A continuation count rises only when a predecessor is new: at the first occurrence of a gram that is one symbol longer.

Shape letters: N symbols, V alphabet size, n order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

#: Numbers of the dense tables held at once.
_CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Contexts:
    """The contexts of every position of a text, for each length m = 0 … n − 1.

    number: (N,) the context's number, −1 where the text has none of that length; by_context: positions with a context,
    sorted by its number and then by time; by_gram: the positions sorted by context of length m + 1 and symbol, and
    where each such gram begins; None for the longest context.
    """

    number: tuple[Ints, ...]
    by_context: tuple[Ints, ...]
    by_gram: tuple[tuple[Ints, Ints] | None, ...]

    @classmethod
    def of(cls, symbols: NDArray[np.integer], alphabet_size: int, order: int, begins: Ints | None = None) -> Contexts:
        """Contexts of a text (N,); begins: (N,) the earliest symbol that each position may look at, default 0."""
        text = symbols.astype(np.int64)
        positions = np.arange(len(text))
        reach = positions if begins is None else positions - begins
        numbers, sorted_by, grams = [np.zeros(len(text), dtype=np.int64)], [positions], []
        for length in range(1, order):
            has = np.flatnonzero(reach >= length)
            keys = numbers[-1][has] * alphabet_size + text[has - length]
            number = np.full(len(text), -1, dtype=np.int64)
            number[has] = np.unique(keys, return_inverse=True)[1]
            numbers.append(number)
            sorted_by.append(has[np.argsort(number[has], kind="stable")])
            codes = number[has] * alphabet_size + text[has]
            turn = np.argsort(codes, kind="stable")
            begin = np.flatnonzero(np.diff(codes[turn], prepend=-1))
            grams.append((has[turn], begin))
        return cls(tuple(numbers), tuple(sorted_by), (*grams, None))


def online_probabilities(
    symbols: NDArray[np.integer],
    contexts: Contexts,
    alphabet_size: int,
    discount: float,
    wanted: NDArray[np.bool_],
    skipped: NDArray[np.bool_] | None = None,
) -> Floats:
    """P(every symbol) at the wanted positions of a text (N,), in order: (number of them, V), rows summing to one, by
    the longest of the contexts. See `probabilities_by_order`.
    """
    longest = len(contexts.number)
    return next(probabilities_by_order(symbols, contexts, alphabet_size, discount, wanted, (longest,), skipped))


def probabilities_by_order(
    symbols: NDArray[np.integer],
    contexts: Contexts,
    alphabet_size: int,
    discount: float,
    wanted: NDArray[np.bool_],
    orders: Collection[int],
    skipped: NDArray[np.bool_] | None = None,
) -> Iterator[Floats]:
    """P(every symbol) at the wanted positions of a text (N,), in order: (number of them, V), rows summing to one, by
    the model of each of `orders`, from the shortest to the longest.

    What is not wanted is known from the beginning; each wanted position is counted once it has been predicted. So a
    text after its training text is predicted by wanting all of it, and a fold of the training text is predicted from
    the other folds and from what came before in the fold itself, by wanting that fold. skipped: (N,) positions that
    are context for others and are themselves neither known nor wanted.
    """
    text = symbols.astype(np.int64)
    row_of = np.cumsum(wanted) - 1
    p = np.full((int(wanted.sum()), alphabet_size), 1 / alphabet_size, dtype=np.float32)
    # Time as the model lives it: first all that is known, then the wanted in order.
    time = np.arange(len(text)) + wanted * len(text)
    for length, number in enumerate(contexts.number):
        order = contexts.by_context[length]
        if skipped is not None:
            order = order[~skipped[order]]
        asks = wanted[order]
        known, asking = order[~asks], order[asks]
        where = (row_of[asking], number[known], number[asking], text)
        if length + 1 in orders:
            # The longest order of a model counts occurrences, those below it count different predecessors.
            whole = p.copy()
            _interpolate(whole, *where, np.ones(len(text), dtype=np.float32), known, asking, discount)
            yield whole
        longer = contexts.by_gram[length]
        if longer is not None:
            counted = first_seen(time, *longer).astype(np.float32)
            _interpolate(p, *where, counted, known, asking, discount)


def first_seen(time: Ints, positions: Ints, begin: Ints) -> NDArray[np.bool_]:
    """Whether each position (N,) is the first in `time` among those with the same gram.

    positions: sorted by their gram, begin: where each gram's positions begin.
    """
    seen = np.zeros(len(time), dtype=bool)
    if len(positions):
        earliest = np.minimum.reduceat(time[positions], begin)
        seen[positions] = time[positions] == np.repeat(earliest, np.diff(begin, append=len(positions)))
    return seen


def _interpolate(
    p: Floats,
    rows: Ints,
    known_context: Ints,
    context: Ints,
    text: Ints,
    counted: Floats,
    known: Ints,
    asking: Ints,
    discount: float,
) -> None:
    """One order of the recursion, in place: p becomes (max(count − D, 0) + D · types · p) / total where total > 0."""
    size = p.shape[1]
    step = max(1, _CHUNK_NUMBERS // size)
    carried: Floats | None = None  # counts at the end of the chunk before, if its last context goes on
    for first in range(0, len(asking), step):
        at, of = asking[first : first + step], context[first : first + step]
        begins = np.flatnonzero(np.diff(of, prepend=of[0] - 1))
        group = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(of)))
        # What was known of the contexts of this chunk.
        low, high = np.searchsorted(known_context, of[0]), np.searchsorted(known_context, of[-1], side="right")
        some = known[low:high]
        place = np.searchsorted(of[begins], known_context[low:high])
        match = of[begins][np.minimum(place, len(begins) - 1)] == known_context[low:high]
        cells = place[match] * size + text[some[match]]
        base = np.bincount(cells, weights=counted[some[match]], minlength=len(begins) * size)
        base = base.reshape(len(begins), size).astype(np.float32)
        if carried is not None and first and context[first - 1] == of[0]:
            base[0] = carried
        one_hot = np.zeros((len(at), size), dtype=np.float32)
        one_hot[np.arange(len(at)), text[at]] = counted[at]
        count = np.cumsum(one_hot, axis=0)
        count -= one_hot
        count += (base - count[begins])[group]
        carried = count[-1] + one_hot[-1]
        total = count.sum(1)
        seen = total > 0
        share = np.maximum(count - np.float32(discount), 0)
        weight = np.float32(discount) * (count > 0).sum(1).astype(np.float32)
        lower = p[rows[first : first + step]]
        share += weight[:, None] * lower
        share /= np.maximum(total, 1)[:, None]
        p[rows[first : first + step]] = np.where(seen[:, None], share, lower)

"""Contexts and targets cut from a text.

Contexts are (B, K) int64 with the most recent character first: column 0 is the character just before the target.
Where the text has no character that far back (or may not be looked at there), the entry is V, one past the last
symbol: "before the beginning".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffseq.errors import FfseqError
from ffseq.randomness import key, permuted
from ffseq.segments import Segment, Segments, begins_at

#: Contexts and targets of one update, both int64, and the targets' positions.
Batch = tuple[Tensor, Tensor, NDArray[np.int64]]


def contexts_at(
    symbols: NDArray[np.integer],
    positions: NDArray[np.int64],
    block_size: int,
    alphabet_size: int,
    begin: int | NDArray[np.int64] = 0,
) -> Tensor:
    """Contexts of the given positions (B,); characters before `begin`, one for all or (B,), are not looked at. Returns
    (B, K) int64.
    """
    index = positions[:, None] - np.arange(1, block_size + 1)
    contexts = np.take(symbols, np.maximum(index, 0)).astype(np.int64)
    contexts[index < np.reshape(begin, (-1, 1))] = alphabet_size
    return torch.from_numpy(contexts)


def training_batches(
    symbols: NDArray[np.integer],
    start: int,
    stop: int,
    *,
    first: int,
    count: int,
    batch_size: int,
    block_size: int,
    alphabet_size: int,
    seed: int,
    short_contexts: float = 0.0,
    documents: NDArray[np.int64] | None = None,
) -> list[Batch]:
    """The windows of `count` updates, from the one with the number `first` on: their contexts (B, K) and targets (B,),
    int64, and the targets' positions (B,), in start..stop−1.

    Windows come without replacement, in an order drawn anew for each pass over the text; which ones come at which
    step depends on seed and step alone. No context reaches before `start`, nor before the last of `documents` that has
    begun (n, sorted, the first at `start`). A share of `short_contexts` is cut at a random length.
    """
    positions = _windows(start, stop, first * batch_size, (first + count) * batch_size, seed)
    begin = start if documents is None else begins_at(documents, positions)
    contexts = contexts_at(symbols, positions, block_size, alphabet_size, begin=begin).view(count, batch_size, -1)
    for place, own in enumerate(contexts.numpy()):
        _shorten(own, first + place, seed, short_contexts, alphabet_size)
    targets = torch.from_numpy(np.take(symbols, positions).astype(np.int64)).view(count, batch_size)
    return list(zip(contexts.unbind(), targets.unbind(), positions.reshape(count, batch_size), strict=True))


def _shorten(contexts: NDArray[np.int64], step: int, seed: int, share: float, alphabet_size: int) -> None:
    """Cut a share of the contexts (B, K) of one update at random lengths, in place."""
    if share:
        random = np.random.default_rng(key(seed, "short", step))
        cut = np.flatnonzero(random.random(len(contexts)) < share)
        length = random.integers(0, contexts.shape[1], size=len(cut))
        # Few rows: NumPy is through with them before torch has looked at the indices.
        contexts[cut] = np.where(np.arange(contexts.shape[1]) < length[:, None], contexts[cut], alphabet_size)


def _windows(start: int, stop: int, first: int, last: int, seed: int) -> NDArray[np.int64]:
    """The positions that the windows number `first` to `last` − 1 of a run predict, (last − first,)."""
    size = stop - start
    numbers = np.arange(first, last, dtype=np.int64)
    epochs = numbers // size
    positions = np.empty_like(numbers)
    for epoch in range(epochs[0], epochs[-1] + 1):
        rows = epochs == epoch
        positions[rows] = start + permuted(numbers[rows] % size, size, key(seed, "epoch", int(epoch)))
    return positions


def training_strings(
    symbols: NDArray[np.integer],
    start: int,
    stop: int,
    *,
    step: int,
    batch_size: int,
    length: int,
    block_size: int,
    alphabet_size: int,
    seed: int,
    short_contexts: float = 0.0,
    documents: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
    """The strings of one update of a causal stack: contexts (T, S, K), targets (T·S,), int64, and the targets'
    positions; T·S = batch_size.

    Strings of T = `length` characters tile the text from an offset that changes with each pass, and come without
    replacement in an order drawn anew for each pass; seed and step alone decide. A share of `short_contexts` sees
    nothing before its own first character, the others the K characters before it. Where one of `documents` (n, sorted,
    the first at `start`) begins inside a string, its contexts begin anew. Raises FfseqError for a text shorter than a
    string.
    """
    positions = string_positions(start, stop, step=step, batch_size=batch_size, length=length, seed=seed)
    begin = start if documents is None else begins_at(documents, positions)
    contexts = contexts_at(symbols, positions, block_size, alphabet_size, begin=begin)
    contexts = contexts.view(length, -1, block_size)
    if short_contexts:
        strings = contexts.shape[1]
        alone = np.random.default_rng(key(seed, "short", step)).random(strings) < short_contexts
        inside = torch.arange(block_size) < torch.arange(length)[:, None, None]
        contexts = torch.where(inside | ~torch.from_numpy(alone)[:, None], contexts, alphabet_size)
    return contexts, torch.from_numpy(np.take(symbols, positions).astype(np.int64)), positions


def string_positions(start: int, stop: int, *, step: int, batch_size: int, length: int, seed: int) -> NDArray[np.int64]:
    """The positions (T·S,) that the strings of one update predict; see `training_strings`."""
    size = stop - start
    if size < length:
        raise FfseqError(f"the training text has {size:,} symbols, fewer than --string_length {length}")
    strings = batch_size // length
    tiles = max(1, size // length - 1)
    numbers = np.arange(step * strings, (step + 1) * strings, dtype=np.int64)
    first = np.empty_like(numbers)
    for epoch in np.unique(numbers // tiles):
        rows = numbers // tiles == epoch
        tile = permuted(numbers[rows] % tiles, tiles, key(seed, "epoch", int(epoch)))
        slack = size - tiles * length + 1
        first[rows] = start + tile * length + key(seed, "offset", int(epoch)) % slack
    return (first + np.arange(length)[:, None]).reshape(-1)


def ordered(
    symbols: NDArray[np.integer],
    segments: Iterable[Segment],
    *,
    block_size: int,
    alphabet_size: int,
    batch_size: int = 4096,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every position of the segments once, in order: contexts (B, K), targets (B,), and which of all these positions
    each is (B,), from 0.

    Contexts carry over from the text before a segment, as far as the segment's `begin`. Whole documents come together,
    as many as fit.
    """
    before = 0
    for positions, begins, _ in _runs(segments, batch_size):
        contexts = contexts_at(symbols, positions, block_size, alphabet_size, begin=begins)
        targets = torch.from_numpy(np.take(symbols, positions).astype(np.int64))
        yield contexts, targets, before + torch.arange(len(positions))
        before += len(positions)


def ordered_strings(
    symbols: NDArray[np.integer],
    segments: Iterable[Segment],
    *,
    block_size: int,
    alphabet_size: int,
    reach: int,
    batch_size: int = 4096,
) -> Iterator[tuple[Tensor, Tensor, Tensor, bool]]:
    """Every position of the segments in order, for a causal stack: contexts (T, S, K), targets (T·S,), and which of all
    these positions each is (T·S,), from 0.

    Before a segment come up to `reach` positions of the text before it, as far as its `begin`: they are not scored, and
    have the number −1.
    Segments of the same shape run side by side as S strings; a long one comes in pieces. Documents of different lengths
    come one after the other in one string. The last of each tuple says whether strings begin: else they go on where the
    pieces before them ended.
    """
    before = 0
    for whole, group in groupby(segments, key=_is_whole):
        alike = list(group)
        if whole and len({one.stop - one.start for one in alike}) > 1:
            for positions, begins, fresh in _runs(alike, batch_size):
                context = contexts_at(symbols, positions, block_size, alphabet_size, begin=begins)
                target = torch.from_numpy(np.take(symbols, positions).astype(np.int64))
                yield context[:, None], target, before + torch.arange(len(positions)), fresh
                before += len(positions)
            continue
        for lead, some in _side_by_side(alike, reach, batch_size):
            scored = some[0].stop - some[0].start
            number = before + scored * np.arange(len(some))
            before += scored * len(some)
            for done in range(0, lead + scored, batch_size):
                offsets = np.arange(done, min(done + batch_size, lead + scored), dtype=np.int64)
                contexts, targets = [], []
                for one in some:
                    positions = one.start - lead + offsets
                    contexts.append(contexts_at(symbols, positions, block_size, alphabet_size, begin=one.begin))
                    targets.append(np.take(symbols, positions).astype(np.int64))
                place = np.where(offsets < lead, -1, offsets - lead)[:, None]
                which = torch.from_numpy(np.where(place < 0, -1, place + number).reshape(-1))
                yield torch.stack(contexts, 1), torch.from_numpy(np.stack(targets, 1).reshape(-1)), which, done == 0


def _is_whole(segment: Segment) -> bool:
    """Whether a segment is scored from where a document begins, and needs nothing of the text before it."""
    return segment.begin == segment.start


def _side_by_side(segments: Iterable[Segment], reach: int, batch_size: int) -> Iterator[tuple[int, list[Segment]]]:
    """Segments of the same shape that follow each other, as many as fit, behind the length of what leads up to them."""
    for (lead, scored), group in groupby(
        segments, key=lambda one: (one.start - max(one.begin, one.start - reach), one.stop - one.start)
    ):
        alike = list(group)
        together = max(1, batch_size // max(1, lead + scored))
        yield from ((lead, alike[first : first + together]) for first in range(0, len(alike), together))


def _runs(segments: Iterable[Segment], batch_size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], bool]]:
    """Scored positions in order (B,), the earliest symbol that each may see (B,), and whether a run begins with them.

    Whole documents that follow each other are one run, any other segment is one by itself.
    """
    for whole, group in groupby(segments, key=_is_whole):
        for some in [list(group)] if whole else ([one] for one in group):
            begin, start, stop = Segments.of(some).rows.T
            ends = np.cumsum(stop - start)
            for first in range(0, int(ends[-1]), batch_size):
                numbers = np.arange(first, min(first + batch_size, int(ends[-1])), dtype=np.int64)
                of = np.searchsorted(ends, numbers, "right")
                yield stop[of] - ends[of] + numbers, begin[of], first == 0

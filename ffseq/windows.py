"""Contexts and targets cut from a text.

Contexts are (B, K) int64 with the most recent character first: column 0 is the character just before the target.
Where the text has no character that far back (or may not be looked at there), the entry is V, one past the last
symbol: "before the beginning".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffseq.corpus import Segment
from ffseq.randomness import key, permuted


def contexts_at(
    symbols: NDArray[np.integer], positions: NDArray[np.int64], block_size: int, alphabet_size: int, begin: int = 0
) -> Tensor:
    """Contexts of the given positions; characters before `begin` are not looked at. Returns (B, K) int64."""
    index = positions[:, None] - np.arange(1, block_size + 1)
    contexts = np.take(symbols, np.maximum(index, 0)).astype(np.int64)
    contexts[index < begin] = alphabet_size
    return torch.from_numpy(contexts)


def training_batch(
    symbols: NDArray[np.integer],
    start: int,
    stop: int,
    *,
    step: int,
    batch_size: int,
    block_size: int,
    alphabet_size: int,
    seed: int,
    short_contexts: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The windows of one update: contexts (B, K) and targets (B,), int64, targets in start..stop−1.

    Windows come without replacement, in an order drawn anew for each pass over the text; which ones come at which
    step depends on seed and step alone. No context reaches before `start`. A share of `short_contexts` is cut at a
    random length.
    """
    size = stop - start
    numbers = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
    positions = np.empty_like(numbers)
    for epoch in np.unique(numbers // size):
        rows = numbers // size == epoch
        positions[rows] = start + permuted(numbers[rows] % size, size, key(seed, "epoch", int(epoch)))
    contexts = contexts_at(symbols, positions, block_size, alphabet_size, begin=start)
    if short_contexts:
        random = np.random.default_rng(key(seed, "short", step))
        cut = np.flatnonzero(random.random(batch_size) < short_contexts)
        length = random.integers(0, block_size, size=len(cut))
        contexts[cut] = torch.where(
            torch.arange(block_size) < torch.from_numpy(length)[:, None], contexts[cut], alphabet_size
        )
    return contexts, torch.from_numpy(np.take(symbols, positions).astype(np.int64))


def ordered(
    symbols: NDArray[np.integer],
    segments: Iterable[Segment],
    *,
    block_size: int,
    alphabet_size: int,
    batch_size: int = 4096,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every position of the segments once, in order: contexts (B, K) and targets (B,).

    Contexts carry over from the text before a segment, as far as the segment's `begin`.
    """
    for segment in segments:
        for first in range(segment.start, segment.stop, batch_size):
            positions = np.arange(first, min(first + batch_size, segment.stop), dtype=np.int64)
            contexts = contexts_at(symbols, positions, block_size, alphabet_size, begin=segment.begin)
            yield contexts, torch.from_numpy(np.take(symbols, positions).astype(np.int64))

"""The batches of a training text, one for each update."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffseq.segments import begins_at
from ffseq.windows import contexts_at, shorten, training_strings, windows_between

#: Updates whose windows are cut at once. One by one they would be mostly calls of NumPy, each of them slow: the weights
#: of a net have gone through the processor's cache since the last one.
TOGETHER = 16

#: Contexts, targets (B,), both int64, and the targets' positions (B,).
Batch = tuple[Tensor, Tensor, NDArray[np.int64]]


class Batches:
    """What the updates of a run learn from, each batch at its step: the same whatever was asked for before.

    length: T, for strings of a causal stack (see `training_strings`), or None for windows (see `training_batch`).
    documents: where they begin in the text, or None for one.
    """

    def __init__(
        self,
        symbols: NDArray[np.integer],
        start: int,
        stop: int,
        *,
        batch_size: int,
        length: int | None,
        block_size: int,
        alphabet_size: int,
        seed: int,
        short_contexts: float,
        documents: NDArray[np.int64] | None = None,
    ) -> None:
        self._text, self._length = (symbols, start, stop), length
        self._options: dict[str, Any] = {
            "batch_size": batch_size,
            "block_size": block_size,
            "alphabet_size": alphabet_size,
            "seed": seed,
            "short_contexts": short_contexts,
            "documents": documents,
        }
        #: Batches of windows that were cut together, by the number of the group. Phases go back to an earlier one.
        self._cut: dict[int, list[Batch]] = {}

    def at(self, step: int) -> Batch:
        """The batch of one update. It must not be changed in place."""
        if self._length is not None:
            return training_strings(*self._text, step=step, length=self._length, **self._options)
        group, place = divmod(step, TOGETHER)
        if group not in self._cut:
            if len(self._cut) > 1:
                del self._cut[next(iter(self._cut))]
            self._cut[group] = _cut(*self._text, first=group * TOGETHER, **self._options)
        return self._cut[group][place]


def _cut(
    symbols: NDArray[np.integer],
    start: int,
    stop: int,
    *,
    first: int,
    batch_size: int,
    block_size: int,
    alphabet_size: int,
    seed: int,
    short_contexts: float,
    documents: NDArray[np.int64] | None,
) -> list[Batch]:
    """The windows of TOGETHER updates from the step `first` on: for each what `training_batch` gives."""
    positions = windows_between(start, stop, first * batch_size, (first + TOGETHER) * batch_size, seed)
    begin = start if documents is None else begins_at(documents, positions)
    contexts = contexts_at(symbols, positions, block_size, alphabet_size, begin=begin).view(TOGETHER, batch_size, -1)
    for place, own in enumerate(contexts.numpy()):
        shorten(own, first + place, seed, short_contexts, alphabet_size)
    targets = torch.from_numpy(np.take(symbols, positions).astype(np.int64)).view(TOGETHER, batch_size)
    return list(zip(contexts.unbind(), targets.unbind(), positions.reshape(TOGETHER, batch_size), strict=True))

"""The batches of a training text, one for each update."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffseq.windows import Batch, training_batches, training_strings

#: Updates whose windows are cut at once, at most. One by one those of small batches would be mostly calls of NumPy,
#: each of them slow: the weights of a net have gone through the processor's cache since the last one.
TOGETHER = 16
#: Symbols of contexts that are cut at once, at most (unless one batch has more).
SYMBOLS = 1 << 17


class Batches:
    """What the updates of a run learn from, each batch at its step: the same whatever was asked for before.

    length: T, for strings of a causal stack (see `training_strings`), or None for windows (see `training_batches`).
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
        self._together = max(1, min(TOGETHER, SYMBOLS // (batch_size * max(1, block_size))))
        #: Batches of windows that were cut together, by the number of the group. Phases go back to an earlier one.
        self._cut: dict[int, list[Batch]] = {}

    def at(self, step: int) -> Batch:
        """The batch of one update. It must not be changed in place."""
        if self._length is not None:
            return training_strings(*self._text, step=step, length=self._length, **self._options)
        group, place = divmod(step, self._together)
        if group not in self._cut:
            if len(self._cut) > 1:
                del self._cut[next(iter(self._cut))]
            first = group * self._together
            self._cut[group] = training_batches(*self._text, first=first, count=self._together, **self._options)
        return self._cut[group][place]

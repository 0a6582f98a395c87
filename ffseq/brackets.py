"""Which symbol closes which: brackets, and whatever else comes in pairs that nest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: Brackets that open, each with the one that closes it.
BRACKETS = {"(": ")", "[": "]", "{": "}"}


def partners(symbols: NDArray[np.integer], pairs: Mapping[int, int]) -> NDArray[np.int64]:
    """For every symbol (N,) where the one is that it closes, or −1 where it closes none.

    pairs: each symbol that opens, with the one that closes it. A symbol closes the last of its kind that is still open;
    what was opened after that and never closed is given up.
    """
    kinds = {closing: opening for opening, closing in pairs.items()}
    found = np.full(len(symbols), -1, dtype=np.int64)
    waiting: list[tuple[int, int]] = []  # what is open: the symbol and its position
    count = dict.fromkeys(pairs, 0)  # how many of each kind, so that nothing is looked for in vain
    ends = np.flatnonzero(np.isin(symbols, [*pairs, *kinds]))
    for position, symbol in zip(ends.tolist(), symbols[ends].tolist(), strict=True):
        if symbol in pairs:
            waiting.append((symbol, position))
            count[symbol] += 1
            continue
        while count[kinds[symbol]]:
            opening, opened = waiting.pop()
            count[opening] -= 1
            if opening == kinds[symbol]:
                found[position] = opened
                break
    return found

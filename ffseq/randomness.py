"""Randomness keyed by seed, purpose and step.

Every random number of a run comes from a generator made from (seed, purpose, step). There is no random state to
store: a resumed run asks for the same keys and gets the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def key(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit number that differs for every (seed, purpose, step)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for one purpose at one step."""
    return torch.Generator(device=device).manual_seed(key(seed, purpose, step))


class RowGenerator(torch.Generator):
    """A generator for some rows of a batch: numbers are drawn for all of its `total` rows, and those of `rows` kept.

    So processes that share a batch have the numbers that one process would have had.
    """

    rows: Tensor
    total: int


def for_rows(random: torch.Generator, rows: Tensor, total: int) -> RowGenerator:
    """The same numbers as `random` from here on, of which those of `rows` (int64) among `total` are kept."""
    own = RowGenerator(device=random.device)
    own.set_state(random.get_state())
    own.rows, own.total = rows, total
    return own


def drawn(count: int, random: torch.Generator | None, draw: Callable[[int], Tensor]) -> Tensor:
    """`draw(rows)`, random numbers for each row of a batch of `count`."""
    if isinstance(random, RowGenerator):
        assert len(random.rows) == count
        return draw(random.total)[random.rows]
    return draw(count)


def keep_mask(
    shape: tuple[int, ...],
    drop: float,
    generator: torch.Generator,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, float]:
    """Zeros and ones, one with probability 1 − drop; and drop as it was rounded, to a 256th. drop: at most 255/256.

    One random byte an element: eight times fewer draws than one float each, and the draws are what dropout costs.
    """

    def bytes_for(rows: int) -> Tensor:
        size = rows * int(np.prod(shape[1:]))
        words = torch.empty((size + 7) // 8, dtype=torch.int64, device=device)
        words.random_(-(2**63), None, generator=generator)
        return words.view(torch.uint8)[:size].view(rows, *shape[1:])

    least = round(drop * 256)
    kept = drawn(shape[0], generator, bytes_for)
    if least == 0:
        return torch.ones(shape, dtype=dtype, device=device), 0.0
    # byte ≥ least, in arithmetic that processors do many bytes at a time.
    return kept.clamp_(min=least - 1).sub_(least - 1).clamp_(max=1).to(dtype), least / 256


def permuted(index: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Where a random permutation of 0..size−1, chosen by seed, sends each index. Constant memory.

    A Feistel network on the smallest even number of bits that covers `size`; results outside the range walk on until
    they fall inside (Black & Rogaway 2002). index: (n,) int64 in 0..size−1; returns (n,) int64.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    rounds = [np.uint64(key(seed, "permutation", r) | 1) for r in range(4)]
    value = index.astype(np.uint64)
    todo = np.arange(len(value))
    while len(todo):
        left, right = value[todo] >> np.uint64(half), value[todo] & mask
        for multiplier in rounds:
            mixed = (right + (multiplier >> np.uint64(32))) * multiplier
            mixed ^= mixed >> np.uint64(29)
            left, right = right, left ^ ((mixed * multiplier >> np.uint64(17)) & mask)
        value[todo] = (left << np.uint64(half)) | right
        todo = todo[value[todo] >= size]
    return value.astype(np.int64)

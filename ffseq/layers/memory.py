"""A layer of very many units, of which the text switches on a handful: one for each length of context that it knows.

    h = one unit for the last m characters, for each length m, found by a hash        G(c) = h · E_c

It is goodness `agreement` with input weights that are a fixed hash instead of learned numbers, so the whole change is
ΔE = sᵀh: the rows that were read. What counting models know of long contexts, this layer learns from the same signal
as every other. (Hashed n-gram features inside a neural language model: Mikolov et al. 2011; here they are a layer that
learns by itself.)

A row belongs to the first context that learned with it, and keeps a few further bits of that context's hash. Any other
context with the same row has no unit of that length: it is off, as for a context that was never learned.

Shape letters: B positions in a batch, K context length, V alphabet size, M lengths of context, R rows for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Recall:
    """What a memory makes of a batch of contexts. rows: (B, M) int64; keep: (B, M) float32, the activity of each row's
    unit: 0 where the row belongs to another context or dropout left it out, else dropout's scale.
    """

    rows: Tensor
    keep: Tensor


class MemoryLayer(nn.Module):
    """One memory. lengths: the lengths of context it looks up, at most K; rows: R, a power of two.

    Its one parameter is `candidates` E (M·R, V) float32, which begins at zero: it knows nothing. `owners` (M·R,) int16
    has the mark of the context that each row belongs to, 0 where it is free.
    """

    owners: Tensor
    begins: Tensor

    def __init__(self, *, alphabet_size: int, lengths: tuple[int, ...], rows: int) -> None:
        super().__init__()
        self.lengths, self.bits = lengths, rows.bit_length() - 1
        self.candidates = nn.Parameter(torch.zeros(len(lengths) * rows, alphabet_size), requires_grad=False)
        self.register_buffer("begins", torch.arange(len(lengths)) * rows, persistent=False)
        self.register_buffer("owners", torch.zeros(len(lengths) * rows, dtype=torch.int16))

    def forward(self, contexts: Tensor, keep: Tensor | None = None, drop: float = 0.0) -> Recall:
        """The rows of contexts (B, K) int64, and which of them are theirs.

        keep: (B, M) float32 dropout mask of zeros and ones, drop: the share it leaves out.
        """
        rows, marks = self._found(contexts)
        on = (self.owners[rows] == marks).to(self.candidates)
        return Recall(rows, on if keep is None else on * keep.to(on) / (1 - drop))

    def claim(self, contexts: Tensor) -> None:
        """Give the free rows of contexts (B, K) int64 that are about to be learned to them, the first one first."""
        rows, marks = (one.flatten() for one in self._found(contexts))
        free = self.owners[rows] == 0
        rows, order = rows[free].sort(stable=True)
        first = torch.ones_like(rows, dtype=torch.bool)
        first[1:] = rows[1:] != rows[:-1]
        self.owners[rows[first]] = marks[free][order][first]

    def _found(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, M) int64 of contexts (B, K), and marks (B, M) int16, 1 to 32,767, that tell contexts in one row
        apart.
        """
        codes: list[Tensor] = []
        code = torch.zeros_like(contexts[:, 0])
        for length in range(1, max(self.lengths) + 1):
            code = code * 1_000_003 + contexts[:, length - 1] + 1
            if length in self.lengths:
                codes.append(code)
        # Multiplicative hashing (Knuth): the best mixed bits of a product are its highest.
        product = torch.stack(codes, 1) * -7_046_029_254_386_353_131
        rows = ((product >> (64 - self.bits)) & ((1 << self.bits) - 1)) + self.begins
        marks = ((product >> (49 - self.bits)) & 0x7FFF).clamp_(min=1).to(torch.int16)
        return rows, marks

    def goodness(self, activity: Recall) -> Tensor:
        """Goodness of every candidate, float32 (B, V)."""
        return F.embedding_bag(
            activity.rows, self.candidates, mode="sum", per_sample_weights=activity.keep, sparse=True
        )

    def change(self, activity: Recall, signal: Tensor) -> dict[str, Tensor]:
        """The change of the rows that were read, as a sparse tensor of the shape of `candidates`, coalesced.

        signal: (B, V) float32, already averaged over the batch.
        """
        rows, order = activity.rows.flatten().sort(stable=True)
        read, count = torch.unique_consecutive(rows, return_counts=True)
        first = count.cumsum(0) - count
        positions = torch.div(order, activity.rows.shape[1], rounding_mode="floor")
        scale = activity.keep.flatten()[order]
        values = F.embedding_bag(positions, signal, offsets=first, mode="sum", per_sample_weights=scale)
        size = self.candidates.shape
        return {
            "candidates": torch.sparse_coo_tensor(read[None], values, size, check_invariants=False, is_coalesced=True)
        }

"""A layer of very many units, of which the text switches on a handful: one for each length of context that it knows.

    h = one unit for the last m characters, for each length m, found by a hash        G(c) = h · E_c

It is goodness `agreement` with input weights that are a fixed hash instead of learned numbers, so the whole change is
ΔE = sᵀh: the rows that were read. What counting models know of long contexts, this layer learns from the same signal
as every other. (Hashed n-gram features inside a neural language model: Mikolov et al. 2011; here they are a layer that
learns by itself.)

A context that was never learned has no unit of that length: it is off. Which were learned stands in a table with many
more places than there are rows (a Bloom filter with one hash), since two contexts with the same row mean little harm,
but a row that speaks for a context nobody has met says what belongs to others. After n different contexts a share
1 − exp(−n / places) of the unknown ones is on by mistake.

Shape letters: B positions in a batch, K context length, V alphabet size, M lengths of context, R rows for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Places (bytes) of the table of contexts that were learned: so many for each row, and at most so many for each length,
#: but never fewer than rows.
PLACES, MOST_PLACES = 128, 1 << 23


@dataclass(frozen=True)
class Recall:
    """What a memory makes of a batch of contexts. rows: (B, M) int64; keep: (B, M) float32, the activity of each row's
    unit: 0 where the context was never learned or dropout left it out, else dropout's scale.
    """

    rows: Tensor
    keep: Tensor


class MemoryLayer(nn.Module):
    """One memory. lengths: the lengths of context it looks up, at most K; rows: R, a power of two.

    Its one parameter is `candidates` E (M·R, V) float32, which begins at zero: it knows nothing. `seen` (M·places,)
    bool is true at the places of the contexts that it has learned.
    """

    seen: Tensor
    column: Tensor

    def __init__(self, *, alphabet_size: int, lengths: tuple[int, ...], rows: int) -> None:
        super().__init__()
        self.lengths, self.bits = lengths, rows.bit_length() - 1
        self.candidates = nn.Parameter(torch.zeros(len(lengths) * rows, alphabet_size), requires_grad=False)
        self.places_bits = max(rows, min(rows * PLACES, MOST_PLACES)).bit_length() - 1
        self.register_buffer("column", torch.arange(len(lengths)), persistent=False)
        self.register_buffer("seen", torch.zeros(len(lengths) << self.places_bits, dtype=torch.bool))

    def forward(self, contexts: Tensor, keep: Tensor | None = None, drop: float = 0.0) -> Recall:
        """The rows of contexts (B, K) int64, and which of these were learned.

        keep: (B, M) float32 dropout mask of zeros and ones, drop: the share it leaves out.
        """
        codes = self._codes(contexts)
        on = self.seen[self._places(codes)].to(self.candidates)
        return Recall(self._rows(codes), on if keep is None else on * keep.to(on) / (1 - drop))

    def claim(self, contexts: Tensor) -> None:
        """Contexts (B, K) int64 are about to be learned: their units are on from now."""
        self.seen[self._places(self._codes(contexts))] = True

    def _codes(self, contexts: Tensor) -> Tensor:
        """A number for the last m characters of each context, (B, M) int64: equal characters, equal numbers."""
        codes: list[Tensor] = []
        code = torch.zeros_like(contexts[:, 0])
        for length in range(1, max(self.lengths) + 1):
            code = code * 1_000_003 + contexts[:, length - 1] + 1
            if length in self.lengths:
                codes.append(code)
        return torch.stack(codes, 1)

    def _rows(self, codes: Tensor) -> Tensor:
        return self._hashed(codes * -7_046_029_254_386_353_131, self.bits)

    def _places(self, codes: Tensor) -> Tensor:
        """Where in `seen` contexts stand, (B, M) int64; another multiplier, so that it says more than the row does."""
        return self._hashed(codes * -4_658_895_280_553_007_687, self.places_bits)

    def _hashed(self, product: Tensor, bits: int) -> Tensor:
        """Multiplicative hashing (Knuth): the best mixed bits of a product are its highest."""
        return ((product >> (64 - bits)) & ((1 << bits) - 1)) + (self.column << bits)

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

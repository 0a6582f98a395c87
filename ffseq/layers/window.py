"""A layer that looks at a window of text: the K characters before the candidate, the layer below, or both.

    a = Σ_d s_d C[d, x_d]  +  x A  +  b        h = ReLU(a), masked by dropout        goodness of every candidate from h

The one-hot context is never multiplied out: K rows of C are gathered and summed, and a change is scattered back to
the rows that were read. s_d is the recency scale. The layer learns from its own input, its own activity and the
signal; nothing else reaches it, and no derivative leaves it.

Shape letters: B positions in a batch, K context length, V alphabet size, H units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffseq.config import Goodness
from ffseq.goodness import (
    PRODUCTS,
    UNBIASED,
    Activity,
    candidate_change,
    goodness,
    own_goodness,
    pre_activity_change,
)
from ffseq.products import turned


def recency_scale(block_size: int, recency: float) -> Tensor:
    """s_d ∝ d^−recency for d = 1..K, rescaled to norm √K as flat inputs have; float32 (K,).

    >>> [round(float(s), 3) for s in recency_scale(2, 1.0)]
    [1.265, 0.632]
    """
    scale: Tensor = torch.arange(1, block_size + 1, dtype=torch.float32) ** -recency
    scaled: Tensor = scale * (math.sqrt(block_size) / scale.norm())
    return scaled


@dataclass(frozen=True)
class Below:
    """What a layer sees of the one below it: one or more blocks of B rows of the same normalised activities.

    rows: (R, H_below) in the dtype of the products; block i is rows[starts[i] : starts[i] + count].
    """

    rows: Tensor
    starts: tuple[int, ...]
    count: int

    @property
    def is_whole(self) -> bool:
        """Whether there is one block, of all rows."""
        return self.starts == (0,) and self.count == len(self.rows)

    def blocks(self) -> list[Tensor]:
        """The blocks, (B, H_below) each."""
        if self.is_whole:
            return [self.rows]
        return [self.rows[start : start + self.count] for start in self.starts]


@dataclass(frozen=True)
class Readers:
    """Which positions of a batch read which row of `context`: the gather of the forward pass, turned around.

    positions: (B·K,) sorted by the row they read, scale: the recency scale of each reading, first: (K·(V+1),) where
    each row's readers begin.
    """

    positions: Tensor
    scale: Tensor
    first: Tensor


class WindowLayer(nn.Module):
    """One layer of a window stack.

    block_size: K, or 0 for a layer that does not see the context; below: units of the layer below, or 0; blocks: how
    many of its activities the layer sees. Parameters (float32, without gradients): `context` (K·(V+1), H), one row for
    each character at each distance, the last of each V+1 being "before the beginning"; `below` (blocks·H_below, H);
    `bias` (H,); `candidates` E (V, H); `candidate_bias` e (V,), which `squares` has no use for.
    """

    scale: Tensor
    offsets: Tensor
    #: The weights in the type of the products, where somebody has rounded them for this pass.
    rounded: Mapping[str, Tensor]

    def __init__(
        self,
        *,
        alphabet_size: int,
        block_size: int,
        below: int,
        units: int,
        goodness: Goodness,
        recency: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.kind = goodness
        if goodness not in PRODUCTS:
            own_goodness(goodness)  # refuses what is none before anything is learned
        self.rounded = {}
        inputs = bool(block_size) + bool(below)

        def weight(rows: int, columns: int, deviation: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * deviation, requires_grad=False)

        rows = block_size * (alphabet_size + 1)
        self.context = weight(rows, units, 1 / math.sqrt(block_size * inputs)) if block_size else None
        self.below = weight(below, units, 1 / math.sqrt(below * inputs)) if below else None
        self.bias = nn.Parameter(torch.zeros(units), requires_grad=False)
        self.candidates = weight(alphabet_size, units, 1 / math.sqrt(units))
        self.candidate_bias = nn.Parameter(torch.zeros(alphabet_size), requires_grad=False)
        self.register_buffer("scale", recency_scale(block_size, recency), persistent=False)
        self.register_buffer("offsets", torch.arange(block_size) * (alphabet_size + 1), persistent=False)

    def forward(
        self,
        contexts: Tensor,
        below: Below | None,
        keep: Tensor | None = None,
        drop: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> Activity:
        """Activity of the layer, in `dtype`. contexts: (B, K) int64.

        keep: (B, H) dropout mask of zeros and ones in `dtype`, drop: the share it leaves out; the units it keeps count
        1/(1 − drop) times.
        """
        parts: list[tuple[Tensor, Tensor]] = []
        if below is not None and self.below is not None:
            parts = list(zip(below.blocks(), self._below_of(self._in("below", dtype), below), strict=True))
        if self.context is not None:
            pre = self._gather(contexts, self.context, dtype)
        elif parts:
            # The bias afterwards: a product that begins with it takes a third longer.
            block, weights = parts.pop(0)
            pre = (block @ weights).add_(self._in("bias", dtype))
        else:
            pre = self._in("bias", dtype).expand(len(contexts), -1).clone()
        for block, weights in parts:
            pre.addmm_(block, weights)
        # Zeros and ones commute with ReLU, and in this order nothing that autograd keeps for the twin is overwritten.
        return Activity(_rectified(pre if keep is None else pre.mul_(keep)), 1 / (1 - drop))

    def goodness(self, activity: Activity) -> Tensor:
        """Goodness of every candidate, float32 (B, V)."""
        return goodness(self.kind, activity, self._in("candidates", activity.units.dtype), self.candidate_bias)

    def _in(self, name: str, dtype: torch.dtype) -> Tensor:
        """A weight in `dtype`."""
        weight: Tensor = getattr(self, name)
        if weight.dtype == dtype:
            return weight
        # The twin's derivatives have to find their way back to the weight itself.
        rounded = None if weight.requires_grad else self.rounded.get(name)
        return rounded if rounded is not None and rounded.dtype == dtype else weight.to(dtype)

    def readers(self, contexts: Tensor, dtype: torch.dtype = torch.float32) -> Readers:
        """Who reads what in contexts (B, K); the same for all layers of a stack, so one sort serves them all."""
        # Sorted by row, the scatter of a change is again a gather and a sum: for each row of `context` the positions
        # that read it. That is deterministic, and several times faster than adding row by row.
        distances = len(self.offsets)
        rows, order = (contexts + self.offsets).flatten().sort(stable=True)
        size = len(self.context) if self.context is not None else 0
        first = torch.searchsorted(rows, torch.arange(size, device=rows.device))
        scale = self.scale.to(dtype).expand_as(contexts).flatten().index_select(0, order)
        return Readers(order.div_(distances, rounding_mode="floor"), scale, first)

    def change(
        self, readers: Readers | None, below: Below | None, activity: Activity, signal: Tensor, *, hidden: bool = True
    ) -> dict[str, Tensor]:
        """The layer's own weight changes: −∂loss/∂weight in closed form, by parameter name, in float32 or as they came
        out of the products.

        readers: of the contexts, for a layer that sees them; signal: (B, V) float32, already averaged over the batch.
        hidden: whether the weights into the units learn too.
        """
        changes = {"candidates": candidate_change(self.kind, activity, self.candidates, signal)}
        if self.kind not in UNBIASED:
            changes["candidate_bias"] = signal.sum(0)
        if hidden:
            candidates = self._in("candidates", activity.units.dtype)
            delta = pre_activity_change(self.kind, activity, candidates, signal)
            changes["bias"] = delta.sum(0)
            if below is not None and self.below is not None:
                rows = turned(below.rows)  # once for all blocks
                if below.is_whole:
                    changes["below"] = rows @ delta
                else:
                    change = torch.empty_like(self.below, dtype=delta.dtype)
                    for start, part in zip(below.starts, self._below_of(change, below), strict=True):
                        torch.mm(rows[:, start : start + below.count], delta, out=part)
                    changes["below"] = change
            if self.context is not None:
                if readers is None:
                    raise ValueError("a layer that sees the context needs its readers")
                changes["context"] = self._scatter(readers, delta)
        return changes

    def _gather(self, contexts: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
        """The bias and the context's rows of `table`, scaled and summed: (B, H)."""
        # Every position reads one row at distance 1: there the bias costs V rows, not B.
        nearest = len(table) // len(self.offsets)
        near = table[:nearest] + self.bias / self.scale[0]
        weights = self.rounded.get("context")
        if weights is None or weights.dtype != dtype or table.requires_grad:
            weights = torch.cat([near, table[nearest:]]).to(dtype)
        else:
            weights[:nearest] = near
        rows = contexts + self.offsets
        scale = self.scale.to(dtype).expand_as(rows)
        return F.embedding_bag(rows, weights, mode="sum", per_sample_weights=scale)

    def _scatter(self, readers: Readers, delta: Tensor) -> Tensor:
        """The change of `context`: every row adds up the δ (B, H) of the positions that read it, scaled as read."""
        return F.embedding_bag(
            readers.positions,
            delta,
            offsets=readers.first,
            mode="sum",
            per_sample_weights=readers.scale.to(delta.dtype),
        )

    @staticmethod
    def _below_of(weights: Tensor, below: Below) -> list[Tensor]:
        """The rows of `below` weights that belong to each block."""
        if len(below.starts) == 1:
            return [weights]
        return list(weights.view(len(below.starts), -1, weights.shape[1]).unbind())


def _rectified(pre: Tensor) -> Tensor:
    """ReLU in place."""
    if pre.dtype == torch.bfloat16 and not pre.requires_grad:
        # The sign of a number is that of its bits read as an integer, whose maximum takes a third of the time.
        # (What is no number may become 0 here; checkpoints are not written of weights that are not finite.)
        pre.view(torch.int16).clamp_(min=0)
        return pre
    return pre.relu_()

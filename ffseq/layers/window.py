"""A layer that looks at a window of text: the K characters before the candidate, the layer below, or both.

    a = Σ_d s_d C[d, x_d]  +  x A  +  b        h = ReLU(a), masked by dropout        goodness of every candidate from h

The one-hot context is never multiplied out: K rows of C are gathered and summed, and a change is scattered back to
the rows that were read. s_d is the recency scale. The layer learns from its own input, its own activity and the
signal; nothing else reaches it, and no derivative leaves it.

Shape letters: B positions in a batch, K context length, V alphabet size, H units.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffseq.config import Goodness
from ffseq.goodness import Activity, candidate_change, goodness, pre_activity_change


def recency_scale(block_size: int, recency: float) -> Tensor:
    """s_d ∝ d^−recency for d = 1..K, rescaled to norm √K as flat inputs have; float32 (K,).

    >>> [round(float(s), 3) for s in recency_scale(2, 1.0)]
    [1.265, 0.632]
    """
    scale: Tensor = torch.arange(1, block_size + 1, dtype=torch.float32) ** -recency
    scaled: Tensor = scale * (math.sqrt(block_size) / scale.norm())
    return scaled


class WindowLayer(nn.Module):
    """One layer of a window stack.

    block_size: K, or 0 for a layer that does not see the context; below: units of the layer below, or 0. Parameters
    (float32, without gradients): `context` (K·(V+1), H), one row for each character at each distance, the last of
    each V+1 being "before the beginning"; `below` (H_below, H); `bias` (H,); `candidates` E (V, H);
    `candidate_bias` e (V,), which `squares` has no use for.
    """

    scale: Tensor
    offsets: Tensor

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
        below: Tensor | None,
        keep: Tensor | None = None,
        drop: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> Activity:
        """Activity of the layer, in `dtype`. contexts: (B, K) int64; below: (B, H_below), normalised, in `dtype`.

        keep: (B, H) dropout mask of zeros and ones in `dtype`, drop: the share it leaves out; the units it keeps count
        1/(1 − drop) times.
        """
        pre = self.bias.to(dtype)
        if self.context is not None:
            pre = self._gather(contexts, self.context.to(dtype)) + pre
        if below is not None and self.below is not None:
            pre = torch.addmm(pre, below, self.below.to(dtype))
        units = torch.relu(pre)
        return Activity(units if keep is None else units * keep, 1 / (1 - drop))

    def goodness(self, activity: Activity) -> Tensor:
        """Goodness of every candidate, float32 (B, V)."""
        return goodness(self.kind, activity, self.candidates, self.candidate_bias)

    def change(
        self, contexts: Tensor, below: Tensor | None, activity: Activity, signal: Tensor, *, hidden: bool = True
    ) -> dict[str, Tensor]:
        """The layer's own weight changes: −∂loss/∂weight in closed form, by parameter name, float32.

        signal: (B, V) float32, already averaged over the batch. hidden: whether the weights into the units learn too.
        """
        changes = {"candidates": candidate_change(self.kind, activity, self.candidates, signal)}
        if self.kind == "agreement":
            changes["candidate_bias"] = signal.sum(0)
        if hidden:
            delta = pre_activity_change(self.kind, activity, self.candidates, signal)
            changes["bias"] = delta.sum(0, dtype=self.bias.dtype)
            if below is not None and self.below is not None:
                changes["below"] = (below.t() @ delta).to(self.below.dtype)
            if self.context is not None:
                changes["context"] = self._scatter(contexts, delta, len(self.context)).to(self.context.dtype)
        return changes

    def _gather(self, contexts: Tensor, weights: Tensor) -> Tensor:
        rows = contexts + self.offsets
        scale = self.scale.to(weights.dtype).expand_as(rows)
        return F.embedding_bag(rows, weights, mode="sum", per_sample_weights=scale)

    def _scatter(self, contexts: Tensor, delta: Tensor, size: int) -> Tensor:
        # Sorted by row, the scatter is again a gather and a sum: for each row of `context` the positions that read
        # it. That is deterministic, and several times faster than adding row by row.
        rows, order = (contexts + self.offsets).flatten().sort(stable=True)
        first = torch.searchsorted(rows, torch.arange(size, device=rows.device))
        positions = torch.div(order, len(self.offsets), rounding_mode="floor")
        scale = self.scale[order % len(self.offsets)].to(delta.dtype)
        return F.embedding_bag(positions, delta, offsets=first, mode="sum", per_sample_weights=scale)

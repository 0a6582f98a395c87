"""A layer of Hinton's literal net: the candidate is the last character of the window and goes through the whole net.

    a = Σ_d s_d C[d, x_d]  +  E[c]  +  x A  +  b        h = ReLU(a), masked by dropout

Goodness is one number for a context with one candidate (Hinton, arXiv 2212.13345, section 2), with scale g:

    sum    G = g Σ_j h_j²            mean    G = g Σ_j h_j² / H            minus    G = −g Σ_j h_j²

Without a candidate (the neutral pass) the slot adds nothing; the softmax read-out looks at that pass. Rows come
candidate by candidate: row i·B + b is candidate i of context b.

Shape letters: B contexts, m candidates of each, K context length, V alphabet size, H units.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffseq.config import NetworkConfig
from ffseq.goodness import Activity, normalised
from ffseq.layers.window import Readers, WindowLayer

#: How fast the running mean of the units' activity follows that of a batch (Hinton's MATLAB code).
FOLLOWING = 0.1


def goodness_factor(config: NetworkConfig) -> float:
    """What the sum of squared activities is multiplied by to be the goodness of a layer.

    >>> goodness_factor(NetworkConfig(units=500, literal_goodness="mean", goodness_scale=10.0))
    0.02
    """
    assert config.units is not None
    share = {"sum": 1.0, "mean": 1.0 / config.units, "minus": -1.0}
    return config.goodness_scale * share[config.literal_goodness]


def squares_change(units: Tensor, signal: Tensor, factor: float = 1.0) -> Tensor:
    """δ = Σ s ∂G/∂a for G = factor · Σ_j h_j² of each row: 2 factor s h, of the shape and dtype of `units` (rows, H).

    signal: s = −∂loss/∂G (rows,) float32. Units that are off have h = 0 and learn nothing.
    """
    return units * (signal * (2 * factor)).to(units.dtype)[:, None]


def peer_push(running_mean: Tensor, peer: float) -> Tensor:
    """λ (mean over the units of the running mean − running mean), (H,): what peer normalisation adds to δ."""
    return (running_mean.mean() - running_mean) * peer


def follow(running_mean: Tensor, positives: Tensor) -> None:
    """Let a running mean (H,) follow the mean activity of the positives (B, H), in place."""
    running_mean.lerp_(positives.to(running_mean.dtype).mean(0), FOLLOWING)


class LiteralLayer(WindowLayer):
    """One layer of a literal stack.

    number: its place, from 0. Beside `context`, `below` and `bias` of a window layer it has `candidates` (V, H), the
    candidate slot, without rows where the layer does not see the text; `readout` (H, V) and `readout_bias` (V,), its
    part of the softmax read-out, without columns where no read-out looks at it; and a buffer `running_mean` (H,), the
    mean activity of each unit over recent positives.
    """

    running_mean: Tensor

    def __init__(self, config: NetworkConfig, *, alphabet_size: int, number: int, generator: torch.Generator) -> None:
        assert config.block_size is not None
        assert config.units is not None
        assert config.layers is not None
        sees_text = number == 0 or config.context_to_all
        super().__init__(
            alphabet_size=alphabet_size,
            block_size=config.block_size if sees_text else 0,
            below=config.units if number else 0,
            units=config.units,
            goodness="squares",
            recency=config.recency,
            generator=generator,
        )
        del self.candidate_bias
        rows = torch.randn(alphabet_size if sees_text else 0, config.units, generator=generator)
        rows *= config.candidate_init / math.sqrt(1 + bool(number))
        self.candidates = nn.Parameter(rows, requires_grad=False)
        self.is_read = number + 1 >= min(config.readout_from, config.layers)
        read = alphabet_size if self.is_read else 0
        self.readout = nn.Parameter(torch.zeros(config.units, read), requires_grad=False)
        self.readout_bias = nn.Parameter(torch.zeros(read), requires_grad=False)
        self.register_buffer("running_mean", torch.zeros(config.units))
        self.factor = goodness_factor(config)
        self.by = config.readout
        self.alphabet_size = alphabet_size

    def activity(
        self,
        contexts: Tensor,
        slots: Tensor,
        below: Tensor | None,
        keep: Tensor | None = None,
        drop: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> Activity:
        """Activity (m·B, H) in `dtype`. contexts: (B, K) int64; slots: (m, B) int64 candidates, V for none.

        below: normalised activities of the layer below, (m·B, H_below); keep, drop: as in `WindowLayer.forward`, a
        mask (B, H) that all candidates of a context share, since they are compared with each other.
        """
        if self.context is not None:
            text = self._gather(contexts, self.context, dtype)
            table = torch.cat([self.candidates, self.candidates.new_zeros(1, text.shape[1])]).to(dtype)
            pre = F.embedding(slots, table).add_(text)
        else:
            pre = self.bias.to(dtype).expand(*slots.shape, -1).clone()
        rows = pre.flatten(0, 1)
        if below is not None and self.below is not None:
            rows.addmm_(below, self.below.to(dtype))
        rows.relu_()
        if keep is not None:
            pre.mul_(keep)
        return Activity(rows, 1 / (1 - drop))

    def row_goodness(self, activity: Activity) -> Tensor:
        """G of every row, float32 (m·B,). Dropout scales it once, as it does the other goodness functions."""
        # Sums of squares are never rounded to the dtype of the products.
        return activity.units.to(self.bias.dtype).square().sum(1) * (self.factor * activity.scale)

    def logits(self, activity: Activity) -> Tensor:
        """The layer's part of the softmax read-out, float32 (B, V), from the activity (B, H) of the neutral pass."""
        return normalised(activity.units).to(self.bias.dtype) @ self.readout + self.readout_bias

    def scored_slots(self, contexts: int) -> Tensor:
        """The slots (m, B) of the passes that `goodness` needs: each candidate, or none (V), or both, none last."""
        first = self.alphabet_size if self.by == "softmax" else 0
        last = self.alphabet_size if self.by == "goodness" else self.alphabet_size + 1
        return torch.arange(first, last, device=self.bias.device)[:, None].expand(-1, contexts)

    def goodness(self, activity: Activity) -> Tensor:
        """What the layer adds to the score of every candidate, float32 (B, V): logits, goodness, or their sum.

        activity: of the passes of `scored_slots`. A layer that no read-out looks at adds nothing.
        """
        size, units = self.alphabet_size, activity.units
        count = len(units) // {"softmax": 1, "goodness": size, "both": size + 1}[self.by]
        score = torch.zeros(count, size, dtype=self.bias.dtype, device=units.device)
        if self.is_read and self.by != "goodness":
            score = score + self.logits(Activity(units[-count:], activity.scale))
        if self.is_read and self.by != "softmax":
            score = score + self.row_goodness(Activity(units[: size * count], activity.scale)).view(size, count).t()
        return score

    def hidden_change(
        self,
        readers: Readers | None,
        slots: Tensor,
        below: Tensor | None,
        activity: Activity,
        signal: Tensor,
        *,
        peer: float = 0.0,
    ) -> dict[str, Tensor]:
        """The layer's own changes of the weights into its units, in closed form, by parameter name, float32.

        signal: s = −∂loss/∂G (m, B) float32, averaged over the batch, the positives first; the rest as `activity` got
        and gave it. With `peer`, λ, the positives also push every unit towards the mean over units of the running
        mean: δ += λ (mean − running mean) / B, on and off units alike (Hinton's peer normalisation).
        """
        count = slots.shape[1]
        delta = squares_change(activity.units, signal.flatten(), self.factor * activity.scale)
        if peer:
            delta[:count] += peer_push(self.running_mean, peer / count).to(delta.dtype)
        of_context = delta.view(*slots.shape, -1).sum(0)
        changes = {"bias": of_context.sum(0).to(self.bias.dtype)}
        if below is not None and self.below is not None:
            changes["below"] = (below.t() @ delta).to(self.below.dtype)
        if self.context is not None:
            if readers is None:
                raise ValueError("a layer that sees the context needs its readers")
            changes["context"] = self._scatter(readers, of_context)
            # A product with ones and zeros adds up the rows of each candidate, always in the same order.
            one_hot = delta.new_zeros(self.alphabet_size + 1, len(delta)).scatter_(0, slots.flatten()[None], 1.0)
            changes["candidates"] = (one_hot[:-1] @ delta).to(self.candidates.dtype)
        return changes

    def readout_change(self, activity: Activity, signal: Tensor) -> dict[str, Tensor]:
        """Changes of the layer's part of the softmax read-out. activity: neutral, (B, H); signal: (B, V) float32."""
        units = normalised(activity.units).to(signal.dtype)
        return {"readout": units.t() @ signal, "readout_bias": signal.sum(0)}

    def follow(self, positives: Tensor) -> None:
        """Let the running mean follow the mean activity of the positives (B, H)."""
        follow(self.running_mean, positives)

"""Where negatives come from.

For every position a negative source gives a distribution over candidates that should lose goodness: `weights`
(B, V), summing to one. k sampled characters are k entries of 1/k; the exact expectation is the distribution itself.
So every objective is one formula, whatever the source.

    sampled     k characters drawn from the net's own prediction softmax(S / temperature)
    expected    all characters, weighted by that prediction
    argmax      the best-scoring wrong character (the truth is never the negative)
    unigram     k characters drawn from the frequencies of the training text
    corrupted   a real window with its candidate, and a share of its context, replaced by uniform characters
    rollout     text that the net writes, going on from a real context; dream: from nothing (ffseq/rollouts.py)
    MODULE:NAME k characters drawn from a distribution of yours: a function from the scores S (B, V), float32, and the
                real next symbols (B,) to its logarithms (B, V), which need not be normalised

All but `corrupted`, `rollout` and `dream`, which have contexts of their own, share the context of the positive.

Shape letters: B positions in a batch, K context length, V alphabet size, k negatives for each positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ffseq.config import NEGATIVES, ROLLOUTS, Source
from ffseq.errors import FfseqError, UsageError
from ffseq.own import imported, is_own
from ffseq.randomness import drawn


@dataclass(frozen=True)
class Negatives:
    """Negatives of a batch.

    weights: (B, V) float32, rows sum to one. q: (B, V) float32, the probability with which the source draws each
    candidate, or None where the source has no such distribution (argmax).
    """

    weights: Tensor
    q: Tensor | None

    @property
    def log_q(self) -> Tensor | None:
        """Natural log of q (B, V); only some objectives look at it."""
        return None if self.q is None else self.q.clamp(min=1e-30).log()


@dataclass(frozen=True)
class Said:
    """What a net said in some contexts. symbols: (B,) int64; log_q: (B,) float32, the natural log of the probability
    with which it said them.
    """

    symbols: Tensor
    log_q: Tensor


def draw(
    source: Source,
    scores: Tensor,
    targets: Tensor,
    *,
    count: int = 1,
    temperature: float = 1.0,
    exclude_truth: bool = False,
    unigram: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Negatives:
    """Draw the negatives of a batch.

    scores: S (B, V) float32, as the layer sees them; targets: (B,) int64, the real next symbols; unigram: (V,)
    float32 probabilities, needed by `unigram`. With `exclude_truth` the real symbol gets no weight and the rest is
    renormalised. Raises ValueError for `unigram` without frequencies and for rollouts, FfseqError for a source of your
    own that gives no distribution.
    """
    if source in ROLLOUTS:
        raise ValueError(f"negatives {source!r} have contexts of their own: see ffseq.rollouts")
    if source == "argmax":
        best = scores.scatter(1, targets[:, None], -torch.inf).argmax(1, keepdim=True)
        return Negatives(torch.zeros_like(scores).scatter_(1, best, 1.0), None)
    if source == "corrupted":
        log_q = torch.zeros_like(scores)
    elif source == "unigram":
        if unigram is None:
            raise ValueError("negatives 'unigram' need the frequencies of the training text")
        log_q = unigram.log().expand_as(scores)
    elif is_own(source):
        log_q = _called(source, scores, targets)
    else:
        log_q = scores / temperature
    if exclude_truth:
        # Before the softmax: afterwards nothing may be left, where the net is sure of the truth.
        log_q = log_q.scatter(1, targets[:, None], -torch.inf)
    q = torch.softmax(log_q, 1)
    weights = q if source == "expected" else _counts(sampled(q, count, generator), q)
    return Negatives(weights, q)


@cache
def own_source(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The negative source called MODULE:NAME. Raises UsageError where it is none."""
    found = imported("--negatives", name, NEGATIVES)
    if not callable(found):
        raise UsageError(f"--negatives {name} is a {type(found).__name__}; it has to be a function")
    function: Callable[[Tensor, Tensor], Tensor] = found
    return function


def _called(name: str, scores: Tensor, targets: Tensor) -> Tensor:
    """The logarithms (B, V) that a source of the user's gives, checked."""
    log_q = own_source(name)(scores, targets)
    if not isinstance(log_q, Tensor) or log_q.shape != scores.shape:
        what = f"shape {tuple(log_q.shape)}" if isinstance(log_q, Tensor) else f"type {type(log_q).__name__}"
        raise FfseqError(f"negatives {name} returned {what}, expected a tensor of shape {tuple(scores.shape)}")
    if not bool(log_q.amax(1).isfinite().all()):  # NaN is the largest; all of a row at −∞ leaves nothing to draw
        raise FfseqError(f"negatives {name} returned no distribution: a position's largest logarithm is not finite")
    return log_q.to(scores.dtype)


def corrupt(contexts: Tensor, alphabet_size: int, share: float, generator: torch.Generator | None) -> Tensor:
    """Contexts (B, K) int64 with a share of their symbols replaced by uniform ones; padding stays padding."""
    random = torch.randint(0, alphabet_size, contexts.shape, generator=generator, device=contexts.device)
    change = torch.rand(contexts.shape, generator=generator, device=contexts.device) < share
    return torch.where(change & (contexts < alphabet_size), random, contexts)


def sampled(q: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` candidates for each row of q (B, V), by inverting the cumulative sum; (B, count) int64.

    A candidate of probability zero is never drawn: the first index whose sum *exceeds* u is taken, and u, a multiple
    of 2⁻²⁴ below one, stays below the total when multiplied by it in float32.
    """
    cumulative = q.cumsum(1)

    def uniform(rows: int) -> Tensor:
        return torch.rand(rows, count, generator=generator, device=q.device, dtype=q.dtype)

    u = drawn(q.shape[0], generator, uniform) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, u, right=True).clamp_(max=q.shape[1] - 1)


def _counts(candidates: Tensor, q: Tensor) -> Tensor:
    """Shares of each candidate among (B, k) draws, of the shape and dtype of q (B, V)."""
    share = torch.full(candidates.shape, 1 / candidates.shape[1], dtype=q.dtype, device=q.device)
    return torch.zeros_like(q).scatter_add_(1, candidates, share)

"""Positives and negatives in, signal out.

The signal s(c) = −∂loss/∂G(c) says how much the goodness of each candidate should rise (+) or fall (−). It is all
that a layer needs to know about the objective. With r the real next symbol, w the weights of the negatives, S the
score as the layer sees it, σ the logistic function:

    contrast     s = 1_r − w                                   w drawn from softmax(S): Goodfellow, arXiv 1412.6515
    likelihood   s = 1_r − softmax(S)                           its exact expectation
    nce          s = 1_r σ(−z) − w σ(z),  z = S − log q          Gutmann & Hyvärinen 2010
    threshold    s = 1_r σ(θ − S) − w σ(S − θ)                   Hinton, arXiv 2212.13345, equation 1
    difference   s = Σ_n w(n) ασ(−α(S(r) − S(n))) (1_r − 1_n)    SymBa, arXiv 2303.08418

All functions are pure; scores and signals are float32 (B, V), in nats where they are log probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.config import ROLLOUTS, Goodness, Objective, Scope, Source
from ffseq.errors import UsageError
from ffseq.negatives import Negatives
from ffseq.own import is_own

#: Which negative sources have a fixed point worth learning with which objective; everything else is refused.
SOURCES: dict[Objective, tuple[Source, ...]] = {
    "contrast": ("sampled",),
    "likelihood": ("expected",),
    "nce": ("sampled", "expected", "unigram", "rollout", "dream"),
    "threshold": ("sampled", "expected", "argmax", "unigram", "corrupted", "rollout", "dream"),
    "difference": ("sampled", "expected", "argmax", "unigram"),
}
#: Objectives that take a source of your own, too: those that do not ask for the net's own prediction.
OPEN: tuple[Objective, ...] = ("nce", "threshold", "difference")
_REASON: dict[Objective, str] = {
    "contrast": "its negatives have to come from the net's own prediction, or its signal never vanishes",
    "likelihood": "it is the exact expectation over the net's own prediction",
    "nce": "it needs the probability with which each negative was drawn",
    "threshold": "it takes any source",
    "difference": "it compares two candidates in one context",
}


def check_combination(
    objective: Objective, negatives: Source, *, exclude_truth: bool | None, temperature: float
) -> None:
    """Refuse combinations that have no fixed point. Raises UsageError with a sentence."""
    if negatives not in SOURCES[objective] and not (is_own(negatives) and objective in OPEN):
        allowed = ", ".join(SOURCES[objective])
        raise UsageError(
            f"objective '{objective}' does not go with negatives '{negatives}': {_REASON[objective]}. "
            f"Use --negatives {allowed.replace(', ', ' or ')}."
        )
    own = objective in ("contrast", "likelihood", "nce")
    if own and exclude_truth:
        raise UsageError(
            f"objective '{objective}' needs the truth among its negatives: without it the net is pushed towards "
            "certainty for ever. Leave --exclude_truth out, or use --objective threshold or difference."
        )
    if objective in ("contrast", "likelihood") and temperature != 1.0:
        raise UsageError(
            f"objective '{objective}' is right only for negatives at temperature 1, got {temperature}: "
            "leave --negatives_temperature out, or use --objective nce or threshold."
        )
    if exclude_truth is False and (objective == "difference" or negatives == "argmax"):
        what = "objective 'difference'" if objective == "difference" else "negatives 'argmax'"
        raise UsageError(f"{what} always exclude the truth: leave --exclude_truth out.")


def excludes_truth(objective: Objective, negatives: Source, exclude_truth: bool | None) -> bool:
    """Whether the real symbol is kept out of the negatives; None means the objective's own rule."""
    if exclude_truth is None:
        return objective == "difference" or negatives == "argmax"
    return exclude_truth


def readout_temperature(
    objective: Objective,
    negatives: Source,
    *,
    exclude_truth: bool,
    negatives_temperature: float,
    scope: Scope,
    goodness: Goodness,
) -> float | None:
    """The temperature T for which softmax(S / T) is the learned distribution at the fixed point, or None.

    None means that theory has no answer and T has to be fitted. In scope `own` the layers each learn the whole
    distribution, and how far their sum overcounts depends on how alike they are: fitted too.
    A threshold against the net's own softmax(S/τ), truth included, settles at S = log P / (1 + 1/τ) + f(context); with
    `squares` f(context) is large and moves slowly, a net is rarely there, and T is fitted.
    """
    if scope == "own":
        return None
    if objective in ("contrast", "likelihood", "nce"):
        return 1.0
    if objective == "threshold" and goodness == "agreement" and not exclude_truth:
        if negatives in ("sampled", "expected", *ROLLOUTS):
            return negatives_temperature / (1 + negatives_temperature)
        if negatives == "unigram":
            return 1.0
    return None


def signal(
    objective: Objective,
    scores: Tensor,
    targets: Tensor,
    negatives: Negatives,
    *,
    threshold: float = 0.0,
    alpha: float = 1.0,
    negative_scores: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The signal on the candidates of the real contexts, and on those of the negatives' own contexts.

    scores: S (B, V); targets: (B,) int64; negatives: of the same batch; negative_scores: (B, V) scores in the
    negatives' own contexts (`corrupted`), or None where they share the positive's. Returns (B, V) and, with
    negative_scores, a second (B, V), else None. Not averaged over the batch.

    >>> from ffseq.negatives import Negatives
    >>> S, r = torch.zeros(1, 4), torch.tensor([2])
    >>> signal("likelihood", S, r, Negatives(torch.softmax(S, 1), None))[0]
    tensor([[-0.2500, -0.2500,  0.7500, -0.2500]])
    """
    index = targets[:, None]
    weights = negatives.weights
    if objective in ("contrast", "likelihood"):
        one = torch.ones_like(index, dtype=scores.dtype)
        return (-weights).scatter_add_(1, index, one), None
    if objective == "difference":
        pull = weights * alpha * torch.sigmoid(alpha * (scores - scores.gather(1, index)))
        return (-pull).scatter_add_(1, index, pull.sum(1, keepdim=True)), None
    if objective == "nce":
        log_q = negatives.log_q
        if log_q is None:
            raise ValueError("nce needs log_q")
        z = scores - log_q
    else:
        z = scores - threshold
    up = torch.sigmoid(-z.gather(1, index))
    if negative_scores is not None:
        rise = torch.zeros_like(scores).scatter_(1, index, up)
        return rise, -weights * torch.sigmoid(negative_scores - threshold)
    return (-weights * torch.sigmoid(z)).scatter_add_(1, index, up), None

"""Positives and negatives apart in time: one update awake, one asleep.

Awake a layer may learn from the real symbol's goodness and from no other candidate's; asleep from the goodness of a
symbol that the net dreamt. So the two signals are functions of one number for each position:

    objective     awake, s(real)             asleep, −s(dreamt)
    nce           σ(log q − S)               σ(S − log q)          q: the net as it was at the onset of sleep
    threshold     σ(θ − S)                   σ(S − θ)
    contrast      1                          1                     bounded by nothing: only with real contexts asleep

With dreams the fixed point of `nce` is S = log P + f(context), whatever q is: the logistic tells real pairs of context
and symbol from dreamt ones, and its log odds are log P(context, symbol) − log Q(context) q(symbol | context); what
depends on the context alone, a softmax does not see. With `threshold` it is S = log P / (1 + 1/τ) + f(context) for
dreams at temperature τ. (Gutmann & Hyvärinen 2010; Hinton, arXiv 2212.13345, the section on sleep.)

Shape letters: B positions in a batch, V alphabet size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ffseq.config import LearningConfig, Objective
from ffseq.flat import Views
from ffseq.learning import Update, learn, threshold_of
from ffseq.negatives import Negatives, Said, sampled

if TYPE_CHECKING:
    from ffseq.network import SequenceNetwork

Weighed = Callable[[Tensor], Tensor]


def rising(objective: Objective, real: Tensor, *, log_q: Tensor | None, threshold: float) -> Tensor:
    """The signal awake (B,), at most 1, from the score of the real symbol (B,) and from nothing else.

    log_q: (B,) natural log of its probability in the frozen net, for `nce`.
    """
    return torch.sigmoid(-_beyond(objective, real, log_q, threshold)) if _bounded(objective) else torch.ones_like(real)


def falling(objective: Objective, dreamt: Tensor, *, log_q: Tensor | None, threshold: float) -> Tensor:
    """By how much the goodness of a dreamt symbol should fall (B,), at most 1, from its score (B,); see `rising`."""
    if not _bounded(objective):
        return torch.ones_like(dreamt)
    return torch.sigmoid(_beyond(objective, dreamt, log_q, threshold))


def _bounded(objective: Objective) -> bool:
    return objective in ("nce", "threshold")


def _beyond(objective: Objective, score: Tensor, log_q: Tensor | None, threshold: float) -> Tensor:
    if objective == "nce":
        if log_q is None:
            raise ValueError("nce needs log_q")
        return score - log_q
    return score - threshold


def awake(
    network: SequenceNetwork,
    contexts: Tensor,
    targets: Tensor,
    learning: LearningConfig,
    *,
    random: torch.Generator,
    drop: float,
    frozen: SequenceNetwork | None,
    gated: bool = False,
    places: Views | None = None,
    weighed: Weighed | None = None,
) -> Update:
    """One update awake: contexts (B, K) and targets (B,) of real text, no negatives. frozen: q, for `nce`; places: as
    `learn` takes them. gated: weigh it by 1 − P(real), for which all candidates are looked at: less than separation.
    weighed: from the strength of the signal (B,) to what it is to be.
    """
    index = targets[:, None]
    log_q = None
    if learning.objective == "nce":
        log_q = log_q_of(frozen, contexts, learning).gather(1, index)[:, 0]

    def judge(scores: Tensor, layers: int) -> tuple[Tensor, Negatives]:
        threshold = threshold_of(network, learning, layers)
        up = rising(learning.objective, scores.gather(1, index)[:, 0], log_q=log_q, threshold=threshold)
        if gated:
            up = up * (1 - torch.softmax(scores, 1).gather(1, index)[:, 0])
        if weighed is not None:
            up = weighed(up)
        return torch.zeros_like(scores).scatter_(1, index, up[:, None]), Negatives(torch.zeros_like(scores), None)

    return learn(network, contexts, targets, learning, random=random, drop=drop, places=places, judge=judge)


def asleep(
    network: SequenceNetwork,
    contexts: Tensor,
    learning: LearningConfig,
    *,
    random: torch.Generator,
    drop: float,
    frozen: SequenceNetwork | None,
    truth: Tensor | None = None,
    again: Said | None = None,
    places: Views | None = None,
    weighed: Weighed | None = None,
) -> tuple[Update, Tensor]:
    """One update asleep: every context (B, K) with a symbol that the net says there, whose goodness falls.

    frozen: the net that speaks, with what it says at rest; None: the net itself, as it is in this pass, every layer for
    itself in scopes own and below. truth: (B,) real symbols, where a net is told when it happened to say the truth:
    there nothing falls. again: what was said in these contexts when they were dreamt, which nobody says anew then.
    weighed: as in `awake`.
    Returns the update and symbols (B,) to go on dreaming with.
    """
    tau = learning.negatives_temperature
    if again is None and frozen is not None:
        again = say(frozen, contexts, learning, random)
    spoken = again.symbols[:, None] if again is not None else None
    said_by: list[Tensor] = []  # what each score said, where the net itself speaks

    def judge(scores: Tensor, layers: int) -> tuple[Tensor, Negatives]:
        symbols = spoken if spoken is not None else sampled(torch.softmax(scores / tau, 1), 1, random)
        said_by.append(symbols)
        known = again.log_q if again is not None else None
        threshold = threshold_of(network, learning, layers)
        down = falling(learning.objective, scores.gather(1, symbols)[:, 0], log_q=known, threshold=threshold)
        if truth is not None:
            down = down * (symbols[:, 0] != truth)
        if weighed is not None:
            down = weighed(down)
        said = torch.zeros_like(scores).scatter_(1, symbols, 1.0)
        return torch.zeros_like(scores).scatter_(1, symbols, -down[:, None]), Negatives(said, None)

    anything = torch.zeros(len(contexts), dtype=torch.int64, device=contexts.device)
    update = learn(network, contexts, anything, learning, random=random, drop=drop, places=places, judge=judge)
    if spoken is None:
        # In scopes own and below each layer has said something of its own; the dream goes on with what they all say.
        everyone = learning.scope != "all"
        spoken = sampled(torch.softmax(update.scores / tau, 1), 1, random) if everyone else said_by[0]
    return update, spoken[:, 0]


def say(speaker: SequenceNetwork, contexts: Tensor, learning: LearningConfig, random: torch.Generator) -> Said:
    """What a net at rest says in each context (B, K)."""
    log_q = log_q_of(speaker, contexts, learning)
    symbols = sampled(log_q.exp(), 1, random)
    return Said(symbols[:, 0], log_q.gather(1, symbols)[:, 0])


def log_q_of(frozen: SequenceNetwork | None, contexts: Tensor, learning: LearningConfig) -> Tensor:
    """Natural log of what the frozen net says in each context, (B, V)."""
    if frozen is None:
        raise ValueError("there is no frozen net")
    return torch.log_softmax(frozen.scores(contexts) / learning.negatives_temperature, 1)

"""Hinton's literal net learns: one pass for the truth, one for every wrong character, each layer from its own goodness.

Every layer raises the goodness of the real character above the threshold θ and lowers that of wrong ones below it,
s = σ(θ − G) on the positive and −σ(G − θ)/k on each of k negatives (Hinton, arXiv 2212.13345, section 2). Wrong
characters are drawn from what the net itself takes for likely. Beside that, a softmax read-out learns to predict from
the normalised activities of a pass without a candidate. Nothing goes down, and no layer sees another's goodness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ffseq.config import LearningConfig
from ffseq.goodness import Activity
from ffseq.layers.literal import LiteralLayer, goodness_factor
from ffseq.layers.window import Below
from ffseq.learning import Update
from ffseq.negatives import sampled
from ffseq.network import SequenceNetwork


def learn_literal(
    network: SequenceNetwork,
    contexts: Tensor,
    targets: Tensor,
    learning: LearningConfig,
    *,
    random: torch.Generator,
    drop: float = 0.0,
    done: float = 0.0,
) -> Update:
    """Every layer's change for one batch: contexts (B, K) and targets (B,), int64. No weight is touched; the running
    means for peer normalisation are.

    done: share of the run behind us, by which `greedy` tells whose turn it is. All random choices come from `random`.
    """
    layers = literal_layers(network)
    batch, size = len(targets), len(network.alphabet)
    none = torch.full_like(targets, size)[None]
    neutral = [one for _, _, one in upward_with(network, contexts, none, drop, random)]
    logits = torch.stack([it.logits(one) for it, one in zip(layers, neutral, strict=True) if it.is_read]).sum(0)
    log_q = torch.log_softmax(logits, 1)
    residual = torch.exp(log_q).neg_().scatter_add_(1, targets[:, None], torch.ones_like(log_q[:, :1])) / batch
    changes = [
        layer.readout_change(activity, residual) if layer.is_read else {}
        for layer, activity in zip(layers, neutral, strict=True)
    ]
    bits = -log_q.gather(1, targets[:, None]).mean() / math.log(2)
    correct = (log_q.argmax(1) == targets).sum()
    if learning.hidden == "random":
        nothing = torch.zeros(len(layers))
        return Update(changes, bits, correct, nothing, nothing, logits)
    scores = log_q
    if learning.negatives_from != "softmax":
        scores = candidate_goodness(network, contexts, layers=1 if learning.negatives_from == "first" else len(layers))
    wrong = wrong_characters(scores, targets, learning, random)
    slots = torch.cat([targets[None], wrong.t()])
    active = min(int(done * len(layers)), len(layers) - 1) if learning.greedy else None
    readers = layers[0].readers(contexts)
    theta = threshold_of(network, learning)
    goodness = []
    for number, (layer, below, activity) in enumerate(upward_with(network, contexts, slots, drop, random)):
        own = layer.row_goodness(activity).view(slots.shape)
        goodness.append(own)
        if active not in (None, number):
            continue
        if learning.peer_normalisation:
            layer.follow(activity.units[:batch] * activity.scale)
        rows = None if below is None else below.rows
        signal = literal_signal(own, theta) / batch
        changes[number] |= layer.hidden_change(readers, slots, rows, activity, signal, peer=learning.peer_normalisation)
    every = torch.stack(goodness)
    return Update(changes, bits, correct, every[:, 0].mean(1), every[:, 1:].mean((1, 2)), logits)


def upward_with(
    network: SequenceNetwork,
    contexts: Tensor,
    slots: Tensor,
    drop: float = 0.0,
    random: torch.Generator | None = None,
) -> Iterator[tuple[LiteralLayer, Below | None, Activity]]:
    """Layer by layer, the activities of a literal stack with `slots` (m, B) in its candidate slot: m·B rows."""
    for layer, below, activity in network.upward(contexts, slots=slots, drop=drop, random=random):
        assert isinstance(layer, LiteralLayer)
        assert isinstance(activity, Activity)
        yield layer, below, activity


def literal_layers(network: SequenceNetwork) -> Sequence[LiteralLayer]:
    """The layers of a literal stack, lowest first."""
    return [layer for layer in network.stack() if isinstance(layer, LiteralLayer)]


def literal_signal(goodness: Tensor, threshold: float) -> Tensor:
    """s = −∂loss/∂G for the goodness (1 + k, B) of a positive and k negatives, of its shape; not averaged.

    >>> literal_signal(torch.tensor([[2.0], [2.0], [-500.0]]), 2.0).flatten()
    tensor([ 0.5000, -0.2500, -0.0000])
    """
    up = torch.sigmoid(threshold - goodness[:1])
    down = torch.sigmoid(goodness[1:] - threshold) / max(1, len(goodness) - 1)
    return torch.cat([up, -down])


def wrong_characters(scores: Tensor, targets: Tensor, learning: LearningConfig, random: torch.Generator) -> Tensor:
    """Negatives (B, k) int64 drawn from softmax(scores / temperature), scores (B, V), without the truth."""
    scores = scores / learning.negatives_temperature
    if learning.exclude_truth is not False:
        scores = scores.scatter(1, targets[:, None], -torch.inf)
    return sampled(torch.softmax(scores, 1), learning.num_negatives, random)


def candidate_goodness(network: SequenceNetwork, contexts: Tensor, *, layers: int) -> Tensor:
    """Goodness of every candidate, summed over the first `layers` layers, float32 (B, V): V passes, no dropout."""
    slots = torch.arange(len(network.alphabet), device=contexts.device)[:, None].expand(-1, len(contexts))
    total = torch.zeros(slots.shape, device=contexts.device)
    for number, (layer, _, activity) in enumerate(upward_with(network, contexts, slots), start=1):
        total = total + layer.row_goodness(activity).view(slots.shape)
        if number == layers:
            break
    return total.t()


def threshold_of(network: SequenceNetwork, learning: LearningConfig) -> float:
    """θ of a layer: by default the goodness at a mean square of one, as in Hinton's experiments."""
    if learning.threshold is not None:
        return learning.threshold
    return goodness_factor(network.config) * float(network.config.units or 0)

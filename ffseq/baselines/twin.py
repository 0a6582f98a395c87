"""The twin: the same net, initialised and read out the same way, trained end to end by backpropagation.

This is the one place where autograd computes what weights change by. Its forward pass, dropout masks, negatives and
objective are those of the Forward-Forward net with scope `all`; the only difference is that here the derivative of
the summed score goes down through every layer, normalisation included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.config import LearningConfig, source_of
from ffseq.learning import Update, bits_under, layer_signal, means_of_all
from ffseq.negatives import corrupt
from ffseq.network import Past, SequenceNetwork, goodness_of


def backpropagate(
    network: SequenceNetwork,
    contexts: Tensor,
    targets: Tensor,
    learning: LearningConfig,
    *,
    random: torch.Generator,
    drop: float = 0.0,
    unigram: Tensor | None = None,
    past: Past | None = None,
    black_box: Tensor | None = None,
    documents: bool = True,
) -> Update:
    """What `ffseq.learning.learn` computes, but every change is the exact derivative of the objective on the summed
    score. Arguments and random choices are the same; the scope plays no part.
    """
    batch = targets.shape[0]
    if network.memory is not None:
        network.memory.claim(contexts.flatten(0, -2))
    if source_of(learning) == "corrupted":
        contexts = torch.cat([contexts, corrupt(contexts, len(network.alphabet), learning.corruption, random)])
    layers = list(network.stack())
    learned = [
        {
            n: w
            for n, w in layer.named_parameters()
            if learning.hidden == "learned" or n in ("candidates", "candidate_bias")
        }
        for layer in layers
    ]
    weights = [weight for layer in learned for weight in layer.values()]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        activities = network.upward(contexts, past=past, drop=drop, random=random, documents=documents)
        goodness = [goodness_of(layer, activity) for layer, _, activity in activities]
        total = torch.stack(goodness).sum(0)
        signal, negatives = layer_signal(
            network,
            learning,
            total.detach(),
            targets,
            random,
            black_box,
            layers=len(layers),
            unigram=unigram,
        )
        # The signal is −∂loss/∂S, so this sum has the derivatives of −loss.
        found = iter(torch.autograd.grad((signal / batch * total).sum(), weights, allow_unused=True))
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    changes = [{name: next(found) for name in layer} for layer in learned]
    changes = [{name: change for name, change in layer.items() if change is not None} for layer in changes]
    positive, negative = means_of_all([own.detach() for own in goodness], targets, negatives)
    total = total.detach()
    return Update(changes, *bits_under(network, total, targets, black_box), positive, negative, total[:batch])

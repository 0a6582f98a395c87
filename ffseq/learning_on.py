"""A trained net that goes on learning: each block of a text is predicted, then learned, once, in order.

Forward-Forward needs nothing for it that it does not have: the pass that predicts is the pass that learns, and every
layer changes from its own input, its own activity and the signal on what the net predicts. (For nets trained by
backpropagation the same is called dynamic evaluation: Mikolov et al. 2010, Krause et al. 2018.) The hidden layers and
their goodness move along their changes; the memory has Adagrad's steps, whose sums begin anew.

What is measured so is another kind of figure than that of a net at rest: at each position it has learned the text that
came before, and that text was held out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ffseq.config import LearningConfig
from ffseq.layers.memory import MemoryLayer
from ffseq.learning import learn
from ffseq.network import Past, SequenceNetwork
from ffseq.optim import START, RowAdagrad
from ffseq.passes import Pass, passes
from ffseq.segments import Segment

#: Characters that are predicted before they are learned together.
BLOCK = 64
#: Step size of the layers along the mean change of a block.
RATE = 0.05
#: Step size of the memory.
MEMORY_RATE = 0.3


@torch.no_grad()
def predicted(
    network: SequenceNetwork,
    symbols: NDArray[np.integer],
    segments: Sequence[Segment],
    *,
    learn_on: bool = False,
    hidden: Literal["learned", "random"] = "learned",
) -> Iterator[tuple[Pass, Tensor]]:
    """Every position of the segments of `symbols` (N,), in order, with natural log probabilities (number scored, V).

    learn_on: a copy of the net learns each block of BLOCK positions once it has predicted it; else it rests. hidden:
    `random` for a net whose hidden layers are to stay as they were drawn.
    """
    learner = Learner(copy.deepcopy(network), hidden) if learn_on else None
    net = network if learner is None else learner.network
    # A net at rest is faster in larger pieces.
    for one in passes(net, symbols, segments, **({} if learner is None else {"batch_size": BLOCK})):
        scores = net.scores(one.contexts, one.past)[one.scored] if learner is None else learner.block(one)
        yield one, net.log_probabilities(scores, one.black_box)


class Learner:
    """A net that learns what it has just predicted. It changes the net it is given."""

    def __init__(self, network: SequenceNetwork, hidden: Literal["learned", "random"] = "learned") -> None:
        self.network = network
        #: The exact expectation of the default objective, which draws nothing, whatever the net has learned from.
        self.learning = LearningConfig(objective="likelihood", negatives="expected", scope="all", hidden=hidden)
        self.layers: list[nn.Module] = list(network.stack())
        memories = [weight for one in self.layers if isinstance(one, MemoryLayer) for weight in one.parameters()]
        rest = [
            weight
            for one in self.layers
            if not isinstance(one, MemoryLayer)
            for weight in one.parameters()
            if weight.numel()
        ]
        self.optimisers: list[torch.optim.Optimizer] = [torch.optim.SGD(rest, lr=RATE, maximize=True)]
        if memories:
            self.optimisers.append(RowAdagrad(memories, MEMORY_RATE, START / BLOCK**2))

    def block(self, one: Pass) -> Tensor:
        """Scores (number scored, V) of a block, computed before it is learned."""
        contexts, past = one.contexts, one.past
        contexts = self._after_lead(contexts, one.scored, past) if self.network.is_causal else contexts[one.scored]
        if not len(one.targets):
            return one.targets.new_empty((0, len(self.network.alphabet)), dtype=torch.float32)
        update = learn(
            self.network,
            contexts,
            one.targets,
            self.learning,
            random=None,  # the pass that learns is the pass that predicts
            past=past,
            black_box=one.black_box,
        )
        for layer, changes in zip(self.layers, update.changes, strict=True):
            for name, weight in layer.named_parameters():
                weight.grad = changes.get(name)
        for optimiser in self.optimisers:
            optimiser.step()
        return update.scores

    def _after_lead(self, contexts: Tensor, scored: Tensor, past: Past | None) -> Tensor:
        """A causal stack's contexts (T, S, K) without the times that only lead up to those scored; they pass through
        the layers, so that these remember them, and are not learned.
        """
        lead = int((~scored.view(contexts.shape[:2])[:, 0]).sum())
        if lead:
            self.network.scores(contexts[:lead], past)
        return contexts[lead:]

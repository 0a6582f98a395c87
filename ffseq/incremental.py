"""Symbol after symbol: the scores of the next one, for the price of one position.

    scores = next_scores(network, strings)
    scores(contexts)        S (strings, V) after contexts (strings, K); the next call goes on where this one ended

What does not change while a text grows is worked out before it does. All layers read the same context, so their rows
are one table and one gather; the goodness of all layers is one product. A layer of a causal stack needs the one below
now and d positions ago: both halves of its weights are applied when the activity is there, and the second half waits in
a ring of d places, which is all that is remembered of the text.

Shape letters: S strings, K context length, V alphabet size, H units, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ffseq.between import through
from ffseq.goodness import normalised
from ffseq.layers.causal import dilation
from ffseq.layers.window import WindowLayer

if TYPE_CHECKING:
    from ffseq.network import SequenceNetwork


@torch.no_grad()
def next_scores(network: SequenceNetwork, strings: int) -> Callable[[Tensor], Tensor]:
    """A function from the contexts (S, K) int64 of the next position of each string to the scores (S, V) there.

    It takes one position of every string at a call, from the beginning of what they are to be read from. The network's
    weights must not change in the meantime.
    """
    if network.config.stack == "literal":
        return network.scores
    layers = [layer for layer in network.layers if isinstance(layer, WindowLayer)]
    gains = network.gains[-len(layers) :].tolist()
    units = layers[0].bias.shape[0]
    table, offsets = _table(layers, network.block_size), layers[0].offsets
    squares = network.config.goodness == "squares"
    weights = [layer.candidates.t() * gain for layer, gain in zip(layers, gains, strict=True)]
    read_out = torch.cat(weights) * (2 if squares else 1)
    of_squares = torch.cat([layer.candidates.t() * w for layer, w in zip(layers, weights, strict=True)])
    bias = torch.stack([layer.candidate_bias for layer in layers]).sum(0) * (not squares)
    # The weights that an activity meets on its way to the next layer: those for now, then those for d positions later.
    onward = [torch.cat(torch.split(layer.below, units), 1) for layer in layers if layer.below is not None]
    distances = [dilation(number) if network.is_causal else 0 for number in range(len(layers))]
    rings = [table.new_zeros(distance, strings, units) for distance in distances]
    done = 0

    @torch.no_grad()
    def scores(contexts: Tensor) -> Tensor:
        nonlocal done
        every = F.embedding_bag(contexts + offsets, table, mode="sum")
        below: Tensor | None = None
        for number, activity in enumerate(torch.split(every, units, 1)):
            if below is not None:
                sent = below @ onward[number - 1]
                activity.add_(sent[:, :units])
                if distances[number]:
                    place = rings[number][done % distances[number]]
                    activity.add_(place)
                    place.copy_(sent[:, units:])
            activity.relu_()
            if number + 1 < len(layers):
                below = normalised(activity)
                if network.config.between != "none":
                    below = through(network.config.between, network.boxes[number], below)
        done += 1
        total = torch.addmm(bias, every, read_out)
        if squares:
            own = torch.stack([a.square().sum(1) for a in torch.split(every, units, 1)], 1)
            total += (every > 0).to(every) @ of_squares + (own * network.gains[-len(layers) :]).sum(1, keepdim=True)
        if network.memory is not None:
            total += network.memory.goodness(network.recall(contexts))
        return total

    return scores


def _table(layers: Sequence[WindowLayer], block_size: int) -> Tensor:
    """What each character at each distance adds to the units of all layers, biases at distance 1: (K·(V+1), L·H)."""
    columns = []
    size = len(layers[0].context) if layers[0].context is not None else 0
    for layer in layers:
        own = layer.bias.new_zeros(block_size, size // block_size, len(layer.bias))
        if layer.context is not None:
            own += layer.context.view_as(own) * layer.scale[:, None, None]
        own[0] += layer.bias
        columns.append(own.flatten(0, 1))
    return torch.cat(columns, 1)

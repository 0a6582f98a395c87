"""Symbol after symbol: the scores of the next one, for the price of one position.

    scores = next_scores(network, strings)
    scores(contexts)        S (strings, V) after contexts (strings, K); the next call goes on where this one ended

What does not change while a text grows is worked out before it does. All layers read the same context, so their rows
are one table and one gather; the goodness of all layers is one product. A layer of a causal stack needs the one below
now and d positions ago: both stand side by side in a place of a ring of d places, which is all that is remembered of
the text. Most of the time goes to calling operations, so there are as few as can be.

Shape letters: S strings, K context length, V alphabet size, H units, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ffseq.between import through
from ffseq.goodness import PRODUCTS, normalised
from ffseq.layers.causal import dilation
from ffseq.layers.window import WindowLayer

if TYPE_CHECKING:
    from ffseq.network import Past, SequenceNetwork


@torch.no_grad()
def next_scores(network: SequenceNetwork, strings: int) -> Callable[[Tensor], Tensor]:
    """A function from the contexts (S, K) int64 of the next position of each string to the scores (S, V) there.

    It takes one position of every string at a call, from the beginning of what they are to be read from. The network's
    weights must not change in the meantime.
    """
    if network.config.stack == "literal":
        return network.scores
    if network.config.goodness not in PRODUCTS:
        past: Past = {}
        return lambda contexts: network.scores(contexts[None] if network.is_causal else contexts, past)
    layers = [layer for layer in network.layers if isinstance(layer, WindowLayer)]
    gains = network.gains[-len(layers) :].tolist()
    units = layers[0].bias.shape[0]
    table, offsets = _table(layers, network.block_size), layers[0].offsets
    squares = network.config.goodness == "squares"
    weights = [layer.candidates.t() * gain for layer, gain in zip(layers, gains, strict=True)]
    read_out = torch.cat(weights) * (2 if squares else 1)
    of_squares = torch.cat([layer.candidates.t() * w for layer, w in zip(layers, weights, strict=True)])
    bias = torch.stack([layer.candidate_bias for layer in layers]).sum(0) * (not squares)
    plain = network.config.between == "none"
    # Activities are divided by their norm, not by their root mean square: the rest is in the weights.
    below = [layer.below * (math.sqrt(units) if plain else 1.0) for layer in layers if layer.below is not None]
    causal = network.is_causal
    # Place t mod d of a ring: what a layer sees at position t. Its left half is then what it saw d positions ago.
    rings = [
        _ring(table, dilation(number) if causal else 1, strings, units, 2 if causal else 1)
        for number in range(1, len(layers))
    ]
    done = 0

    @torch.no_grad()
    def scores(contexts: Tensor) -> Tensor:
        nonlocal done
        every = F.embedding_bag(contexts + offsets, table, mode="sum")
        seen = every  # what each layer but the first sees of the one below it
        for number, activity in enumerate(torch.split(every, units, 1)):
            if number:
                activity.addmm_(seen, below[number - 1])
            activity.relu_()
            if number + 1 < len(layers):
                ring = rings[number]
                seen, now, before = ring[done % len(ring)]
                if causal:
                    before.copy_(now)
                if plain:
                    norm = torch.linalg.vector_norm(activity, dim=1, keepdim=True).clamp_(min=1e-4)
                    torch.div(activity, norm, out=now)
                else:
                    now.copy_(through(network.config.between, network.boxes[number], normalised(activity)))
        done += 1
        total = torch.addmm(bias, every, read_out)
        if squares:
            own = torch.stack([a.square().sum(1) for a in torch.split(every, units, 1)], 1)
            total += (every > 0).to(every) @ of_squares + (own * network.gains[-len(layers) :]).sum(1, keepdim=True)
        if network.memory is not None:
            total += network.memory.goodness(network.recall(contexts))
        return total

    return scores


def _ring(like: Tensor, places: int, strings: int, units: int, halves: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each place all of it (S, halves·H), its left half, and its right half."""
    whole = like.new_zeros(places, strings, halves * units)
    return [(place, place[:, :units], place[:, units:]) for place in whole]


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

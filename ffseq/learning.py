"""One update: activities up, negatives drawn, a signal for every layer, every layer's own change.

Nothing goes down. What a layer learns from is its input, its activity and the signal; the scope says which score the
signal was computed from:

    own     the layer's own goodness                       (local cross-entropy, when the objective is likelihood)
    below   its own and that of the layers below it        (strictly local in order)
    all     the sum over all layers, broadcast to each     (two passes over the layers, no weight used backwards)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ffseq.config import LearningConfig, source_of
from ffseq.flat import Views
from ffseq.goodness import Activity
from ffseq.layers.memory import MemoryLayer, Recall
from ffseq.layers.window import Below, Readers, WindowLayer
from ffseq.negatives import Negatives, corrupt, draw
from ffseq.network import Past, SequenceNetwork, goodness_of
from ffseq.objective import excludes_truth, signal
from ffseq.own import is_own

#: Goodness of all layers, in numbers, up to which their means are computed together.
TOGETHER = 1 << 16
#: From scores (B, V) and the number of layers that they sum over to the signal (B, V) and the negatives.
Judge = Callable[[Tensor, int], tuple[Tensor, Negatives]]


@dataclass(frozen=True)
class Update:
    """What one update computed.

    changes: for each layer its weight changes (ascent directions) by parameter name; bits: mean −log2 P of the real
    symbols under dropout; correct: how many of them had the highest score; positive, negative: mean goodness of
    positives and negatives in each layer; scores: S (B, V) float32 of the positives, the black box left out.

    Where only some layers learned, changes is {} for the others, everything else is that of the layers up to the
    highest of them, and units is what the one above it sees of it (B, H), in the dtype of the products.
    """

    changes: list[dict[str, Tensor]]
    bits: Tensor
    correct: Tensor
    positive: Tensor
    negative: Tensor
    scores: Tensor
    units: Tensor | None = None


@dataclass(frozen=True)
class Entering:
    """A batch as the layers below have left it: units, scores, positive and negative of their `Update`."""

    units: Tensor
    scores: Tensor
    positive: Tensor
    negative: Tensor


def untracked(network: SequenceNetwork, learning: LearningConfig) -> AbstractContextManager[None]:
    """Where to call `learn` where its figures are only read: torch keeps no record of what is computed there, not even
    of which tensors share memory, which is a twentieth of an update of a small net.

    Functions of the user's own and a memory, which may keep tensors and change them later, stay outside; and so does
    what has no row for its changes (hidden `random`), which become gradients of the weights as they are.
    """
    names = (learning.negatives or "", network.config.goodness)
    if network.memory is not None or learning.hidden == "random" or any(map(is_own, names)):
        return nullcontext()
    return torch.inference_mode()


def learn(
    network: SequenceNetwork,
    contexts: Tensor,
    targets: Tensor,
    learning: LearningConfig,
    *,
    random: torch.Generator | None,
    drop: float = 0.0,
    unigram: Tensor | None = None,
    past: Past | None = None,
    black_box: Tensor | None = None,
    places: Views | None = None,
    learned: Callable[[int], None] | None = None,
    judge: Judge | None = None,
    layers: range | None = None,
    entering: Entering | None = None,
    documents: bool = True,
) -> Update:
    """Compute every layer's change for one batch; no weight is touched, but a memory knows the contexts from now.

    contexts: (B, K) int64, or (T, S, K) for a causal stack, B = T·S; targets: (B,) int64; unigram: (V,) frequencies
    for negatives of that name. All random choices (dropout masks, negatives) come from `random`; None: a net at rest,
    for objectives that draw nothing, which learns by what it predicts, temperature, prior and gains included. past:
    what a causal stack remembers, see `SequenceNetwork.upward`. black_box: its log probabilities (B, V), a constant in
    every score. places: where the changes of the layers go (`Flat.places`), by default into tensors of their own;
    learned: called with the number of each layer whose changes are in their places. judge: what says the signal, by
    default the objective. documents: see `SequenceNetwork.upward`.

    layers: the numbers of those that learn, by default all; entering: what the layers below them made of the batch,
    with `random` in the state that they left it in. Raises ValueError where some layers cannot learn without the
    others: in scope `all`, and with a memory or corrupted negatives, which begin below the first layer.
    """
    depth = len(network.layers)
    layers = range(depth) if layers is None else layers
    corrupted = source_of(learning) == "corrupted"
    if len(layers) < depth and (learning.scope == "all" or network.memory is not None or corrupted):
        raise ValueError("in scope all, with a memory or with corrupted negatives all layers have to learn together")
    batch = targets.shape[0]
    size = len(network.alphabet)
    if network.memory is not None and random is not None:
        network.memory.claim(contexts.flatten(0, -2))
    if corrupted:
        contexts = torch.cat([contexts, corrupt(contexts, size, learning.corruption, random)])
    hidden = learning.hidden == "learned"
    changes: list[dict[str, Tensor]] = [{} for _ in range(layers.start)]
    means: list[tuple[Tensor, Tensor]] = []  # of one layer each, or of all
    readers: Readers | None = None
    waiting: list[tuple[WindowLayer | MemoryLayer, Below | None, Activity | Recall, Tensor]] = []
    total = entering.scores if entering is not None else None
    recompute = learning.recompute and learning.scope == "all"
    begin = (random.get_state() if random is not None else None, dict(past) if past is not None else None)

    def signal_of(score: Tensor, layers: int) -> tuple[Tensor, Negatives]:
        if judge is not None:
            return judge(score, layers)
        return layer_signal(network, learning, score, targets, random, black_box, layers=layers, unigram=unigram)

    def let_learn(
        layer: WindowLayer | MemoryLayer,
        below: Below | None,
        activity: Activity | Recall,
        shared: Tensor,
    ) -> None:
        nonlocal readers
        if random is None and isinstance(layer, MemoryLayer):
            # A net at rest predicts by what it knew, and learns contexts that it meets for the first time as well.
            layer.claim(contexts.flatten(0, -2))
            activity = network.recall(contexts.flatten(0, -2))
        if readers is None and isinstance(layer, WindowLayer) and layer.context is not None and hidden:
            readers = layer.readers(contexts.flatten(0, -2), network.products)
        change = _change(layer, readers, below, activity, shared, hidden)
        if places is not None and isinstance(layer, WindowLayer):
            # At once, while it is still in the processor's cache.
            which = len(changes) - (network.memory is not None)
            own = {name: places[which][name] for name in change}
            torch._foreach_copy_(list(own.values()), list(change.values()))
            change = own
            if learned is not None:
                learned(which)
        changes.append(change)

    number, units = layers.start, entering.units if entering is not None else None
    upward = partial(network.upward, contexts, drop=drop, random=random, documents=documents)
    for layer, below, activity in upward(past=past, layers=layers, units=units):
        number += 1
        own = goodness_of(layer, activity)
        total = own if total is None else total + own
        if learning.scope == "all":
            if not recompute:
                waiting.append((layer, below, activity, own))
            continue
        score, count = (own, 1) if learning.scope == "own" else (total, number)
        shared, negatives = signal_of(score, count)
        let_learn(layer, below, activity, shared / batch)
        means.append(means_of(own[None], targets, negatives))
    assert total is not None
    if learning.scope == "all":
        shared, negatives = signal_of(total, number)
        shared = shared / batch
        if recompute:
            # Up once more, under the same dropout and from the same past, letting each layer go as it has learned.
            if random is not None:
                assert begin[0] is not None
                random.set_state(begin[0])
            for layer, below, activity in upward(past=begin[1]):
                let_learn(layer, below, activity, shared)
                means.append(means_of(goodness_of(layer, activity)[None], targets, negatives))
        for layer, below, activity, _ in waiting:
            let_learn(layer, below, activity, shared)
        if waiting:
            means.append(means_of_all([own for *_, own in waiting], targets, negatives))
    positive, negative = means[0] if len(means) == 1 else (torch.cat(side) for side in zip(*means, strict=True))
    if entering is not None:
        positive, negative = torch.cat([entering.positive, positive]), torch.cat([entering.negative, negative])
    units = None
    if layers.stop < depth:
        assert isinstance(activity, Activity)
        units = network.passed_on(layers.stop - 1, activity)
        changes += [{} for _ in range(layers.stop, depth)]
    return Update(changes, *bits_under(network, total, targets, black_box), positive, negative, total[:batch], units)


def _change(
    layer: WindowLayer | MemoryLayer,
    readers: Readers | None,
    below: Below | None,
    activity: Activity | Recall,
    signal: Tensor,
    hidden: bool,
) -> dict[str, Tensor]:
    if isinstance(activity, Recall):
        assert isinstance(layer, MemoryLayer)
        return layer.change(activity, signal)
    assert isinstance(layer, WindowLayer)
    return layer.change(readers, below, activity, signal, hidden=hidden)


def means_of(own: Tensor, targets: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Mean goodness of positives and of negatives in each layer (L,), from its goodness (L, B or 2B, V)."""
    batch = targets.shape[0]
    positive = own[:, :batch].gather(2, targets[:, None].expand(len(own), batch, 1)).mean((1, 2))
    return positive, (own[:, -batch:] * negatives.weights).sum(2).mean(1)


def means_of_all(every: Sequence[Tensor], targets: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """The same of several layers, (B or 2B, V) each: together where that is a few calls instead of many, and one after
    the other where the copies would be worth mentioning beside what a layer holds.
    """
    if sum(own.numel() for own in every) <= TOGETHER:
        return means_of(torch.stack(list(every)), targets, negatives)
    positive, negative = zip(*(means_of(own[None], targets, negatives) for own in every), strict=True)
    return torch.cat(positive), torch.cat(negative)


def bits_under(
    network: SequenceNetwork, scores: Tensor, targets: Tensor, black_box: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean bits of the targets (B,) under the scores of their contexts, the first B rows of (B or 2B, V), and how many
    of them have the highest score.
    """
    log_p = network.log_probabilities(scores[: targets.shape[0]], black_box)
    bits = -log_p.gather(1, targets[:, None]).mean() / math.log(2)
    return bits, (log_p.argmax(1) == targets).sum()


def layer_signal(
    network: SequenceNetwork,
    learning: LearningConfig,
    scores: Tensor,
    targets: Tensor,
    random: torch.Generator | None,
    black_box: Tensor | None = None,
    *,
    layers: int,
    unigram: Tensor | None,
) -> tuple[Tensor, Negatives]:
    """The signal for scores S of B positives, or of B positives and then B negatives in contexts of their own.

    layers: how many layers the score sums over. Returns the signal, of the shape of `scores`, and the negatives. At
    rest (random None) it is the signal on what the net predicts, softmax(S / T + prior + log q).
    """
    batch = targets.shape[0]
    temperature = network.temperature if random is None else 1.0
    if random is None:
        scores = scores / temperature + network.prior
    if black_box is not None:
        scores = scores + black_box
    source = source_of(learning)
    negatives = draw(
        source,
        scores[:batch],
        targets,
        count=learning.num_negatives,
        temperature=learning.negatives_temperature,
        exclude_truth=excludes_truth(learning.objective, source, learning.exclude_truth),
        unigram=unigram,
        generator=random,
    )
    real, apart = signal(
        learning.objective,
        scores[:batch],
        targets,
        negatives,
        threshold=threshold_of(network, learning, layers),
        alpha=learning.alpha,
        negative_scores=scores[batch:] if len(scores) > batch else None,
    )
    return (real if apart is None else torch.cat([real, apart])) / temperature, negatives


def threshold_of(network: SequenceNetwork, learning: LearningConfig, layers: int) -> float:
    """θ for a score summed over so many layers.

    By default the number of units in the score for `squares` (a mean square of one for each unit, as in Hinton's
    experiments), else 0: the goodness of `agreement` has either sign.
    """
    if learning.threshold is not None:
        return learning.threshold
    return float(layers * (network.config.units or 0)) if network.config.goodness == "squares" else 0.0

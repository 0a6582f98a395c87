"""A passage of held-out text, and what a net and each of its layers expected at every position of it.

Shape letters: n positions, k candidates, B positions in a batch, V alphabet size, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffseq.alphabet import Alphabet
from ffseq.layers.literal import LiteralLayer
from ffseq.layers.memory import MemoryLayer
from ffseq.passes import passes
from ffseq.sampling import bits_of
from ffseq.segments import Segment, positions_of

if TYPE_CHECKING:
    from ffseq.network import SequenceNetwork

#: Candidates told for each position, at most.
TOP = 10
#: Symbols of the text before a passage that are shown with it, at most.
LEAD = 40


@dataclass(frozen=True)
class View:
    """What was expected by the whole net, or by one layer from its own goodness alone.

    bits: float64 (n,), the surprise of the real symbols; rank: int64 (n,), from 1; top: int64 (n, k), the most probable
    candidates, the first the most; p: float64 (n, k), their probabilities.
    """

    name: str
    bits: NDArray[np.float64]
    rank: NDArray[np.int64]
    top: NDArray[np.int64]
    p: NDArray[np.float64]


@dataclass(frozen=True)
class Passage:
    """symbols: int64 (n,); start: how many held-out symbols come before them; of: how many there are in all; lead: the
    symbols just before; breaks: the numbers of symbols that do not follow on the one before; views: the net's, then
    those of its layers.
    """

    alphabet: Alphabet
    symbols: NDArray[np.int64]
    start: int
    of: int
    lead: NDArray[np.int64]
    breaks: tuple[int, ...]
    views: tuple[View, ...]


def layer_names(network: SequenceNetwork) -> list[str]:
    """What the layers of a net are called, from the text upwards."""
    return [
        f"layer {number}{' (memory)' if isinstance(layer, MemoryLayer) else ''}"
        for number, layer in enumerate(network.stack(), start=1)
    ]


@torch.no_grad()
def read_passage(
    network: SequenceNetwork,
    symbols: NDArray[np.integer],
    segments: Sequence[Segment],
    alone: Sequence[float],
    *,
    start: int,
    length: int,
) -> Passage:
    """Read the scored symbols number `start` to `start + length` (or to the last) of the segments of `symbols` (N,).

    alone: for each layer the temperature at which its own goodness is read out (see `ffseq.scoring.alone_of`). What is
    told is what `ffseq.evaluation.evaluate_segments` counts. A layer of a literal stack that no read-out looks at says
    nothing, and has no view.
    """
    every = sum(one.stop - one.start for one in segments)
    length = min(length, every - start)
    # A black box that counts on has to have counted what comes before; without one that may be skipped.
    skipped = start if network.black_box is not None else 0
    read = _cut(segments, start - skipped, start + length)
    positions, begins = (of[skipped:] for of in positions_of(read))
    readers = ["whole net", *layer_names(network)]
    silent = [isinstance(layer, LiteralLayer) and not layer.is_read for layer in network.stack()]
    count = min(TOP, len(network.alphabet))
    views = [
        View(
            name,
            np.zeros(length),
            np.zeros(length, dtype=np.int64),
            np.zeros((length, count), dtype=np.int64),
            np.zeros((length, count)),
        )
        for name in readers
    ]
    for one in passes(network, symbols, read, batch_size=512):
        goodness = network.goodness(one.contexts, one.past)[:, one.scored]
        known = network.prior if one.black_box is None else network.prior + one.black_box
        asked = one.which >= skipped
        places = (one.which[asked] - skipped).numpy()
        asked = asked.to(goodness.device)
        expected = [network.log_probabilities(goodness.sum(0), one.black_box)]
        expected += [torch.log_softmax(own / at + known, 1) for own, at in zip(goodness, alone, strict=True)]
        for view, log_p in zip(views, expected, strict=True):
            _tell(view, places, log_p[asked], one.targets[asked])
    before = range(max(int(begins[0]), int(positions[0]) - LEAD), int(positions[0]))
    return Passage(
        alphabet=network.alphabet,
        symbols=np.take(symbols, positions).astype(np.int64),
        start=start,
        of=every,
        lead=np.asarray(symbols[before.start : before.stop]).astype(np.int64),
        breaks=tuple((np.flatnonzero(np.diff(positions) != 1) + 1).tolist()),
        views=(views[0], *(view for view, mute in zip(views[1:], silent, strict=True) if not mute)),
    )


def _tell(view: View, places: NDArray[np.int64], log_p: Tensor, targets: Tensor) -> None:
    """Write into a view what log probabilities (B, V) say of the real symbols (B,) and of the best candidates."""
    p, top = log_p.double().exp().topk(view.top.shape[1], 1)
    real = log_p.gather(1, targets[:, None])
    view.bits[places] = bits_of(log_p, targets).cpu().numpy()
    view.rank[places] = ((log_p > real).sum(1) + 1).cpu().numpy()
    view.top[places], view.p[places] = top.cpu().numpy(), p.cpu().numpy()


def _cut(segments: Sequence[Segment], first: int, last: int) -> list[Segment]:
    """The segments with the scored positions number `first` to `last` alone."""
    kept, before = [], 0
    for one in segments:
        start, stop = max(one.start, one.start + first - before), min(one.stop, one.start + last - before)
        before += one.stop - one.start
        if start < stop:
            kept.append(replace(one, start=start, stop=stop))
    return kept

"""A whole text through a net: every position once, in order, beside what the net's black box says there.

Evaluation, fitting and learning on all read a text this way; what each makes of a pass is its own affair.

Shape letters: B positions in a pass, K context length, n positions of a text, V alphabet size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ffseq.sampling import bits_of
from ffseq.segments import Segments, positions_of, scored_symbols
from ffseq.windows import ordered, ordered_strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffseq.blackbox import BlackBox
    from ffseq.network import Past, SequenceNetwork
    from ffseq.segments import Segment


@dataclass(frozen=True)
class Pass:
    """Some positions of a text, in order.

    contexts: as `SequenceNetwork.upward` takes them, int64; past: what a causal stack remembers; scored: (B,) mask of
    the positions to be scored, the others are the text before; targets: int64, of the scored positions; which: the
    number of each scored position among all of them, int64, on the CPU; black_box: its log probabilities for them
    (number scored, V) float32, or None.
    """

    contexts: Tensor
    targets: Tensor
    past: Past | None
    scored: Tensor
    which: Tensor
    black_box: Tensor | None


class Tables:
    """What a black box says of a text, kept for the next time that the same segments of it are asked for.

    A net is evaluated on the same text again and again, and the copies of it as well: they share what is kept.
    """

    def __init__(self, box: BlackBox) -> None:
        self._box = box
        self._kept: list[tuple[NDArray[np.integer], Segments, NDArray[np.float16]]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Tables:
        return self  # a table follows from the box and the text, and a copy of a net has the same box

    def of(self, symbols: NDArray[np.integer], segments: Sequence[Segment]) -> NDArray[np.float16]:
        """Log probabilities (n, V) float16 for all scored positions of the segments of `symbols` (N,), in order."""
        for text, asked, table in self._kept:
            if text is symbols and asked == segments:
                return table
        table = self._box.of_text(symbols, *positions_of(segments))
        # The last two: the text that the read-out is fitted on and the text that is scored take turns.
        self._kept = [*self._kept[-1:], (symbols, Segments.of(segments), table)]
        return table


def passes(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], *, batch_size: int = 2048
) -> Iterator[Pass]:
    """Every position of the segments of `symbols` (N,) once, in order, on the net's device."""
    device = network.prior.device
    size = len(network.alphabet)
    table = None if network.tables is None else network.tables.of(symbols, segments)

    def one(contexts: Tensor, targets: Tensor, past: Past | None, which: Tensor) -> Pass:
        scored = which >= 0
        which = which[scored]
        outside = None if table is None else torch.from_numpy(table[which.numpy()]).to(device).float()
        return Pass(contexts.to(device), targets[scored].to(device), past, scored.to(device), which, outside)

    if not network.is_causal:
        if network.config.stack == "literal" and network.config.readout != "softmax":
            # Every candidate is a pass of its own: the same memory for fewer positions.
            batch_size = max(1, batch_size // (size + 1))
        for contexts, targets, which in ordered(
            symbols, segments, block_size=network.block_size, alphabet_size=size, batch_size=batch_size
        ):
            yield one(contexts, targets, None, which)
        return
    past: Past = {}
    for contexts, targets, which, fresh in ordered_strings(
        symbols,
        segments,
        block_size=network.block_size,
        alphabet_size=size,
        reach=network.reach,
        batch_size=batch_size,
    ):
        if fresh:
            past = {}
        yield one(contexts, targets, past, which)


def box_alone(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment]
) -> tuple[float, float] | None:
    """Total bits and accuracy of the net's black box without the layers on the segments, or None without one."""
    if network.tables is None:
        return None
    table = network.tables.of(symbols, segments)
    targets = torch.from_numpy(scored_symbols(symbols, segments))
    bits, correct = 0.0, 0
    for first in range(0, len(table), 65_536):
        log_p = torch.log_softmax(torch.from_numpy(table[first : first + 65_536]).float(), 1)
        some = targets[first : first + 65_536]
        bits += float(bits_of(log_p, some).sum())
        correct += int((log_p.argmax(1) == some).sum())
    return bits, correct / max(len(table), 1)

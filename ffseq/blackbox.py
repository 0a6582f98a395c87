"""A predictor without derivatives inside the stack: its log probabilities enter the score as a constant.

    P(next | context) = softmax(S / T + log q)         q(next | text so far), the black box's own prediction

The layers learn what it leaves over. Forward-Forward needs no derivative of what it passes through (Hinton, arXiv
2212.13345, section 1: "a black box can be inserted"), so q may come from anything that predicts:

    kneser_ney    counts of the training text (see `ffseq.baselines.ngram`)
    online        the same model, but every symbol is counted once it has been predicted (`ffseq.baselines.online`)
    MODULE:NAME   a function of your own: (symbols (N,), positions (n,), begins (n,)) → natural log probabilities
                  (n, V) of each position, from symbols[begin:position] alone

A box that had seen a symbol would leave nothing to be learned there, and would be missed on new text. So on the
training text counting models are cross-fitted: each tenth is predicted from the other nine (`online`: and from what
came before in the tenth itself). A function of your own is taken as it is.

Shape letters: N symbols, n positions, V alphabet size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffseq.baselines.ngram import KneserNey
from ffseq.baselines.online import Contexts, online_probabilities, probabilities_by_order
from ffseq.config import NetworkConfig
from ffseq.errors import FfseqError, UsageError
from ffseq.own import imported

Ints = NDArray[np.int64]
Function = Callable[[NDArray[np.integer], Ints, Ints], Any]

FOLDS = 10
#: Orders of a model that counts on, among which a mixture chooses besides the order that is best alone.
MIXED_ORDERS = (4, 6, 8, 12, 16)
#: Probabilities held at once while they are computed.
_CHUNK_NUMBERS = 4_000_000
#: A table of all training positions may take so many bytes.
LARGEST_TABLE = 8 << 30
#: No probability is taken for smaller than this, so that every log is finite in float16.
LEAST = 2.0**-20


@dataclass
class BlackBox:
    """A predictor and what it was fitted on.

    kind: as above; text: the training symbols that it counts (n,), as they lie in the corpus; order, discount: of the
    counting models.
    """

    kind: str
    alphabet_size: int
    text: NDArray[np.integer]
    order: int = 1
    discount: float = 0.9
    _function: Function | None = field(default=None, repr=False)
    _fitted: KneserNey | None = field(default=None, repr=False)
    _table: NDArray[np.float16] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.counts:
            return
        self._function = self._function or own_function(self.kind)

    def __deepcopy__(self, memo: dict[int, Any]) -> BlackBox:
        return self  # nothing about it changes: a copy of a net shares it

    @property
    def counts(self) -> bool:
        """Whether it is one of the counting models, which are fitted on the training text."""
        return self.kind in ("kneser_ney", "online")

    def of_training(self, progress: Callable[[str], None] = lambda text: None) -> NDArray[np.float16]:
        """Log probabilities (n, V) float16 of every position of its own training text, cross-fitted, and kept.

        Raises FfseqError for a text whose table would not fit in memory.
        """
        if self._table is None:
            self._table = self._cross_fitted(progress)
        return self._table

    def _cross_fitted(self, progress: Callable[[str], None]) -> NDArray[np.float16]:
        size = len(self.text)
        if size * self.alphabet_size * 2 > LARGEST_TABLE:
            raise FfseqError(
                f"a black box on {size:,} training symbols of {self.alphabet_size} kinds needs "
                f"{size * self.alphabet_size * 2 / 1e9:.0f} GB for its predictions: use a shorter text"
            )
        if not self.counts:
            return self._called(self.text, np.arange(size), np.zeros(size, dtype=np.int64))
        table = np.empty((size, self.alphabet_size), dtype=np.float16)
        contexts = Contexts.of(self.text, self.alphabet_size, self.order) if self.kind == "online" else None
        edges = [size * fold // FOLDS for fold in range(FOLDS + 1)]
        for fold, (first, last) in enumerate(itertools.pairwise(edges), start=1):
            progress(f"black box: predicting part {fold} of {FOLDS} from the others")
            if first == last:
                continue
            if contexts is not None:
                wanted = np.zeros(size, dtype=bool)
                wanted[first:last] = True
                p = online_probabilities(self.text, contexts, self.alphabet_size, self.discount, wanted)
                table[first:last] = _log(p)
                continue
            others = np.concatenate([self.text[:first], self.text[last:]])
            model = KneserNey.fit(others, self.alphabet_size, self.order, self.discount)
            positions = np.arange(first, last)
            table[first:last] = self._counted(model, self.text, positions, np.zeros_like(positions))
        return table

    def of_text(self, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> NDArray[np.float16]:
        """Log probabilities (n, V) float16 at positions of a text, in order.

        symbols: (N,); begins: (n,) the earliest symbol that may be looked at for each position. `online` counts each
        position once it has been predicted; the text between the positions is not counted. Where the text begins with
        the box's own training text, positions in there are cross-fitted.
        """
        if not self.counts:
            return self._called(symbols, positions, begins)
        own = positions < len(self.text)
        if own.any() and np.array_equal(symbols[: len(self.text)], self.text):
            table = np.empty((len(positions), self.alphabet_size), dtype=np.float16)
            table[own] = self.of_training()[positions[own]]
            if not own.all():
                table[~own] = self._of_new_text(symbols, positions[~own], begins[~own])
            return table
        return self._of_new_text(symbols, positions, begins)

    def each_of_text(self, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> list[NDArray[np.float16]]:
        """What `of_text` gives, as the last of a list. `online` also gives the predictions of its model for each of
        MIXED_ORDERS, counted alike, so that a mixture can choose between them; positions are not of its own text.
        """
        if self.kind != "online":
            return [self.of_text(symbols, positions, begins)]
        orders = [order for order in MIXED_ORDERS if order != self.order] + [self.order]
        found = self._online(symbols, positions, begins, orders)
        return [found[order] for order in orders]

    def _of_new_text(self, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> NDArray[np.float16]:
        if self.kind == "kneser_ney":
            return self._counted(self.fitted(), symbols, positions, begins)
        return self._online(symbols, positions, begins, [self.order])[self.order]

    def _online(
        self, symbols: NDArray[np.integer], positions: Ints, begins: Ints, orders: list[int]
    ) -> dict[int, NDArray[np.float16]]:
        """Log probabilities (n, V) by the model of each order that counts on."""
        longest = max(orders)
        # One text for the counts: the training text, then for each stretch of positions what may be seen before it.
        length = len(self.text)
        pieces, owners = [self.text.astype(np.int64)], [np.full(length, -1)]
        starts = [np.zeros(length, dtype=np.int64)]
        for stretch in np.split(np.arange(len(positions)), _breaks(positions, begins)):
            if not len(stretch):
                continue
            first, last = int(positions[stretch[0]]), int(positions[stretch[-1]])
            lead = min(first - int(begins[stretch[0]]), longest)
            pieces.append(np.asarray(symbols[first - lead : last + 1], dtype=np.int64))
            owners.append(np.concatenate([np.full(lead, -2), stretch]))
            starts.append(np.full(lead + last + 1 - first, length, dtype=np.int64))
            length += lead + last + 1 - first
        text, owner, begin = np.concatenate(pieces), np.concatenate(owners), np.concatenate(starts)
        begin[owner == -2] = np.flatnonzero(owner == -2)  # the lead is context and nothing else: it is not counted
        contexts = Contexts.of(text, self.alphabet_size, longest, begin)
        by_order = probabilities_by_order(
            text, contexts, self.alphabet_size, self.discount, owner >= 0, orders, skipped=owner == -2
        )
        return dict(zip(sorted(orders), map(_log, by_order), strict=True))

    def next(self, strings: NDArray[np.integer], known: Ints) -> NDArray[np.float16]:
        """Log probabilities (B, V) float16 of the symbol after each string (B, M), of which the last `known` (B,) are
        text. A model that goes on counting does not count what it is asked here.
        """
        batch, length = strings.shape
        flat = np.concatenate([strings, np.zeros((batch, 1), dtype=strings.dtype)], 1).reshape(-1)
        positions = np.arange(batch, dtype=np.int64) * (length + 1) + length
        if self.counts:
            return self._counted(self.fitted(), flat, positions, positions - known)
        return self._called(flat, positions, positions - known)

    def fitted(self) -> KneserNey:
        """The counting model of the whole training text."""
        if self._fitted is None:
            self._fitted = KneserNey.fit(self.text, self.alphabet_size, self.order, self.discount)
        return self._fitted

    def _counted(
        self, model: KneserNey, symbols: NDArray[np.integer], positions: Ints, begins: Ints
    ) -> NDArray[np.float16]:
        table = np.empty((len(positions), self.alphabet_size), dtype=np.float16)
        step = max(1, _CHUNK_NUMBERS // self.alphabet_size)
        for first in range(0, len(positions), step):
            some = slice(first, first + step)
            table[some] = _log(model.probabilities(symbols, positions[some], begins[some]))
        return table

    def _called(self, symbols: NDArray[np.integer], positions: Ints, begins: Ints) -> NDArray[np.float16]:
        assert self._function is not None
        try:
            log_p = np.asarray(self._function(symbols, positions, begins), dtype=np.float64)
        except Exception as error:
            raise FfseqError(f"black box {self.kind} failed: {type(error).__name__}: {error}") from error
        expected = (len(positions), self.alphabet_size)
        if log_p.shape != expected:
            raise FfseqError(f"black box {self.kind} returned an array of shape {log_p.shape}, expected {expected}")
        sums = np.exp(log_p).sum(1)
        if not np.allclose(sums, 1, atol=1e-3):
            worst = int(np.nanargmax(np.abs(np.nan_to_num(sums, nan=np.inf) - 1)))
            raise FfseqError(
                f"black box {self.kind} returned no distribution at position {int(positions[worst])}: the "
                f"probabilities there sum to {sums[worst]:.4f} (natural logarithms are expected)"
            )
        return _log(np.exp(log_p))


def black_box_of(config: NetworkConfig, text: NDArray[np.integer], alphabet_size: int) -> BlackBox:
    """The black box of a net, which counts the training symbols `text` (n,)."""
    return BlackBox(
        config.black_box, alphabet_size, text, config.black_box_order or 1, config.black_box_discount or 0.9
    )


def own_function(name: str) -> Function:
    """The function called MODULE:NAME. Raises UsageError."""
    found = imported("--black_box", name, ("kneser_ney", "online"))
    if not callable(found):
        raise UsageError(f"--black_box {name}: {name.partition(':')[2]} cannot be called")
    function: Function = found
    return function


def _log(p: NDArray[Any]) -> NDArray[np.float16]:
    logs: NDArray[np.float16] = np.log(np.maximum(p, LEAST)).astype(np.float16)
    return logs


def _breaks(positions: Ints, begins: Ints) -> Ints:
    """Where a new stretch of consecutive positions with the same begin starts, except at 0."""
    return np.flatnonzero((np.diff(positions) != 1) | (np.diff(begins) != 0)) + 1

"""How well is predicted what closes, by how far back it was opened: what context does a predictor really use?

A closing bracket has to be of the kind of its partner. Whoever does not see, or does not remember, the partner has to
guess the kind, so bits at closing brackets, sorted by distance, show how far back a predictor looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ffseq.baselines.floors import counted
from ffseq.baselines.ngram import KneserNey
from ffseq.brackets import BRACKETS, partners
from ffseq.corpus import Corpus
from ffseq.errors import UsageError
from ffseq.sampling import bits_of
from ffseq.splits import Part

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Closings:
    """Scored positions of a part where something closes.

    which: their numbers among all scored positions (m,); positions: in the text (m,); begins: the earliest symbol that
    may be seen for each (m,); distances: in symbols, to the partner (m,).
    """

    which: Ints
    positions: Ints
    begins: Ints
    distances: Ints


class ByDistance:
    """Figures where something closes in a part, by distance. Called with predictions, it notes them.

    Brackets and, in a generated text with agreement, subjects and verbs; only partners that may be seen from a position
    count. Raises UsageError for a part in which nothing closes.
    """

    def __init__(self, corpus: Corpus, part: Part) -> None:
        self.corpus = corpus
        if corpus.alphabet.pieces is not None:
            raise UsageError("--by distance is for single characters: a piece may be a bracket with something else")
        kinds = {"brackets": BRACKETS, "agreement": corpus.process.agreement if corpus.process else {}}
        found = {closes: closings(corpus, part, pairs) for closes, pairs in kinds.items()}
        self.found = {closes: one for closes, one in found.items() if len(one.which)}
        if not self.found:
            raise UsageError(
                f"no bracket of () [] {{}} closes in this part of {corpus.name} that was opened before it: "
                "--by distance has nothing to measure"
            )
        self.bits = np.full(part.symbols, np.nan)
        self.right = np.zeros(part.symbols, dtype=np.bool_)

    def __call__(self, which: Tensor, log_p: Tensor, targets: Tensor) -> None:
        """Note the scored positions numbered `which` (B,): natural log probabilities (B, V), true symbols (B,)."""
        self.bits[which.cpu().numpy()] = bits_of(log_p, targets).cpu().numpy()
        self.right[which.cpu().numpy()] = (log_p.argmax(1) == targets).cpu().numpy()

    def rows(self, floors: Mapping[str, Any] | None, exact: Floats | None) -> list[dict[str, Any]]:
        """Mean bits and accuracy by distance in powers of two, as `--json` gives them; none for distances without case.

        floors: the corpus's, whose Kneser-Ney model is fitted again for its bits at these positions; exact: the bits of
        every symbol of the text (N,) under the process that made it.
        """
        corpus, model = self.corpus, None
        if floors is not None:
            order, discount = floors["kneser_ney"]["order"], floors["kneser_ney"]["discount"]
            train = corpus.train.start, corpus.train.stop
            counts = counted(corpus.symbols, len(corpus.alphabet), order, train, corpus.begins)
            model = KneserNey(counts, order, discount)
        rows = []
        for closes, one in self.found.items():
            floor = None
            if model is not None:
                floor = -np.log2(model.target_probabilities(corpus.symbols, one.positions, one.begins))
            powers = np.frexp(one.distances)[1] - 1  # of 2, rounded down
            for power in np.unique(powers).tolist():
                here = powers == power
                which = one.which[here]
                rows.append({
                    "closes": closes,
                    "from": 2**power,
                    "to": 2 ** (power + 1) - 1,
                    "count": len(which),
                    "bits_per_character": float(self.bits[which].mean()),
                    "accuracy": float(self.right[which].mean()),
                    "kneser_ney": None if floor is None else float(floor[here].mean()),
                    "exact": None if exact is None else float(exact[one.positions[here]].mean()),
                })  # fmt: skip
        return rows


def closings(corpus: Corpus, part: Part, pairs: Mapping[str, str]) -> Closings:
    """Where in a part something closes. pairs: each symbol that opens, with the one that closes it."""
    number = {symbol: index for index, symbol in enumerate(corpus.alphabet.symbols)}
    known = {number[one]: number[other] for one, other in pairs.items() if one in number and other in number}
    which, positions, begins, distances = [], [], [], []
    scored = 0
    for segment in part.segments:
        opened = partners(np.asarray(corpus.symbols[segment.begin : segment.stop]), known)[
            segment.start - segment.begin :
        ]
        here = np.flatnonzero(opened >= 0)
        which.append(scored + here)
        positions.append(segment.start + here)
        begins.append(np.full(len(here), segment.begin))
        distances.append(segment.start + here - (segment.begin + opened[here]))
        scored += segment.stop - segment.start
    return Closings(*map(np.concatenate, (which, positions, begins, distances)))

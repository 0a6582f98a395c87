"""The floors of a corpus: what counting alone reaches on its held-out part.

Order and discount of the Kneser-Ney model are chosen on validation text; it is fitted on the training part only. A
split without validation part (Aesop in Hinton's size) chooses on the end of its training part, and then fits again on
all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffseq.baselines.ngram import Counts, KneserNey, choose
from ffseq.checkpoint import replace_file
from ffseq.corpus import cache_folder
from ffseq.segments import Segment, positions_of
from ffseq.splits import tuning

if TYPE_CHECKING:
    from ffseq.corpus import Corpus

ORDERS = tuple(range(1, 10))
DISCOUNTS = tuple(round(0.3 + 0.05 * n, 2) for n in range(14))
_CHUNK_NUMBERS = 1_000_000  # probabilities held at once
_VERSION = 1


def corpus_floors(corpus: Corpus, *, progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """`unigram` and `kneser_ney` figures on the held-out part, as `--json` prints them; computed once and cached."""
    part = corpus.held_out
    described = [_VERSION, corpus.content_sha256, corpus.split_rule, corpus.alphabet.to_json(), part.start, part.stop]
    key = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    path = cache_folder() / "floors" / f"{key[:32]}.json"
    try:
        cached = json.loads(path.read_text(encoding="utf-8"))
        if {"unigram", "kneser_ney"} <= cached.keys():
            return dict(cached)
    except (OSError, ValueError, AttributeError):
        pass
    if corpus.validation is not None:
        first, validation = corpus.train.stop, corpus.validation.segments
    else:
        first, validation = tuning(corpus.train, corpus.split_rule)
    figures = floors(
        corpus.symbols,
        len(corpus.alphabet),
        train=(corpus.train.start, corpus.train.stop),
        choose_train=(corpus.train.start, first),
        validation=validation,
        held_out=part.segments,
        documents=corpus.begins,
        progress=progress,
    )
    for model in figures.values():
        model["bits_per_character"] = model.pop("bits") / part.characters
    with contextlib.suppress(OSError):  # without a cache they are counted again the next time
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(figures).encode("utf-8"))
    return figures


def floors(
    symbols: NDArray[np.integer],
    alphabet_size: int,
    *,
    train: tuple[int, int],
    choose_train: tuple[int, int],
    validation: Sequence[Segment],
    held_out: Sequence[Segment],
    documents: NDArray[np.int64] | None = None,
    orders: Sequence[int] = ORDERS,
    discounts: Sequence[float] = DISCOUNTS,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """Total bits and accuracy of the counting models on the held-out segments of `symbols` (N,).

    choose_train: the range counted while order and discount are chosen on the validation segments; train: the range
    counted for the figures. documents: where those of the training range begin, where there are several. Accuracy is
    the share of positions whose most probable symbol is the true one.
    """
    progress("counting models: choosing order and discount")
    counts = counted(symbols, alphabet_size, max(orders), choose_train, documents)
    positions, begins = positions_of(validation)
    order, discount = choose(counts, symbols, positions, begins, orders=orders, discounts=discounts)
    if train != choose_train:
        counts = counted(symbols, alphabet_size, order, train, documents)
    model = KneserNey(counts, order, discount)
    positions, begins = positions_of(held_out)
    bits, correct = 0.0, 0
    chunk = max(1, _CHUNK_NUMBERS // alphabet_size)
    for start in range(0, len(positions), chunk):
        progress(f"counting models: order {order}, {start / len(positions):.0%}")
        at = positions[start : start + chunk]
        p = model.probabilities(symbols, at, begins[start : start + chunk])
        targets = symbols[at].astype(np.int64)
        bits -= float(np.log2(p[np.arange(len(at)), targets]).sum())
        correct += int((p.argmax(1) == targets).sum())
    frequencies = np.bincount(symbols[train[0] : train[1]], minlength=alphabet_size) + 1.0
    targets = symbols[positions].astype(np.int64)
    return {
        "unigram": {
            "bits": float(-np.log2(frequencies / frequencies.sum())[targets].sum()),
            "accuracy": float((targets == frequencies.argmax()).mean()),
        },
        "kneser_ney": {
            "order": order,
            "discount": discount,
            "bits": bits,
            "accuracy": correct / len(positions),
        },
    }


def counted(
    symbols: NDArray[np.integer],
    alphabet_size: int,
    order: int,
    of: tuple[int, int],
    documents: NDArray[np.int64] | None,
) -> Counts:
    """Counts of a range of the symbols."""
    if documents is not None:
        documents = documents[documents < of[1]] - of[0]
    return Counts.of(symbols[of[0] : of[1]], alphabet_size, order, documents)

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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffseq.alphabet import Alphabet
from ffseq.baselines.ngram import Counts, KneserNey, choose
from ffseq.checkpoint import replace_file
from ffseq.corpus import cache_folder
from ffseq.segments import Segment, Segments, positions_of
from ffseq.splits import Part, tuning

if TYPE_CHECKING:
    from ffseq.corpus import Corpus

ORDERS = tuple(range(1, 10))
DISCOUNTS = tuple(round(0.3 + 0.05 * n, 2) for n in range(14))
_CHUNK_NUMBERS = 1_000_000  # probabilities held at once
_VERSION = 1


def corpus_floors(corpus: Corpus, *, progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """`unigram` and `kneser_ney` figures on the held-out part, as `--json` prints them; computed once and cached.

    For a corpus of pieces also `kneser_ney_characters`, of the same text by single characters.
    """
    figures = _cached_floors(corpus, progress)
    if corpus.alphabet.pieces is not None:
        single = _cached_floors(by_characters(corpus), lambda text: progress(f"by single characters, {text}"))
        figures["kneser_ney_characters"] = single["kneser_ney"]
    return figures


def by_characters(corpus: Corpus) -> Corpus:
    """A corpus of pieces with single characters as its symbols: the same text, parts and documents."""
    data = [corpus.alphabet.utf8(corpus.symbols[part.start : part.stop]) for part in corpus.parts]
    text = b"".join(data).decode("utf-8")
    alphabet = Alphabet.of_characters(text)
    pieces = corpus.alphabet.pieces
    assert pieces is not None
    # A character begins with every byte that continues none.
    begun = np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in pieces.utf8])
    place = np.concatenate([[0], np.cumsum(begun[corpus.symbols])])

    def moved(part: Part) -> Part:
        segments = Segments(place[Segments.of(part.segments).rows])
        start, stop = int(place[part.start]), int(place[part.stop])
        return replace(part, start=start, stop=stop, segments=segments, symbols=stop - start)

    return replace(
        corpus,
        alphabet=alphabet,
        symbols=alphabet.encode(text),
        train=moved(corpus.train),
        validation=None if corpus.validation is None else moved(corpus.validation),
        held_out=moved(corpus.held_out),
    )


def _cached_floors(corpus: Corpus, progress: Callable[[str], None]) -> dict[str, Any]:
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

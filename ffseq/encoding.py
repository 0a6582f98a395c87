"""A text as symbols in a file, counted by parts, with the places where its documents begin."""

from __future__ import annotations

import bisect
import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ffseq.alphabet import Alphabet, Encoded
from ffseq.documents import Text
from ffseq.errors import FfseqError
from ffseq.textfile import Stretch


@dataclass
class Count:
    """What a part of a text has."""

    symbols: int = 0
    characters: int = 0
    bytes: int = 0
    dropped: int = 0
    replaced: int = 0


@dataclass
class _Place:
    """Where reading is: for the messages of errors."""

    name: str
    line: int = 1
    column: int = 1

    def begin(self, name: str) -> None:
        self.name, self.line, self.column = name, 1, 1

    def after(self, text: str) -> None:
        lines = text.count("\n")
        self.line += lines
        self.column = len(text) - text.rfind("\n") if lines else self.column + len(text)


def encode_parts(
    text: Text, alphabet: Alphabet, ends: list[int], target: Path
) -> tuple[list[Count], NDArray[np.int64]]:
    """Write the symbols of a whole text; count what lies before each end (in characters, or in bytes).

    Returns the counts, and where in the symbols documents begin, (n,) sorted, those left out of which nothing is left.
    Raises FfseqError for a character that the alphabet does not have.
    """
    counts = [Count() for _ in ends]
    by_bytes = alphabet.kind == "bytes"
    done = part = symbols = 0
    found = [np.zeros(1, dtype=np.int64)]
    place = _Place(text.name)
    with target.open("wb") as file:
        for stretch in text.stretches():
            rest: Stretch | None = stretch
            while rest is not None:
                while part < len(ends) - 1 and done >= ends[part]:
                    part += 1
                one, rest = _cut(rest, ends[part] - done, by_bytes) if part < len(ends) - 1 else (rest, None)
                encoded, begins = _encoded(one, alphabet, place)
                encoded.symbols.tofile(file)
                found.append(begins + symbols)
                symbols += len(encoded.symbols)
                size = len(one.text.encode("utf-8"))
                count = counts[part]
                count.symbols += len(encoded.symbols)
                count.characters += len(one.text)
                count.bytes += size
                count.dropped += encoded.dropped
                count.replaced += encoded.replaced
                done += size if by_bytes else len(one.text)
    begins = np.unique(np.concatenate(found))
    return counts, begins[(begins < symbols) | (begins == 0)]


def _encoded(stretch: Stretch, alphabet: Alphabet, place: _Place) -> tuple[Encoded, NDArray[np.int64]]:
    """Symbols of a stretch, and where in them documents begin. Moves the place on to the end of the stretch."""
    text, begins = stretch.text, np.asarray(stretch.begins, dtype=np.int64)
    if len(begins) > 1 and alphabet.pieces is None:
        # All at once where every character is one symbol. What is refused is refused below, where its place is known.
        with contextlib.suppress(FfseqError):
            encoded = alphabet.encode_counting(text)
            if len(encoded.symbols) == len(text):
                place.begin(stretch.names[-1])
                place.after(text[begins[-1] :])
                return encoded, begins
    pieces, sizes = [], []
    edges = [0, *stretch.begins, len(text)]
    for number, (first, last) in enumerate(itertools.pairwise(edges)):
        if number:
            place.begin(stretch.names[number - 1])
        piece = text[first:last]
        pieces.append(alphabet.encode_counting(piece, source=place.name, line=place.line, column=place.column))
        sizes.append(len(pieces[-1].symbols))
        place.after(piece)
    encoded = Encoded(
        np.concatenate([piece.symbols for piece in pieces]),
        sum(piece.dropped for piece in pieces),
        sum(piece.replaced for piece in pieces),
    )
    return encoded, np.cumsum(sizes)[:-1]


def _cut(stretch: Stretch, count: int, by_bytes: bool) -> tuple[Stretch, Stretch | None]:
    """The first `count` characters (or bytes, to the end of a character), and the rest, if there is one."""
    text = stretch.text
    if by_bytes:
        data = text.encode("utf-8")
        while count < len(data) and data[count] & 0xC0 == 0x80:
            count += 1
        count = len(data[:count].decode("utf-8"))
    if count >= len(text):
        return stretch, None
    some = bisect.bisect_left(stretch.begins, count)
    later = [begin - count for begin in stretch.begins[some:]]
    return (
        Stretch(text[:count], stretch.begins[:some], stretch.names[:some]),
        Stretch(text[count:], later, stretch.names[some:]),
    )

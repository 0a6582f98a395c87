"""Pieces of words as symbols, by SentencePiece: every text is pieces, and pieces are the text again.

SentencePiece (Kudo & Richardson 2018) writes a space as ▁ (U+2581) before it looks for pieces, so that a ▁ of the text
would come back as a space. Here it never sees one: a ▁ is its three bytes. All else that would change a text is
switched off in the model itself (see `ffseq.piece_model`), whoever made it, and a character that no piece has is its
bytes too. What pieces mean is looked up in a table, not asked of SentencePiece, which has other ideas of its own about
spaces and unknown characters.

A text has many segmentations into pieces. The one that SentencePiece prefers is what nets and counting models see, so
their bits are an upper bound of those of the text (which is the sum over all).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ffseq.errors import FfseqError
from ffseq.piece_model import lossless

#: What SentencePiece writes for a space.
SPACE = "▁"
#: Characters that are segmented together, at most: sums of scores over more would lose digits.
LONGEST = 2_000
#: What is said beside figures of pieces.
BOUND = (
    "These bits are an upper bound: a text can be made of pieces in many ways, and one of them is scored. Accuracy is "
    "that of pieces."
)
#: A file larger than this is no model.
LARGEST_FILE = 1 << 26


@dataclass(frozen=True)
class Pieces:
    """The pieces of a lossless model.

    Those that no text has (unknown, control and unused ones) are left out, the others numbered from 0 as they stand.
    """

    model: bytes = field(repr=False)

    @classmethod
    def of(cls, model: bytes) -> Self:
        """The pieces of any SentencePiece model. Raises ValueError for what is none."""
        try:
            pieces = cls(lossless(model))
            _ = pieces.utf8
        except (RuntimeError, OSError, IndexError, UnicodeDecodeError) as error:
            raise ValueError(str(error)) from error
        return pieces

    @property
    def names(self) -> tuple[str, ...]:
        """What SentencePiece calls them, each another name (V)."""
        return tuple(self._processor.id_to_piece(number) for number in self._kept)

    @cached_property
    def utf8(self) -> tuple[bytes, ...]:
        """What each is in a text, (V); a byte may be a part of a character."""
        return tuple(
            bytes.fromhex(name[3:5]) if self._processor.is_byte(number) else name.replace(SPACE, " ").encode()
            for number, name in zip(self._kept, self.names, strict=True)
        )

    def encode(self, text: str) -> NDArray[np.int64]:
        """The symbols of a text without surrogates, (n,): the preferred segmentation."""
        parts = [part for one in sentences(text) for part in re.split(f"({SPACE})", one) if part]
        numbers = self._processor.encode(parts, out_type=int, num_threads=1)
        size = len(self._symbol_of)
        signs = [size + one for one in self._spelled]
        found = np.fromiter(
            itertools.chain.from_iterable(
                signs if part == SPACE else one for part, one in zip(parts, numbers, strict=True)
            ),
            dtype=np.int64,
        )
        # A space that no piece has comes as the bytes of the sign for it: it is one byte.
        first, second, third = (found == one for one in self._spelled)
        space = np.flatnonzero(first[:-2] & second[1:-1] & third[2:])
        found[space] = self._processor.piece_to_id("<0x20>")
        return self._symbol_of[np.delete(found, np.concatenate([space + 1, space + 2])) % size]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing of it changes

    @cached_property
    def _processor(self) -> Any:
        return package().SentencePieceProcessor(model_proto=self.model)

    @cached_property
    def _kept(self) -> list[int]:
        """The numbers that SentencePiece has for the pieces."""
        of = self._processor
        numbers = range(of.get_piece_size())
        return [one for one in numbers if not (of.is_unknown(one) or of.is_control(one) or of.is_unused(one))]

    @cached_property
    def _symbol_of(self) -> NDArray[np.int64]:
        """The symbol of each of SentencePiece's numbers."""
        table = np.full(self._processor.get_piece_size(), -1, dtype=np.int64)
        table[self._kept] = np.arange(len(self._kept))
        return table

    @cached_property
    def _spelled(self) -> list[int]:
        """SentencePiece's numbers of the bytes of its sign for a space."""
        return [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]


def pieces_of_file(path: str) -> Pieces:
    """The pieces of a .model file. Raises FfseqError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise FfseqError(f"--pieces.model {path}: {error.strerror or error}") from error
    package()
    try:
        if len(content) > LARGEST_FILE:
            raise ValueError("it is too large")
        return Pieces.of(content)
    except ValueError as error:
        raise FfseqError(
            f"--pieces.model {path} is not a SentencePiece model ({' '.join(str(error).split())}): give a .model file, "
            "or leave --pieces.model out, and pieces are learned from the text"
        ) from error


def sentences(text: str) -> Iterator[str]:
    """A text in what is segmented together: lines with the breaks behind them, long ones cut before a space."""
    for line in re.finditer(r"[^\n]*\n+|[^\n]+", text):
        at, end = line.span()
        while end - at > LONGEST:
            space = text.rfind(" ", at + 1, at + LONGEST)
            cut = space if space > 0 else at + LONGEST
            yield text[at:cut]
            at = cut
        yield text[at:end]


def package() -> Any:
    """The package sentencepiece. Raises FfseqError where it is not installed."""
    try:
        import sentencepiece
    except ImportError as error:
        raise FfseqError(
            "an alphabet of pieces needs the package sentencepiece: pip install 'ffseq[pieces]'"
        ) from error
    return sentencepiece

"""Text to symbols and back.

An alphabet is a list of V symbols: the characters of a corpus, the 256 bytes, a fixed list, or pieces of words (see
`ffseq.pieces`). Symbols are numbered from 0; arrays of symbols have the smallest unsigned type that holds V − 1.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ffseq.errors import FfseqError
from ffseq.pieces import Pieces

Kind = Literal["characters", "bytes", "aesop30", "text8", "pieces"]
Unknown = Literal["error", "drop", "replace"]

FIXED: dict[str, str] = {
    "aesop30": " ,;.abcdefghijklmnopqrstuvwxyz",
    "text8": " abcdefghijklmnopqrstuvwxyz",
}
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNKNOWN = -1


@dataclass(frozen=True)
class Encoded:
    """symbols: (n,) unsigned; dropped, replaced: how many characters the alphabet did not have."""

    symbols: NDArray[np.unsignedinteger]
    dropped: int = 0
    replaced: int = 0


@dataclass(frozen=True)
class Alphabet:
    """V symbols and what to do with a character that is not among them.

    symbols: one-character strings; for `bytes` the characters U+0000 to U+00FF stand for the 256 bytes, for `pieces`
    they are the names of the `pieces`.
    """

    kind: Kind
    symbols: tuple[str, ...]
    unknown: Unknown = "error"
    pieces: Pieces | None = None

    def __post_init__(self) -> None:
        single = self.pieces is not None or all(len(symbol) == 1 for symbol in self.symbols)
        if len(set(self.symbols)) != len(self.symbols) or not single:
            raise ValueError("symbols have to be different single characters")

    @classmethod
    def of_characters(cls, characters: Iterable[str], *, unknown: Unknown = "error") -> Alphabet:
        """The distinct characters of a text (or any iterable of characters), in the order of their code points.

        With unknown="replace" U+FFFD is one of them.
        """
        distinct = set(characters) | ({REPLACEMENT} if unknown == "replace" else set())
        return cls("characters", tuple(sorted(distinct)), unknown)

    @classmethod
    def named(cls, kind: Kind, *, unknown: Unknown = "error") -> Alphabet:
        """The alphabet `bytes`, `aesop30` or `text8`."""
        symbols = map(chr, range(256)) if kind == "bytes" else FIXED[kind]
        return cls(kind, tuple(symbols), unknown)

    @classmethod
    def of_pieces(cls, pieces: Pieces) -> Alphabet:
        """The alphabet of pieces, which knows every character."""
        return cls("pieces", pieces.names, pieces=pieces)

    def __len__(self) -> int:
        return len(self.symbols)

    def with_unknown(self, unknown: Unknown) -> Alphabet:
        """The same symbols under another policy for unknown characters.

        Raises FfseqError for `replace` where the alphabet has no symbol that stands for others.
        """
        changed = replace(self, unknown=unknown)
        if unknown == "replace" and changed.replacement is None:
            raise FfseqError("this alphabet has no symbol for unknown characters: use --unknown error or drop")
        return changed

    @property
    def is_bytewise(self) -> bool:
        """Whether a symbol may be several characters, or a part of one, so that a text is its bytes."""
        return self.kind in ("bytes", "pieces")

    @property
    def is_bounding(self) -> bool:
        """Whether the bits of a text are an upper bound: it has many segmentations, and one of them is scored."""
        return self.kind == "pieces"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every symbol."""
        return np.min_scalar_type(max(len(self.symbols) - 1, 0))

    @property
    def replacement(self) -> int | None:
        """The symbol that stands for unknown characters: U+FFFD, or the space of a fixed alphabet."""
        for candidate in (REPLACEMENT, " ") if self.kind in FIXED else (REPLACEMENT,):
            if candidate in self.symbols:
                return self.symbols.index(candidate)
        return None

    def encode(self, text: str, *, source: str = "text", line: int = 1, column: int = 1) -> NDArray[np.unsignedinteger]:
        """Symbols of a text, (n,) in the smallest unsigned dtype. See `encode_counting`."""
        return self.encode_counting(text, source=source, line=line, column=column).symbols

    def encode_counting(self, text: str, *, source: str = "text", line: int = 1, column: int = 1) -> Encoded:
        """Symbols of a text, and how many characters were dropped or replaced.

        source, line, column: where the text comes from, for error messages. Raises FfseqError, under the policy
        `error`, naming the first character that the alphabet does not have, its code point and its place.
        """
        if self.is_bytewise:
            try:
                data = text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise self._refusal(text, error.start, source, line, column) from None
            if self.pieces is not None:
                return Encoded(self.pieces.encode(text).astype(self.dtype))
            return Encoded(np.frombuffer(data, dtype=np.uint8))
        if text.isascii():
            points: NDArray[Any] = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
        else:
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        found = self._table.take(points, mode="clip")
        unknown = np.flatnonzero(found == _UNKNOWN)
        if len(unknown) == 0:
            return Encoded(found.astype(self.dtype))
        if self.unknown == "error":
            raise self._refusal(text, int(unknown[0]), source, line, column)
        if self.unknown == "drop":
            return Encoded(found[found != _UNKNOWN].astype(self.dtype), dropped=len(unknown))
        assert self.replacement is not None
        found[unknown] = self.replacement
        return Encoded(found.astype(self.dtype), replaced=len(unknown))

    def decode(self, symbols: Iterable[int] | NDArray[np.integer]) -> str:
        """Text of symbols. Bytes that are not UTF-8 become U+FFFD."""
        if self.is_bytewise:
            return self.utf8(symbols).decode("utf-8", errors="replace")
        return "".join(self.symbols[int(symbol)] for symbol in symbols)

    def utf8(self, symbols: Iterable[int] | NDArray[np.integer]) -> bytes:
        """UTF-8 of symbols. Where symbols are bytes or pieces, it need not be whole characters."""
        if self.pieces is not None:
            return b"".join(self.pieces.utf8[int(symbol)] for symbol in symbols)
        if self.kind == "bytes":
            return bytes(int(symbol) for symbol in symbols)
        return self.decode(symbols).encode("utf-8", "surrogatepass")

    def to_json(self) -> dict[str, Any]:
        """What `alphabet.json` holds."""
        content: dict[str, Any] = {"kind": self.kind, "unknown": self.unknown, "symbols": list(self.symbols)}
        if self.pieces is not None:
            content["model"] = base64.b64encode(self.pieces.model).decode("ascii")
        return content

    @classmethod
    def from_json(cls, content: Any, *, source: str = "alphabet.json") -> Alphabet:
        """The inverse of `to_json`. Raises FfseqError naming the source where the content is no alphabet."""
        try:
            kind, unknown, symbols = content["kind"], content["unknown"], content["symbols"]
            if kind not in ("characters", "bytes", "pieces", *FIXED) or unknown not in ("error", "drop", "replace"):
                raise ValueError("unknown kind or policy")
            if kind == "pieces":
                known = cls.of_pieces(Pieces.of(base64.b64decode(content["model"], validate=True)))
            else:
                known = cls(kind, tuple(symbols)) if kind == "characters" else cls.named(kind)
            alphabet = replace(known, unknown=unknown)
            if alphabet.symbols != tuple(symbols):
                raise ValueError(f"these are not the symbols of {kind}")
        except (KeyError, TypeError, ValueError) as error:
            raise FfseqError(f"{source} does not describe an alphabet ({error})") from error
        return alphabet

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """Symbol of each code point up to one past the highest known; −1 where there is none."""
        points = [ord(symbol) for symbol in self.symbols]
        table = np.full(max(points, default=0) + 2, _UNKNOWN, dtype=np.int32)
        table[points] = np.arange(len(points))
        return table

    def _refusal(self, text: str, index: int, source: str, line: int, column: int) -> FfseqError:
        before = text[:index]
        lines = before.count("\n")
        at_column = len(before) - before.rfind("\n") if lines else column + len(before)
        character = text[index]
        name = unicodedata.name(character, "no name")
        return FfseqError(
            f"{source}, line {line + lines}, column {at_column}: the alphabet has no {character!a} "
            f"(U+{ord(character):04X}, {name}); use --unknown drop to leave such characters out"
            + (", or --unknown replace" if self.replacement is not None else "")
        )


def normalised(text: str, kind: str) -> str:
    """A text made fit for a fixed alphabet: lower case, other characters dropped, runs of white space one space.

    >>> normalised("The  Fox;\\nand the Crow!", "aesop30")
    'the fox; and the crow'
    """
    keep = re.escape("".join(FIXED[kind]))
    return re.sub(r"\s+", " ", re.sub(rf"[^{keep}\s]", "", text.lower()))

"""Text to symbols and back.

An alphabet is a list of V symbols: the characters of a corpus, the 256 bytes, or a fixed list. Symbols are numbered
from 0; arrays of symbols have the smallest unsigned type that holds V − 1.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ffseq.errors import FfseqError

Kind = Literal["characters", "bytes", "aesop30", "text8"]
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

    symbols: one-character strings; for `bytes` the characters U+0000 to U+00FF stand for the 256 bytes.
    """

    kind: Kind
    symbols: tuple[str, ...]
    unknown: Unknown = "error"

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols) or any(len(symbol) != 1 for symbol in self.symbols):
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
        if self.kind == "bytes":
            try:
                return Encoded(np.frombuffer(text.encode("utf-8"), dtype=np.uint8))
            except UnicodeEncodeError as error:
                raise self._refusal(text, error.start, source, line, column) from None
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
        if self.kind == "bytes":
            return bytes(int(symbol) for symbol in symbols).decode("utf-8", errors="replace")
        return "".join(self.symbols[int(symbol)] for symbol in symbols)

    def to_json(self) -> dict[str, Any]:
        """What `alphabet.json` holds."""
        return {"kind": self.kind, "unknown": self.unknown, "symbols": list(self.symbols)}

    @classmethod
    def from_json(cls, content: Any, *, source: str = "alphabet.json") -> Alphabet:
        """The inverse of `to_json`. Raises FfseqError naming the source where the content is no alphabet."""
        try:
            kind, unknown, symbols = content["kind"], content["unknown"], content["symbols"]
            if kind not in ("characters", "bytes", *FIXED) or unknown not in ("error", "drop", "replace"):
                raise ValueError("unknown kind or policy")
            alphabet = cls(kind, tuple(symbols), unknown)
            if kind != "characters" and alphabet.symbols != cls.named(kind).symbols:
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

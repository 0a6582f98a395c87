"""A UTF-8 text in a file, read in pieces: plain, .gz or .xz. A byte order mark at the beginning is left out.

What is read is a sequence of stretches, which say where in them documents begin. A file is one document; several are in
`ffseq.documents`.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ffseq.errors import FfseqError

CHUNK = 1 << 22
_BOM = codecs.BOM_UTF8


@dataclass(frozen=True)
class Scan:
    """What one pass over a text tells: its SHA-256, distinct characters, and size in characters and in bytes.

    The SHA-256 is that of the UTF-8 text; of several documents it is that of their text and of where they begin.
    """

    sha256: str
    distinct: frozenset[str]
    characters: int
    bytes: int
    documents: int


@dataclass(frozen=True)
class Stretch:
    """Some text, never none; begins: where in it documents begin, in characters; names: what messages call these."""

    text: str
    begins: Sequence[int]
    names: Sequence[str]


def scanned(stretches: Iterable[Stretch], name: str) -> Scan:
    """Read a text through once. Raises FfseqError where it is empty."""
    digest, marks, counts = hashlib.sha256(), hashlib.sha256(), np.zeros(0x110000, dtype=bool)
    characters = size = documents = 0
    for one in stretches:
        data = one.text.encode("utf-8")
        digest.update(data)
        marks.update((np.asarray(one.begins, dtype="<i8") + characters).tobytes())
        characters, size, documents = characters + len(one.text), size + len(data), documents + len(one.begins)
        if one.text.isascii():
            points = np.frombuffer(data, dtype=np.uint8)
        else:
            points = np.frombuffer(one.text.encode("utf-32-le"), dtype=np.uint32)
        counts[: int(points.max(initial=0)) + 1] |= np.bincount(points).astype(bool)
    if characters == 0:
        raise FfseqError(f"{name} is empty: there is nothing to learn from")
    if documents > 1:
        digest.update(marks.digest())
    return Scan(digest.hexdigest(), frozenset(map(chr, np.flatnonzero(counts).tolist())), characters, size, documents)


def decoded(data: Iterable[bytes], name: str) -> Iterator[str]:
    """UTF-8 in pieces as text in pieces, none of them empty. Raises FfseqError naming byte and line of what is none."""
    pending, offset, line = b"", 0, 1
    first = True
    for piece in data:
        if first and piece.startswith(_BOM):
            piece, offset = piece[len(_BOM) :], len(_BOM)
        first = False
        piece = pending + piece
        try:
            text, used = codecs.utf_8_decode(piece, "strict", False)
        except UnicodeDecodeError as error:
            raise _not_utf8(name, piece, error.start, offset, line) from None
        pending = piece[used:]
        offset += used
        line += text.count("\n")
        if text:
            yield text
    if pending:
        raise _not_utf8(name, pending, 0, offset, line)


def _not_utf8(name: str, data: bytes, start: int, offset: int, line: int) -> FfseqError:
    at = line + data[:start].count(b"\n")
    return FfseqError(
        f"{name} is not UTF-8 text: byte {offset + start} (0x{data[start]:02x}, line {at}) cannot be read; "
        "convert it to UTF-8"
    )


class TextFile:
    """A text that is read as often as needed and never held whole.

    name: what error messages call it. Reading raises FfseqError for a missing path, a folder, a damaged archive and
    bytes that are not UTF-8 (naming byte and line).
    """

    def __init__(self, path: Path | None, name: str, *, content: bytes | None = None, chunk: int = CHUNK) -> None:
        self.path, self.name, self.content, self.chunk = path, name, content, chunk
        self._scan: Scan | None = None

    @classmethod
    def of_text(cls, text: str, name: str, *, chunk: int = CHUNK) -> TextFile:
        """A text that is in memory already."""
        return cls(None, name, content=text.encode("utf-8"), chunk=chunk)

    def texts(self) -> Iterator[str]:
        """The text in pieces; together they are the whole."""
        return decoded(self._bytes(), self.name)

    def stretches(self) -> Iterator[Stretch]:
        """The text in pieces, as one document."""
        for number, text in enumerate(self.texts()):
            yield Stretch(text, () if number else (0,), () if number else (self.name,))

    def scan(self) -> Scan:
        """Read through once; the result is kept. Raises FfseqError for an empty text."""
        if self._scan is None:
            self._scan = scanned(self.stretches(), self.name)
        return self._scan

    def whole(self) -> str:
        """All of it at once; for the small texts of the catalogue that need preparing."""
        return "".join(self.texts())

    def _bytes(self) -> Iterator[bytes]:
        try:
            with self._open() as file:
                while data := file.read(self.chunk):
                    yield data
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise FfseqError(f"{self.path} is damaged or cut short: {error}") from error
        except OSError as error:
            raise FfseqError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _open(self) -> IO[bytes]:
        if self.content is not None:
            return io.BytesIO(self.content)
        assert self.path is not None
        if self.path.is_dir():
            raise FfseqError(f"{self.path} is a folder; give the path of a text file")
        opener = {".gz": gzip.open, ".xz": lzma.open}.get(self.path.suffix.lower(), open)
        return opener(self.path, "rb")  # type: ignore[operator, no-any-return]

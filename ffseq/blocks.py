"""A stream of text in blocks of symbols: from standard input as it comes, or from a prepared text, in order."""

from __future__ import annotations

import codecs
import select
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ffseq.alphabet import Alphabet
from ffseq.errors import FfseqError
from ffseq.segments import begins_at

READ = 1 << 16


@dataclass(frozen=True)
class Piece:
    """Symbols of a stream, and the characters and UTF-8 bytes of the text that they stand for.

    begins: where among them documents begin, sorted; a stream that comes is one.
    """

    symbols: NDArray[np.unsignedinteger]
    characters: int
    bytes: int
    begins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def behind(
        self, recent: NDArray[np.int64], nothing: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """This block (n,) behind the last K symbols before it, (K + n,); for each of its own the earliest that it may
        see, (n,); and the last K symbols after it, `nothing` where they are of another document.
        """
        text = np.concatenate([recent, self.symbols.astype(np.int64)])
        begins = np.concatenate([[0], self.begins + len(recent)])
        places = np.arange(len(text))
        after = np.where(places < begins[-1], nothing, text)[len(self.symbols) :]
        return text, begins_at(begins, places[len(recent) :]), after


def blocks_of_symbols(
    symbols: NDArray[np.unsignedinteger],
    alphabet: Alphabet,
    length: int,
    done: int,
    documents: NDArray[np.int64] | None = None,
) -> Iterator[Piece]:
    """A prepared text in blocks, behind the symbols that are done. documents: where they begin, sorted; None: at 0."""
    documents = np.zeros(1, dtype=np.int64) if documents is None else documents
    for start in range(done, len(symbols), length):
        block = np.asarray(symbols[start : start + length])
        first, last = np.searchsorted(documents, [start, start + length])
        begins = documents[first:last] - start
        data = alphabet.utf8(block)
        # A character begins with every byte that continues none.
        characters = sum(byte & 0xC0 != 0x80 for byte in data) if alphabet.is_bytewise else len(block)
        yield Piece(block, characters, len(data), begins)


def blocks_of_stream(stream: BinaryIO, alphabet: Alphabet, length: int) -> Iterator[Piece]:
    """UTF-8 text in blocks of symbols as it comes. While nothing comes, empty pieces, so that a signal is noticed."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    waiting, line, column, at = "", 1, 1, 0
    ended = False
    while not ended or waiting:
        if len(waiting) < length and not ended:
            data = _read(stream)
            if data is None:
                yield Piece(np.empty(0, dtype=alphabet.dtype), 0, 0)
                continue
            ended = not data
            begin = at - len(decoder.getstate()[0])
            try:
                waiting += decoder.decode(data, final=ended)
            except UnicodeDecodeError as error:
                raise FfseqError(
                    f"standard input is not UTF-8 text: byte {begin + error.start} cannot be read; what came before is "
                    "learned"
                ) from None
            at += len(data)
            continue
        block, waiting = waiting[:length], waiting[length:]
        encoded = alphabet.encode_counting(block, source="standard input", line=line, column=column)
        lines = block.count("\n")
        line, column = line + lines, len(block) - block.rfind("\n") if lines else column + len(block)
        yield Piece(encoded.symbols, len(block), len(block.encode("utf-8")))


def _read(stream: BinaryIO) -> bytes | None:
    """What is there of a stream: empty at its end, None where nothing has come for half a second."""
    try:
        ready, _, _ = select.select([stream], [], [], 0.5)
    except (OSError, ValueError, TypeError):
        return stream.read(READ)  # not something that can be waited for
    if not ready:
        return None
    read1 = getattr(stream, "read1", None)
    return bytes(read1(READ)) if read1 is not None else stream.read(READ)

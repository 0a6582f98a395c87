"""A stream of text in blocks of symbols: from standard input as it comes, or from a prepared text, in order."""

from __future__ import annotations

import codecs
import select
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ffseq.alphabet import Alphabet
from ffseq.errors import FfseqError

READ = 1 << 16


@dataclass(frozen=True)
class Piece:
    """Symbols of a stream, and the characters and UTF-8 bytes of the text that they stand for."""

    symbols: NDArray[np.unsignedinteger]
    characters: int
    bytes: int


def blocks_of_symbols(
    symbols: NDArray[np.unsignedinteger], alphabet: Alphabet, length: int, done: int
) -> Iterator[Piece]:
    """A prepared text in blocks, behind the symbols that are done."""
    for start in range(done, len(symbols), length):
        block = np.asarray(symbols[start : start + length])
        if alphabet.kind == "bytes":  # a character begins with every byte that continues none
            yield Piece(block, int(((block & 0xC0) != 0x80).sum()), len(block))
        else:
            yield Piece(block, len(block), len(alphabet.decode(block).encode("utf-8")))


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

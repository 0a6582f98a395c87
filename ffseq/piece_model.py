"""The file of a SentencePiece model, changed so that no text loses anything by it.

A .model is a protocol buffer: a sequence of numbered fields. Only what has to be changed is looked at here, so nothing
that reads such buffers is needed: the normaliser, which by default folds characters and white space together; the
trainer's paths, which are nobody else's affair; and the 256 bytes, of which every character can be made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Fields of a model; further ones, from EXTENSIONS on, are somebody's own.
PIECE, TRAINER, NORMALISER, SELF_TEST, DENORMALISER, EXTENSIONS = 1, 2, 3, 4, 5, 200
#: Fields of a piece, and the type of one that is a byte.
NAME, TYPE, IS_BYTE = 1, 3, 6
#: Fields of the trainer: the first three hold paths.
INPUT, PREFIX, SEEDS, BYTE_FALLBACK = 1, 2, 54, 35
#: Fields of the normaliser.
DUMMY_PREFIX, EXTRA_SPACES, ESCAPE = 3, 4, 5

_NUMBER, _EIGHT_BYTES, _TEXT, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class Field:
    """content: what a text or a message holds, of anything else nothing; value: of a whole number, else 0; whole: the
    field as it stands.
    """

    number: int
    content: bytes
    value: int
    whole: bytes


def lossless(model: bytes) -> bytes:
    """The same pieces with a normaliser that changes nothing, with all 256 bytes among them, and without paths.

    Raises ValueError for what is no SentencePiece model.
    """
    found = list(fields(model))
    strange = [one.number for one in found if not PIECE <= one.number <= DENORMALISER and one.number < EXTENSIONS]
    if strange or not any(one.number == PIECE for one in found):
        raise ValueError("it does not have the fields of a model")
    pieces = [one.whole for one in found if one.number == PIECE]
    types = [of.value for one in found if one.number == PIECE for of in fields(one.content) if of.number == TYPE]
    if IS_BYTE not in types:
        pieces += [_text(PIECE, _text(NAME, b"<0x%02X>" % byte) + _number(TYPE, IS_BYTE)) for byte in range(256)]
    trainer = [of for one in found if one.number == TRAINER for of in fields(one.content)]
    kept = [of.whole for of in trainer if of.number not in (INPUT, PREFIX, SEEDS, BYTE_FALLBACK)]
    escape = [
        of.value for one in found if one.number == NORMALISER for of in fields(one.content) if of.number == ESCAPE
    ]
    identity = [
        _text(NAME, b"identity"),
        _number(DUMMY_PREFIX, 0),
        _number(EXTRA_SPACES, 0),
        _number(ESCAPE, escape[-1] if escape else 1),
    ]
    return b"".join(
        [
            *pieces,
            _text(TRAINER, b"".join([*kept, _number(BYTE_FALLBACK, 1)])),
            _text(NORMALISER, b"".join(identity)),
        ]
    )


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message in order. Raises ValueError where it is none."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        kind, value, content = tag & 7, 0, b""
        if kind == _NUMBER:
            value, at = _varint(message, at)
        elif kind == _TEXT:
            size, at = _varint(message, at)
            content, at = message[at : at + size], at + size
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"there is no kind of field {kind}")
        if at > len(message):
            raise ValueError("it is cut short")
        yield Field(tag >> 3, content, value, message[start:at])


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A whole number, seven bits in each byte, the lowest first; and where it ends."""
    value = 0
    for place in range(10):
        if at + place >= len(message):
            raise ValueError("it is cut short")
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number is too long")


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _number(number: int, value: int) -> bytes:
    return _as_varint(number << 3 | _NUMBER) + _as_varint(value)


def _text(number: int, content: bytes) -> bytes:
    return _as_varint(number << 3 | _TEXT) + _as_varint(len(content)) + content

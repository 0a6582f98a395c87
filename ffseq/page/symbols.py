"""How symbols are shown to people: as they stand in a text, and by themselves; nothing of them stays invisible.

A symbol's text may be several characters, one, or, in the alphabet of bytes, a part of one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ffseq.alphabet import Alphabet

#: Stands for the bytes of a character after its first one, which shows it.
CONTINUED = "·"


def in_text(text: str) -> str:
    r"""A text with signs for what cannot be seen: a line break is seen and kept, other controls have their code.

    >>> in_text("a\n\x07")
    'a⏎\n‹07›'
    """
    return "".join("⏎\n" if character == "\n" else _sign(character) or character for character in text)


def by_itself(text: str) -> str:
    r"""A symbol as it stands in a list of candidates: no white space, no mark without a letter.

    >>> by_itself("\n"), by_itself("of "), by_itself("\u0301")
    ('⏎', 'of␣', '◌́')
    """
    shown = "".join({" ": "␣", "\n": "⏎"}.get(one) or _space(one) or _sign(one) or one for one in text)
    return "◌" + shown if shown and unicodedata.category(shown[0]) in ("Mn", "Me") else shown


def _sign(character: str) -> str | None:
    """A sign for a control character, a format character or a code that is no character; None for all others."""
    if character == "\t":
        return "⇥"
    if unicodedata.category(character)[0] == "C" or unicodedata.category(character) in ("Zl", "Zp"):
        return f"‹{ord(character):02X}›"
    return None


def _space(character: str) -> str | None:
    return f"‹{ord(character):02X}›" if unicodedata.category(character) == "Zs" else None


def names(alphabet: Alphabet, symbols: Sequence[int]) -> list[str]:
    """What each symbol is called in a list of candidates."""
    return [
        _name(alphabet.utf8([one])) if alphabet.is_bytewise else by_itself(alphabet.decode([one])) for one in symbols
    ]


def _name(data: bytes) -> str:
    """The name of whole characters, or of a byte that is a part of one."""
    return f"byte {data[0]:02X}" if len(data) == 1 and data[0] >= 0x80 else by_itself(data.decode("utf-8"))


def cells(alphabet: Alphabet, symbols: Sequence[int]) -> list[str]:
    """What each symbol of a text is shown as in it.

    The first byte of a character shows all of it, the others are dots; bytes of one that is cut off show their code.
    """
    if not alphabet.is_bytewise:
        return [in_text(alphabet.decode([one])) for one in symbols]
    shown: list[str] = []
    while len(shown) < len(symbols):
        rest = symbols[len(shown) : len(shown) + 4]
        for length in range(1, len(rest) + 1):
            try:
                shown += [in_text(alphabet.utf8(rest[:length]).decode("utf-8"))] + [CONTINUED] * (length - 1)
                break
            except UnicodeDecodeError:
                continue
        else:
            shown.append(f"‹{alphabet.utf8(rest[:1])[0]:02X}›")
    return shown

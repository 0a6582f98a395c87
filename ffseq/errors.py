"""Errors meant for people: what was wrong, where, and what to do.

The command line prints the message of an `FfseqError` and exits with its status; anything else is a defect.
"""

from __future__ import annotations


class FfseqError(Exception):
    """Something failed and the message says what to do. The command line exits with status 1."""

    exit_status = 1


class UsageError(FfseqError):
    """The request itself is wrong: an option, a name or a combination. The command line exits with status 2."""

    exit_status = 2


class Interrupted(FfseqError):
    """Somebody asked to stop; the state is saved. The command line exits with status 130."""

    exit_status = 130


def nearest(word: str, known: list[str]) -> str:
    """A hint such as ` (did you mean 'aesop'?)` for a misspelt name, or the empty string.

    >>> nearest("aesob", ["aesop", "fables"])
    " (did you mean 'aesop'?)"
    """
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

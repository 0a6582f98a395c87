"""Which part of a text is learned from, which one settings are chosen on, and which one is held out.

    A/B/C           shares in per cent, in order: training, validation, held-out; B may be 0
    hinton          Aesop in Hinton's size: train = the first 248 strings of 100 symbols, held out = the next 248, of
                    which positions 10 to 99 are scored, from inside the string; no validation part
    hinton-tuning   the same held-out part, train = the first 223 strings, validation = the other 25

Shares are counted in characters of the original text (in bytes for the alphabet of bytes, moved on to the end of a
character), and every part is encoded by itself, so its size in characters and bytes is exact. Documents are split in
their order, as one text: the one that lies across the end of a part is cut there, and of the next part its rest may be
predicted from what came before. No document is predicted from another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ffseq.alphabet import Alphabet
from ffseq.documents import Text
from ffseq.encoding import Count, encode_parts
from ffseq.errors import FfseqError, UsageError
from ffseq.segments import Segment, Segments, documents_of, joined

STRING, SCORED_FROM, STRINGS, TUNING_STRINGS = 100, 10, 248, 223


@dataclass(frozen=True)
class Part:
    """A part of a corpus: symbols start..stop−1, of which those in `segments` are scored.

    segments: one for each document, or piece of one; symbols: how many are scored; characters, bytes: Unicode
    characters and UTF-8 bytes of the original text that they stand for; dropped, replaced: characters that the alphabet
    did not have.
    """

    start: int
    stop: int
    segments: Sequence[Segment]
    symbols: int
    characters: int
    bytes: int
    dropped: int = 0
    replaced: int = 0

    def characters_of(self, symbols: int) -> int:
        """The characters that so many of its symbols stand for, on average."""
        return round(symbols * self.characters / self.symbols)


def shares(rule: str) -> tuple[int, int, int] | None:
    """The percentages of a rule A/B/C, or None for the rules with a name. Raises UsageError for anything else."""
    if rule in ("hinton", "hinton-tuning"):
        return None
    found = re.fullmatch(r"(\d+)/(\d+)/(\d+)", rule)
    if found is None:
        raise UsageError(f"--split_rule {rule}: give shares such as 80/10/10, or hinton, or hinton-tuning")
    train, validation, held_out = map(int, found.groups())
    if train + validation + held_out != 100 or train == 0 or held_out == 0:
        raise UsageError(
            f"--split_rule {rule}: training, validation and held-out shares have to add up to 100, and only the "
            "validation share may be 0"
        )
    return train, validation, held_out


def training_characters(text: Text, rule: str) -> int:
    """How many characters of a text are its training part. Raises UsageError for a rule that counts symbols."""
    percent = shares(rule)
    if percent is None:
        raise _strings_of_pieces(rule)
    return text.scan().characters * percent[0] // 100


def _strings_of_pieces(rule: str) -> UsageError:
    return UsageError(f"split {rule} is of strings of 100 characters, not of pieces: give shares such as 80/10/10")


def split(text: Text, alphabet: Alphabet, rule: str, target: Path) -> tuple[int, dict[str, Part | None]]:
    """Encode a text into `target` (raw symbols) and say where its parts are.

    Returns the number of symbols, and the parts `train`, `validation` (None where there is none), `held_out`.
    Raises UsageError for a malformed rule, FfseqError for a text too short for it or with one distinct symbol.
    """
    percent = shares(rule)
    scan = text.scan()
    if percent is None and alphabet.pieces is not None:
        raise _strings_of_pieces(rule)
    if percent is None and scan.documents > 1:
        raise UsageError(f"split {rule} is for one text, and {text.name} has {scan.documents:,} documents: give shares")
    if len(scan.distinct) < 2:
        raise FfseqError(f"{text.name} has one distinct symbol only, {next(iter(scan.distinct))!a}: nothing to predict")
    total = scan.bytes if alphabet.kind == "bytes" else scan.characters
    ends = [total] if percent is None else [total * sum(percent[: n + 1]) // 100 for n in range(3)]
    counts, begins = encode_parts(text, alphabet, ends, target)
    symbols = sum(count.symbols for count in counts)
    if percent is None:
        return symbols, _strings(text, alphabet, rule, counts[0], target)
    parts: dict[str, Part | None] = {}
    start = 0
    for name, share, count in zip(("train", "validation", "held_out"), percent, counts, strict=True):
        stop = start + count.symbols
        if share and not count.symbols:
            raise FfseqError(f"{text.name} is too short: its {name.replace('_', '-')} part (split {rule}) is empty")
        parts[name] = _part(documents_of(begins, start, stop), count) if share else None
        start = stop
    return symbols, parts


def _part(segments: Segments, count: Count) -> Part:
    return Part(
        start=segments[0].start,
        stop=segments[-1].stop,
        segments=segments,
        symbols=count.symbols,
        characters=count.characters,
        bytes=count.bytes,
        dropped=count.dropped,
        replaced=count.replaced,
    )


def _strings(text: Text, alphabet: Alphabet, rule: str, count: Count, target: Path) -> dict[str, Part | None]:
    """Hinton's size: strings of 100 symbols, each scored from position 10 on, from inside itself."""
    needed = 2 * STRINGS * STRING
    if count.symbols < needed:
        raise FfseqError(f"{text.name} is too short: split {rule} needs {needed:,} symbols, it has {count.symbols:,}")
    if count.dropped or count.replaced:
        raise UsageError(f"split {rule} counts symbols: it needs a text in which the alphabet knows every character")
    symbols = np.fromfile(target, dtype=alphabet.dtype, count=needed)
    learned = STRINGS if rule == "hinton" else TUNING_STRINGS

    def strings(first: int, last: int) -> Part:
        begins = range(first * STRING, last * STRING, STRING)
        segments = Segments.of([Segment(begin, begin + SCORED_FROM, begin + STRING) for begin in begins])
        scored = "".join(alphabet.decode(symbols[one.start : one.stop]) for one in segments)
        size = len(segments) * (STRING - SCORED_FROM)
        return Part(first * STRING, last * STRING, segments, size, len(scored), len(scored.encode("utf-8")))

    train = alphabet.decode(symbols[: learned * STRING])
    whole = Segment(0, 0, learned * STRING)
    return {
        "train": Part(0, whole.stop, Segments.of([whole]), whole.stop, len(train), len(train.encode("utf-8"))),
        "validation": strings(TUNING_STRINGS, STRINGS) if rule == "hinton-tuning" else None,
        "held_out": strings(STRINGS, 2 * STRINGS),
    }


def whole(parts: Sequence[Part]) -> Part:
    """Parts that follow each other as one part, scored from its first symbol to its last."""
    names = ("symbols", "characters", "bytes", "dropped", "replaced")
    sums = {name: sum(getattr(part, name) for part in parts) for name in names}
    segments = joined([Segments.of(part.segments) for part in parts])
    return Part(parts[0].start, parts[-1].stop, segments, **sums)


def tuning(train: Part, rule: str) -> tuple[int, Segments]:
    """Where to choose settings of counting models when a split has no validation part.

    Returns the end of the training range to count, and the segments to choose on: strings 224 to 248 for `hinton`,
    else the last tenth of the training part.
    """
    if rule == "hinton":
        begins = range(TUNING_STRINGS * STRING, STRINGS * STRING, STRING)
        strings = [Segment(begin, begin + SCORED_FROM, begin + STRING) for begin in begins]
        return TUNING_STRINGS * STRING, Segments.of(strings)
    end = train.stop - max(1, (train.stop - train.start) // 10)
    return end, Segments.of(train.segments).within(end, train.stop)

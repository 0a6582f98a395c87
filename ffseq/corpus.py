"""A text as symbols on disk: read in pieces, split, encoded, cached.

Where it comes from is in `ffseq.sources`. The symbols of a corpus are one memory-mapped array; parts and segments are
ranges of it, and so is each of its documents. Nothing holds a whole text in memory except the few prepared ones of the
catalogue.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffseq.alphabet import Alphabet
from ffseq.catalogue import PREPARATIONS, Entry, Process, cache_folder, catalogue, process_of
from ffseq.config import PiecesConfig, TrainConfig
from ffseq.documents import Text
from ffseq.errors import FfseqError
from ffseq.piece_learning import learn_pieces
from ffseq.pieces import pieces_of_file
from ffseq.segments import Segment, Segments
from ffseq.sources import opened
from ffseq.splits import Part, split, training_characters, whole
from ffseq.textfile import TextFile

__all__ = ["Corpus", "Part", "Segment", "cache_folder", "corpus_of", "load_corpus"]

PARTS = ("train", "validation", "held_out")
_CACHE_VERSION = 2


@dataclass(frozen=True)
class Corpus:
    """symbols: (N,) read-only memory map; bytes: size of the UTF-8 text; documents: how many there are that are not
    empty; process: what generated the text, where known.
    """

    name: str
    alphabet: Alphabet
    symbols: NDArray[np.unsignedinteger]
    train: Part
    validation: Part | None
    held_out: Part
    split_rule: str
    content_sha256: str
    bytes: int
    documents: int = 1
    process: Process | None = None

    @property
    def parts(self) -> list[Part]:
        """The parts that there are, in order."""
        return [part for part in (self.train, self.validation, self.held_out) if part is not None]

    @property
    def entropy_rate(self) -> float | None:
        """Bits per symbol that no predictor can stay below on average, where known."""
        return None if self.process is None else self.process.entropy_rate()

    def exact_bits(self) -> NDArray[np.float64] | None:
        """Bits of every symbol (N,) under the process that generated the text, given all before it.

        None where it was not generated, or where the symbols are not its characters.
        """
        if self.process is None or any(part.dropped or part.replaced for part in self.parts):
            return None
        text = self.alphabet.decode(self.symbols)
        return self.process.symbol_bits(text) if len(text) == len(self.symbols) else None

    @property
    def every(self) -> Part:
        """All parts as one."""
        return whole(self.parts)

    @property
    def begins(self) -> NDArray[np.int64] | None:
        """Where documents begin, (n,) sorted; None for one document."""
        return Segments.of(self.every.segments).starts if self.documents > 1 else None


def load_corpus(
    corpus: str = "fables",
    *,
    alphabet: str | Alphabet | PiecesConfig = "auto",
    unknown: str = "error",
    split_rule: str = "auto",
    known_splits: Mapping[str, str] | None = None,
    split: str | None = None,
) -> Corpus:
    """A corpus by catalogue name, by path (to UTF-8 text, plain, .gz or .xz; a folder or a .zip of texts; a table), of
    the Hub (`hub:owner/name`), or from standard input (`-`): see `ffseq.sources`.

    alphabet: a kind, an Alphabet, auto (the catalogue's, else the characters of the whole text: which characters there
    are is no knowledge about their order), or a PiecesConfig (pieces of a .model, or learned from the training part).
    split_rule: auto (the catalogue's, else 80/10/10), shares in per cent of train/validation/held-out, `hinton` or
    `hinton-tuning` (see `ffseq.splits`). known_splits: the rules that auto means for texts with these SHA-256. split:
    which split of a data set, `train` by default. A bare word that is a catalogue name is that corpus even where a file
    has the same name; write ./NAME for the file.

    Raises UsageError for an unknown name or split rule, FfseqError for a text that cannot be read or encoded.
    """
    card = catalogue().get(corpus)
    if alphabet == "auto":
        alphabet = card.alphabet if card is not None else "characters"
    if alphabet == "pieces":
        alphabet = PiecesConfig()
    if isinstance(alphabet, PiecesConfig) and alphabet.model is not None:
        alphabet = Alphabet.of_pieces(pieces_of_file(alphabet.model))
    rule = split_rule if split_rule != "auto" else card.split_rule if card is not None else "80/10/10"
    known = known_splits or {} if split_rule == "auto" else {}
    try:
        with opened(corpus, split) as text:
            return _prepared(text, card, alphabet, unknown, rule, known)
    except OSError as error:
        raise FfseqError(
            f"cannot use the cache folder {cache_folder()} ({error.strerror or error}): set the environment variable "
            "FFSEQ_CACHE to a folder that can be written"
        ) from error


def corpus_of(config: TrainConfig, known: Alphabet | None = None) -> Corpus:
    """The corpus that settings name. known: the alphabet of the run that goes on, if one does: its pieces are kept, not
    learned anew. Raises as `load_corpus`.
    """
    text = config.text
    alphabet: str | Alphabet | PiecesConfig = text.alphabet
    if text.alphabet == "pieces":
        alphabet = known if known is not None and known.pieces is not None else config.pieces
    return load_corpus(
        text.corpus, alphabet=alphabet, unknown=text.unknown, split_rule=text.split_rule, split=text.split
    )


def _prepared(
    text: Text | None,
    card: Entry | None,
    alphabet: str | Alphabet | PiecesConfig,
    unknown: str,
    rule: str,
    known_splits: Mapping[str, str],
) -> Corpus:
    process = None if card is None else process_of(card)
    if card is not None and process is not None:
        text = TextFile.of_text(process.text(), card.name)
    elif card is not None and card.preparation:
        assert isinstance(text, TextFile)
        text = TextFile.of_text(PREPARATIONS[card.preparation](text.whole()), card.name)
    assert text is not None
    content = text.scan().sha256
    rule = known_splits.get(content, rule)
    if isinstance(alphabet, str):
        asked = alphabet
    else:
        asked = json.dumps(alphabet.to_json() if isinstance(alphabet, Alphabet) else asdict(alphabet))
    policy = alphabet.unknown if isinstance(alphabet, Alphabet) else unknown
    key = hashlib.sha256("\n".join([str(_CACHE_VERSION), content, asked, policy, rule]).encode()).hexdigest()
    folder = cache_folder() / "corpora" / key[:32]
    described = _cached(folder)
    if described is None:
        _prepare(text, alphabet, unknown, rule, folder)
        described = _cached(folder)
        if described is None:
            raise FfseqError(f"the cache folder {folder} cannot be read back; set FFSEQ_CACHE to another folder")
    return Corpus(
        name=text.name,
        alphabet=Alphabet.from_json(described["alphabet"]),
        symbols=_mapped(folder, described),
        **_parts(folder, described),
        split_rule=rule,
        content_sha256=content,
        bytes=described["bytes"],
        documents=described["documents"],
        process=process,
    )


def _cached(folder: Path) -> dict[str, Any] | None:
    """The description of a prepared corpus, or None where it is not there or not whole."""
    try:
        described = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        _parts(folder, described)
        whole = len(_mapped(folder, described)) == described["symbols"]
    except (OSError, ValueError, KeyError, TypeError, FfseqError):
        return None
    return described if whole else None


def _mapped(folder: Path, described: dict[str, Any]) -> NDArray[np.unsignedinteger]:
    return np.memmap(folder / "symbols.bin", dtype=Alphabet.from_json(described["alphabet"]).dtype, mode="r")


def _parts(folder: Path, described: dict[str, Any]) -> dict[str, Any]:
    """The parts by name, their segments memory-mapped. There may be as many segments as documents."""
    rows = np.load(folder / "segments.npy", mmap_mode="r")
    if len(rows) != described["segments"]:
        raise ValueError("segments are missing")
    parts: dict[str, Part | None] = {}
    first = 0
    for name in PARTS:
        count = described[name] and described[name]["segments"]
        if count:
            segments = Segments(rows[first : first + count])
            parts[name] = Part(**described[name] | {"segments": segments})
            first += count
        else:
            parts[name] = None
    return parts


def _prepare(text: Text, alphabet: str | Alphabet | PiecesConfig, unknown: str, rule: str, folder: Path) -> None:
    """Encode a text and write it to the cache: complete, or not at all."""
    if isinstance(alphabet, PiecesConfig):
        alphabet = Alphabet.of_pieces(learn_pieces(text, alphabet, training_characters(text, rule)))
    if isinstance(alphabet, str):
        if alphabet == "characters":
            alphabet = Alphabet.of_characters(text.scan().distinct, unknown=unknown)  # type: ignore[arg-type]
        else:
            alphabet = Alphabet.named(alphabet, unknown=unknown)  # type: ignore[arg-type]
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        symbols, parts = split(text, alphabet, rule, scratch / "symbols.bin")
        rows = np.concatenate([Segments.of(part.segments).rows for part in parts.values() if part is not None])
        described = {
            "alphabet": alphabet.to_json(),
            "symbols": symbols,
            "bytes": text.scan().bytes,
            "documents": text.scan().documents,
            "segments": len(rows),
            **{name: part and vars(part) | {"segments": len(part.segments)} for name, part in parts.items()},
        }
        np.save(scratch / "segments.npy", rows)
        (scratch / "corpus.json").write_text(json.dumps(described), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(scratch, folder)
        except OSError:
            if _cached(folder) is None:  # else another process was faster, with the same content
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

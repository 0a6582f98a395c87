"""A text as symbols on disk: found, read in pieces, split, encoded, cached.

The symbols of a corpus are one memory-mapped array; parts and segments are ranges of it. Nothing holds a whole text
in memory except the few prepared ones of the catalogue.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ffseq.alphabet import Alphabet
from ffseq.catalogue import PREPARATIONS, Entry, Process, catalogue, file_of, process_of
from ffseq.errors import FfseqError, UsageError, nearest
from ffseq.interrupt import nothing_to_save
from ffseq.splits import Part, Segment, split
from ffseq.textfile import TextFile

__all__ = ["Corpus", "Part", "Segment", "load_corpus"]

_CACHE_VERSION = 1


@dataclass(frozen=True)
class Corpus:
    """symbols: (N,) read-only memory map; bytes: size of the UTF-8 text; process: what generated it, where known."""

    name: str
    alphabet: Alphabet
    symbols: NDArray[np.unsignedinteger]
    train: Part
    validation: Part | None
    held_out: Part
    split_rule: str
    content_sha256: str
    bytes: int
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


def load_corpus(
    corpus: str = "fables",
    *,
    alphabet: str | Alphabet = "auto",
    unknown: str = "error",
    split_rule: str = "auto",
    known_splits: Mapping[str, str] | None = None,
) -> Corpus:
    """A corpus by catalogue name, by path to UTF-8 text (plain, .gz, .xz), or from standard input (`-`).

    alphabet: a kind, an Alphabet, or auto (the catalogue's, else the characters of the whole text: which characters
    there are is no knowledge about their order). split_rule: auto (the catalogue's, else 80/10/10), shares in per cent
    of train/validation/held-out, `hinton` or `hinton-tuning` (see `ffseq.splits`). known_splits: the rules that auto
    means for texts with these SHA-256. A bare word that is a catalogue
    name is that corpus even where a file has the same name; write ./NAME for the file.

    Raises UsageError for an unknown name or split rule, FfseqError for a text that cannot be read or encoded.
    """
    if not corpus:
        raise UsageError("the name of the text is empty: give a catalogue name, a path, or - for standard input")
    card = catalogue().get(corpus)
    path: Path | None
    temporary: Path | None = None
    try:
        if corpus == "-":
            path = temporary = _spooled(sys.stdin.buffer)
            name = "standard input"
        else:
            path, name = _found(corpus, card)
            if path is not None and path.exists() and not (path.is_file() or path.is_dir()):
                with path.open("rb") as pipe:
                    path = temporary = _spooled(pipe)
        if alphabet == "auto":
            alphabet = card.alphabet if card is not None else "characters"
        rule = split_rule if split_rule != "auto" else card.split_rule if card is not None else "80/10/10"
        known = known_splits or {} if split_rule == "auto" else {}
        return _prepared(name, card, path, alphabet, unknown, rule, known)
    except OSError as error:
        raise FfseqError(
            f"cannot use the cache folder {cache_folder()} ({error.strerror or error}): set the environment variable "
            "FFSEQ_CACHE to a folder that can be written"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Where prepared corpora and floors are kept: FFSEQ_CACHE, else ~/.cache/ffseq."""
    return Path(os.environ.get("FFSEQ_CACHE") or Path.home() / ".cache" / "ffseq")


def _found(corpus: str, card: Entry | None) -> tuple[Path | None, str]:
    """The file of a corpus (None where it is generated), and its name."""
    if card is not None:
        return (file_of(card) if card.file else None), card.name
    path = Path(corpus)
    if path.exists() or os.sep in corpus or path.suffix:
        return path, path.name
    known = list(catalogue())
    raise UsageError(
        f"{corpus!r} is neither a file nor a known corpus{nearest(corpus, known)}. Known corpora: {', '.join(known)}"
    )


def _spooled(pipe: IO[bytes]) -> Path:
    """What comes through a pipe, copied to a temporary file: a text is read more than once."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="stdin-", suffix=".txt")
    try:
        with open(descriptor, "wb") as file, nothing_to_save():
            shutil.copyfileobj(pipe, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _prepared(
    name: str,
    card: Entry | None,
    path: Path | None,
    alphabet: str | Alphabet,
    unknown: str,
    rule: str,
    known_splits: Mapping[str, str],
) -> Corpus:
    text = TextFile(path, name)
    process = None if card is None else process_of(card)
    if process is not None:
        text = TextFile.of_text(process.text(), name)
    elif card is not None and card.preparation:
        text = TextFile.of_text(PREPARATIONS[card.preparation](text.whole()), name)
    content = text.scan().sha256
    rule = known_splits.get(content, rule)
    asked = alphabet if isinstance(alphabet, str) else json.dumps(alphabet.to_json())
    policy = unknown if isinstance(alphabet, str) else alphabet.unknown
    key = hashlib.sha256("\n".join([str(_CACHE_VERSION), content, asked, policy, rule]).encode()).hexdigest()
    folder = cache_folder() / "corpora" / key[:32]
    described = _cached(folder)
    if described is None:
        _prepare(text, alphabet, unknown, rule, folder)
        described = _cached(folder)
        if described is None:
            raise FfseqError(f"the cache folder {folder} cannot be read back; set FFSEQ_CACHE to another folder")
    return Corpus(
        name=name,
        alphabet=Alphabet.from_json(described["alphabet"]),
        symbols=_mapped(folder, described),
        train=Part.from_json(described["train"]),
        validation=Part.from_json(described["validation"]) if described["validation"] else None,
        held_out=Part.from_json(described["held_out"]),
        split_rule=rule,
        content_sha256=content,
        bytes=described["bytes"],
        process=process,
    )


def _cached(folder: Path) -> dict[str, Any] | None:
    """The description of a prepared corpus, or None where it is not there or not whole."""
    try:
        described = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        for part in ("train", "validation", "held_out"):
            if described[part] is not None or part != "validation":
                Part.from_json(described[part])
        whole = len(_mapped(folder, described)) == described["symbols"]
    except (OSError, ValueError, KeyError, TypeError, FfseqError):
        return None
    return described if whole else None


def _mapped(folder: Path, described: dict[str, Any]) -> NDArray[np.unsignedinteger]:
    return np.memmap(folder / "symbols.bin", dtype=Alphabet.from_json(described["alphabet"]).dtype, mode="r")


def _prepare(text: TextFile, alphabet: str | Alphabet, unknown: str, rule: str, folder: Path) -> None:
    """Encode a text and write it to the cache: complete, or not at all."""
    if isinstance(alphabet, str):
        if alphabet == "characters":
            alphabet = Alphabet.of_characters(text.scan().distinct, unknown=unknown)  # type: ignore[arg-type]
        else:
            alphabet = Alphabet.named(alphabet, unknown=unknown)  # type: ignore[arg-type]
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        symbols, parts = split(text, alphabet, rule, scratch / "symbols.bin")
        described = {
            "alphabet": alphabet.to_json(),
            "symbols": symbols,
            "bytes": text.scan().bytes,
            **{part: asdict(value) if value else None for part, value in parts.items()},
        }
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

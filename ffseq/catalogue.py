"""The corpora that ffseq knows by name, and where their files are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from ffseq.errors import FfseqError, UsageError, nearest


@dataclass(frozen=True)
class Entry:
    """The card of a corpus.

    file: under FFSEQ_DATA, or in the package where `embedded`, or None where a process makes the text; hub, hub_split:
    the data set of the Hub that it can be fetched from, as CORPUS, and the splits that make up the file; bytes: the
    size of the file, where its SHA-256 is not known.
    """

    name: str
    title: str
    source: str
    licence: str
    alphabet: str
    split_rule: str
    size: str
    file: str | None = None
    embedded: bool = False
    sha256: str | None = None
    preparation: str | None = None
    process: str | None = None
    instead: str | None = None
    hub: str | None = None
    hub_split: str | None = None
    bytes: int | None = None


@cache
def catalogue() -> dict[str, Entry]:
    """All cards by name."""
    content = yaml.safe_load((resource_folder("corpora") / "catalogue.yaml").read_text(encoding="utf-8"))
    return {name: Entry(name=name, **card) for name, card in content.items()}


def entry(name: str) -> Entry:
    """The card of that name. Raises UsageError, with the nearest name."""
    known = catalogue()
    if name not in known:
        raise UsageError(f"there is no corpus {name!r}{nearest(name, list(known))}. Known corpora: {', '.join(known)}")
    return known[name]


def cache_folder() -> Path:
    """Where prepared corpora and floors are kept: FFSEQ_CACHE, else ~/.cache/ffseq."""
    return Path(os.environ.get("FFSEQ_CACHE") or Path.home() / ".cache" / "ffseq")


def resource_folder(name: str) -> Path:
    """The folder `corpora` or `presets` that comes with ffseq: inside an installed package, or in a clone."""
    package = Path(__file__).parent
    inside = package / name
    clone = {"corpora": package.parent / "corpora", "presets": package.parent / "runners" / "presets"}[name]
    return inside if inside.is_dir() else clone


def file_of(card: Entry) -> Path:
    """The file of a corpus that is not generated, its checksum verified.

    Raises FfseqError where the file is missing, or is not the file of the card.
    """
    assert card.file is not None
    if card.embedded:
        return verified(card, resource_folder("corpora") / card.file)
    for folder in data_folders():
        if (folder / card.file).is_file():
            return verified(card, folder / card.file)
    fetched = f", or fetch it from the Hub: ffseq corpora prepare {card.name}" if card.hub else ""
    if not os.environ.get("FFSEQ_DATA"):
        raise FfseqError(
            f"corpus {card.name} does not come with ffseq: set the environment variable FFSEQ_DATA to a folder that "
            f"holds {card.file} (see `ffseq corpora show {card.name}`){fetched}"
        )
    other = f"; the prefix {card.instead} may be there" if card.instead else ""
    raise FfseqError(f"corpus {card.name}: there is no {card.file} in the folder FFSEQ_DATA names{fetched}{other}")


def has_file(card: Entry) -> bool:
    """Whether the file of a corpus is there, whatever it is."""
    return card.embedded or any((folder / str(card.file)).is_file() for folder in data_folders())


def data_folders() -> list[Path]:
    """Where files of corpora are looked for; the first is where they are fetched to."""
    own = os.environ.get("FFSEQ_DATA")
    return [*([Path(own)] if own else []), cache_folder() / "data"]


def verified(card: Entry, path: Path) -> Path:
    """The path of a file that is what its card says. Raises FfseqError for any other."""
    if card.bytes is not None and path.stat().st_size != card.bytes:
        size = f"{path.stat().st_size:,} bytes and not {card.bytes:,}"
        raise FfseqError(f"corpus {card.name}: {card.file} is not the expected file (it has {size})")
    if card.sha256 is not None:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
        if digest.hexdigest() != card.sha256:
            raise FfseqError(f"corpus {card.name}: {card.file} is not the expected file (its SHA-256 differs)")
    return path


def _aesop(text: str) -> str:
    """Between the Gutenberg marks, as aesop30: DESIGN's protocol, 140,369 symbols."""
    from ffseq.alphabet import normalised

    start = text.index("\n", text.index("*** START OF")) + 1
    return normalised(text[start : text.index("*** END OF")], "aesop30")


PREPARATIONS: dict[str, Callable[[str], str]] = {"aesop": _aesop}


@dataclass(frozen=True)
class Process:
    """What generates a text, and is known exactly.

    text: the whole text; entropy_rate: bits per symbol that no predictor can stay below on average; symbol_bits: of a
    text, −log2 P of every symbol given all before it, (n,); agreement: symbols that agree at a distance, the earlier
    with the later one.
    """

    text: Callable[[], str]
    entropy_rate: Callable[[], float]
    symbol_bits: Callable[[str], NDArray[np.float64]]
    agreement: Mapping[str, str] = field(default_factory=dict)


def process_of(card: Entry) -> Process | None:
    """The process that generates a corpus, or None where it is a text of a file."""
    from ffseq import grammar, markov

    processes = {
        "markov": Process(markov.markov_text, markov.entropy_rate, markov.symbol_bits),
        "grammar": Process(grammar.grammar_text, grammar.entropy_rate, grammar.symbol_bits, grammar.AGREEMENT),
    }
    return None if card.process is None else processes[card.process]

"""Known corpora that do not come with ffseq, fetched from the Hub to where the catalogue finds them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ffseq.catalogue import Entry, data_folders, verified
from ffseq.errors import FfseqError, UsageError
from ffseq.hub import PREFIX
from ffseq.hub_data import data_set


def fetch(card: Entry) -> Path:
    """Fetch the file of a corpus, complete or not at all: into the folder FFSEQ_DATA names, else into the cache.

    The rows of its data set, one behind the other, are the file. Raises UsageError for a corpus of which the Hub has
    none, FfseqError where it cannot be reached, or gives something else than the card says.
    """
    by_hand = f"put {card.file} ({card.size}, from {card.source}) into the folder that FFSEQ_DATA names"
    if card.hub is None or card.file is None:
        raise UsageError(f"corpus {card.name} is not to be had from the Hub: {by_hand}")
    target = data_folders()[0] / card.file
    path, *words = card.hub.removeprefix(PREFIX).split(":")
    try:
        documents = data_set(path, words, card.hub_split, path).documents
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
            beside = Path(scratch) / target.name
            with beside.open("wb") as file:
                for _, pieces in documents.read():
                    file.writelines(piece.encode("utf-8") for piece in pieces)
            verified(card, beside).replace(target)
    except FfseqError as error:
        raise FfseqError(f"corpus {card.name} cannot be fetched: {error}, or {by_hand}") from error
    except OSError as error:
        raise FfseqError(f"corpus {card.name} cannot be written to {target}: {error.strerror or error}") from error
    return target

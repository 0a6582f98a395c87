"""Pieces learned from the training part of a text."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator

from ffseq.config import PiecesConfig
from ffseq.documents import Text
from ffseq.errors import FfseqError, UsageError
from ffseq.pieces import SPACE, Pieces, package, sentences

#: Characters that pieces are learned from, at most: of a longer text every so many-th line.
LEARNED = 10_000_000
#: What SentencePiece's trainer has for itself beside the pieces that are asked for: the bytes, and "unknown".
BESIDE = 257
#: Characters at which its trainer would stop, or which it uses itself; they are their bytes.
RESERVED = f"[\0\t{SPACE}▅]"


def learn_pieces(text: Text, config: PiecesConfig, characters: int) -> Pieces:
    """Pieces of the first `characters` of a text, as many as config says; the same each time.

    Raises UsageError where the text does not have so many, or has more different characters than that, FfseqError where
    none can be learned at all.
    """
    written = io.BytesIO()
    try:
        package().SentencePieceTrainer.train(
            sentence_iterator=_learned_from(text, characters),
            model_writer=written,
            model_type=config.kind,
            vocab_size=config.size + BESIDE,
            character_coverage=config.coverage,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            user_defined_symbols=["\n"],
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=1 << 20,
            num_threads=1,  # with more, sums depend on how many there are
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _refusal(str(error), text.name, config) from error
    return Pieces.of(written.getvalue())


def _learned_from(text: Text, characters: int) -> Iterator[str]:
    """The lines of the first `characters`, or of so many of them every so many-th."""
    every = -(-characters // LEARNED)
    number = 0
    for one in _first(text, characters):
        for sentence in sentences(one):
            number += 1
            if number % every == 0:
                yield from filter(None, re.split(RESERVED, sentence.rstrip("\n")))


def _first(text: Text, characters: int) -> Iterator[str]:
    """The first `characters` of a text, in pieces of which none has a part of two documents."""
    for stretch in text.stretches():
        edges = [0, *stretch.begins, len(stretch.text)]
        for start, stop in itertools.pairwise(edges):
            yield stretch.text[start : min(stop, start + characters)]
            characters -= min(stop - start, characters)
        if not characters:
            return


def _refusal(reason: str, name: str, config: PiecesConfig) -> FfseqError:
    most = re.search(r"too high.*<= (\d+)", reason)
    if most:
        return UsageError(
            f"--pieces.size {config.size} is more than the training part of {name} has pieces: "
            f"{int(most[1]) - BESIDE} at most, or a longer text"
        )
    needed = re.search(r"required_chars\. \d+ vs (\d+)", reason)
    if needed:
        return UsageError(
            f"--pieces.size {config.size} is less than the {int(needed[1]) - BESIDE} characters of {name} that are to "
            "be pieces: give more, or a smaller --pieces.coverage"
        )
    if "sentences_.empty()" in reason:
        return FfseqError(f"the training part of {name} is too short to learn pieces from")
    return FfseqError(f"no pieces could be learned from {name} ({reason.strip()})")

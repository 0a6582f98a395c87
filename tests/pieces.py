"""Pieces for tests: learned from a few fables, and as SentencePiece makes them by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sentencepiece

from ffseq.config import PiecesConfig
from ffseq.piece_learning import learn_pieces
from ffseq.pieces import Pieces
from ffseq.textfile import TextFile

FOX = (Path(__file__).parent.parent / "corpora" / "fables.txt").read_text(encoding="utf-8")[:6_000].replace("é", "e")
#: Its é is too rare to be a piece.
TEXT = FOX[:3_000] + "An é in the middle.\n" + FOX[3_000:]
PIECES = ["--alphabet", "pieces", "--pieces.size", "90"]


def learned(text: str = TEXT, **options: Any) -> Pieces:
    return learn_pieces(TextFile.of_text(text, "it"), PiecesConfig(**{"size": 90} | options), len(text))


def foreign(tmp_path: Path, **options: Any) -> Path:
    """A .model as SentencePiece makes it by itself: its own normaliser, a dummy prefix, no byte fallback, paths."""
    (tmp_path / "secret.txt").write_text(TEXT)
    sentencepiece.SentencePieceTrainer.train(
        **{"input": str(tmp_path / "secret.txt"), "model_prefix": str(tmp_path / "it"), "vocab_size": 60,
           "minloglevel": 2, "hard_vocab_limit": False} | options
    )  # fmt: skip
    return tmp_path / "it.model"

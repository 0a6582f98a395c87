"""ffseq: character-level sequence models that learn with the Forward-Forward algorithm, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ffseq.config import TrainConfig as TrainConfig
    from ffseq.corpus import load_corpus as load_corpus
    from ffseq.network import SequenceNetwork as SequenceNetwork
    from ffseq.resume import resumed as resumed
    from ffseq.runs import train as train
    from ffseq.scoring import evaluate as evaluate

_HOME = {
    "SequenceNetwork": "ffseq.network",
    "TrainConfig": "ffseq.config",
    "evaluate": "ffseq.scoring",
    "load_corpus": "ffseq.corpus",
    "resumed": "ffseq.resume",
    "train": "ffseq.runs",
}
__all__ = ["SequenceNetwork", "TrainConfig", "__version__", "evaluate", "load_corpus", "resumed", "train"]


def __getattr__(name: str) -> Any:
    # Names are looked up when first used: importing torch takes a second, in which Ctrl-C has to work already.
    if name not in _HOME:
        raise AttributeError(f"module 'ffseq' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)

"""Learning from a stream: each character is predicted, then learned, once, in order, for as long as there is text.

Nothing of the stream is kept but the last K symbols and what the layers of a causal stack remember; so memory does not
depend on its length. The figure is prequential (Dawid 1984): the bits of every character before the net learned it.
No character is seen twice, so there is nothing to hold out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ffseq.alphabet import Alphabet
from ffseq.blocks import Piece, blocks_of_stream, blocks_of_symbols
from ffseq.checkpoint import Checkpoint, replace_file
from ffseq.compute import compute, decided
from ffseq.config import TrainConfig, source_of
from ffseq.corpus import corpus_of
from ffseq.crowding import tell_if_crowded
from ffseq.errors import Interrupted, UsageError
from ffseq.network import SequenceNetwork
from ffseq.options import check, to_flat
from ffseq.progress import Progress
from ffseq.resume import alone_in, cut_log, find_run, refuse_changes
from ffseq.stream_learner import StreamLearner
from ffseq.trackers import tracked

#: A net for a stream, where nothing else is said: small enough to keep up with one.
DEFAULTS: dict[str, Any] = {"stack": "causal", "block_size": 8, "layers": 4, "units": 256, "dropout": 0.0}
RATE = 1e-3


def train_on_stream(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Learn a text once, in order, block by block, as `ffseq train --stream` does; returns its figures.

    A block is `string_length` symbols: all of them are predicted, then the layers change. Standard input is read as it
    comes and never ends the run by being slow; its alphabet has to be a fixed one (bytes by default). A text that is
    no stream is taken whole. Raises UsageError, FfseqError and Interrupted as `ffseq.train` does.
    """
    progress = progress or Progress(quiet=True)
    began = time.monotonic()
    folder, checkpoint = find_run(config)
    config = with_defaults(decided(config, checkpoint))
    if checkpoint is not None:
        refuse_changes(checkpoint, config)
    device, products = compute(config)
    alphabet, pieces, name, content = source(config, checkpoint)
    if checkpoint is not None and (checkpoint.alphabet, checkpoint.config.get("content_sha256")) != (
        alphabet.to_json(), content
    ):  # fmt: skip
        raise UsageError(f"{checkpoint.path} was trained on another text: resume with the same one, or begin anew")
    network = SequenceNetwork(config.network, alphabet, seed=config.run.seed).to(device)
    network.products = products
    with alone_in(folder):
        learner = StreamLearner(network, config, folder, progress, name, content)
        if checkpoint is not None:
            learner.restore(checkpoint)
            cut_log(folder / "log.jsonl", learner.state.step)
        progress.say(
            f"{name}: one pass in blocks of {config.run.string_length}; {len(alphabet)} kinds of symbols; "
            f"{network.parameter_count():,} weights in {config.network.layers} layers; run folder {folder}"
        )
        tell_if_crowded(progress, config.run.threads, device)
        with tracked(config.run, folder, to_flat(config), learner.state.step, progress) as learner.tracker:
            if checkpoint is None:
                learner.save()
            ended = learner.run(pieces, interrupted)
        if not ended and interrupted():
            raise Interrupted(
                f"interrupted after {learner.state.characters:,} characters; go on with --resume {folder}"
            )
        result = learner.figures() | {"seconds": time.monotonic() - began}
        replace_file(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


def with_defaults(config: TrainConfig) -> TrainConfig:
    """The settings with open ones filled in. Raises UsageError for those that a stream has no use for."""
    network = replace(
        config.network,
        **{name: value for name, value in DEFAULTS.items() if getattr(config.network, name) is None},
    )
    network = replace(network, memory_dropout=0.0)
    if network.dropout:
        raise UsageError("--stream learns each character once, as it predicted it: leave --dropout out, or give 0")
    if config.learning.method != "ff":
        raise UsageError(
            "--stream is for layers that learn by themselves: --method twin would have to store activities"
        )
    if source_of(config.learning) == "unigram":
        raise UsageError("--negatives unigram needs the frequencies of the whole text, which a stream does not tell")
    if config.learning.calibrate or (config.learning.temperature is None and config.learning.scope == "own"):
        raise UsageError(
            "with --calibrate and in --scope own the temperature is fitted on validation text: give --temperature"
        )
    if config.optimiser.average:
        raise UsageError("--average is not used by --stream: leave it out")
    if config.learning.gains is not None:
        raise UsageError("--gains are for a net at rest, and a stream is learned on: leave them out")
    rate = RATE if config.optimiser.learning_rate is None else config.optimiser.learning_rate
    config = replace(config, network=network, optimiser=replace(config.optimiser, learning_rate=rate))
    check(config)
    return config


def source(config: TrainConfig, checkpoint: Checkpoint | None) -> tuple[Alphabet, Iterator[Piece], str, str | None]:
    """The alphabet of a stream, its blocks, what it is called, and the SHA-256 of a text that is known whole.

    A resumed text goes on behind the characters that were learned; standard input goes on with whatever comes.
    """
    text, length = config.text, config.run.string_length
    if text.corpus == "-":
        if text.alphabet == "characters":
            raise UsageError(
                "which characters a stream has is not known before it ends: use --alphabet bytes, aesop30 or text8"
            )
        if text.alphabet == "pieces":
            raise UsageError("standard input comes by characters, not by pieces: use --alphabet bytes, or give a file")
        kind = "bytes" if text.alphabet == "auto" else text.alphabet
        alphabet = Alphabet.named(kind, unknown=text.unknown)
        return alphabet, blocks_of_stream(sys.stdin.buffer, alphabet, length), "standard input", None
    known = None if checkpoint is None else Alphabet.from_json(checkpoint.alphabet)
    if text.alphabet == "pieces" and known is None and config.pieces.model is None:
        raise UsageError(
            "--stream predicts a text before it knows it, and pieces learned from it know it: give those of another "
            "text, --pieces.model FILE"
        )
    corpus = corpus_of(config, known)
    done = int((checkpoint.trainer_state or {}).get("symbols", 0)) if checkpoint is not None else 0
    blocks = blocks_of_symbols(corpus.symbols, corpus.alphabet, length, done, corpus.begins)
    return corpus.alphabet, blocks, corpus.name, corpus.content_sha256

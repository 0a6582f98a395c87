"""Learning from a stream: each character is predicted, then learned, once, in order, for as long as there is text.

Nothing of the stream is kept but the last K symbols and what the layers of a causal stack remember; so memory does not
depend on its length. The figure is prequential (Dawid 1984): the bits of every character before the net learned it.
No character is seen twice, so there is nothing to hold out.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ffseq.alphabet import Alphabet
from ffseq.blocks import Piece, blocks_of_stream, blocks_of_symbols
from ffseq.checkpoint import Checkpoint, replace_file, save_checkpoint
from ffseq.compute import compute, decided
from ffseq.config import TrainConfig, source_of
from ffseq.corpus import corpus_of
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.learning import learn
from ffseq.network import Past, SequenceNetwork
from ffseq.optim import apply_changes, make_optimisers, rate_at, restore_state, state_tensors
from ffseq.options import check, to_flat
from ffseq.progress import Progress, duration
from ffseq.randomness import generator
from ffseq.resume import alone_in, cut_log, find_run, refuse_changes
from ffseq.trackers import Told, tell, tracked
from ffseq.windows import contexts_at

#: A net for a stream, where nothing else is said: small enough to keep up with one.
DEFAULTS: dict[str, Any] = {"stack": "causal", "block_size": 8, "layers": 4, "units": 256, "dropout": 0.0}
RATE = 1e-3
#: Weight of the past in the recent bits of the progress line, for each update.
RECENT = 0.99


@dataclass
class State:
    """Where a stream is. bits: of all characters before each was learned; correct: predicted as most probable."""

    step: int = 0
    seconds: float = 0.0
    symbols: int = 0
    characters: int = 0
    bytes: int = 0
    bits: float = 0.0
    correct: int = 0
    recent: float = math.nan


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


class StreamLearner:
    """A net that learns from a stream."""

    def __init__(
        self,
        network: SequenceNetwork,
        config: TrainConfig,
        folder: Path,
        progress: Progress,
        name: str,
        content_sha256: str | None,
    ) -> None:
        self.network, self.config, self.folder, self.progress = network, config, folder, progress
        self.name, self.content_sha256 = name, content_sha256
        self.layers = list(network.stack())
        self.flat = network.flat() if config.learning.hidden == "learned" else None
        self.optimisers = make_optimisers(self.layers, config.optimiser, config.run.string_length, self.flat)
        self.state = State()
        self.tracker: Told | None = None
        self.past: Past = {}
        #: The last K symbols; before the first character "before the beginning", V.
        self.recent = np.full(network.block_size, len(network.alphabet), dtype=np.int64)
        network.temperature.fill_(config.learning.temperature or 1.0)

    def run(self, pieces: Iterator[Piece], interrupted: Callable[[], bool]) -> bool:
        """Learn until the stream ends, the run's limits are reached, or until interrupted. Whether the stream ended."""
        run, state = self.config.run, self.state
        began, saved = time.monotonic() - state.seconds, time.monotonic()
        for piece in pieces:
            if len(piece.symbols):
                self._block(piece)
            state.seconds = time.monotonic() - began
            if state.step % run.log_interval == 0 and len(piece.symbols):
                self._log()
            if time.monotonic() - saved > run.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            full = (run.max_iters is not None and state.step >= run.max_iters) or (
                run.max_seconds is not None and state.seconds >= run.max_seconds
            )
            if full or interrupted():
                self.save()
                return False
        self.save()
        return True

    def _block(self, piece: Piece) -> None:
        """Predict a block, count its bits, then let every layer change."""
        network, state = self.network, self.state
        device = network.prior.device
        size = len(network.alphabet)
        text, begins, recent = piece.behind(self.recent, size)
        positions = np.arange(len(self.recent), len(text))
        contexts = contexts_at(text, positions, network.block_size, size, begins).to(device)
        targets = torch.from_numpy(text[positions]).to(device)
        update = learn(
            network,
            contexts[:, None] if network.is_causal else contexts,
            targets,
            self.config.learning,
            random=generator(self.config.run.seed, "learn", state.step, device),
            past=self.past,
        )
        bits = float(update.bits) * len(targets)
        if not math.isfinite(bits):
            raise FfseqError(
                f"the loss is not finite after {state.characters:,} characters: learning diverged. The last good state "
                f"is kept in {self.folder / 'last'}. Lower --learning_rate "
                f"(it is {self.config.optimiser.learning_rate:g})."
            )
        rate = rate_at(self.config.optimiser, state.step, 0.0)
        apply_changes(self.optimisers, self.layers, update.changes, rate, self.flat)
        self.recent = recent
        state.step += 1
        state.symbols += len(targets)
        state.characters += piece.characters
        state.bytes += piece.bytes
        state.bits += bits
        state.correct += int(update.correct)
        now = bits / len(targets)
        state.recent = now if math.isnan(state.recent) else RECENT * state.recent + (1 - RECENT) * now

    def figures(self) -> dict[str, Any]:
        """What --json prints."""
        state = self.state
        return {
            "run": str(self.folder),
            "corpus": self.name,
            "prequential_bits_per_character": state.bits / max(state.characters, 1),
            "bits_per_byte": state.bits / max(state.bytes, 1),
            "upper_bound": self.network.alphabet.is_bounding,
            "accuracy": state.correct / max(state.symbols, 1),
            "recent_bits_per_symbol": None if math.isnan(state.recent) else state.recent,
            "parameters": self.network.parameter_count(),
            "characters_seen": state.characters,
            "iterations": state.step,
            "learning_seconds": state.seconds,
            "characters_per_second": state.characters / max(state.seconds, 1e-9),
            "remembered_bytes": sum(one.numel() * one.element_size() for one in self.past.values())
            + self.recent.nbytes,
            "seed": self.config.run.seed,
            "dtype": self.config.run.dtype,
        }

    def _log(self) -> None:
        state = self.state
        mean = state.bits / max(state.characters, 1)
        line = {
            "kind": "stream", "step": state.step, "seconds": round(state.seconds, 3),
            "characters_seen": state.characters, "prequential_bits_per_character": mean,
            "recent_bits_per_symbol": state.recent,
        }  # fmt: skip
        tell(self.folder, line, self.tracker)
        self.progress.status(
            f"{state.characters:>12,} characters  {state.characters / max(state.seconds, 1e-9):,.0f}/s  "
            f"{duration(state.seconds)}  bits per character before learning it: {mean:.3f}, of late {state.recent:.3f}"
        )

    def save(self) -> None:
        """Write `last/`: the net, what its layers remember, and where the stream is."""
        state = asdict(self.state)
        state["recent"] = None if math.isnan(self.state.recent) else self.state.recent
        tensors: dict[str, Tensor] = {f"past.{number}": value for number, value in self.past.items()}
        tensors |= state_tensors(self.optimisers) | {"recent": torch.from_numpy(self.recent.copy())}
        save_checkpoint(
            self.folder / "last",
            config={
                "format": "ffseq",
                "network": asdict(self.config.network),
                "options": to_flat(self.config),
                "content_sha256": self.content_sha256,
                "step": self.state.step,
                "characters_seen": self.state.characters,
            },
            model=self.network.state_dict(),
            alphabet=self.network.alphabet.to_json(),
            trainer_state=state,
            trainer_tensors=tensors,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from what `save` wrote."""
        if checkpoint.trainer_state is None or "symbols" not in checkpoint.trainer_state:
            raise FfseqError(f"{checkpoint.path} is not the checkpoint of a stream: leave --stream out, or begin anew")
        state = dict(checkpoint.trainer_state)
        self.state = State(**state | {"recent": math.nan if state["recent"] is None else state["recent"]})
        tensors = checkpoint.trainer_tensors or {}
        self.network.load_state_dict(checkpoint.model)
        restore_state(self.optimisers, tensors)
        self.recent = tensors["recent"].numpy().copy()
        device = self.network.prior.device
        self.past = {int(key[5:]): value.to(device) for key, value in tensors.items() if key.startswith("past.")}


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

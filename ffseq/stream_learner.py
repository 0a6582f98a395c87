"""A net that learns from a stream: a block is predicted, its bits are counted, then every layer changes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ffseq.blocks import Piece
from ffseq.checkpoint import Checkpoint, save_checkpoint
from ffseq.config import TrainConfig
from ffseq.errors import FfseqError
from ffseq.learning import learn
from ffseq.network import Past, SequenceNetwork
from ffseq.optim import apply_changes, make_optimisers, rate_at, restore_state, state_tensors
from ffseq.options import to_flat
from ffseq.progress import Progress, duration
from ffseq.randomness import generator
from ffseq.trackers import Told, tell
from ffseq.windows import contexts_at

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
        now = bits / max(piece.characters, 1)
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
            "recent_bits_per_character": None if math.isnan(state.recent) else state.recent,
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
            "recent_bits_per_character": state.recent,
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

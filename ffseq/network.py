"""The stack: activities go up, the goodness of every candidate comes out of every layer, scores are their sum.

Between layers the activity is divided by its root mean square and cut off from what made it: a layer knows the
pattern of the one below, not how good it was (Hinton, arXiv 2212.13345, section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ffseq.alphabet import Alphabet
from ffseq.checkpoint import Checkpoint, load_checkpoint, resolve_run, save_checkpoint
from ffseq.config import NetworkConfig
from ffseq.corpus import Segment
from ffseq.errors import FfseqError
from ffseq.goodness import Activity, normalised
from ffseq.layers.causal import dilation, with_past
from ffseq.layers.literal import LiteralLayer
from ffseq.layers.window import Below, WindowLayer
from ffseq.randomness import generator, keep_mask
from ffseq.sampling import bits_of, stream_text
from ffseq.windows import ordered, ordered_strings

#: What a causal stack remembers: for each layer the last activities of the one below, (d, S, H).
Past = dict[int, Tensor]


class SequenceNetwork(nn.Module):
    """A stack of layers that predicts the next symbol.

    config needs `block_size`, `layers` and `units` to be set. Initial weights depend on `seed` alone. `temperature` is
    the read-out temperature T, `prior` (V,) an offset in nats: P(next | context) = softmax(S / T + prior).
    """

    temperature: Tensor
    prior: Tensor

    def __init__(self, config: NetworkConfig, alphabet: Alphabet, *, seed: int = 0) -> None:
        super().__init__()
        if config.block_size is None or config.units is None or config.layers is None:
            raise ValueError("block_size, layers and units have to be set; see ffseq.defaults.resolved")
        self.config = config
        self.alphabet = alphabet
        self.block_size = config.block_size
        self.products = torch.float32
        size = len(alphabet)
        if config.stack == "literal":
            self.layers = nn.ModuleList(
                LiteralLayer(config, alphabet_size=size, number=n, generator=generator(seed, "weights", n))
                for n in range(config.layers)
            )
        else:
            self.layers = self._window_layers(seed)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("prior", torch.zeros(size))

    def _window_layers(self, seed: int) -> nn.ModuleList:
        config, size = self.config, len(self.alphabet)
        assert config.block_size is not None
        assert config.units is not None
        assert config.layers is not None
        return nn.ModuleList(
            WindowLayer(
                alphabet_size=size,
                block_size=config.block_size if number == 0 or config.context_to_all else 0,
                below=config.units * (2 if config.stack == "causal" else 1) if number else 0,
                units=config.units,
                goodness=config.goodness,
                recency=config.recency,
                generator=generator(seed, "weights", number),
            )
            for number in range(config.layers)
        )

    def stack(self) -> Iterator[WindowLayer]:
        """The layers, from the one that sees the text upwards."""
        for layer in self.layers:
            assert isinstance(layer, WindowLayer)
            yield layer

    @property
    def is_causal(self) -> bool:
        """Whether positions see the activities of earlier ones, so that strings have to come whole or in order."""
        return self.config.stack == "causal"

    @property
    def reach(self) -> int:
        """How many characters back the prediction depends on."""
        return self.block_size + (sum(map(dilation, range(len(self.layers)))) if self.is_causal else 0)

    def upward(
        self,
        contexts: Tensor,
        *,
        past: Past | None = None,
        drop: float = 0.0,
        random: torch.Generator | None = None,
        slots: Tensor | None = None,
    ) -> Iterator[tuple[WindowLayer, Below | None, Activity]]:
        """Layer by layer: the layer, its input from below, its activity.

        contexts: (B, K) int64, or for a causal stack (T, S, K), with B = T·S positions. past: what the layers of a
        causal stack remember of the text before; empty at the beginning, and changed so that the next call goes on.
        slots: what a literal stack has in its candidate slot, (m, B) int64, by default what its read-out needs; the
        activities then have m·B rows.

        A generator: whoever asks for one layer after the other can let each go as soon as it has learned. With
        `drop`, units are left out at random; the mask of a layer is drawn from `random`.
        """
        units: Tensor | None = None
        strings = contexts.shape[1] if self.is_causal else 1
        contexts = contexts.flatten(0, -2)
        for number, layer in enumerate(self.stack()):
            below = None
            if units is not None and self.is_causal:
                before = past.get(number) if past is not None else None
                below, remembered = with_past(units, strings, dilation(number), before)
                if past is not None:
                    past[number] = remembered
            elif units is not None:
                below = Below(units, (0,), len(units))
            keep, dropped = None, 0.0
            if drop and random is not None:
                shape = (contexts.shape[0], layer.bias.shape[0])
                keep, dropped = keep_mask(shape, drop, random, contexts.device, self.products)
            if isinstance(layer, LiteralLayer):
                slots = layer.scored_slots(len(contexts)) if slots is None else slots
                activity = layer.activity(contexts, slots, units, keep, dropped, dtype=self.products)
            else:
                activity = layer(contexts, below, keep, dropped, dtype=self.products)
            yield layer, below, activity
            units = normalised(activity.units)

    def goodness(self, contexts: Tensor, past: Past | None = None) -> Tensor:
        """Goodness of every candidate in every layer, float32 (L, B, V), without dropout. See `upward`."""
        return torch.stack([layer.goodness(activity) for layer, _, activity in self.upward(contexts, past=past)])

    def scores(self, contexts: Tensor, past: Past | None = None) -> Tensor:
        """Scores S, the goodness summed over layers, float32 (B, V), without dropout. See `upward`."""
        total: Tensor | float = 0.0
        for layer, _, activity in self.upward(contexts, past=past):
            total = total + layer.goodness(activity)
        assert isinstance(total, Tensor)
        return total

    def passes(
        self, symbols: NDArray[np.integer], segments: Iterable[Segment], *, batch_size: int = 2048
    ) -> Iterator[tuple[Tensor, Tensor, Past | None, Tensor]]:
        """Every position of the segments of `symbols` once, in order, on this net's device.

        Yields contexts as `upward` takes them, targets (B,), the past, and a mask (B,) of the positions to be scored:
        a causal stack first reads the text before a segment.
        """
        device = self.prior.device
        size = len(self.alphabet)
        if not self.is_causal:
            if self.config.stack == "literal" and self.config.readout != "softmax":
                # Every candidate is a pass of its own: the same memory for fewer positions.
                batch_size = max(1, batch_size // (size + 1))
            for contexts, targets in ordered(
                symbols, segments, block_size=self.block_size, alphabet_size=size, batch_size=batch_size
            ):
                yield contexts.to(device), targets.to(device), None, torch.ones_like(targets, dtype=torch.bool)
            return
        past: Past = {}
        for contexts, targets, scored, fresh in ordered_strings(
            symbols, segments, block_size=self.block_size, alphabet_size=size, reach=self.reach, batch_size=batch_size
        ):
            if fresh:
                past = {}
            yield contexts.to(device), targets.to(device), past, scored.to(device)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Natural log of P(next symbol | context) for scores S (B, V), (B, V)."""
        return torch.log_softmax(scores / self.temperature + self.prior, 1)

    def parameter_count(self) -> int:
        """Number of learnable weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> SequenceNetwork:
        """The network that a loaded checkpoint describes. Raises FfseqError where shapes and config disagree."""
        try:
            config = NetworkConfig(**checkpoint.config["network"])
            network = cls(config, Alphabet.from_json(checkpoint.alphabet))
            network.load_state_dict(checkpoint.model)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise FfseqError(
                f"{checkpoint.path}: config.json, alphabet.json and model.safetensors do not belong together ({reason})"
            ) from error
        return network

    @classmethod
    def from_pretrained(cls, path: str | Path) -> SequenceNetwork:
        """The network of a run folder (its best/, else last/) or of a checkpoint folder. Raises FfseqError."""
        return cls.from_checkpoint(load_checkpoint(resolve_run(Path(path))))

    def save_pretrained(self, path: str | Path) -> None:
        """Write the network as a checkpoint folder that `from_pretrained` reads."""
        config = {"format": "ffseq", "network": asdict(self.config)}
        save_checkpoint(Path(path), config=config, model=self.state_dict(), alphabet=self.alphabet.to_json())

    def generate(
        self,
        start: str = "",
        *,
        max_new_tokens: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | None = None,
        seed: int = 0,
    ) -> str:
        """`start` and its continuation by up to max_new_tokens symbols; ends before `stop` if that comes first.

        Same seed, same text. Of `start` the text returned has what the net saw, which is less where the alphabet drops
        unknown characters. Raises FfseqError for a character of `start` that the alphabet does not have (unless
        the alphabet drops or replaces unknown characters) and UsageError for sampling options out of range.
        """
        prompt = self.alphabet.encode(start).tolist()
        pieces = stream_text(
            self,
            prompt,
            max_new_tokens=max_new_tokens,
            random=generator(seed, "generate", device=self.prior.device),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=stop,
        )
        return self.alphabet.decode(prompt) + "".join(pieces)

    def score(self, text: str) -> Tensor:
        """Bits of each character of a text, float64 (number of characters,), the first one predicted from nothing.

        With the alphabet of bytes the bits of a character are those of its bytes together. A character that the
        alphabet drops has no bits.
        """
        symbols = self.alphabet.encode(text)
        bits = torch.zeros(len(symbols), dtype=torch.float64)
        whole = [Segment(0, 0, len(symbols))]
        first = 0
        for contexts, targets, past, _ in self.passes(symbols, whole):
            log_p = self.log_probabilities(self.scores(contexts, past))
            bits[first : first + len(targets)] = bits_of(log_p, targets).cpu()
            first += len(targets)
        if self.alphabet.kind == "bytes":
            owner = torch.tensor([i for i, character in enumerate(text) for _ in character.encode()], dtype=torch.int64)
        else:
            known = set(self.alphabet.symbols)
            kept = [i for i, c in enumerate(text) if c in known or self.alphabet.unknown == "replace"]
            owner = torch.tensor(kept, dtype=torch.int64)
        return torch.zeros(len(text), dtype=torch.float64).index_add_(0, owner, bits)

"""The stack: activities go up, the goodness of every candidate comes out of every layer, scores are their sum.

Between layers the activity is divided by its root mean square and cut off from what made it: a layer knows the
pattern of the one below, not how good it was (Hinton, arXiv 2212.13345, section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from ffseq.alphabet import Alphabet
from ffseq.between import box_between, through
from ffseq.config import NetworkConfig, lengths_of
from ffseq.flat import Flat
from ffseq.goodness import Activity, normalised
from ffseq.layers.causal import dilation, last_begun, with_past
from ffseq.layers.literal import LiteralLayer
from ffseq.layers.memory import MemoryLayer, Recall
from ffseq.layers.window import Below, WindowLayer
from ffseq.passes import passes
from ffseq.pretrained import Pretrained
from ffseq.randomness import generator, keep_mask
from ffseq.sampling import bits_of, stream_text
from ffseq.segments import Segment

#: What a causal stack remembers: for each layer the last activities of the one below, (d, S, H).
Past = dict[int, Tensor]


def goodness_of(layer: WindowLayer | MemoryLayer, activity: Activity | Recall) -> Tensor:
    """Goodness of every candidate in a layer, float32 (B, V), from what `SequenceNetwork.upward` yields."""
    own: Tensor = layer.goodness(activity)  # type: ignore[arg-type]  # each layer is yielded with its own kind
    return own


class SequenceNetwork(Pretrained):
    """A stack of layers that predicts the next symbol.

    config needs `block_size`, `layers` and `units` to be set. Initial weights depend on `seed` alone. `temperature` is
    the read-out temperature T, `prior` (V,) an offset in nats: P(next | context) = softmax(S / T + prior). `gains` (G,)
    say how much each length of context of a memory, and then each layer, counts at rest (see `ffseq.calibration`).
    """

    gains: Tensor
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
        self.boxes = [box_between(config.between, number, config.units) for number in range(config.layers - 1)]
        size = len(alphabet)
        if config.stack == "literal":
            self.layers = nn.ModuleList(
                LiteralLayer(config, alphabet_size=size, number=n, generator=generator(seed, "weights", n))
                for n in range(config.layers)
            )
        else:
            self.layers = self._made_layers(seed)
        self.memory = (
            MemoryLayer(alphabet_size=size, lengths=lengths_of(config.memory_lengths), rows=config.memory)
            if config.memory
            else None
        )
        self._flat: Flat | None = None
        self.register_buffer("gains", torch.ones(len(self.memory.lengths if self.memory else ()) + config.layers))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("prior", torch.zeros(size))

    def _made_layers(self, seed: int) -> nn.ModuleList:
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

    def stack(self) -> Iterator[WindowLayer | MemoryLayer]:
        """The layers that learn: the memory, if there is one, and those of the stack, from the text upwards."""
        if self.memory is not None:
            yield self.memory
        yield from self._window_layers()

    def _window_layers(self) -> Iterator[WindowLayer]:
        for layer in self.layers:
            assert isinstance(layer, WindowLayer)
            yield layer

    def flat(self) -> Flat | None:
        """The weights of the layers in one row, the memory's left out; none for a literal stack."""
        if self.config.stack == "literal":
            return None
        if self._flat is None or not self._flat.holds(self.layers):
            self._flat = Flat(list(self.layers))
        return self._flat

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
        layers: range | None = None,
        units: Tensor | None = None,
        documents: bool = True,
    ) -> Iterator[tuple[WindowLayer, Below | None, Activity] | tuple[MemoryLayer, None, Recall]]:
        """Layer by layer: the layer, its input from below, its activity.

        contexts: (B, K) int64, or for a causal stack (T, S, K), with B = T·S positions. past: what the layers of a
        causal stack remember of the text before; empty at the beginning, and changed so that the next call goes on.
        slots: what a literal stack has in its candidate slot, (m, B) int64, by default what its read-out needs; the
        activities then have m·B rows. random: None at rest; in learning the source of what is left out. layers: the
        numbers of those to go through, by default all; units: what `passed_on` gave for the layer below them.
        documents: whether one may begin inside the strings of a causal stack; where none does, nobody has to look.

        A generator: whoever asks for one layer after the other can let each go as soon as it has learned. With
        `drop`, units are left out at random; the mask of a layer is drawn from `random`. At rest, activities count as
        much as their gains say.
        """
        layers = range(len(self.layers)) if layers is None else layers
        strings = contexts.shape[1] if self.is_causal else 1
        begun = last_begun(contexts, len(self.alphabet), bool(past)) if self.is_causal and documents else None
        contexts = contexts.flatten(0, -2)
        if self.memory is not None and layers.start == 0:
            yield self.memory, None, self.recall(contexts, random)
        gains = self.gains[-len(self.layers) :].tolist() if random is None else []
        flat = self.flat() if self.products != self.prior.dtype else None
        for number, layer in islice(enumerate(self._window_layers()), layers.start, layers.stop):
            if flat is not None:
                layer.rounded = flat.rounded(number, self.products)
            below = None
            if units is not None and self.is_causal:
                before = past.get(number) if past is not None else None
                below, remembered = with_past(units, strings, dilation(number), before, begun)
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
                if random is None:
                    activity = Activity(activity.units, gains[number])
            yield layer, below, activity
            if number + 1 < layers.stop:
                units = self.passed_on(number, activity)

    def passed_on(self, number: int, activity: Activity) -> Tensor:
        """What the layer above layer `number` sees of its activity: normalised, and behind the box between the two;
        (B, H) in the dtype of the activity.
        """
        units = normalised(activity.units)
        if self.config.between == "none":
            return units
        return through(self.config.between, self.boxes[number], units)

    def recall(self, contexts: Tensor, random: torch.Generator | None = None) -> Recall:
        """What the memory makes of contexts (B, K); see `upward`."""
        assert self.memory is not None
        lengths = len(self.memory.lengths)
        if random is None:
            found: Recall = self.memory(contexts)
            return Recall(found.rows, found.keep * self.gains[:lengths])
        keep, dropped = None, 0.0
        if self.config.memory_dropout:
            keep, dropped = keep_mask((len(contexts), lengths), self.config.memory_dropout, random, contexts.device)
        recalled: Recall = self.memory(contexts, keep, dropped)
        return recalled

    def goodness(self, contexts: Tensor, past: Past | None = None) -> Tensor:
        """Goodness of every candidate in every layer, float32 (L, B, V), without dropout. See `upward`."""
        return torch.stack([goodness_of(layer, activity) for layer, _, activity in self.upward(contexts, past=past)])

    def scores(self, contexts: Tensor, past: Past | None = None) -> Tensor:
        """Scores S, the goodness summed over layers, float32 (B, V), without dropout. See `upward`."""
        total: Tensor | float = 0.0
        for layer, _, activity in self.upward(contexts, past=past):
            total = total + goodness_of(layer, activity)
        assert isinstance(total, Tensor)
        return total

    def log_probabilities(self, scores: Tensor, black_box: Tensor | None = None) -> Tensor:
        """Natural log of P(next symbol | context) for scores S (B, V), (B, V).

        black_box: its log probabilities (B, V) for the same contexts, for a net that has one.
        """
        known = self.prior if black_box is None else self.prior + black_box
        return torch.log_softmax(scores / self.temperature + known, 1)

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

        With the alphabet of bytes the bits of a character are those of its bytes together. Those of a piece stand at
        the character in which it begins, and the sum is an upper bound. A character that the alphabet drops has none.
        """
        symbols = self.alphabet.encode(text)
        bits = torch.zeros(len(symbols), dtype=torch.float64)
        first = 0
        for one in passes(self, symbols, [Segment(0, 0, len(symbols))]):
            log_p = self.log_probabilities(self.scores(one.contexts, one.past)[one.scored], one.black_box)
            bits[first : first + len(one.targets)] = bits_of(log_p, one.targets).cpu()
            first += len(one.targets)
        if self.alphabet.is_bytewise:
            sizes = [len(self.alphabet.utf8([symbol])) for symbol in symbols]
            begins = torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0)[:-1]
            of_byte = torch.tensor([i for i, one in enumerate(text) for _ in one.encode()], dtype=torch.int64)
            owner = of_byte[begins]
        else:
            known = set(self.alphabet.symbols)
            kept = [i for i, c in enumerate(text) if c in known or self.alphabet.unknown == "replace"]
            owner = torch.tensor(kept, dtype=torch.int64)
        return torch.zeros(len(text), dtype=torch.float64).index_add_(0, owner, bits)

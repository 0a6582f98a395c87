"""Every setting of a run, once: the command line, the presets, the checkpoints and the Python API use these names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ffseq.errors import UsageError

#: Goodness functions, negative sources and mechanisms have a name of ours, below, or MODULE:NAME (see `ffseq.own`).
Goodness = str
Source = str
Mechanism = str
GOODNESS = ("agreement", "squares", "bounded", "opposed")
NEGATIVES = ("auto", "sampled", "expected", "argmax", "unigram", "corrupted", "rollout", "dream")
MECHANISMS = ("none", "opponent", "consolidated", "detectors")
#: Sources whose negatives are text of the net's own, see `ffseq.rollouts`.
ROLLOUTS = ("rollout", "dream")
Objective = Literal["contrast", "likelihood", "nce", "threshold", "difference"]
Scope = Literal["own", "below", "all"]
PhaseKind = Literal["interleaved", "sleep", "growing", "deprived", "sequence"]
Tracker = Literal["none", "tensorboard", "wandb"]
PieceKind = Literal["unigram", "bpe", "char"]
Between = Literal["none", "quantised", "projected", "stepped"]


@dataclass(frozen=True)
class CorpusConfig:
    """The text."""

    corpus: str = "fables"
    """A catalogue name, a path (to UTF-8 text, a folder or .zip of texts, a table), hub:owner/name, or - for standard
    input."""
    alphabet: Literal["auto", "characters", "bytes", "aesop30", "text8", "pieces"] = "auto"
    """What counts as one symbol. auto: the catalogue's choice, else the characters of the corpus. pieces: of words, by
    SentencePiece (see --pieces.kind); contexts, blocks and accuracy then count pieces."""
    unknown: Literal["error", "drop", "replace"] = "error"
    """What to do with a character outside the alphabet."""
    split_rule: str = "auto"
    """Train/validation/held-out shares such as 80/10/10, or hinton, or hinton-tuning. auto: the corpus's own rule."""
    split: str | None = None
    """Which split of a data set is read, or several, joined by +. By default train, or the only one."""


@dataclass(frozen=True)
class PiecesConfig:
    """Pieces of words as symbols, with --alphabet pieces."""

    kind: PieceKind = "unigram"
    """How SentencePiece finds them in the training part: unigram, a likely set (Kudo 2018); bpe, byte pair encoding;
    char, single characters."""
    size: int = 512
    """Pieces, single characters among them. Beside them there are always the 256 bytes, for characters without one."""
    coverage: float = 0.9995
    """Share of the training part's characters that are to be pieces themselves; the rarest are bytes."""
    model: str | None = None
    """A SentencePiece .model file, instead of learning them here. Its normaliser is replaced by one that changes
    nothing, and the 256 bytes are added if it has none."""


@dataclass(frozen=True)
class NetworkConfig:
    """The stack of layers."""

    stack: Literal["window", "causal", "literal"] | None = None
    """window: every layer sees the same K characters. causal: every layer sees further back than the one below.
    literal: as window, but the candidate goes through the whole net (Hinton's literal net). By default chosen from the
    size of the corpus."""
    block_size: int | None = None
    """K, how many characters back a layer sees the text itself. By default chosen from the size of the corpus."""
    layers: int | None = None
    """L, number of layers. By default chosen from the size of the corpus."""
    units: int | None = None
    """H, units in a layer. By default chosen from the size of the corpus."""
    goodness: Goodness = "agreement"
    """How a layer values a candidate: agreement, h·E + e; squares, the sum of squares of the gated activities with the
    candidate; bounded, agreement that cannot leave a range; opposed, squares of one half of the units less those of
    the other (see ffseq/further_goodness.py); or MODULE:NAME, a GoodnessFunction of your own (see
    ffseq/goodness.py)."""
    recency: float = 1.0
    """The character d back enters scaled by d to the power of minus this. 0: all alike."""
    context_to_all: bool = True
    """Every layer sees the context again beside the layer below."""
    dropout: float | None = None
    """Share of a layer's units left out of each update. By default chosen from the size of the corpus."""
    memory: int = 0
    """Rows of a memory for each length of context that it looks up (a power of two), or 0 for a net without memory: a
    layer whose units are hashed contexts (see ffseq/layers/memory.py)."""
    memory_lengths: str = "3,4,5,6,8"
    """Lengths of context that the memory looks up, at most the block_size."""
    memory_dropout: float = 0.5
    """Share of what the memory finds that is left out of each update."""
    between: Between = "none"
    """A black box between layers, through which no derivative passes (see ffseq/between.py)."""
    black_box: str = "none"
    """A predictor whose log probabilities enter the score, while the layers learn the rest: kneser_ney, online (the
    same, counting on as it predicts), or MODULE:NAME, a function (see ffseq/blackbox.py)."""
    black_box_order: int | None = None
    """Order of a counting black box. By default chosen on validation text."""
    black_box_discount: float | None = None
    """Discount of a counting black box. By default chosen on validation text."""
    literal_goodness: Literal["sum", "mean", "minus"] = "sum"
    """Literal stack: a layer's goodness is the sum of its squared activities, their mean, or minus the sum."""
    goodness_scale: float = 1.0
    """Literal stack: what that is multiplied by."""
    candidate_init: float = 1.0
    """Literal stack: initial size of the candidate's weights beside those of the context."""
    readout: Literal["softmax", "goodness", "both"] = "softmax"
    """Literal stack: predict by the learned softmax (one pass), by the goodness of every candidate (V passes), or by
    the sum of both."""
    readout_from: int = 2
    """Literal stack: the first layer that the read-outs look at; the top layer, if there are fewer."""


@dataclass(frozen=True)
class LearningConfig:
    """What the layers learn from."""

    method: Literal["ff", "twin"] = "ff"
    """ff: every layer computes its own change. twin: the same net by backpropagation, to compare with."""
    objective: Objective = "contrast"
    """How scores of positives and negatives become the signal."""
    scope: Scope = "all"
    """The score a layer learns from: its own goodness, that and the layers' below, or the sum of all layers."""
    negatives: Source = "auto"
    """Where negatives come from: sampled, expected, argmax, unigram, corrupted, rollout, dream, or MODULE:NAME, a
    function of your own (see ffseq/negatives.py). auto: expected for likelihood, else sampled."""
    num_negatives: int = 4
    """Sampled negatives for each positive."""
    negatives_temperature: float = 1.0
    """Temperature of the net's prediction when negatives are drawn from it."""
    exclude_truth: bool | None = None
    """Keep the real character out of the negatives. By default the objective decides."""
    threshold: float | None = None
    """θ of the threshold objective. By default the number of units in the score for goodness squares, else 0."""
    alpha: float = 1.0
    """Steepness of the difference objective."""
    corruption: float = 0.1
    """Share of the context's characters that a corrupted negative has replaced."""
    rollout_length: int = 10
    """Symbols that the net writes of a rollout or a dream, its negatives, before it begins another one."""
    hidden: Literal["learned", "random"] = "learned"
    """random: hidden weights stay as they were initialised and only the goodness read-out learns."""
    temperature: float | None = None
    """Read-out temperature. By default the one that theory gives, else fitted on validation text."""
    negatives_from: Literal["softmax", "first", "goodness"] = "softmax"
    """Literal stack: wrong characters are drawn from the softmax read-out, or from the goodness of every candidate in
    the first layer, or summed over all layers."""
    recompute: bool = False
    """Scope all: go up a second time to learn, so that no more than two layers' activities are held at once."""
    peer_normalisation: float = 0.0
    """Literal stack: λ, how strongly units are pushed towards the mean activity of their layer."""
    greedy: bool = False
    """Literal stack: one layer after the other, in equal shares of the run, instead of all at once."""
    calibrate: bool = False
    """Fit the read-out temperature on validation text even where theory gives one, and how much each layer counts: on
    small texts nets are too sure."""
    gains: str | None = None
    """How much each length of context of the memory, and then each layer, counts in the prediction, separated by
    commas. By default 1 each, or with calibrate fitted on validation text."""


@dataclass(frozen=True)
class OptimiserConfig:
    """How changes become weights."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or gradient descent with momentum."""
    learning_rate: float | None = None
    """Step size at its highest. By default the one that goes with the batch size that is chosen."""
    readout_rate: float = 1.0
    """Literal stack: the softmax read-out's step size, as a multiple of the layers'."""
    beta1: float = 0.9
    """Averaging of changes; with sgd the momentum."""
    beta2: float = 0.99
    """Averaging of squared changes (AdamW)."""
    weight_decay: float = 0.0
    """Decoupled decay of weights, in units of the learning rate."""
    warmup_iters: int = 50
    """Updates over which the rate rises from 0."""
    constant_share: float = 0.3
    """Share of the run at the full rate, before it falls linearly."""
    final_rate: float = 0.02
    """The rate at the end, as a share of the highest."""
    memory_rate: float = 0.3
    """Step size of the memory (Adagrad) at its highest; it rises and falls as learning_rate does."""
    average: float = 0.0
    """Decay of the running average of the weights that evaluation and sampling use. 0: the weights themselves."""


@dataclass(frozen=True)
class RunConfig:
    """The run."""

    out_dir: str | None = None
    """Run folder. By default runs/CORPUS-DATE-TIME; a folder that is not empty is refused without --resume."""
    resume: str | None = None
    """auto: go on from the newest checkpoint of --out_dir. Or the path of a run or a checkpoint."""
    max_iters: int | None = None
    """Updates. By default chosen from the size of the corpus."""
    max_seconds: float | None = None
    """Stop learning after so many seconds; the learning rate falls with the time used."""
    batch_size: int | None = None
    """B, positions in one update: windows, or the characters of all strings of a causal stack. By default chosen from
    the stack."""
    string_length: int = 64
    """T, characters of a training string of a causal stack (batch_size is a multiple of it), or of a stream's block."""
    stream: bool = False
    """Learn the text once, in order, each character as soon as it has been predicted; standard input as it comes."""
    short_contexts: float = 0.01
    """Share of training windows cut short at random, so that the net can begin a text from nothing."""
    eval_interval: int | None = None
    """Updates between evaluations on validation text. By default a twentieth of the run."""
    log_interval: int = 50
    """Updates between lines of log.jsonl."""
    sample_interval: int | None = None
    """Updates between samples. By default a quarter of the run; 0: none."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; one is always written at evaluation, at the end and when interrupted."""
    tracker: Tracker = "none"
    """Who is told what log.jsonl is told: TensorBoard, in the run's folder tensorboard/, or Weights & Biases."""
    pipeline: bool = False
    """Processes started by torchrun share the layers instead of every batch, in scope own or below."""
    floors: Literal["auto", "yes", "no"] = "auto"
    """Whether to fit the counting models to compare with. auto: for texts of up to 20 MB."""
    seed: int = 0
    """Seed of every random choice."""
    threads: int = 0
    """CPU threads; 0: all cores."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. auto: a GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the matrix products; weights are always float32. auto: bfloat16 where a product is faster in it."""


@dataclass(frozen=True)
class PhasesConfig:
    """Wake and sleep: when there are negatives."""

    kind: PhaseKind = "interleaved"
    """interleaved: positives and negatives in every update. sleep: real text and no negatives for `wake` updates, then
    negatives and no real text for `sleep` updates. growing: the same, with nights that grow from one update to that.
    deprived: interleaved, but without negatives for `length` updates from `start`. sequence: your own."""
    wake: int = 100
    """Updates of a wake phase; growing: of the longest."""
    sleep: int = 100
    """Updates of a sleep phase; growing: of the longest."""
    growth: float = 1.2
    """growing: how many times longer each night is than the one before."""
    start: int = 0
    """growing: updates in nights of one update before they begin to grow. deprived: updates before the negatives
    stop."""
    length: int = 100
    """deprived: updates without negatives."""
    asleep: Literal["dreams", "contexts", "targets"] = "dreams"
    """Asleep: dreams, which the net makes from nothing. Less than true separation: contexts, real ones with symbols
    that the net says there; targets, and it is even told when it happens to say the truth."""
    dreamer: Literal["auto", "live", "frozen"] = "auto"
    """Who speaks asleep: the net as it was at the onset of sleep, or live, as it changes. auto: frozen for objective
    nce, which has to know the probability of what was said."""
    dream_length: int = 100
    """Symbols of a dream, after which another one begins."""
    bank: int = 0
    """Dreamt pairs of a context and a symbol that are kept, and drawn from asleep, those of earlier nights among them;
    each update asleep adds as many as it draws, and the oldest go. 0: what is dreamt is learned once, at once."""
    gated: bool = False
    """Awake the signal is weighted by 1 − P of the real symbol, with --phases.asleep targets: a net asleep learns
    nothing where what it says is true, and one awake nothing where it was sure of the truth."""
    renew: int = 100
    """Updates that a frozen net speaks for at least: with short nights, for several of them."""
    mechanism: Mechanism = "none"
    """What keeps long phases in balance. opponent: each also applies the other's last average change. consolidated:
    both only collect, and the end of sleep applies the sum of their averages. detectors: one half of each layer's
    units learns awake, the other half asleep, with --goodness opposed. MODULE:NAME: a Balance of your own (see
    ffseq/mechanisms.py)."""
    rate_cap: float | None = None
    """The learning rate is at most this, divided by the length of the phase, before it falls towards the end of the run
    as it always does."""
    sequence: str | None = None
    """sequence: phases and their updates, again and again: wake 100, sleep 100, interleaved 20."""


@dataclass(frozen=True)
class TrainConfig:
    """All settings of `ffseq train`."""

    text: CorpusConfig = CorpusConfig()
    pieces: PiecesConfig = PiecesConfig()
    network: NetworkConfig = NetworkConfig()
    learning: LearningConfig = LearningConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    run: RunConfig = RunConfig()
    phases: PhasesConfig = PhasesConfig()


def lengths_of(text: str) -> tuple[int, ...]:
    """The lengths of context of a memory, from numbers separated by commas, in order. Raises UsageError."""
    try:
        lengths = tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError:
        lengths = ()
    if not lengths or lengths[0] < 1:
        raise UsageError(f"--memory_lengths has to be whole numbers from 1, separated by commas, got {text!r}")
    return lengths


def gains_of(text: str) -> tuple[float, ...]:
    """Gains from numbers separated by commas. Raises UsageError."""
    try:
        gains = tuple(float(number) for number in text.split(","))
    except ValueError:
        gains = ()
    if not gains or not all(math.isfinite(gain) for gain in gains):
        raise UsageError(f"--gains has to be numbers separated by commas, got {text!r}")
    return gains


def source_of(learning: LearningConfig) -> Source:
    """The negative source, with `auto` resolved: expected for likelihood, else sampled."""
    if learning.negatives == "auto":
        return "expected" if learning.objective == "likelihood" else "sampled"
    return learning.negatives

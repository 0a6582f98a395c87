"""Settings from flat options, as presets and the command line give them, and what is refused among them."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from ffseq.config import (
    MECHANISMS,
    NEGATIVES,
    ROLLOUTS,
    CorpusConfig,
    LearningConfig,
    NetworkConfig,
    OptimiserConfig,
    PhasesConfig,
    PiecesConfig,
    RunConfig,
    TrainConfig,
    gains_of,
    lengths_of,
    source_of,
)
from ffseq.errors import UsageError
from ffseq.goodness import PRODUCTS, own_goodness
from ffseq.mechanisms import own_balance
from ffseq.negatives import own_source
from ffseq.objective import check_combination
from ffseq.phases import check_phases

#: No whole number among the settings may be larger.
LARGEST = 2**31 - 1

GROUPS: dict[str, type] = {
    "text": CorpusConfig,
    "pieces": PiecesConfig,
    "network": NetworkConfig,
    "learning": LearningConfig,
    "optimiser": OptimiserConfig,
    "run": RunConfig,
    "phases": PhasesConfig,
}
#: Groups whose options carry the group's name: --phases.wake.
NAMED = frozenset({"phases", "pieces"})


def from_flat(options: dict[str, Any]) -> TrainConfig:
    """Settings from one flat dictionary, as presets and the command line give them.

    Raises UsageError for a name that is no option and for values out of range.
    """
    rest = dict(options)
    groups: dict[str, Any] = {}
    for name, group in GROUPS.items():
        known = {option_of(name, field.name): field.name for field in fields(group)}
        groups[name] = group(**{known[key]: rest.pop(key) for key in list(rest) if key in known})
    if rest:
        raise UsageError(f"unknown option {sorted(rest)[0]!r}")
    config = TrainConfig(**groups)
    check(config)
    return config


def option_of(group: str, field: str) -> str:
    """The option of a field: its name, in a few groups behind that of the group."""
    return f"{group}.{field}" if group in NAMED else field


def to_flat(config: TrainConfig) -> dict[str, Any]:
    """The inverse of `from_flat`."""
    return {
        option_of(name, field.name): getattr(getattr(config, name), field.name)
        for name, group in GROUPS.items()
        for field in fields(group)
    }


def check(config: TrainConfig) -> None:
    """Refuse values that make no sense, naming the option as typed. Raises UsageError."""
    net, learn, opt, run = config.network, config.learning, config.optimiser, config.run
    positive = {
        "black_box_order": net.black_box_order,
        "block_size": net.block_size, "layers": net.layers, "units": net.units, "num_negatives": learn.num_negatives,
        "negatives_temperature": learn.negatives_temperature, "alpha": learn.alpha, "temperature": learn.temperature,
        "learning_rate": opt.learning_rate, "memory_rate": opt.memory_rate, "readout_rate": opt.readout_rate,
        "goodness_scale": net.goodness_scale, "readout_from": net.readout_from, "max_seconds": run.max_seconds,
        "batch_size": run.batch_size, "string_length": run.string_length,
        "rollout_length": learn.rollout_length,
        "eval_interval": run.eval_interval, "log_interval": run.log_interval,
        "checkpoint_seconds": run.checkpoint_seconds,
    }  # fmt: skip
    for name, value in positive.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise UsageError(f"--{name} has to be a positive number, got {value}")
    not_negative = {
        "recency": net.recency, "candidate_init": net.candidate_init, "peer_normalisation": learn.peer_normalisation,
        "weight_decay": opt.weight_decay, "warmup_iters": opt.warmup_iters,
        "max_iters": run.max_iters, "sample_interval": run.sample_interval, "seed": run.seed, "threads": run.threads,
    }  # fmt: skip
    for name, value in not_negative.items():
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise UsageError(f"--{name} cannot be negative, got {value}")
    for name, value in (positive | not_negative).items():
        if isinstance(value, int) and value > LARGEST:
            raise UsageError(f"--{name} can be {LARGEST} at most, got {value}")
    shares = {
        "dropout": net.dropout, "corruption": learn.corruption, "beta1": opt.beta1, "beta2": opt.beta2,
        "average": opt.average, "short_contexts": run.short_contexts, "black_box_discount": net.black_box_discount,
        "memory_dropout": net.memory_dropout,
    }  # fmt: skip
    for name, value in shares.items():
        if value is not None and not 0 <= value < 1:
            raise UsageError(f"--{name} has to be at least 0 and below 1, got {value}")
    if net.dropout is not None and net.dropout > 255 / 256:
        raise UsageError(f"--dropout can leave out 255 of 256 units at most, got {net.dropout}")
    for name, value in {"constant_share": opt.constant_share, "final_rate": opt.final_rate}.items():
        if not 0 <= value <= 1:
            raise UsageError(f"--{name} has to be between 0 and 1, got {value}")
    if net.stack == "causal" and not run.stream and run.batch_size and run.batch_size % run.string_length:
        raise UsageError(
            f"--batch_size {run.batch_size} is not a multiple of --string_length {run.string_length}: an update of a "
            "causal stack is a number of whole strings"
        )
    if net.memory:
        if net.memory < 2 or net.memory & (net.memory - 1) or net.memory > 1 << 24:
            raise UsageError(f"--memory has to be a power of two, 2 to {1 << 24}, or 0, got {net.memory}")
        if net.block_size is not None and max(lengths_of(net.memory_lengths)) > net.block_size:
            raise UsageError(
                f"--memory_lengths {net.memory_lengths} look further back than --block_size "
                f"{net.block_size}: the memory sees the context and no more"
            )
    if net.black_box != "none" and (source_of(learn) == "corrupted" or run.stream):
        what = "--stream" if run.stream else "--negatives corrupted"
        raise UsageError(f"--black_box does not go with {what}: leave one of them out")
    if learn.calibrate and learn.temperature is not None:
        raise UsageError("--temperature and --calibrate do not go together: it is either given or fitted")
    if net.stack == "causal" and source_of(learn) == "corrupted":
        raise UsageError(
            "--negatives corrupted are windows of their own, a causal stack learns whole strings: use --stack window"
        )
    _check_rollouts(config)
    if learn.recompute and (learn.scope != "all" or learn.method == "twin" or net.stack == "literal"):
        raise UsageError(
            "--recompute is for scope all: layers in scope own and below let go of what they did as it is, a "
            "literal stack and backpropagation need all of it"
        )
    if learn.gains is not None:
        given, lengths = len(gains_of(learn.gains)), len(lengths_of(net.memory_lengths)) if net.memory else 0
        if learn.calibrate:
            raise UsageError("--gains and --calibrate do not go together: they are either given or fitted")
        if net.stack == "literal":
            raise UsageError("a literal stack has no --gains: leave them out")
        if net.layers is not None and given != lengths + net.layers:
            raise UsageError(
                f"--gains has {given} numbers, but there are {lengths} lengths of context in the memory and "
                f"{net.layers} layers"
            )
    if learn.threshold is not None and not math.isfinite(learn.threshold):
        raise UsageError(f"--threshold has to be a finite number, got {learn.threshold}")
    if net.goodness not in PRODUCTS:
        own_goodness(net.goodness)
    if learn.negatives not in NEGATIVES:
        own_source(learn.negatives)
    if config.phases.mechanism not in MECHANISMS:
        own_balance(config.phases.mechanism)
    if net.stack == "literal":
        _check_literal(config)
    check_phases(config)
    check_pieces(config.text.alphabet, config.pieces)
    check_combination(
        learn.objective,
        source_of(learn),
        exclude_truth=learn.exclude_truth,
        temperature=learn.negatives_temperature,
    )


def check_pieces(alphabet: str, pieces: PiecesConfig) -> None:
    """Refuse settings of pieces that make no sense, or that nothing reads. Raises UsageError."""
    given = [field.name for field in fields(pieces) if getattr(pieces, field.name) != field.default]
    if given and alphabet != "pieces":
        raise UsageError(f"--pieces.{given[0]} does nothing without --alphabet pieces")
    if pieces.model is not None and len(given) > 1:
        other = next(name for name in given if name != "model")
        raise UsageError(f"--pieces.{other} is for pieces that are learned, and --pieces.model has its own: give one")
    if not 1 <= pieces.size <= 1_000_000:
        raise UsageError(f"--pieces.size has to be at least 1 and at most 1000000, got {pieces.size}")
    if not 0 < pieces.coverage <= 1:
        raise UsageError(f"--pieces.coverage has to be above 0 and at most 1, got {pieces.coverage}")


def _check_rollouts(config: TrainConfig) -> None:
    """Refuse what does not go with text of the net's own as negatives. Raises UsageError."""
    learn, net, source = config.learning, config.network, source_of(config.learning)
    if source not in ROLLOUTS:
        if learn.rollout_length != LearningConfig.rollout_length:
            raise UsageError(f"--rollout_length does nothing without --negatives {' or '.join(ROLLOUTS)}")
        return
    cannot = {
        f"--stack {net.stack}": net.stack in ("causal", "literal"),
        "--method twin": learn.method == "twin",
        "--stream": config.run.stream,
        "--memory": net.memory > 0,
        "--black_box": net.black_box != "none",
        "--hidden random": learn.hidden == "random",
        "--num_negatives: there is one for each position": learn.num_negatives != LearningConfig.num_negatives,
        "--exclude_truth: nobody knows what comes next in them": learn.exclude_truth is not None,
    }
    for what, asked in cannot.items():
        if asked:
            raise UsageError(f"--negatives {source} does not go with {what}")


def _check_literal(config: TrainConfig) -> None:
    """Refuse what the literal net has no meaning for. Raises UsageError."""
    learn = config.learning
    net = config.network
    if net.memory or net.between != "none" or net.black_box != "none":
        raise UsageError("a literal stack has no --memory, --between or --black_box: leave them out, or --stack window")
    if learn.objective != "threshold":
        raise UsageError(
            f"a literal stack learns by a threshold on each layer's goodness, not by objective '{learn.objective}': "
            "add --objective threshold"
        )
    if learn.negatives not in ("auto", "sampled"):
        raise UsageError(
            f"a literal stack draws its wrong characters from its own prediction, not from '{learn.negatives}': leave "
            "--negatives out (--negatives_from says which prediction)"
        )
    if learn.method == "twin":
        raise UsageError("a literal stack has no twin: leave --method twin out, or use --stack window")
    if config.run.stream:
        raise UsageError("a literal stack does not learn from a stream: leave --stream out, or use --stack causal")

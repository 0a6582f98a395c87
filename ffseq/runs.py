"""A whole training run: corpus in, run folder out, figures beside the floors at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ffseq.alphabet import Unknown
from ffseq.baselines.floors import corpus_floors
from ffseq.blackbox import BlackBox, black_box_of
from ffseq.checkpoint import Checkpoint, checkpoint_exists, load_checkpoint, replace_file, resolve_run
from ffseq.compute import choose_device, compute, decided, set_threads
from ffseq.config import NetworkConfig, TrainConfig, to_flat
from ffseq.corpus import Corpus, load_corpus
from ffseq.defaults import resolved
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.evaluation import Evaluation, alone_temperatures, evaluate_segments, figures
from ffseq.mixing import mixture_on
from ffseq.network import SequenceNetwork
from ffseq.progress import Progress, duration
from ffseq.report import plot_curves
from ffseq.resume import alone_in, check_same, cut_log, find_run
from ffseq.splits import Part, tuning, whole
from ffseq.training import Trainer

#: Texts up to this many bytes get their counting floors fitted without being asked.
FLOORS_BYTES = 20_000_000


def train(
    config: TrainConfig,
    *,
    preset: str | None = None,
    progress: Progress | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a network as `ffseq train` does and return its figures (the object that `--json` prints).

    preset: the name of the preset that the settings came from, to be told to whoever watches.

    Raises UsageError for settings that make no sense, FfseqError for what cannot be read or does not converge, and
    Interrupted, with everything saved, as soon as `interrupted()` is true.
    """
    progress = progress or Progress(quiet=True)
    if config.run.stream:
        from ffseq.streaming import train_on_stream

        return train_on_stream(config, progress=progress, interrupted=interrupted)
    began = time.monotonic()
    folder, checkpoint = find_run(config)
    config = decided(config, checkpoint)
    device, products = compute(config)
    corpus = load_corpus(
        config.text.corpus,
        alphabet=config.text.alphabet,
        unknown=config.text.unknown,
        split_rule=config.text.split_rule,
    )
    config = resolved(config, corpus.train.symbols)
    if checkpoint is not None:
        check_same(checkpoint, corpus, config)
    assert config.network.block_size is not None
    if corpus.train.stop - corpus.train.start <= config.network.block_size:
        raise FfseqError(
            f"the training part of {corpus.name} has {corpus.train.symbols} symbols, no more than the context of "
            f"{config.network.block_size}: use a longer text or a smaller --block_size"
        )
    config = replace(config, network=_counting(config.network, corpus, progress, interrupted))
    network = SequenceNetwork(config.network, corpus.alphabet, seed=config.run.seed)
    network.products = products
    if config.network.black_box != "none":
        network.attach(black_box_of(config.network, _counted(corpus), len(corpus.alphabet)))
    network = network.to(device)
    with alone_in(folder):
        return _run(Trainer(network, corpus, config, folder, progress), checkpoint, preset, interrupted, began)


def _counting(
    network: NetworkConfig, corpus: Corpus, progress: Progress, interrupted: Callable[[], bool]
) -> NetworkConfig:
    """Order and discount of a counting black box, where they were left open: the floor's, chosen on validation."""
    given = network.black_box_order is not None and network.black_box_discount is not None
    if network.black_box not in ("kneser_ney", "online") or given:
        return network
    chosen = floors_if_asked(corpus, "yes", progress, interrupted)
    if chosen is None:
        raise UsageError(f"{corpus.name} has no held-out part: give --black_box_order and --black_box_discount")
    return replace(
        network,
        black_box_order=network.black_box_order or chosen["kneser_ney"]["order"],
        black_box_discount=network.black_box_discount or chosen["kneser_ney"]["discount"],
    )


def _counted(corpus: Corpus) -> NDArray[np.integer]:
    """What a black box counts: the training part (n,)."""
    return np.asarray(corpus.symbols[corpus.train.start : corpus.train.stop])


def _box_for(network: SequenceNetwork, corpus: Corpus, kind: str, progress: Progress) -> BlackBox:
    """A black box beside a trained net, on the training part of its corpus."""
    config = _counting(replace(network.config, black_box=kind), corpus, progress, lambda: False)
    return black_box_of(config, _counted(corpus), len(corpus.alphabet))


def _run(
    trainer: Trainer,
    checkpoint: Checkpoint | None,
    preset: str | None,
    interrupted: Callable[[], bool],
    began: float,
) -> dict[str, Any]:
    """From the first checkpoint to result.json."""
    network, corpus, config = trainer.network, trainer.corpus, trainer.config
    folder, progress = trainer.folder, trainer.progress
    if checkpoint is None:
        trainer.save("last")  # before anything else: from here on the run can be resumed
    else:
        trainer.restore(checkpoint)
        cut_log(folder / "log.jsonl", trainer.state.step)
    _write_json(folder / "options.json", to_flat(config))
    if preset is not None:
        progress.say(f"settings of preset {preset} (`ffseq show {preset}`), and what was typed over them")
    progress.say(
        f"{corpus.name}: {corpus.train.symbols:,} training symbols of {len(corpus.alphabet)} kinds; "
        f"{network.parameter_count():,} weights in {config.network.layers} layers; "
        f"objective {config.learning.objective}, {_method(config)}; "
        f"{config.run.dtype} products on {network.prior.device.type}, "
        f"{torch.get_num_threads()} threads; run folder {folder}"
    )
    if not trainer.run(interrupted):
        raise Interrupted(f"interrupted after {trainer.state.step:,} updates; continue with --resume {folder}")
    result = _finish(trainer, corpus, config, folder, progress, interrupted)
    result["seconds"] = time.monotonic() - began
    _write_json(folder / "result.json", result)
    return result


def _method(config: TrainConfig) -> str:
    return f"scope {config.learning.scope}" if config.learning.method == "ff" else "by backpropagation (the twin)"


def load_network(
    path: Path | str, *, dtype: str = "float32", device: str = "auto"
) -> tuple[SequenceNetwork, Checkpoint]:
    """The network of a run folder or checkpoint folder, ready to predict, and the checkpoint it came from."""
    checkpoint = load_checkpoint(resolve_run(Path(path)))
    network = SequenceNetwork.from_checkpoint(checkpoint).to(choose_device(device))
    network.products = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    return network, checkpoint


def evaluate(
    run: Path | str,
    corpus: str | None = None,
    *,
    split: str = "held_out",
    split_rule: str | None = None,
    unknown: Unknown | None = None,
    black_box: str = "none",
    floors: str = "auto",
    threads: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score one part of a text with a trained network, as `ffseq evaluate` does.

    black_box: mix the net with one (see `ffseq.mixing`); the figures are then those of the mixture, `net_alone` and
    `black_box_alone` tell the rest.

    corpus: another text than the run's own; unknown: what to do with characters that the net does not know, by default
    what it did in training. Raises UsageError where the text has no such part, FfseqError for a
    character that the net does not know.
    """
    progress = progress or Progress(quiet=True)
    set_threads(threads)
    network, checkpoint = load_network(run, dtype=dtype, device=device)
    recorded = checkpoint.config.get("corpus", {})
    if corpus is None and "source" not in recorded:
        raise UsageError(f"{run} does not say what it was trained on: name a text, ffseq evaluate {run} CORPUS")
    if corpus is None and recorded["source"] == "-":
        raise UsageError(f"{run} was trained on standard input: name a text, or pipe it in: ffseq evaluate {run} -")
    known = {recorded["content_sha256"]: recorded["split_rule"]} if recorded else {}
    text = load_corpus(
        recorded["source"] if corpus is None else corpus,
        alphabet=network.alphabet.with_unknown(unknown) if unknown else network.alphabet,
        split_rule=split_rule or (recorded["split_rule"] if corpus is None else "auto"),
        known_splits=known,
    )
    if split == "all" and text.split_rule.startswith("hinton"):
        raise UsageError(f"split {text.split_rule} leaves text out: --split all needs shares, such as 80/10/10")
    every = [one for one in (text.train, text.validation, text.held_out) if one is not None]
    parts = {"held_out": text.held_out, "validation": text.validation, "train": text.train, "all": whole(every)}
    part = parts[split]
    if part is None:
        raise UsageError(f"{text.name} split {text.split_rule} has no {split} part")
    if corpus is None and recorded["content_sha256"] != text.content_sha256:
        progress.say(f"the text of {text.name} is not the one that {run} was trained on")
    if known.get(text.content_sha256, text.split_rule) != text.split_rule:
        progress.say(
            f"warning: {run} was trained on this text split {known[text.content_sha256]}: it may have learned some of "
            f"what split {text.split_rule} holds out"
        )
    evaluation = evaluate_segments(
        network,
        text.symbols,
        part.segments,
        alone=_alone(network, text),
        tick=lambda done: progress.status(f"scoring: {done / part.symbols:.0%}"),
    )
    box, net_alone = network.black_box, None
    box_alone = _box_alone(network, text, part)
    if black_box != "none":
        if network.black_box is not None:
            raise UsageError(f"{run} was trained on a black box of its own: leave --black_box out")
        if text.content_sha256 not in known or known[text.content_sha256] != text.split_rule or split == "train":
            raise UsageError(
                "--black_box counts the training part of the run's own text, to predict another part of it: leave the "
                "corpus out, and the split as it was"
            )
        progress.status("mixing with the black box")
        box = _box_for(network, text, black_box, progress)
        net_alone = {key: figures(evaluation, part)[key] for key in ("bits_per_character", "accuracy")}
        bits, accuracy, alone = mixture_on(network, box, text.symbols, part.segments)
        evaluation = replace(evaluation, bits=bits, accuracy=accuracy)
        box_alone = {"bits_per_character": alone[0] / part.characters, "accuracy": alone[1]}
    return {
        "run": str(run),
        "corpus": text.name,
        "split": split,
        **figures(evaluation, part),
        "characters": part.characters,
        "symbols": evaluation.symbols,
        "dropped": part.dropped,
        "replaced": part.replaced,
        "temperature": float(network.temperature),
        "black_box": None if box is None else box.kind,
        "black_box_alone": box_alone,
        "net_alone": net_alone,
        "per_layer": figures_by_layer(evaluation, part),
        # They are those of the held-out part: beside figures of another part they would mislead.
        "floors": floors_if_asked(text, floors, progress) if split == "held_out" else None,
    }


def floors_if_asked(
    corpus: Corpus, choice: str, progress: Progress, interrupted: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """The floors of a corpus for --floors yes, or auto and not too large a text; else None.

    Raises Interrupted between two steps of the counting as soon as `interrupted()` is true.
    """
    if choice == "no" or corpus.held_out.symbols == 0 or (choice == "auto" and corpus.bytes > FLOORS_BYTES):
        return None

    def status(text: str) -> None:
        if interrupted():
            raise Interrupted("interrupted while the counting models were fitted")
        progress.status(text)

    return corpus_floors(corpus, progress=status)


def sample_of(run: Path | str) -> str:
    """A sample of 300 symbols from a run, begun from nothing."""
    network, _ = load_network(run, device="cpu")
    return network.generate("", max_new_tokens=300, temperature=0.7).strip()


def _alone(network: SequenceNetwork, corpus: Corpus) -> list[float]:
    """Read-out temperatures of the layers alone, fitted on validation text, or on the end of the training part."""
    part = corpus.validation
    segments = part.segments if part is not None else tuning(corpus.train, corpus.split_rule)[1]
    return alone_temperatures(network, corpus.symbols, segments)


def _box_alone(network: SequenceNetwork, corpus: Corpus, part: Part) -> dict[str, float] | None:
    """What the black box of a net predicts of a part by itself."""
    alone = network.box_alone(corpus.symbols, part.segments)
    return None if alone is None else {"bits_per_character": alone[0] / part.characters, "accuracy": alone[1]}


def figures_by_layer(evaluation: Evaluation, part: Part) -> list[dict[str, Any]]:
    """Figures of each layer as `--json` gives them: by its own goodness, and by the score summed up to it."""
    density = evaluation.symbols / part.characters
    return [
        {
            "layer": number,
            "alone": {"bits_per_character": layer.alone_bits * density, "accuracy": layer.alone_accuracy},
            "up_to": {"bits_per_character": layer.up_to_bits * density, "accuracy": layer.up_to_accuracy},
            "positive_goodness": layer.positive,
            "dead_units": layer.dead,
        }
        for number, layer in enumerate(evaluation.layers, start=1)
    ]


def _finish(
    trainer: Trainer,
    corpus: Corpus,
    config: TrainConfig,
    folder: Path,
    progress: Progress,
    interrupted: Callable[[], bool],
) -> dict[str, Any]:
    """Held-out figures of the best checkpoint (the last where there is no validation), floors, plot.

    result.json is there as soon as the net's own figures are: nothing that comes after can lose them.
    """
    state = trainer.state
    best = folder / "best"
    if state.best_bits is not None and not checkpoint_exists(best):
        progress.say(f"{best} is gone: these are the figures of {folder / 'last'}")
    # In float32, as `ffseq evaluate` does: the figure of a net does not depend on how it was trained.
    network, _ = load_network(best if checkpoint_exists(best) else folder / "last", device=config.run.device)

    def scoring(part: Part, alone: list[float] | None = None) -> Evaluation:
        def tick(done: int) -> None:
            if interrupted():
                raise Interrupted(f"interrupted while scoring; the net is saved, finish with --resume {folder}")
            progress.status(f"scoring: {done / part.symbols:.0%}")

        return evaluate_segments(network, corpus.symbols, part.segments, alone=alone, tick=tick)

    held_out = scoring(corpus.held_out, _alone(network, corpus))
    validation = None
    if corpus.validation is not None:
        validation = figures(scoring(corpus.validation), corpus.validation)["bits_per_character"]
    result: dict[str, Any] = {"run": str(folder), "corpus": corpus.name}
    result |= figures(held_out, corpus.held_out)
    result |= {
        "validation_bits_per_character": validation,
        "parameters": network.parameter_count(),
        "characters_seen": state.step * trainer.batch_size,
        "iterations": state.step,
        "learning_seconds": state.seconds,
        "characters_per_second": state.step * trainer.batch_size / max(state.seconds, 1e-9),
        "temperature": float(network.temperature),
        "dropped": corpus.held_out.dropped,
        "replaced": corpus.held_out.replaced,
        "entropy_rate": corpus.entropy_rate,
        "black_box": None if network.black_box is None else network.black_box.kind,
        "seed": config.run.seed,
        "dtype": config.run.dtype,
        "black_box_alone": _box_alone(network, corpus, corpus.held_out),
        "per_layer": figures_by_layer(held_out, corpus.held_out),
        "floors": None,
    }
    _write_json(folder / "result.json", result)
    try:
        result["floors"] = floors_if_asked(corpus, config.run.floors, progress, interrupted)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; the net is saved, finish with --resume {folder}") from None
    except (OSError, MemoryError) as error:
        progress.say(f"the counting models could not be fitted ({error}); the figures of the net are whole")
    progress.say(f"learned for {duration(state.seconds)}")
    plot_curves(folder, result["floors"])
    return result


def _write_json(path: Path, content: dict[str, Any]) -> None:
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode("utf-8"))

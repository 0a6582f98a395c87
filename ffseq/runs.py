"""A whole training run: corpus in, run folder out, figures beside the floors at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ffseq.alphabet import Alphabet
from ffseq.blackbox import black_box_of
from ffseq.checkpoint import Checkpoint, checkpoint_exists, load_checkpoint, replace_file
from ffseq.compute import compute, cores, decided
from ffseq.config import TrainConfig
from ffseq.corpus import Corpus, corpus_of
from ffseq.crowding import tell_if_crowded
from ffseq.defaults import resolved
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.evaluation import Evaluation, evaluate_segments, figures
from ffseq.network import SequenceNetwork
from ffseq.options import to_flat
from ffseq.parallel import Team, check_team, team_of_environment, together
from ffseq.pipeline import check_pipeline
from ffseq.progress import Progress, duration
from ffseq.report import plot_curves
from ffseq.resume import alone_in, check_same, cut_log, find_run
from ffseq.scoring import (
    alone_of,
    box_alone_of,
    counted_text,
    counting,
    figures_by_layer,
    floors_if_asked,
    load_network,
)
from ffseq.splits import Part
from ffseq.trackers import check_tracker, tracked
from ffseq.training import Trainer


def train(
    config: TrainConfig,
    *,
    preset: str | None = None,
    progress: Progress | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a network as `ffseq train` does and return its figures (the object that `--json` prints).

    preset: the name of the preset that the settings came from, to be told to whoever watches. Processes that
    torchrun has started learn together: the first one (in a pipeline the last) writes the run and has the figures, the
    others get {}.

    Raises UsageError for settings that make no sense, FfseqError for what cannot be read or does not converge, and
    Interrupted, with everything saved, as soon as `interrupted()` is true.
    """
    progress = progress or Progress(quiet=True)
    check_tracker(config.run.tracker)
    team = team_of_environment(config.run.device, last_leads=config.run.pipeline)
    if config.run.pipeline and team is None:
        raise UsageError(
            "--pipeline shares the layers among processes that torchrun starts, and there is only this one: begin the "
            "command with torchrun --nproc-per-node N -m ffseq, or give --pipeline false"
        )
    if config.run.stream:
        if team is not None:
            check_team(config, team.size)
        from ffseq.streaming import train_on_stream

        return train_on_stream(config, progress=progress, interrupted=interrupted)
    began = time.monotonic()
    leads = team is None or team.leads
    if not leads:
        progress = Progress(quiet=True)
    with together(team, None):
        folder, checkpoint, config = _begun(config, team)
    device, products = compute(config)
    corpus = corpus_of(config, None if checkpoint is None else Alphabet.from_json(checkpoint.alphabet))
    config = resolved(config, corpus.train.symbols)
    config = replace(config, network=counting(config.network, corpus, progress, interrupted))
    if checkpoint is not None:
        check_same(checkpoint, corpus, config)
    if team is not None:
        (check_pipeline if config.run.pipeline else check_team)(config, team.size)
    assert config.network.block_size is not None
    if corpus.train.stop - corpus.train.start <= config.network.block_size:
        raise FfseqError(
            f"the training part of {corpus.name} has {corpus.train.symbols} symbols, no more than the context of "
            f"{config.network.block_size}: use a longer text or a smaller --block_size"
        )
    network = SequenceNetwork(config.network, corpus.alphabet, seed=config.run.seed)
    network.products = products
    if config.network.black_box != "none":
        network.attach(black_box_of(config.network, counted_text(corpus), len(corpus.alphabet)))
    network = network.to(device)
    with alone_in(folder) if leads else nullcontext(), together(team, folder):
        trainer = Trainer(network, corpus, config, folder, progress, team)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        if not leads:
            _learn(trainer, interrupted)
            return {}
        if checkpoint is not None:
            cut_log(folder / "log.jsonl", trainer.state.step)
        with tracked(config.run, folder, to_flat(config), trainer.state.step, progress) as trainer.monitor.tracker:
            if checkpoint is None:
                trainer.save("last")  # before anything else: from here on the run can be resumed
            return _run(trainer, preset, interrupted, began)


def _begun(config: TrainConfig, team: Team | None) -> tuple[Path, Checkpoint | None, TrainConfig]:
    """The run folder, the checkpoint to go on from, and the settings with dtype and threads decided; in a team by its
    first process.
    """
    if team is not None and team.rank:
        folder, path, config = team.told(None)
        return folder, None if path is None else load_checkpoint(path), config
    folder, checkpoint = find_run(config)
    if team is not None and checkpoint is None and not config.run.threads:
        share = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", team.size)))
        config = replace(config, run=replace(config.run, threads=share))
    config = decided(config, checkpoint)
    if team is not None:
        team.told((folder, None if checkpoint is None else checkpoint.path, config))
    return folder, checkpoint, config


def _run(trainer: Trainer, preset: str | None, interrupted: Callable[[], bool], began: float) -> dict[str, Any]:
    """From the first update, or the one to go on with, to result.json."""
    network, corpus, config = trainer.network, trainer.corpus, trainer.config
    folder, progress = trainer.folder, trainer.progress
    _write_json(folder / "options.json", to_flat(config))
    if preset is not None:
        progress.say(f"settings of preset {preset} (`ffseq show {preset}`), and what was typed over them")
    progress.say(
        f"{corpus.name}: {corpus.train.symbols:,} training symbols of {len(corpus.alphabet)} kinds"
        f"{f', of {corpus.documents:,} documents in all' if corpus.documents > 1 else ''}; "
        f"{network.parameter_count():,} weights in {config.network.layers} layers; "
        f"objective {config.learning.objective}, {_method(config)}; "
        f"{config.run.dtype} products on {network.prior.device.type}, "
        f"{torch.get_num_threads()} threads{_of_team(trainer.team, config.run.pipeline)}; run folder {folder}"
    )
    tell_if_crowded(progress, config.run.threads, network.prior.device)
    if not _learn(trainer, interrupted):
        raise Interrupted(f"interrupted after {trainer.state.step:,} updates; continue with --resume {folder}")
    result = _finish(trainer, corpus, config, folder, progress, interrupted)
    result["seconds"] = time.monotonic() - began
    _write_json(folder / "result.json", result)
    return result


def _learn(trainer: Trainer, interrupted: Callable[[], bool]) -> bool:
    """Whether the run was finished, and not interrupted."""
    try:
        done = trainer.run(interrupted)
    finally:
        trainer.progress.close()
    if trainer.team is not None:
        trainer.team.part()
    return done


def _of_team(team: Team | None, pipeline: bool) -> str:
    if team is None:
        return ""
    return f" in each of {team.size} processes" + (" that share the layers" if pipeline else "")


def _method(config: TrainConfig) -> str:
    return f"scope {config.learning.scope}" if config.learning.method == "ff" else "by backpropagation (the twin)"


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

    held_out = scoring(corpus.held_out, alone_of(network, corpus))
    validation = None
    if corpus.validation is not None:
        validation = figures(scoring(corpus.validation), corpus.validation)["bits_per_character"]
    result: dict[str, Any] = {"run": str(folder), "corpus": corpus.name}
    result |= figures(held_out, corpus.held_out)
    result |= {
        "upper_bound": corpus.alphabet.is_bounding,
        "validation_bits_per_character": validation,
        "parameters": network.parameter_count(),
        "characters_seen": trainer.characters_seen,
        "iterations": state.step,
        "learning_seconds": state.seconds,
        "characters_per_second": trainer.characters_seen / max(state.seconds, 1e-9),
        "temperature": float(network.temperature),
        "dropped": corpus.held_out.dropped,
        "replaced": corpus.held_out.replaced,
        "entropy_rate": corpus.entropy_rate,
        "black_box": None if network.black_box is None else network.black_box.kind,
        "state_bytes": None if trainer.nights is None else trainer.nights.state_bytes,
        "seed": config.run.seed,
        "dtype": config.run.dtype,
        "black_box_alone": box_alone_of(network, corpus, corpus.held_out),
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

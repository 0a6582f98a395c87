"""What the page about a run shows: read from its folder, and computed where the folder does not have it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ffseq.checkpoint import Checkpoint, checkpoint_exists, json_or_none
from ffseq.compute import set_threads
from ffseq.config import NetworkConfig, TrainConfig
from ffseq.corpus import Corpus
from ffseq.defaults import resolved
from ffseq.errors import FfseqError, UsageError
from ffseq.network import SequenceNetwork
from ffseq.options import to_flat
from ffseq.page.passage import Passage, layer_names, read_passage
from ffseq.progress import Progress
from ffseq.report import logged
from ffseq.scoring import alone_of, evaluate, floors_if_asked, load_network, text_of_run

#: Samples shown, at most: of more, some from the whole run.
SAMPLES = 4
#: Settings that say where a run is, not what it is.
_PLACES = frozenset({"out_dir", "resume"})


@dataclass(frozen=True)
class Content:
    """All that a page shows.

    symbols: V; density: symbols per character of the held-out text. figures: as `ffseq train` or `ffseq evaluate` give
    them, or None; floors: likewise; entropy_rate: of the source, in
    bits per symbol, where known; log: lines of log.jsonl; samples: (when, text); settings: (option, value, default) of
    those that differ; passage: of the held-out text, or None; missing: sentences about what is not there, and why.
    """

    title: str
    checkpoint: str
    step: int | None
    network: NetworkConfig
    layers: tuple[str, ...]
    parameters: int
    symbols: int
    density: float
    options: dict[str, Any]
    corpus: str | None
    split_rule: str | None
    figures: dict[str, Any] | None
    floors: dict[str, Any] | None
    entropy_rate: float | None
    log: list[dict[str, Any]]
    samples: list[tuple[str, str]]
    settings: list[tuple[str, Any, Any]]
    passage: Passage | None
    missing: list[str] = field(default_factory=list)


def gather(
    run: Path | str,
    corpus: str | None = None,
    *,
    passage: int = 600,
    start: int = 0,
    floors: str = "auto",
    seed: int = 0,
    threads: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Content:
    """Everything that the page about a run folder or checkpoint folder shows.

    corpus: another text than the run's own, to be measured on; passage, start: how many symbols of its held-out part
    are shown one by one, and how many come before them; floors: whether counting models are fitted where the run has
    none (auto: to texts of up to 20 MB); seed: of the sample written now. What the run does not have is told in
    `missing`. Raises UsageError for a passage outside the text, FfseqError for a `corpus` that cannot be read.
    """
    progress = progress or Progress(quiet=True)
    set_threads(threads)
    network, checkpoint = load_network(run, dtype=dtype, device=device)
    folder = _folder_of(Path(run), checkpoint)
    missing: list[str] = []
    text = _text_of(run, network, checkpoint, corpus, missing)
    part = text.held_out if text is not None else None
    if part is not None and passage and start >= part.symbols:
        raise UsageError(f"--from {start} is behind the held-out text of {part.symbols:,} symbols")
    log = logged(folder)
    if not log:
        missing.append("There is no log here (log.jsonl, in a run folder): how the net learned is not known.")
    elif any(line["kind"] == "units" for line in log):
        missing.append("The run had no validation text: all of the training part was learned.")
    figures = None if corpus is not None else _recorded_figures(folder, checkpoint, missing)
    if figures is None and text is not None:
        progress.step("scoring the held-out text")
        given = {"threads": threads, "device": device, "dtype": dtype, "progress": progress}
        figures = evaluate(run, corpus, floors="no", **given)  # type: ignore[arg-type]
    known = (figures or {}).get("floors")
    if known is None and text is not None:
        known = floors_if_asked(text, floors, progress)
        if known is None:
            missing.append("Counting models were not fitted to this text: --floors yes does that.")
    shown = None
    if text is not None and part is not None and passage:
        progress.step("reading the passage")
        alone = alone_of(network, text)
        shown = read_passage(network, text.symbols, part.segments, alone, start=start, length=passage)
    options = checkpoint.config.get("options") or {}
    if not options:
        missing.append("The checkpoint does not say how it was trained, so no settings of learning are listed.")
    progress.step("writing a sample")
    now = network.generate("", max_new_tokens=300, temperature=0.7, seed=seed).strip()
    return Content(
        title=folder.resolve().name,
        checkpoint=checkpoint.path.name,
        step=checkpoint.config.get("step"),
        network=network.config,
        layers=tuple(layer_names(network)),
        parameters=network.parameter_count(),
        symbols=len(network.alphabet),
        density=1.0 if part is None else part.symbols / part.characters,
        options=options,
        corpus=text.name if text is not None else (figures or {}).get("corpus"),
        split_rule=text.split_rule if text is not None else None,
        figures=figures,
        floors=known,
        entropy_rate=text.entropy_rate if text is not None else (figures or {}).get("entropy_rate"),
        log=log,
        samples=[*_samples(folder), ("now, from nothing, at temperature 0.7", now)],
        settings=_settings(options, text),
        passage=shown,
        missing=missing,
    )


def _folder_of(run: Path, checkpoint: Checkpoint) -> Path:
    """The run folder that a checkpoint belongs to; a checkpoint folder by itself is one without a log."""
    parent = checkpoint.path.parent
    return parent if parent == Path(os.path.abspath(run)) or (parent / "log.jsonl").is_file() else checkpoint.path


def _text_of(
    run: Path | str, network: SequenceNetwork, checkpoint: Checkpoint, corpus: str | None, missing: list[str]
) -> Corpus | None:
    """The text of a run, or None where it cannot be had. A text that was asked for has to be there."""
    try:
        text = text_of_run(run, network, checkpoint, corpus)
    except FfseqError as error:
        if corpus is not None:
            raise
        missing.append(f"There is no passage, and no figure that the run has not kept: {error}.")
        return None
    recorded = checkpoint.config.get("corpus", {}).get("content_sha256")
    if corpus is None and text.content_sha256 != recorded:
        missing.append(f"The text of {text.name} is not the one that the net was trained on any more.")
    return text


def _recorded_figures(folder: Path, checkpoint: Checkpoint, missing: list[str]) -> dict[str, Any] | None:
    """The figures in result.json, or None where they are not those of this checkpoint, or the run has not ended."""
    state = _json_of(folder / "last" / "config.json")
    result = _json_of(folder / "result.json")
    if not state:
        return None
    if result.get("iterations") != state.get("step"):
        most = (state.get("options") or {}).get("max_iters")
        of = f" of {most:,}" if isinstance(most, int) else ""
        missing.append(
            f"The run has not ended: it has made {state.get('step', 0):,}{of} updates, and the figures are those "
            "of the checkpoint."
        )
        return None
    shown = folder / ("best" if checkpoint_exists(folder / "best") else "last")
    return result if checkpoint.path == Path(os.path.abspath(shown)) else None


def _json_of(path: Path) -> dict[str, Any]:
    content = json_or_none(path.read_bytes()) if path.is_file() else None
    return content if isinstance(content, dict) else {}


def _samples(folder: Path) -> list[tuple[str, str]]:
    """Some of the samples of a run, from the first to the last, and when they were written."""
    paths = sorted(path for path in folder.glob("samples/*.txt") if path.stem.isdecimal())
    if len(paths) > SAMPLES:
        paths = [paths[round(number * (len(paths) - 1) / (SAMPLES - 1))] for number in range(SAMPLES)]
    return [(f"after {int(path.stem):,} updates", path.read_text(encoding="utf-8", errors="replace")) for path in paths]


def _settings(options: dict[str, Any], text: Corpus | None) -> list[tuple[str, Any, Any]]:
    """The options of a run that are not what ffseq would have chosen for its text (if that is known), by name."""
    usual = TrainConfig()
    if text is not None and not options.get("stream"):
        usual = resolved(usual, text.train.symbols)
    defaults = to_flat(usual)
    return [
        (name, value, defaults.get(name))
        for name, value in options.items()
        if name not in _PLACES and json.dumps(value) != json.dumps(defaults.get(name))
    ]

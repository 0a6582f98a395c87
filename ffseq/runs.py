"""A whole training run: corpus in, run folder out, figures beside the floors at the end."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ffseq.alphabet import Unknown
from ffseq.baselines.floors import corpus_floors
from ffseq.checkpoint import (
    Checkpoint,
    checkpoint_exists,
    checkpoint_is_whole,
    json_or_none,
    load_checkpoint,
    replace_file,
    resolve_run,
)
from ffseq.config import TrainConfig, from_flat, to_flat
from ffseq.corpus import Corpus, cache_folder, load_corpus
from ffseq.defaults import resolved
from ffseq.errors import FfseqError, UsageError
from ffseq.evaluation import Evaluation, alone_temperatures, evaluate_segments, figures
from ffseq.network import SequenceNetwork
from ffseq.progress import Progress, duration
from ffseq.report import plot_curves
from ffseq.splits import Part, tuning
from ffseq.training import Trainer

#: Texts up to this many bytes get their counting floors fitted without being asked.
FLOORS_BYTES = 20_000_000
MOST_THREADS = 1024
#: What a resumed run may do differently: how fast and how long it learns, and what it tells.
CHANGEABLE = frozenset({
    "corpus", "unknown", "dropout", "learning_rate", "weight_decay", "warmup_iters", "constant_share", "final_rate",
    "out_dir", "resume", "max_iters", "max_seconds", "eval_interval", "log_interval", "sample_interval",
    "checkpoint_seconds", "floors", "threads", "device", "dtype",
})  # fmt: skip


class Interrupted(FfseqError):
    """Somebody asked to stop; the state is saved. The command line exits with status 130."""

    exit_status = 130


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
    network = SequenceNetwork(config.network, corpus.alphabet, seed=config.run.seed).to(device)
    network.products = products
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FfseqError(f"cannot make the run folder {folder}: {error.strerror}") from error
    with _alone_in(folder):
        return _run(Trainer(network, corpus, config, folder, progress), checkpoint, preset, interrupted, began)


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
        _cut_log(folder / "log.jsonl", trainer.state.step)
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


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the run folder while training in it. Raises UsageError where another process does.

    The lock is the system's, so it goes with the process, however that ends. Where there are no such locks, none is
    held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is training in {folder}: give another --out_dir") from None
        except OSError:
            pass  # a file system without locks
        yield


def _method(config: TrainConfig) -> str:
    return f"scope {config.learning.scope}" if config.learning.method == "ff" else "by backpropagation (the twin)"


def find_run(config: TrainConfig) -> tuple[Path, Checkpoint | None]:
    """The run folder, which may have to be made, and the checkpoint to go on from, if any."""
    run = config.run
    source = resume_source(run.resume, run.out_dir)
    if source is not None:
        folder = source.parent
        if run.out_dir is not None and Path(run.out_dir).resolve() != folder.resolve():
            raise UsageError(
                f"--out_dir {run.out_dir} is not the folder of the run to be resumed, {folder}: leave --out_dir out, "
                "or copy the run first"
            )
    elif run.out_dir is not None:
        folder = Path(run.out_dir)
    else:
        name = Path(config.text.corpus).name.split(".")[0] if config.text.corpus != "-" else "stdin"
        folder = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out_dir {folder} is a file; give the name of a folder")
    # A run that was killed while it wrote its first checkpoint leaves last.new and nothing else: nothing to lose.
    if source is None and folder.exists() and any(path.name not in ("last.new", ".lock") for path in folder.iterdir()):
        raise UsageError(
            f"the run folder {folder} is not empty: give another --out_dir, or continue that run with --resume auto"
        )
    return folder, load_checkpoint(source) if source is not None else None


def resume_source(resume: str | None, out_dir: str | None) -> Path | None:
    """The checkpoint folder that `--resume` means, or None where there is nothing to go on from.

    auto takes `last/` of --out_dir if the run has one; a path is a run folder or a checkpoint folder. Raises
    UsageError for a path that is neither.
    """
    if resume is None:
        return None
    if resume == "auto":
        if out_dir is None:
            raise UsageError("--resume auto needs --out_dir: the folder whose newest checkpoint is to be continued")
        last = Path(out_dir) / "last"
        return last if last.is_dir() or checkpoint_is_whole(last) else None
    if not resume:
        raise UsageError("--resume is empty: give auto, or the path of a run")
    path = Path(os.path.abspath(resume)) if resume in (".", "..") else Path(resume)
    if checkpoint_exists(path / "last"):
        return path / "last"
    if checkpoint_exists(path):
        return path
    raise UsageError(f"--resume {resume}: there is no run or checkpoint there")


def resumed(path: Path | str, **changes: Any) -> TrainConfig:
    """The settings to continue a run with: its own, and what is to change, such as max_iters=5000.

    path: a run folder or a checkpoint folder. Raises UsageError where there is nothing to resume.
    """
    source = resume_source(str(path), None)
    assert source is not None
    return from_flat(recorded_options(source) | changes | {"resume": str(source), "out_dir": None})


def recorded_options(source: Path) -> dict[str, Any]:
    """The options of the run that a checkpoint comes from. Raises UsageError where it does not say."""
    options = load_checkpoint(source).config.get("options")
    if not isinstance(options, dict):
        raise UsageError(f"{source} does not say how it was trained, so it cannot be resumed")
    return options


def decided(config: TrainConfig, checkpoint: Checkpoint | None = None) -> TrainConfig:
    """The settings with dtype and number of threads decided: as recorded by the checkpoint, else here, once.

    Both are recorded, since other ones do not give the same bits. --dtype auto is decided by timing one matrix product
    in both types, --threads 0 means all the cores that this process may run on.
    """
    recorded = checkpoint.config.get("options", {}) if checkpoint is not None else {}
    dtype: str = config.run.dtype
    threads = config.run.threads or int(recorded.get("threads", 0)) or cores()
    if dtype == "auto":
        known = recorded.get("dtype", "auto")
        set_threads(threads)
        dtype = known if known != "auto" else _faster_dtype(choose_device(config.run.device))
    return replace(config, run=replace(config.run, dtype=dtype, threads=threads))  # type: ignore[arg-type]


def compute(config: TrainConfig) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of the products of decided settings; sets the number of CPU threads."""
    set_threads(config.run.threads)
    return choose_device(config.run.device), torch.bfloat16 if config.run.dtype == "bfloat16" else torch.float32


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(threads: int) -> None:
    """Use so many CPU threads; 0 means all the cores this process may run on. Raises UsageError."""
    if not 0 <= threads <= MOST_THREADS:
        raise UsageError(f"--threads has to be between 0 (all cores) and {MOST_THREADS}, got {threads}")
    torch.set_num_threads(threads or cores())


def choose_device(name: str) -> torch.device:
    """The device of that name; auto is a GPU if there is one. Raises UsageError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _faster_dtype(device: torch.device) -> str:
    """The faster type for products on this machine: measured once, then remembered in the cache folder.

    Measured anew each time, a busy moment could give the same command other bits.
    """
    known = cache_folder() / "dtype.json"
    what = "|".join([platform.node(), platform.processor(), str(cores()), device.type, torch.__version__])
    try:
        remembered = json_or_none(known.read_bytes())
    except OSError:
        remembered = None
    table = remembered if isinstance(remembered, dict) else {}
    if table.get(what) not in ("float32", "bfloat16"):
        table[what] = _measured_dtype(device)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs the next run a moment
            known.parent.mkdir(parents=True, exist_ok=True)
            replace_file(known, json.dumps(table, indent=1).encode())
    return str(table[what])


def _measured_dtype(device: torch.device) -> str:
    seconds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = (torch.ones(rows, 512, dtype=dtype, device=device) for rows in (256, 512))
        times = []
        for _ in range(9):  # the first one warms up; a processor without bfloat16 takes a tenth of a second for each
            start = time.perf_counter()
            product = left @ right
            float(product[0, 0])  # waits for a GPU
            times.append(time.perf_counter() - start)
        seconds[name] = min(times)
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"


def check_same(checkpoint: Checkpoint, corpus: Corpus, config: TrainConfig) -> None:
    """Refuse to resume with another text, alphabet, net or rule of learning than the run's. Raises UsageError."""
    if checkpoint.alphabet != corpus.alphabet.to_json():
        raise UsageError(
            f"{checkpoint.path} was trained with another alphabet than that of {corpus.name}; "
            "resume with the corpus and --alphabet of that run"
        )
    recorded = checkpoint.config.get("corpus")
    if recorded is None:
        raise FfseqError(f"{checkpoint.path} holds a net and no run: it cannot be resumed")
    if recorded["content_sha256"] != corpus.content_sha256 or recorded["split_rule"] != corpus.split_rule:
        raise UsageError(
            f"{checkpoint.path} was trained on {recorded['name']} split {recorded['split_rule']}, and this text or "
            "split differs; resume with the same corpus, or start a new run"
        )
    was = checkpoint.config["options"]
    for name, value in to_flat(config).items():
        if name not in CHANGEABLE and name in was and was[name] != value and name not in ("alphabet", "split_rule"):
            raise UsageError(
                f"--{name} {value} differs from the run's {was[name]}: a resumed run keeps it. Leave --{name} out, or "
                "begin a new run"
            )


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
    floors: str = "auto",
    threads: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score one part of a text with a trained network, as `ffseq evaluate` does.

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
    part = {"held_out": text.held_out, "validation": text.validation, "train": text.train}[split]
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
        "per_layer": figures_by_layer(evaluation, part),
        "floors": floors_if_asked(text, floors, progress),
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
        "characters_seen": state.step * config.run.batch_size,
        "iterations": state.step,
        "learning_seconds": state.seconds,
        "characters_per_second": state.step * config.run.batch_size / max(state.seconds, 1e-9),
        "temperature": float(network.temperature),
        "dropped": corpus.held_out.dropped,
        "replaced": corpus.held_out.replaced,
        "entropy_rate": corpus.entropy_rate,
        "seed": config.run.seed,
        "dtype": config.run.dtype,
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


def _cut_log(path: Path, step: int) -> None:
    """Drop log lines written after the checkpoint that a run goes on from."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a killed run may be cut short
    replace_file(path, "".join(kept).encode("utf-8"))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode("utf-8"))

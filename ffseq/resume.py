"""Run folders: where a run is kept, how it is continued, and what may not change when it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ffseq.checkpoint import (
    Checkpoint,
    checkpoint_exists,
    checkpoint_is_whole,
    load_checkpoint,
    replace_file,
)
from ffseq.config import TrainConfig
from ffseq.corpus import Corpus
from ffseq.errors import FfseqError, UsageError
from ffseq.options import from_flat, to_flat

#: What a resumed run may do differently: how fast and how long it learns, and what it tells.
CHANGEABLE = frozenset({
    "corpus", "split", "unknown", "dropout", "learning_rate", "weight_decay", "warmup_iters", "constant_share",
    "final_rate", "out_dir", "resume", "max_iters", "max_seconds", "eval_interval", "log_interval", "sample_interval",
    "checkpoint_seconds", "pipeline", "tracker", "floors", "threads", "device", "dtype",
})  # fmt: skip


def find_run(config: TrainConfig) -> tuple[Path, Checkpoint | None]:
    """The run folder, which may have to be made, and the checkpoint to go on from, if any."""
    name = Path(config.text.corpus).name.split(".")[0] if config.text.corpus != "-" else "stdin"
    return run_folder(config.run.resume, config.run.out_dir, name or "text")


def run_folder(resume: str | None, out_dir: str | None, name: str) -> tuple[Path, Checkpoint | None]:
    """The same for any kind of run. name: what a folder is called after where --out_dir does not say."""
    source = resume_source(resume, out_dir)
    if source is not None:
        folder = source.parent
        if out_dir is not None and Path(out_dir).resolve() != folder.resolve():
            raise UsageError(
                f"--out_dir {out_dir} is not the folder of the run to be resumed, {folder}: leave --out_dir out, "
                "or copy the run first"
            )
    elif out_dir is not None:
        folder = Path(out_dir)
    else:
        name = re.sub(r"[^\w-]+", "-", name) or "text"
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
    refuse_changes(checkpoint, config)


def refuse_changes(checkpoint: Checkpoint, config: TrainConfig) -> None:
    """Refuse settings that a resumed run may not change. Raises UsageError."""
    was = to_flat(TrainConfig()) | checkpoint.config["options"]
    for name, value in to_flat(config).items():
        if name not in CHANGEABLE and was[name] != value and name not in ("alphabet", "split_rule"):
            raise UsageError(
                f"--{name} {value} differs from the run's {was[name]}: a resumed run keeps it. Leave --{name} out, or "
                "begin a new run"
            )


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make the run folder where it is not there, and hold it while training in it.

    Raises FfseqError where it cannot be made, UsageError where another process holds it.

    The lock is the system's, so it goes with the process, however that ends. Where there are no such locks, none is
    held.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FfseqError(f"cannot make the run folder {folder}: {error.strerror}") from error
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


def cut_log(path: Path, step: int) -> None:
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

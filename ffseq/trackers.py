"""What log.jsonl tells, told to TensorBoard or Weights & Biases as well.

The numbers of a line become scalars of the same names at the line's step; a list, one number for each layer, becomes
NAME/1, NAME/2, … A resumed run goes on in the same tracker run; one that had no tracker first tells it the log so far.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ffseq.config import RunConfig, Tracker
from ffseq.errors import FfseqError
from ffseq.progress import Progress

#: The file of a run folder that remembers which run of Weights & Biases it is.
WANDB_ID = "wandb-id"


class Writer(Protocol):
    """Where scalars go."""

    def write(self, scalars: dict[str, float], step: int) -> None:
        """Keep the scalars of a step."""

    def close(self) -> None:
        """Everything is told."""


class Told:
    """A tracker that a run's log is told to. It is not the work: one that fails is left alone, and that is said."""

    def __init__(self, writer: Writer, progress: Progress) -> None:
        self._writer, self._progress = writer, progress
        self._failed = False

    def line(self, line: dict[str, Any]) -> None:
        """Tell a line of log.jsonl."""
        if not self._failed:
            self._try(lambda: self._writer.write(scalars(line), line["step"]))

    def close(self) -> None:
        """Write what is left, and end."""
        self._try(self._writer.close)

    def _try(self, call: Any) -> None:
        try:
            call()
        except Exception as error:  # whatever a tracker, its disk or its network may do
            self._failed = True
            self._progress.say(f"  the tracker failed ({error}); the run goes on without it, log.jsonl has everything")


def tell(folder: Path, line: dict[str, Any], tracker: Told | None) -> None:
    """Write a line of the log.jsonl of a run, and tell its tracker."""
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    if tracker is not None:
        tracker.line(line)


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line of log.jsonl by name.

    >>> scalars({"step": 5, "kind": "train", "phase": "wake", "negative_goodness": None, "positive_goodness": [1.5, 2]})
    {'positive_goodness/1': 1.5, 'positive_goodness/2': 2.0}
    """
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, list):
            found |= {f"{name}/{number}": float(one) for number, one in enumerate(value, start=1)}
        elif isinstance(value, int | float) and name != "step":
            found[name] = float(value)
    return found


def check_tracker(tracker: Tracker) -> None:
    """Raises FfseqError where the package of a tracker is not installed."""
    if tracker != "none" and find_spec(tracker) is None:
        raise FfseqError(
            f"--tracker {tracker} needs the package {tracker}: pip install 'ffseq[{tracker}]', or leave --tracker out"
        )


@contextmanager
def tracked(
    run: RunConfig, folder: Path, options: dict[str, Any], step: int, progress: Progress
) -> Iterator[Told | None]:
    """The tracker of the run in `folder`, which has made `step` updates; closed at the end, however that comes.

    options: to be shown beside the scalars. Raises FfseqError where it does not start; nothing is left of it then.
    """
    if run.tracker == "none":
        yield None
        return
    known = (folder / (WANDB_ID if run.tracker == "wandb" else "tensorboard")).exists()
    if run.tracker == "tensorboard":
        told = Told(_TensorBoard(folder, step if known else None), progress)
    else:
        told = Told(_WeightsAndBiases(folder, options, progress.quiet), progress)
    try:
        if not known:
            log = folder / "log.jsonl"
            for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
                told.line(json.loads(line))
        yield told
    finally:
        told.close()


class _TensorBoard:
    """Event files in the run's folder tensorboard/."""

    def __init__(self, folder: Path, step: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What was written after the checkpoint that the run goes on from happens again.
        purge = None if step is None else step + 1
        self._to = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

    def write(self, scalars: dict[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._to.add_scalar(name, value, step)

    def close(self) -> None:
        self._to.close()


class _WeightsAndBiases:
    """A run of the project WANDB_PROJECT, or ffseq, with its files in the run's folder wandb/."""

    def __init__(self, folder: Path, options: dict[str, Any], quiet: bool) -> None:
        import wandb

        remembered = folder / WANDB_ID
        own = remembered.read_text(encoding="utf-8").strip() if remembered.exists() else secrets.token_hex(4)
        files, there = folder / "wandb", (folder / "wandb").exists()
        try:
            self._to = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "ffseq"),
                name=folder.name,
                id=own,
                resume="allow",
                dir=str(folder),
                config=options,
                settings=wandb.Settings(console="off", silent=quiet),
            )
        except wandb.errors.Error as error:
            if not there:
                shutil.rmtree(files, ignore_errors=True)
            raise FfseqError(
                f"Weights & Biases did not start ({error}): log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error
        remembered.write_text(own + "\n", encoding="utf-8")

    def write(self, scalars: dict[str, float], step: int) -> None:
        self._to.log(scalars, step=step)

    def close(self) -> None:
        self._to.finish()

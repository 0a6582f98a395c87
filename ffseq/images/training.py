"""The loop of every image experiment: batches in, validation after every epoch, checkpoints, a result at the end.

Random numbers are keyed by seed, purpose and update, so a resumed run has the bits of one that was never stopped. The
test images are looked at once, when all is learned.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ffseq.checkpoint import Checkpoint, replace_file, save_checkpoint
from ffseq.compute import device_name
from ffseq.errors import FfseqError, Interrupted
from ffseq.images.config import ImagesConfig, share_at, to_flat
from ffseq.images.data import ImageData, Split, as_floats, batch_of, updates_of_epoch
from ffseq.images.experiment import Experiment, Learned, Test
from ffseq.optim import restore_state, state_tensors
from ffseq.progress import Progress, duration
from ffseq.randomness import generator

#: Images that a test looks at together.
TOGETHER = 500
#: Validation error in percent whose first epoch is told, as `epochs_to_2_percent`.
GOAL = 2.0


@dataclass
class State:
    """Where a run is. seconds: of learning and validation, over all sittings; sums: of the epoch's updates so far."""

    step: int = 0
    seconds: float = 0.0
    validation_error: float | None = None
    epochs_to_goal: int | None = None
    sums: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Runs an experiment into a run folder."""

    def __init__(
        self,
        experiment: Experiment,
        data: ImageData,
        config: ImagesConfig,
        folder: Path,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.experiment, self.data, self.config = experiment, data, config
        self.folder, self.device, self.progress = folder, device, progress
        self.state = State()
        self.each = updates_of_epoch(data, config.run.batch_size)
        self.total = config.run.epochs * self.each
        #: Seconds of the sittings before this one.
        self.before = 0.0

    def run(self, interrupted: Callable[[], bool]) -> None:
        """Learn to the end. Raises Interrupted, with everything saved, as soon as `interrupted()` is true, and
        FfseqError when what is learned is not finite.
        """
        state, config = self.state, self.config
        began, saved, first = time.monotonic() - state.seconds, time.monotonic(), state.step
        here = time.monotonic()
        while state.step < self.total:
            if interrupted():
                self.save()
                raise Interrupted(
                    f"interrupted in epoch {state.step // self.each + 1}; continue with --resume {self.folder}"
                )
            images, labels = batch_of(
                self.data,
                state.step,
                config.run.batch_size,
                seed=config.run.seed,
                jitter=config.data.jitter,
                mirror=config.data.mirror,
                drop_pixels=config.data.drop_pixels,
                device=self.device,
            )
            done = state.step / self.total
            random = generator(config.run.seed, "learn", state.step, self.device)
            share = share_at(config.step, done)
            self._add(self.experiment.update(images, labels, random=random, share=share, done=done))
            state.step += 1
            if state.step % self.each == 0:
                self._end_of_epoch()
            state.seconds = time.monotonic() - began
            if time.monotonic() - saved > config.run.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            left = (time.monotonic() - here) / (state.step - first) * (self.total - state.step)
            self.progress.status(self._line() + f"; about {duration(left)} left")
        self.save()

    def result(self, interrupted: Callable[[], bool]) -> dict[str, Any]:
        """The figures of the finished run, errors in percent; the keys of the tests it does not have are null."""
        tests = self.experiment.tests
        validation = {test: self.error(self.data.validation, test, interrupted) for test in tests}
        best = min(validation, key=lambda test: validation[test])
        test_errors = {test: self.error(self.data.test, test, interrupted) for test in tests}
        return {
            "experiment": self.config.experiment,
            "dataset": self.data.name,
            "test_error": test_errors[best],
            "test_error_every_label": test_errors.get("every_label"),
            "test_error_one_pass": test_errors.get("one_pass"),
            "validation_error": validation[best],
            "best_test": best,
            "validation_errors": dict(validation),
            "train_error": self.error(self.data.train, tests[0], interrupted),
            "epochs": self.config.run.epochs,
            "epochs_to_2_percent": self.state.epochs_to_goal,
            "learning_seconds": self.state.seconds,
            "parameters": sum(weight.numel() for weight in self.experiment.modules.parameters()),
            "seed": self.config.run.seed,
            "dtype": self.config.run.dtype,
            "threads": self.config.run.threads,
            "device": device_name(self.device),
            **self.experiment.figures(),
        }

    def error(self, split: Split, test: Test, interrupted: Callable[[], bool] = lambda: False) -> float:
        """Percent of a part's images that a test gets wrong. Raises Interrupted."""
        wrong = 0
        for first in range(0, len(split), TOGETHER):
            if interrupted():
                raise Interrupted(f"interrupted while testing; the net is saved, finish with --resume {self.folder}")
            images = as_floats(split.images[first : first + TOGETHER], self.device)
            labels = split.labels[first : first + TOGETHER].to(self.device)
            scores = self.experiment.scores(images, test)
            if not bool(scores.isfinite().all()):
                raise FfseqError("what was learned is not finite: use a smaller --learning_rate")
            wrong += int((scores.argmax(1) != labels).sum())
            if first:
                self.progress.status(f"testing ({test.replace('_', ' ')}): {first / len(split):.0%}")
        return 100 * wrong / max(1, len(split))

    def save(self) -> None:
        """Write the checkpoint `last`, with all that is needed to go on. Raises FfseqError for what is not finite."""
        model = self.experiment.modules.state_dict()
        if not all(bool(value.isfinite().all()) for value in model.values()):
            raise FfseqError("what was learned is not finite: use a smaller --learning_rate")
        save_checkpoint(
            self.folder / "last",
            config={
                "format": "ffseq images",
                "experiment": self.config.experiment,
                "options": to_flat(self.config),
                "dataset": {"name": self.data.name, "shape": list(self.data.shape), "train": len(self.data.train)},
                "step": self.state.step,
            },
            model=model,
            alphabet={"classes": list(self.data.names)},
            trainer_state=asdict(self.state),
            trainer_tensors=state_tensors(self.experiment.optimisers),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint written by `save`."""
        if checkpoint.trainer_state is None or checkpoint.trainer_tensors is None:
            raise FfseqError(f"{checkpoint.path} cannot be resumed: it holds weights only")
        self.state = State(**checkpoint.trainer_state)
        self.before = self.state.seconds
        self.experiment.modules.load_state_dict(checkpoint.model)
        restore_state(self.experiment.optimisers, checkpoint.trainer_tensors)

    def _add(self, learned: Learned) -> None:
        sums = self.state.sums
        found = {**learned.figures, "positive_goodness": learned.positive, "negative_goodness": learned.negative}
        for name, value in found.items():
            if value is not None:
                now = value.double().tolist()
                before = sums.get(name)
                if before is not None:
                    now = [a + b for a, b in zip(before, now, strict=True)] if isinstance(now, list) else before + now
                sums[name] = now

    def _end_of_epoch(self) -> None:
        state, epoch = self.state, self.state.step // self.each
        test = self.experiment.tests[0]
        error = self.error(self.data.validation, test)
        state.validation_error = error
        if error <= GOAL and state.epochs_to_goal is None:
            state.epochs_to_goal = epoch
        means = {
            name: [one / self.each for one in total] if isinstance(total, list) else total / self.each
            for name, total in state.sums.items()
        }
        state.sums = {}
        line = {"kind": "epoch", "step": state.step, "epoch": epoch, "validation_error": error, **means}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.progress.end()
        self.progress.say(
            f"epoch {epoch} of {self.config.run.epochs}: {_in_words(means)}validation error {error:.2f} %"
        )

    def _line(self) -> str:
        epoch, inside = divmod(self.state.step, self.each)
        validation = self.state.validation_error
        known = "" if validation is None else f", validation error {validation:.2f} %"
        return f"epoch {min(epoch + 1, self.config.run.epochs)}, {inside / self.each:.0%}{known}"


def _in_words(means: dict[str, Any]) -> str:
    """Mean goodness of positives and negatives, layer by layer."""
    if "positive_goodness" not in means:
        return ""
    sides = zip(means["positive_goodness"], means["negative_goodness"], strict=True)
    return "goodness " + " ".join(f"{up:.0f}/{down:.0f}" for up, down in sides) + ", "


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def first_images(split: Split, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first images of a part as floats (n, I), and their labels."""
    return as_floats(split.images[:count], device), split.labels[:count].to(device)

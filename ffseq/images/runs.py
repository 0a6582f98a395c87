"""A whole run of an image experiment: images in, run folder out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ffseq.checkpoint import Checkpoint
from ffseq.compute import choose_device, decided_for, set_threads
from ffseq.crowding import tell_if_crowded
from ffseq.errors import UsageError
from ffseq.images.config import CHANGEABLE, ImagesConfig, to_flat
from ffseq.images.data import ImageData, load_images
from ffseq.images.experiment import module_of
from ffseq.images.pictures import curves, save_pictures
from ffseq.images.training import Trainer, first_images, write_json
from ffseq.progress import Progress
from ffseq.resume import alone_in, cut_log, run_folder

#: Validation images that an experiment may draw pictures of.
SHOWN = 500


def run_experiment(
    config: ImagesConfig,
    *,
    progress: Progress | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run an image experiment as `ffseq images` does and return its figures (the object that `--json` prints).

    Raises UsageError for settings that make no sense, FfseqError for what cannot be read or does not converge, and
    Interrupted, with everything saved, as soon as `interrupted()` is true.
    """
    import torch

    began = time.monotonic()
    progress = progress or Progress(quiet=True)
    folder, checkpoint = run_folder(config.run.resume, config.run.out_dir, config.experiment)
    config = decided(config, checkpoint)
    set_threads(config.run.threads)
    device = choose_device(config.run.device)
    data = load_images(config.data.dataset, config.data.data_dir, config.data.train_images)
    if checkpoint is not None:
        _check_same(checkpoint, data, config)
    products = torch.bfloat16 if config.run.dtype == "bfloat16" else torch.float32
    experiment = module_of(config.experiment).make(data, config, device, products)
    with alone_in(folder), torch.no_grad():
        trainer = Trainer(experiment, data, config, folder, device, progress)
        if checkpoint is None:
            trainer.save()  # before anything else: from here on the run can be resumed
        else:
            trainer.restore(checkpoint)
            cut_log(folder / "log.jsonl", trainer.state.step)
        write_json(folder / "options.json", {"experiment": config.experiment, **to_flat(config)})
        progress.say(
            f"{config.experiment} on {data.name}: {len(data.train):,} training images; {config.run.dtype} products on "
            f"{device.type}, {config.run.threads} threads; run folder {folder}"
        )
        tell_if_crowded(progress, config.run.threads, device)
        trainer.run(interrupted)
        result = trainer.result(interrupted)
        result |= {"seconds": trainer.before + time.monotonic() - began, "run": str(folder)}
        write_json(folder / "result.json", result)
        images, labels = first_images(data.validation, SHOWN, device)
        save_pictures(folder, curves(folder) | experiment.pictures(images, labels))
    return result


def decided(config: ImagesConfig, checkpoint: Checkpoint | None) -> ImagesConfig:
    """The settings with dtype and number of threads decided, as the checkpoint recorded them or here."""
    recorded = checkpoint.config.get("options", {}) if checkpoint is not None else {}
    dtype, threads = decided_for(config.run.dtype, config.run.threads, config.run.device, recorded)
    return replace(config, run=replace(config.run, dtype=dtype, threads=threads))  # type: ignore[arg-type]


def _check_same(checkpoint: Checkpoint, data: ImageData, config: ImagesConfig) -> None:
    """Refuse to resume another experiment, or with other images or settings than the run's. Raises UsageError."""
    was = checkpoint.config
    if was.get("experiment") != config.experiment:
        raise UsageError(f"{checkpoint.path} is of experiment {was.get('experiment')}, not {config.experiment}")
    now = {"name": data.name, "shape": list(data.shape), "train": len(data.train)}
    if was["dataset"] != now:
        raise UsageError(f"{checkpoint.path} was trained on {was['dataset']}, and these images are {now}")
    for name, value in to_flat(config).items():
        if name not in CHANGEABLE and was["options"].get(name) != value:
            raise UsageError(
                f"--{name} {value} differs from the run's {was['options'].get(name)}: a resumed run keeps it. Leave "
                f"--{name} out, or begin a new run"
            )

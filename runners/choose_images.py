"""How settings of image presets were chosen, on validation images: no test image is looked at.

    python runners/choose_images.py                      every candidate that is not in results/choose_images.json yet
    python runners/choose_images.py --only unsupervised  those of one search
    python runners/choose_images.py --threads 1

A search changes one thing or two in what it begins with. Unsupervised nets are small here and learn for a quarter of
the preset's epochs; the others are as in their presets.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from ffseq.commands.images import configured, settings
from ffseq.compute import choose_device, set_threads
from ffseq.images.data import load_images
from ffseq.images.experiment import module_of
from ffseq.images.runs import decided
from ffseq.images.training import Trainer
from ffseq.progress import Progress

RESULTS = Path(__file__).parent / "results" / "choose_images.json"

#: Three layers of 1000, a fifth of the pixels left out, little decay.
SMALL = "--layers 3 --units 1000 --epochs 15 --drop_pixels 0.2 --weight_decay 0.02 --readout_decay 0.003"
#: Two layers of 2000 with dropout and smoothing alone.
DROPOUT = "--batch_norm false --noise 0 --layers 2 --units 2000 --dropout 0.25 --learning_rate 1e-3 --weight_decay 0.3"
#: search → its experiment, what it begins with (after the preset `paper`), and what each candidate changes in that
SEARCHES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "unsupervised": ("unsupervised", SMALL, (
        "",
        "--drop_pixels 0",
        "--drop_pixels 0.4",
        "--jitter 1",
        "--jitter 1 --drop_pixels 0",
        "--temperature 20",
        "--temperature 120",
        "--threshold 2",
        "--blurs 3",
        "--blurs 10",
        "--peer_normalisation 0",
        "--peer_normalisation 0.5",
        "--learning_rate 2e-3",
        "--weight_decay 1",
        "--batch_size 50",
        "--batch_size 200",
    )),
    "local-fields": ("local-fields", "", (
        "",
        "--weight_decay 0.1",
        "--weight_decay 0.3",
        "--weight_decay 0.3 --readout_decay 0.03",
    )),
    "regularised": ("backprop", "--preset paper-regularised", (
        "",
        "--smoothing 0",
        "--dropout 0.1",
        DROPOUT,
    )),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(SEARCHES), default=None, help="one search")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    options = parser.parse_args()
    for search, (experiment, begin, candidates) in SEARCHES.items():
        if options.only not in (None, search):
            continue
        for change in candidates:
            if change not in load().get(search, {}):
                words = ["--preset", "paper", *begin.split(), *change.split(), "--threads", str(options.threads)]
                found = measured(experiment, words)
                results = load()  # another candidate may have been measured meanwhile
                results.setdefault(search, {})[change] = found
                RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
                print(search, change, found, flush=True)


def load() -> dict[str, Any]:
    """What has been measured: search → change → figures."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def measured(experiment: str, words: list[str]) -> dict[str, Any]:
    """Percent of the validation images that the first test gets wrong after a run, and of the training images."""
    config = decided(configured(experiment, settings(experiment, words)), None)
    set_threads(config.run.threads)
    device = choose_device(config.run.device)
    products = torch.bfloat16 if config.run.dtype == "bfloat16" else torch.float32
    data = load_images(config.data.dataset, config.data.data_dir, config.data.train_images)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        net = module_of(experiment).make(data, config, device, products)
        trainer = Trainer(net, data, config, Path(folder), device, Progress(quiet=True))
        trainer.run(lambda: False)
        return {
            "validation_error": trainer.state.validation_error,
            "train_error": trainer.error(data.train, net.tests[0]),
            "epochs": config.run.epochs,
            "minutes": round(trainer.state.seconds / 60, 1),
        }


if __name__ == "__main__":
    main()

"""The tables of README made of results/images.json and choose_images.json: errors of the image experiments beside the
paper's, and what their settings were chosen from.
"""

from __future__ import annotations

import json
from typing import Any

from spread import RESULTS, spread

#: cell of results/images.json → its row's name, and what the paper says
ROWS = {
    "supervised": ("supervised, 4×2000", "1.36"),
    "unsupervised": ("unsupervised, 4×2000", "1.37"),
    "unsupervised dropped": ("unsupervised, pixels left out, decay of the read-out 0.01", "1.37"),
    "unsupervised dropped decay 0.02": ("unsupervised, pixels left out, decay 0.02, of the read-out 0.003", "1.37"),
    "unsupervised dropped decay 0.5": ("unsupervised, pixels left out, decay 0.5, of the read-out 0.003", "1.37"),
    "unsupervised dropped longer": ("the same for longer", "1.37"),
    "unsupervised shifted": ("the same with decay 0.02, images shifted by up to 1 pixel", ""),
    "untrained layers": ("the read-out on untrained layers", ""),
    "local-fields": ("local receptive fields", "1.16"),
    "jitter": ("supervised, images shifted by up to 2 pixels", "0.64"),
    "recurrent": ("recurrent, top-down", "1.31"),
    "backprop plain": ("backpropagation", "1.4"),
    "backprop dropout": ("backpropagation, dropout and smoothing", "1.1"),
    "backprop regularised": ("backpropagation, batch normalisation, noise and smoothing", "1.1"),
    "backprop conv": ("backpropagation, convolutional", "0.6"),
    "cifar10 2 layers": ("CIFAR-10, 2 layers", "41 to 46"),
    "cifar10 3 layers": ("CIFAR-10, 3 layers", "41 to 46"),
    "cifar10 down": ("CIFAR-10, 2 layers, the lower sum of squares for positives", "41 to 45"),
    "cifar10 backprop": ("CIFAR-10, the same net by backpropagation", "37 to 39"),
}
COLUMNS = ("test_error_one_pass", "test_error_every_label", "test_error", "validation_error")


def images() -> str:
    """One row for each experiment: test errors in percent (over seeds), validation, epochs, minutes, on what."""
    results = json.loads((RESULTS / "images.json").read_text(encoding="utf-8"))
    titles = [
        "experiment",
        "paper",
        "one pass",
        "every label",
        "test error",
        "validation",
        "epochs",
        "minutes",
        "on",
        "seeds",
    ]
    rows = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for name in sorted(results, key=lambda one: list(ROWS).index(one) if one in ROWS else len(ROWS)):
        title, paper = ROWS.get(name, (name, ""))
        runs = list(results[name].values())
        cells = [title, paper, *(error(runs, column) for column in COLUMNS)]
        minutes = sum(run["seconds"] for run in runs) / len(runs) / 60
        threads = f", {runs[0]['threads']} threads" if runs[0]["device"] == "cpu" else ""
        on = f"{runs[0]['device']}, {runs[0]['dtype']}{threads}".replace(" 1 threads", " 1 thread")
        rows.append("| " + " | ".join([*cells, str(runs[0]["epochs"]), f"{minutes:.0f}", on, str(len(runs))]) + " |")
    return "\n".join(rows)


def choices() -> str:
    """One row for each change that a search tried: errors on validation and training images."""
    results = json.loads((RESULTS / "choose_images.json").read_text(encoding="utf-8"))
    rows = ["| search | change | validation error | training error |", "|---|---|---|---|"]
    for search, tried in results.items():
        for change, run in tried.items():
            cells = [search, f"`{change}`" if change else "as it is"]
            cells += [f"{run[column]:.2f}" for column in ("validation_error", "train_error")]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def error(runs: list[dict[str, Any]], column: str) -> str:
    """In percent, mean and deviation over runs; empty where the experiment has no such test."""
    found = [run[column] for run in runs if run[column] is not None]
    return spread(found, 2) if found else ""

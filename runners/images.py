"""The image experiments at their paper settings, and the baselines beside them.

    python runners/images.py                              every cell that is not in results/images.json yet
    python runners/images.py --only supervised --seed 1 --threads 1
    python runners/images.py --runs DIR                   keep the run folders there, and go on with those begun

Each cell is what `ffseq images` prints with --json. The folders of the data sets are found in FFSEQ_DATA.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "images.json"

#: Unsupervised with a fifth of the pixels left out, and little decay of the read-out.
DROPPED = ("--drop_pixels", "0.2", "--readout_decay", "0.003")
#: name of a cell → what follows `ffseq images` on the command line, and the seeds it has by default
CELLS: dict[str, tuple[list[str], tuple[int, ...]]] = {
    "supervised": (["supervised"], (0, 1, 2)),
    "unsupervised": (["unsupervised"], (0, 1, 2)),
    "unsupervised dropped": (["unsupervised", "--readout_decay", "0.01", "--drop_pixels", "0.2"], (0,)),
    "unsupervised dropped decay 0.02": (["unsupervised", *DROPPED, "--weight_decay", "0.02"], (0,)),
    "unsupervised dropped decay 0.5": (["unsupervised", *DROPPED, "--weight_decay", "0.5"], (0,)),
    "unsupervised dropped longer": (["unsupervised", *DROPPED, "--weight_decay", "0.5", "--epochs", "100"], (0,)),
    "unsupervised shifted": (["unsupervised", *DROPPED, "--weight_decay", "0.02", "--jitter", "1"], (0,)),
    "untrained layers": (["unsupervised", "--hidden", "random"], (0,)),
    "local-fields": (["local-fields"], (0,)),
    "jitter": (["jitter"], (0,)),
    "recurrent": (["recurrent"], (0,)),
    "backprop plain": (["backprop"], (0,)),
    "backprop dropout": (
        ["backprop", "--net", "regularised", "--units", "2000", "--dropout", "0.25", "--epochs", "60"],
        (0,),
    ),
    "backprop regularised": (["backprop", "--preset", "paper-regularised"], (0, 1, 2)),
    "backprop conv": (["backprop", "--preset", "paper-conv"], (0,)),
    "cifar10 2 layers": (["cifar10"], (0,)),
    "cifar10 3 layers": (["cifar10", "--layers", "3"], (0,)),
    "cifar10 down": (["cifar10", "--squares", "down"], (0,)),
    "cifar10 backprop": (["cifar10-backprop"], (0,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(CELLS), default=None, help="one cell")
    parser.add_argument("--seed", type=int, default=None, help="one seed; by default those of the table")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "images", help="where the run folders are")
    options = parser.parse_args()
    for name, (words, seeds) in CELLS.items():
        if options.only not in (None, name):
            continue
        for seed in seeds if options.seed is None else (options.seed,):
            if str(seed) not in load().get(name, {}):
                found = measure(words, seed, options.threads, options.runs / f"{name.replace(' ', '-')}-{seed}")
                results = load()  # another cell may have been finished meanwhile
                results.setdefault(name, {})[str(seed)] = found
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load() -> dict[str, dict[str, Any]]:
    """What has been measured: cell → seed → figures."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def measure(words: list[str], seed: int, threads: int, folder: Path) -> dict[str, Any]:
    """One run through the command line, begun or gone on with in its folder."""
    experiment, *more = words
    common = ["--seed", str(seed), "--threads", str(threads), "--out_dir", str(folder), "--resume", "auto", "--json"]
    command = [sys.executable, "-m", "ffseq", "images", experiment, "--preset", "paper", *more, *common]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "run": folder.name}


if __name__ == "__main__":
    main()

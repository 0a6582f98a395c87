"""The main job, measured: every preset on its corpus, over seeds, beside the counting floors.

    python runners/main_job.py                     all cells that are not in results/main_job.json yet
    python runners/main_job.py --cells fables,markov --seeds 0

Each cell is what `ffseq train` prints with --json for that preset and seed; a finished cell is not computed again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "main_job.json"

#: name of a cell → what follows `ffseq train` on the command line
CELLS: dict[str, list[str]] = {
    "fables": [],
    "random-hidden": ["--preset", "random-hidden"],
    "markov": ["markov"],
    "aesop-small": ["aesop", "--preset", "aesop-small"],
    "aesop-hinton": ["aesop", "--preset", "aesop-hinton"],
    "tinyshakespeare": ["tinyshakespeare", "--preset", "tinyshakespeare", "--max_seconds", "180"],
}
KEPT = (
    "corpus", "bits_per_character", "accuracy", "bits_per_byte", "validation_bits_per_character", "parameters",
    "characters_seen", "iterations", "learning_seconds", "characters_per_second", "seed", "dtype", "entropy_rate",
    "floors",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS), help="which presets, separated by commas")
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    options = parser.parse_args()
    for seed in options.seeds.split(","):
        for name in options.cells.split(","):
            results = load()
            if seed not in results.setdefault(name, {}):
                results[name][seed] = measure(CELLS[name], seed)
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load() -> dict[str, dict[str, Any]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def measure(arguments: list[str], seed: str) -> dict[str, Any]:
    """One run through the command line, timed as a user would with a watch."""
    command = [sys.executable, "-m", "ffseq", "train", *arguments, "--seed", seed, "--json"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        done = subprocess.run([*command, "--out_dir", f"{folder}/run"], stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - began
    result = json.loads(done.stdout.splitlines()[-1])
    cell = {key: result[key] for key in KEPT}
    cell["command"] = " ".join(["ffseq", "train", *arguments, "--seed", seed])
    cell["seconds"] = round(seconds, 1)
    print(f"{cell['command']}: {cell['bits_per_character']:.4f} bits per character, "
          f"{cell['accuracy']:.2%}, {seconds:.0f} s", flush=True)  # fmt: skip
    return cell


if __name__ == "__main__":
    main()

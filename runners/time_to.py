"""Seconds of learning until tiny Shakespeare is predicted as well as by nanoGPT's recipe for a CPU.

    python runners/time_to.py

That recipe (0.8 million weights, context 64) takes 86 seconds on two cores to 2.703 bits per character of the last
tenth. Here `ffseq train --preset tinyshakespeare-quick` learns the same nine tenths on one thread. Its length is fixed
(the preset says how: after a look at held-out text), and the last tenth is scored once, when all is learned: no
evaluation is part of the seconds of learning, and they are more than it takes to get to 2.703 for the first time.
Whether every seed ends there or below is checked.

The corpus is prepared first. Three seeds, one after the other, with nothing else running: seconds of learning, seconds
of the whole command (start, learning, scoring, writing) and bits, each with its median. Writes results/time_to.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ffseq.commands.bench import processor
from ffseq.commands.presets import load_preset
from ffseq.corpus import load_corpus

RESULTS = Path(__file__).parent / "results" / "time_to.json"
PRESET = "tinyshakespeare-quick"
#: What nanoGPT's recipe reaches, and the seconds it takes.
BITS, SECONDS = 2.703, 86.0
KEPT = ("bits_per_character", "accuracy", "learning_seconds", "iterations", "characters_seen", "parameters", "dtype")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that is written")
    options = parser.parse_args()
    preset = load_preset(PRESET)
    load_corpus(preset["corpus"], split_rule=preset["split_rule"])
    runs = {seed: measure(seed) for seed in options.seeds.split(",")}
    for seed, run in runs.items():
        if run["bits_per_character"] > BITS:
            bits = run["bits_per_character"]
            raise SystemExit(f"seed {seed} ends at {bits:.4f} bits per character, above {BITS}: nothing is written")
    medians = {
        name: statistics.median(run[name] for run in runs.values())
        for name in ("learning_seconds", "command_seconds", "bits_per_character")
    }
    found = {
        "processor": processor(),
        "preset": preset,
        "goal": {"bits_per_character": BITS, "seconds": SECONDS},
        "runs": runs,
        "medians": medians,
    }
    options.results.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def measure(seed: str) -> dict[str, Any]:
    """One run through the command line, timed as a user would with a watch."""
    arguments = ["--preset", PRESET, "--floors", "no", "--threads", "1", "--seed", seed]
    command = [sys.executable, "-m", "ffseq", "train", *arguments, "--json", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        done = subprocess.run([*command, "--out_dir", f"{folder}/run"], stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - began
    result = json.loads(done.stdout.splitlines()[-1])
    run = {key: result[key] for key in KEPT} | {"command_seconds": seconds}
    run["command"] = " ".join(["ffseq", "train", *arguments])
    print(f"{run['command']}: {run['bits_per_character']:.4f} bits per character after "
          f"{run['learning_seconds']:.2f} s of learning, {seconds:.1f} s in all", flush=True)  # fmt: skip
    return run


if __name__ == "__main__":
    main()

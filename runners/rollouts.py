"""Does a net learn better from characters that it says in real contexts, or from text that it writes itself?

    python runners/rollouts.py              every run that is not in results/rollouts.json yet
    python runners/rollouts.py --list       the command of each

Hinton's second claim about text, that rollouts do for negatives: interleaved nets of the separation curve (Aesop in his
size, two layers of 300, bounded `nce` for all), three seeds, the same updates, rate and strings. `sampled` has as
many contexts in an update as the others have real ones; they have as many of their own besides, so that an update costs
about twice the multiplications: `sampled, twice the windows` has the same work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ffseq.checkpoint import replace_file

RESULTS = Path(__file__).parent / "results" / "rollouts.json"
FOLDER = Path("runs/rollouts")
COMMON = [
    "aesop", "--split_rule", "hinton-tuning", "--stack", "window", "--layers", "2", "--units", "300", "--block_size",
    "10", "--dropout", "0.5", "--scope", "all", "--objective", "nce", "--max_iters", "40000", "--learning_rate", "3e-4",
    "--average", "0.999", "--calibrate", "true", "--eval_interval", "1000", "--sample_interval", "0", "--threads", "1",
]  # fmt: skip
KINDS: dict[str, list[str]] = {
    "sampled": ["--negatives", "sampled", "--num_negatives", "1", "--batch_size", "256"],
    "sampled, twice the windows": ["--negatives", "sampled", "--num_negatives", "1", "--batch_size", "512"],
    "rollouts of 10": ["--negatives", "rollout", "--batch_size", "256"],
    "rollouts of 100": ["--negatives", "rollout", "--rollout_length", "100", "--batch_size", "256"],
    "dreams of 100": ["--negatives", "dream", "--rollout_length", "100", "--batch_size", "256"],
}
KEPT = ("bits_per_character", "accuracy", "validation_bits_per_character", "learning_seconds", "iterations", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--kinds", default=";".join(KINDS), help="which, separated by semicolons")
    parser.add_argument("--list", action="store_true", help="print the command of each kind")
    options = parser.parse_args()
    if options.list:
        for kind, words in KINDS.items():
            print(f"{kind}: ffseq train {' '.join([*COMMON, *words])}")
        return
    for seed in options.seeds.split(","):
        for kind in options.kinds.split(";"):
            if seed in load().get(kind, {}):
                continue
            cell = measure(kind, seed)
            results = load()
            results.setdefault(kind, {})[seed] = cell
            ordered = {one: results[one] for one in KINDS if one in results}
            replace_file(RESULTS, (json.dumps(ordered, indent=1) + "\n").encode())
            print(f"{kind}, seed {seed}: {cell['bits_per_character']:.4f} bits per character", flush=True)


def load() -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def measure(kind: str, seed: str) -> dict[str, Any]:
    folder = FOLDER / f"{kind.replace(' ', '-').replace(',', '')}-{seed}"
    words = [*COMMON, *KINDS[kind], "--seed", seed, "--out_dir", str(folder), "--resume", "auto", "--json", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "ffseq", "train", *words], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: found[name] for name in KEPT}


if __name__ == "__main__":
    main()

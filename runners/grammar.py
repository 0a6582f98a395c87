"""How far back does a net look? Bits where brackets close and verbs come, by the distance to their partners.

    python runners/grammar.py

The preset `grammar` on one thread, seed 0, then `ffseq evaluate --by distance` on the held-out part, with Kneser-Ney
and the process that generated the text beside it. Writes results/grammar.json; a run that is there is not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "grammar.json"
SEEDS = ("0",)
EVALUATED = (
    "bits_per_character", "accuracy", "entropy_rate", "exact_bits_per_character", "by_distance", "floors",
)  # fmt: skip


def main() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for seed in SEEDS:
        if seed not in found:
            found[seed] = measured(seed)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measured(seed: str) -> dict[str, Any]:
    """Figures of one run, and the seconds of the command that trained it."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        began = time.monotonic()
        trained = printed("train", "grammar", "--seed", seed, "--threads", "1", "--floors", "no", "--out_dir", run)
        seconds = time.monotonic() - began
        result = printed("evaluate", run, "--by", "distance", "--floors", "yes", "--threads", "1")
    return {
        "parameters": trained["parameters"],
        "validation_bits_per_character": trained["validation_bits_per_character"],
        "seconds": round(seconds, 1),
        **{key: result[key] for key in EVALUATED},
    }


def printed(*words: str) -> dict[str, Any]:
    """What `ffseq` prints with --json."""
    command = [sys.executable, "-m", "ffseq", *words, "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()

"""A black box between the layers, through which no derivative passes: do the layers above it still learn?

    python runners/between.py

Aesop in Hinton's size, preset `aesop-small` with 2,000 updates, for each kind of box (`--between`) and without one: by
Forward-Forward, by backpropagation, and with hidden layers left random. Three seeds. Writes results/between.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "between.json"
KINDS = ("none", "quantised", "projected", "stepped")
METHODS: dict[str, list[str]] = {
    "Forward-Forward": [],
    "backpropagation": ["--method", "twin"],
    "random hidden layers": ["--hidden", "random"],
}


def main() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for seed in ("0", "1", "2"):
        for kind in KINDS:
            for method, options in METHODS.items():
                runs = found.setdefault(kind, {}).setdefault(method, {})
                if seed in runs:
                    continue
                runs[seed] = trained([*options, "--between", kind, "--seed", seed])
                RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def trained(options: list[str]) -> dict[str, Any]:
    """Held-out figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "ffseq", "train", "aesop", "--preset", "aesop-small", "--objective", "likelihood",
            "--max_iters", "2000", "--threads", "1", "--floors", "no", "--sample_interval", "0", "--json", "--quiet",
            "--out_dir", f"{folder}/run", *options,
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
    return {name: result[name] for name in ("bits_per_character", "accuracy", "learning_seconds")}


if __name__ == "__main__":
    main()

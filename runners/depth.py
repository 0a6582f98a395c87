"""How the distance between Forward-Forward and its twin changes with depth and with the length of training.

    python runners/depth.py

The whole of Aesop, window stacks of 128 units without a memory: 2, 5 and 10 layers learned for 2,000 updates, and 5
layers for 500 and 6,000. In each place every method has its own search over learning rates and dropouts on validation
text, as `ffseq compare` does it, and three seeds. Writes results/depth.json, one place at a time; interrupt it when you
like: it goes on where it was, in the folder runs/.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "depth.json"
#: Layers and updates.
PLACES = [(2, 2000), (5, 2000), (10, 2000), (5, 500), (5, 6000)]
METHODS = "ff-own-expected,ff-below-expected,ff-all-expected,twin-expected"
KEPT = ("name", "label", "learning_rate", "dropout", "bits_per_character", "validation_bits_per_character", "seconds")


def main() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    for layers, updates in PLACES:
        if any((one["layers"], one["max_iters"]) == (layers, updates) for one in found):
            continue
        command = [
            sys.executable, "-m", "ffseq", "compare", "aesop", "--split_rule", "80/10/10", "--stack", "window",
            "--layers", str(layers), "--units", "128", "--block_size", "16", "--batch_size", "256",
            "--max_iters", str(updates), "--eval_interval", str(updates // 10), "--calibrate", "true",
            "--learning_rates", "0.001,0.002,0.004", "--dropouts", "0,0.15,0.3", "--methods", METHODS,
            "--threads", "1", "--out_dir", "runs/depth", "--json",
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = json.loads(done.stdout.splitlines()[-1])["rows"]
        rows = [{key: row[key] for key in KEPT} for row in rows if row["seconds"] is not None]
        found.append({"layers": layers, "max_iters": updates, "rows": rows})
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

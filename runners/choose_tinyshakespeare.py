"""How the stack of the preset for tiny Shakespeare was chosen: equal time, on validation text.

    python runners/choose_tinyshakespeare.py

Each candidate learns the first 81 % for 170 seconds and is scored on the 9 % after them; the 10 % held out are left
alone. Cells that are in results/choose_tinyshakespeare.json are not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "choose_tinyshakespeare.json"
COMMON = (
    "tinyshakespeare --preset tinyshakespeare --split_rule 81/9/10 --floors no --max_seconds 170 --max_iters 100000 "
    "--eval_interval 500 --sample_interval 0 --json"
)
CANDIDATES = {
    "window 2×768, 24 characters": "--stack window --block_size 24 --layers 2 --units 768 --batch_size 256 "
    "--learning_rate 0.001",
    "causal 5×512": "--units 512",
    "causal 5×640": "",
}
KEPT = ("validation_bits_per_character", "parameters", "characters_seen", "characters_per_second", "dtype", "seed")


def main() -> None:
    for name, options in CANDIDATES.items():
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        if name in results:
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "ffseq", "train", *COMMON.split(), *options.split()]
            done = subprocess.run(
                [*command, "--out_dir", f"{folder}/run"], stdout=subprocess.PIPE, text=True, check=True
            )
        result = json.loads(done.stdout.splitlines()[-1])
        results[name] = {key: result[key] for key in KEPT}
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(name, results[name], flush=True)


if __name__ == "__main__":
    main()

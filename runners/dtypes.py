"""Does it matter for what is learned whether products are float32 or bfloat16? Aesop in Hinton's size, over seeds.

    python runners/dtypes.py                        all cells that are not in results/dtypes.json yet
    python runners/dtypes.py --dtypes bfloat16 --seeds 0

A cell is one `ffseq train aesop --preset aesop-small` in that type, on one thread. A finished cell is not computed
again while the preset stays as it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ffseq.checkpoint import replace_file
from ffseq.commands.presets import load_preset

RESULTS = Path(__file__).parent / "results" / "dtypes.json"
PRESET = "aesop-small"
DTYPES = ("float32", "bfloat16")
KEPT = ("bits_per_character", "accuracy", "learning_seconds", "iterations", "dtype")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", default=",".join(DTYPES), help="which, separated by commas")
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--max_iters", type=int, default=None, help="updates, by default the preset's: for a trial")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that cells are added to")
    options = parser.parse_args()
    preset = load_preset(PRESET)
    if options.max_iters is not None:
        preset["max_iters"] = options.max_iters
    for seed in options.seeds.split(","):
        for dtype in options.dtypes.split(","):
            found = load(options.results)
            done = found.setdefault(dtype, {}).get(seed)
            if done is not None and done["preset"] == preset:
                continue
            found[dtype][seed] = measure(dtype, seed, preset)
            replace_file(options.results, (json.dumps(found, indent=1, sort_keys=True) + "\n").encode())


def load(results: Path) -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}


def measure(dtype: str, seed: str, preset: dict[str, Any]) -> dict[str, Any]:
    """One run through the command line, and what it printed."""
    arguments = [
        preset["corpus"], "--preset", PRESET, "--dtype", dtype, "--seed", seed, "--threads", "1",
        "--max_iters", str(preset["max_iters"]),
    ]  # fmt: skip
    command = [sys.executable, "-m", "ffseq", "train", *arguments, "--floors", "no", "--sample_interval", "0"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--json", "--quiet", "--out_dir", f"{folder}/run"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    cell = {key: result[key] for key in KEPT} | {"preset": preset}
    cell["command"] = " ".join(["ffseq", "train", *arguments])
    print(f"{cell['command']}: {cell['bits_per_character']:.4f} bits per character, {cell['learning_seconds']:.0f} s",
          flush=True)  # fmt: skip
    return cell


if __name__ == "__main__":
    main()

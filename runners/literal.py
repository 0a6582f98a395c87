"""Hinton's literal net against its control: the same read-out on hidden layers left random, each at its best.

    python runners/literal.py                every cell that is not in results/literal.json yet
    python runners/literal.py --seeds 0

Both presets were chosen on validation text alone (`--split_rule hinton-tuning`). The control chose three layers of
2000; so it is also given with the shape of the net that learns.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from main_job import measure

from ffseq.commands.presets import load_preset

RESULTS = Path(__file__).parent / "results" / "literal.json"
#: name of a cell → preset, and the settings that differ from it
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "literal, 2×500": ("aesop-literal", {}),
    "control, 3×2000": ("aesop-literal-control", {}),
    "control, 2×500": ("aesop-literal-control", {"layers": 2, "units": 500, "temperature": 1.07}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    for seed in parser.parse_args().seeds.split(","):
        for name, (preset, more) in CELLS.items():
            results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            entry = results.setdefault(name, {"settings": load_preset(preset) | more, "runs": {}})
            typed = [word for option, value in more.items() for word in (f"--{option}", str(value))]
            if seed not in entry["runs"]:
                entry["runs"][seed] = measure(["aesop", "--preset", preset, *typed, "--threads", "1"], seed)
                entry |= summary(list(entry["runs"].values()))
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    return {
        name: {
            "mean": statistics.mean(run[name] for run in runs),
            "sd": statistics.stdev(run[name] for run in runs) if len(runs) > 1 else 0.0,
        }
        for name in ("bits_per_character", "accuracy", "learning_seconds", "seconds")
    }


if __name__ == "__main__":
    main()

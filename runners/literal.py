"""Hinton's literal net against its control: the same read-out on hidden layers left random, each at its best.

    python runners/literal.py                every cell that is not in results/literal.json yet
    python runners/literal.py --seeds 0

Both presets were chosen on validation text alone (`--split_rule hinton-tuning`), with the same effort.
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
PRESETS = ("aesop-literal", "aesop-literal-control")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    for seed in parser.parse_args().seeds.split(","):
        for name in PRESETS:
            results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            entry = results.setdefault(name, {"settings": load_preset(name), "runs": {}})
            if seed not in entry["runs"]:
                entry["runs"][seed] = measure(["aesop", "--preset", name, "--threads", "1"], seed)
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

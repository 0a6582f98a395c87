"""Forward-Forward against its twin, random hidden layers and counting, on the same data and with the same search.

    python runners/compare.py                    every comparison whose results are not there yet
    python runners/compare.py --only aesop

Each writes results/compare_NAME.json, what `ffseq compare --json` prints. Interrupt it when you like: it goes on where
it was, in the folder runs/.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

#: name → what follows `ffseq compare` on the command line
COMPARISONS: dict[str, list[str]] = {
    "aesop": [
        "aesop", "--preset", "aesop-small", "--threads", "1", "--split_rule", "hinton-tuning", "--max_iters", "2000",
        "--eval_interval", "200", "--temperature", "null", "--calibrate", "true", "--search_share", "1.0",
        "--dropouts", "0.1,0.2,0.3,0.5", "--learning_rates", "0.001,0.002,0.004,0.008", "--methods",
        "ff-own-sampled,ff-own-expected,ff-below-sampled,ff-below-expected,ff-all-sampled,ff-all-expected,twin-expected,"
        "twin-sampled,random-hidden,ff-literal",
    ],
    "aesop_book": [
        "aesop", "--preset", "aesop-book", "--threads", "1", "--search_share", "1.0", "--eval_interval", "200",
        "--dropout", "0.5", "--dropouts", "0.1,0.2,0.3,0.4,0.5", "--learning_rates", "0.002,0.004,0.008", "--methods",
        "ff-own-expected,ff-below-expected,ff-all-expected,twin-expected",
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(COMPARISONS), help="names separated by commas")
    for name in parser.parse_args().only.split(","):
        results = RESULTS / f"compare_{name}.json"
        if not results.exists():
            command = [sys.executable, "-m", "ffseq", "compare", *COMPARISONS[name]]
            subprocess.run([*command, "--out_dir", f"runs/compare-{name}", "--results", str(results)], check=True)


if __name__ == "__main__":
    main()

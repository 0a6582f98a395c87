"""How far apart in time may learning from text and learning from dreams be: the project's own experiment.

    python runners/sleep_separation.py
    python runners/sleep_separation.py --only curve --mechanisms nce     a part of it, which writes no results

Aesop in Hinton's size, learning rates chosen on the last 25 of the strings that are learned from. Writes
results/sleep.json, what `ffseq sleep --json` prints. Interrupt it when you like: it goes on where it was, in the folder
runs/sleep. Each run is on one thread, so two parts may work side by side on two cores: what one has computed the other
does not compute again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "sleep.json"

#: What follows `ffseq sleep` on the command line.
EXPERIMENT = [
    "aesop", "--split_rule", "hinton-tuning", "--layers", "2", "--units", "300", "--block_size", "10",
    "--dropout", "0.5", "--batch_size", "256", "--scope", "all", "--updates", "80000", "--lengths", "1,10,100,1000",
    "--mechanisms", "nce,contexts,plain,contrast,targets", "--seeds", "0,1,2", "--rates", "1e-3,5e-4",
    "--search_seed", "0", "--search_share", "0.1", "--average", "0.999", "--calibrate", "true",
    "--eval_interval", "2000", "--deprivation", "0,100,1000,10000", "--threads", "1", "--out_dir", "runs/sleep",
]  # fmt: skip


def main() -> None:
    more = sys.argv[1:]
    if more in (["-h"], ["--help"]):
        print(__doc__)
        return
    results = [] if more else ["--results", str(RESULTS)]
    subprocess.run([sys.executable, "-m", "ffseq", "sleep", *EXPERIMENT, *results, *more], check=True)


if __name__ == "__main__":
    main()

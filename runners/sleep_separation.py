"""How far apart in time may learning from text and learning from dreams be? The project's own experiment, in parts.

    python runners/sleep_separation.py                      the parts that are not in results/sleep.json yet
    python runners/sleep_separation.py --parts dreams       some of them, anew
    python runners/sleep_separation.py --list               what each part is

Each part is one `ffseq sleep`; what it prints with --json goes into results/sleep.json under the part's name.
Interrupt it when you like: it goes on where it was, in the folder runs/sleep. Each run is on one thread, so two parts
may work side by side on two cores: what one has computed the other does not compute again.

The rate 3e-4 was found by looking: 1e-3 learns these strings by heart before 80,000 updates are over, 1.5e-4 is worse
for sleepers (validation 2.351 against 2.317, one seed) and for interleaved nets (2.278 against 2.269).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from ffseq.checkpoint import replace_file

RESULTS = Path(__file__).parent / "results" / "sleep.json"
FOLDER = Path("runs/sleep")

#: What follows `ffseq sleep CORPUS` on the command line.
COMMON = [
    "--layers", "2", "--units", "300", "--block_size", "10", "--dropout", "0.5", "--batch_size", "256", "--scope",
    "all", "--updates", "80000", "--seeds", "0,1,2", "--rates", "3e-4", "--search_seed", "0", "--search_share", "1",
    "--average", "0.999", "--calibrate", "true", "--eval_interval", "2000", "--threads", "1", "--out_dir", str(FOLDER),
]  # fmt: skip
#: Aesop in Hinton's size, what is chosen being chosen on the last 25 of the strings that are learned from.
AESOP = ["aesop", "--split_rule", "hinton-tuning", *COMMON]
PARTS: dict[str, list[str]] = {
    "dreams": [*AESOP, "--only", "curve", "--mechanisms", "nce", "--lengths", "1,1000"],
    "contexts": [*AESOP, "--only", "curve", "--mechanisms", "contexts", "--lengths", "1000"],
    "lengths": [*AESOP, "--only", "curve", "--mechanisms", "nce", "--lengths", "10,100"],
    "full-nights": [
        *AESOP, "--only", "curve", "--mechanisms", "nce", "--lengths", "1000", "--growing", "false",
        "--seeds", "0",
    ],
    "others": [
        *AESOP, "--only", "curve", "--mechanisms", "plain,contrast,gated", "--lengths", "1000", "--seeds", "0",
    ],
    "balances": [
        *AESOP, "--only", "curve", "--mechanisms", "targets,opponent,consolidated,bank,slow", "--lengths",
        "1000", "--seeds", "0",
    ],
    "bounds": [
        *AESOP, "--only", "curve", "--mechanisms", "bounded,detectors", "--lengths", "1,1000", "--seeds", "0",
    ],
    "tinyshakespeare": ["tinyshakespeare", *COMMON, "--only", "curve", "--mechanisms", "nce", "--lengths", "1000"],
    "tinyshakespeare-faster": [
        "tinyshakespeare", *COMMON, "--only", "curve", "--mechanisms", "nce", "--lengths", "1000", "--rates", "1e-3",
        "--seeds", "0",
    ],
    "ten-thousand": [
        *AESOP, "--only", "curve", "--mechanisms", "nce", "--lengths", "10000", "--updates", "400000", "--rates",
        "6e-5",
    ],
    "deprivation": [*AESOP, "--only", "deprivation"],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=None, help=f"which, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--list", action="store_true", help="print the command of each part")
    options = parser.parse_args()
    if options.list:
        for name, words in PARTS.items():
            print(f"{name}: ffseq sleep {' '.join(words)}")
        return
    asked = options.parts.split(",") if options.parts else [name for name in PARTS if name not in load()]
    for name in asked:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}. Known: {', '.join(PARTS)}")
        found = FOLDER / f"{name}.json"
        subprocess.run([sys.executable, "-m", "ffseq", "sleep", *PARTS[name], "--results", str(found)], check=True)
        results = load() | {name: json.loads(found.read_text(encoding="utf-8"))}
        ordered = {part: results[part] for part in PARTS if part in results}
        replace_file(RESULTS, (json.dumps(ordered, indent=1) + "\n").encode())


def load() -> dict[str, dict[str, object]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


if __name__ == "__main__":
    main()

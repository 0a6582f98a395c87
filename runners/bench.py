"""How fast it is and how much memory it takes, on the machine it is run on: results/bench.json.

    python runners/bench.py

`ffseq bench` with nothing else running; about two minutes. A machine that others share is not always as fast, so every
run also adds its rates to results/bench_looks.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "bench.json"
LOOKS = RESULTS.with_name("bench_looks.json")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ffseq", "bench", "--out_dir", folder, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    found.pop("plot", None)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    looks = json.loads(LOOKS.read_text(encoding="utf-8")) if LOOKS.exists() else []
    LOOKS.write_text(json.dumps([*looks, look(found)], indent=1) + "\n", encoding="utf-8")


def look(found: dict[str, Any]) -> dict[str, Any]:
    """Of what a run found, its rates."""
    rates = {f"{net['name']}, {net['batch']:,}": net["ff_per_second"] for net in found["nets"]}
    several = found["processes"][-1]["ratio_to_one"]
    return {"processor": found["processor"], "peak": found["matrix_peak_gflops"], "rates": rates, "several": several}


if __name__ == "__main__":
    main()

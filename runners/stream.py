"""Does learning from a stream stay in the same memory, however long it is? 10^6, 10^7 and 10^8 generated characters.

    python runners/stream.py

Each is one `ffseq train - --stream` that is given its text through a pipe: the generated chain `markov`, a million
characters over and over (a net of this size cannot learn them by heart). Writes results/stream.json: peak memory of the
process, prequential bits, characters per second. The last one takes about ten minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from ffseq.markov import entropy_rate, markov_text

RESULTS = Path(__file__).parent / "results" / "stream.json"
LENGTHS = (10**6, 10**7, 10**8)
NET = ["--layers", "3", "--units", "64", "--block_size", "4", "--string_length", "512", "--alphabet", "text8"]


def main() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    text = markov_text(10**6).encode("ascii")
    for length in LENGTHS:
        if str(length) not in found:
            found[str(length)] = measured(text, length // len(text)) | {"entropy_rate": entropy_rate()}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(length, found[str(length)], flush=True)


def measured(text: bytes, times: int) -> dict[str, Any]:
    """One run on `times` copies of `text`, and its peak memory in bytes."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "ffseq", "train", "-", "--stream", *NET, "--threads", "1", "--log_interval",
                   "1000", "--out_dir", f"{folder}/run", "--json", "--quiet"]  # fmt: skip
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said)
        pipe = child.stdin
        assert pipe is not None

        def feed() -> None:
            for _ in range(times):
                pipe.write(text)
            pipe.close()

        threading.Thread(target=feed, daemon=True).start()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"ffseq failed with status {child.returncode}")
        said.seek(0)
        result = json.loads(said.read().splitlines()[-1])
    kept = ("prequential_bits_per_character", "characters_seen", "characters_per_second", "remembered_bytes")
    return {name: result[name] for name in kept} | {
        "peak_memory_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    }


if __name__ == "__main__":
    main()

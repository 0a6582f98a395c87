"""Does learning from a stream stay in the same memory, however long it is? 10^6, 10^7 and 10^8 generated characters.

    python runners/stream.py

Each is one `ffseq train - --stream` that is given its text through a pipe: the generated chain `markov`, a million
characters over and over (a net of this size cannot learn them by heart). Writes results/stream.json: peak memory of the
process, prequential bits, characters per second. The last one takes about ten minutes.
"""

from __future__ import annotations

import json
from pathlib import Path

from ffseq.bench.memory import of_stream
from ffseq.markov import entropy_rate

RESULTS = Path(__file__).parent / "results" / "stream.json"
LENGTHS = (10**6, 10**7, 10**8)


def main() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for length in LENGTHS:
        if str(length) not in found:
            found[str(length)] = of_stream(length) | {"entropy_rate": entropy_rate()}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(length, found[str(length)], flush=True)


if __name__ == "__main__":
    main()

"""What to try next, from how a run went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ffseq.config import TrainConfig

#: A run whose last two evaluations differ by more than this share was still getting better.
FALLING = 0.002
#: A run that was best before this share of it was over learned its text by heart from then on.
EARLY = 0.7


def advice(run: Path, config: TrainConfig, result: dict[str, Any]) -> list[str]:
    """Sentences, none where nothing stands out. result: what `ffseq.runs.train` returns."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    seen = [
        (line["step"], line["validation_bits_per_character"])
        for line in lines
        if line["kind"] == "validation" and line["validation_bits_per_character"] is not None
    ]
    found = []
    if len(seen) > 2:
        (before, last), (step, least) = (bits for _, bits in seen[-2:]), min(seen, key=lambda one: one[1])
        longer = "--max_iters" if config.run.max_seconds is None else "--max_seconds"
        if last == least and before - last > FALLING * last:
            found.append(f"It was still getting better when it ended: a longer run ({longer}) will predict better.")
        elif step < EARLY * seen[-1][0]:
            found.append(
                f"It was best after {step:,} of {seen[-1][0]:,} updates, and that net was kept: more --dropout, fewer "
                "--units or more text."
            )
    counting = (result["floors"] or {}).get("kneser_ney")
    ahead = result["bits_per_character"] - counting["bits_per_character"] if counting else 0.0
    if ahead > 0 and not config.network.memory and config.network.stack != "literal":
        found.append(
            f"Counting is ahead by {ahead:.3f} bits: a memory (--memory 65536) knows the long contexts that it counts."
        )
    return found

"""The table of README made of results/grammar.json: bits by the distance to what a symbol has to agree with."""

from __future__ import annotations

import json
from typing import Any

from spread import RESULTS

COLUMNS = ("count", "exact", "kneser_ney", "bits_per_character")


def grammar() -> str:
    """Closing brackets and verbs by distance to the partner: how many, and bits of the process, Kneser-Ney, the net."""
    run = next(iter(json.loads((RESULTS / "grammar.json").read_text(encoding="utf-8")).values()))
    kinds = {"brackets": "closing brackets", "agreement": "verbs"}
    names = (": how many", "the process", "Kneser-Ney", "the net")
    titles = [f"{kind}{name}" if name == names[0] else name for kind in kinds.values() for name in names]
    rows = ["| distance | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    found = {(row["from"], row["closes"]): row for row in run["by_distance"]}
    for first in sorted({row["from"] for row in run["by_distance"]}):
        cells = [cell for kind in kinds for cell in figures(found.get((first, kind)))]
        rows.append(f"| {first} to {2 * first - 1} | " + " | ".join(cells) + " |")
    kneser_ney = run["floors"]["kneser_ney"]
    every = [
        f"entropy rate {run['entropy_rate']:.3f} bits per character",
        f"the process on this very text {run['exact_bits_per_character']:.3f}",
        f"Kneser-Ney (order {kneser_ney['order']}) {kneser_ney['bits_per_character']:.3f}",
        f"the net {run['bits_per_character']:.3f}",
    ]
    rows += ["", f"All symbols: {', '.join(every)}."]
    return "\n".join(rows)


def figures(row: dict[str, Any] | None) -> list[str]:
    """The cells of one kind at one distance, empty where there is none."""
    if row is None:
        return [""] * len(COLUMNS)
    return [f"{row[name]:,}" if name == "count" else f"{row[name]:.2f}" for name in COLUMNS]

"""The table of README made of results/pieces.json: characters and pieces, nets and counting models."""

from __future__ import annotations

import json

from spread import RESULTS, spread


def pieces() -> str:
    """Every alphabet: its symbols, what the net reaches, what Kneser-Ney reaches with the same symbols."""
    results = json.loads((RESULTS / "pieces.json").read_text(encoding="utf-8"))
    columns = [
        "symbols", "V", "characters in one", "bits per character", "validation", "Kneser-Ney", "weights", "dropout",
        "seeds", "seconds",
    ]  # fmt: skip
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    kinds = ["characters", "bpe", "unigram"]
    for name in sorted(results, key=lambda one: (kinds.index(one.split()[0]), int([*one.split(), "0"][1]))):
        entry = results[name]
        runs = list(entry["runs"].values())
        counting = entry["floors"]["kneser_ney"]
        cells = [
            name,
            str(entry["symbols"]),
            f"{entry['characters_per_symbol']:.2f}",
            spread([run["bits_per_character"] for run in runs], 3),
            spread([run["validation_bits_per_character"] for run in runs], 3),
            f"{counting['bits_per_character']:.3f} (order {counting['order']})",
            f"{runs[0]['parameters'] / 1e6:.2f} M",
            f"{entry['dropout']:g}",
            str(len(runs)),
            f"{sum(run['learning_seconds'] for run in runs) / len(runs):.0f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)

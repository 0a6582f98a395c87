"""Tables of README: wake and sleep."""

from __future__ import annotations

import json
import statistics
from typing import Any

from spread import RESULTS, spread


def sleep() -> str:
    """Bits against the length of phases, beside the best interleaved net; and what a time without negatives does."""
    parts = json.loads((RESULTS / "sleep.json").read_text(encoding="utf-8"))
    rows = [
        "| corpus | asleep | rate | updates of a phase | bits per character | of interleaved | accuracy | in full "
        "phases | kept, KiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    said = []
    for found in parts.values():
        best = found["interleaved"]
        if best is None:
            continue
        lines = found["curve"]
        if best not in said:  # parts that share their interleaved nets need them once
            said.append(best)
            lines = [best | {"label": f"interleaved, {best['objective']}, stopped early"}, *lines]
        rows += [f"| {found['corpus']} " + separation(row, best["bits_per_character"]["mean"]) for row in lines]
    deprived = [row for found in parts.values() for row in found["deprivation"]]
    if deprived:
        rows += ["", "| without negatives | before | after | lowest asleep | updates asleep until within 1 % |"]
        rows += ["|---|---|---|---|---|"]
    for row in deprived:
        stages = (row[f"bits_per_character_{stage}"] for stage in ("before", "after", "lowest_asleep"))
        bits = " | ".join("diverged" if one is None else f"{one:.3f}" for one in stages)
        updates = row["recovery_updates"]
        until = f"more than {row['recovery_limit']:,}" if updates is None else f"{updates:,.0f}"
        rows.append(f"| {row['mechanism']}, {row['length']:,} updates | {bits} | {until} |")
    return "\n".join(rows)


def separation(row: dict[str, Any], best: float) -> str:
    """A point of the curve, or the interleaved net, as a line of a table."""
    bits, accuracy = row["bits_per_character"], row["accuracy"]
    length = "" if "wake" not in row else f"{row['wake']:,}"
    label = row["label"] + ("" if row.get("offline", True) else " (not offline)")
    named = f"| {label} | {row['learning_rate']:g} | {length} |"
    if bits is None:
        return f"{named} diverged | | | | |"
    share = "" if "wake" not in row else f"{row['share_at_full_length']:.0%}"
    kept = "" if row["state_bytes"] is None else f"{row['state_bytes'] / 1024:,.0f}"
    figures = f"{spread(bits['by_seed'], 3)} | {bits['mean'] / best:.3f} | {100 * accuracy['mean']:.1f} %"
    return f"{named} {figures} | {share} | {kept} |"


def rollouts() -> str:
    """Characters said in real contexts against text of the net's own, as negatives beside real text."""
    found = json.loads((RESULTS / "rollouts.json").read_text(encoding="utf-8"))
    rows = ["| negatives | bits per character | accuracy | validation | seeds | seconds |", "|---|---|---|---|---|---|"]
    for kind, runs in found.items():
        bits, accuracy, validation, seconds = (
            [run[name] for run in runs.values()]
            for name in ("bits_per_character", "accuracy", "validation_bits_per_character", "learning_seconds")
        )
        percent = spread([100 * one for one in accuracy], 1)
        figures = [spread(bits, 3), f"{percent} %", spread(validation, 3), str(len(runs))]
        rows.append(f"| {kind} | " + " | ".join(figures) + f" | {statistics.mean(seconds):.0f} |")
    return "\n".join(rows)

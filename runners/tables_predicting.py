"""Tables of README: how well nets predict."""

from __future__ import annotations

import json
import statistics
from typing import Any

from spread import RESULTS, spread


def main_job() -> str:
    """Presets beside the counting floors: mean and standard deviation over seeds."""
    results = json.loads((RESULTS / "main_job.json").read_text(encoding="utf-8"))
    rows = [
        "| preset | corpus | bits per character | accuracy | Kneser-Ney | unigram | seeds | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cells in results.items():
        runs = list(cells.values())
        floors = runs[0]["floors"]
        kneser_ney = f"{floors['kneser_ney']['bits_per_character']:.3f}, {floors['kneser_ney']['accuracy']:.1%}"
        if runs[0]["entropy_rate"] is not None:
            kneser_ney += f" (entropy rate {runs[0]['entropy_rate']:.3f})"
        row = [
            f"`{name}`",
            runs[0]["corpus"],
            spread([run["bits_per_character"] for run in runs], 3),
            spread([100 * run["accuracy"] for run in runs], 1) + " %",
            kneser_ney,
            f"{floors['unigram']['bits_per_character']:.3f}",
            str(len(runs)),
            f"{statistics.mean(run['seconds'] for run in runs):.0f}",
        ]
        rows.append("| " + " | ".join(row) + " |")
    return "\n".join(rows)


def comparison(name: str) -> str:
    """One comparison: what each method reaches with the same search, data and number of characters."""
    results = json.loads((RESULTS / f"compare_{name}.json").read_text(encoding="utf-8"))
    rows = [
        "| method | bits per character | accuracy | validation | rate, dropout | multiplications | seconds | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        bits, accuracy = row["bits_per_character"], row["accuracy"]
        if row["seconds"] is None:
            rows.append(f"| {row['label']} | {bits['mean']:.3f} | {accuracy['mean']:.1%} | | | | | |")
            continue
        validation = row["validation_bits_per_character"]
        cells = [
            row["label"],
            f"{bits['mean']:.3f} ± {bits['sd']:.3f}",
            f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['sd']:.1f} %",
            f"{validation['mean']:.3f}",
            f"{row['learning_rate']:g}, {row['dropout']:g}",
            f"{row['multiplications']:.2g}",
            f"{row['seconds']:.0f}",
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def literal() -> str:
    """Hinton's literal net beside its control."""
    results = json.loads((RESULTS / "literal.json").read_text(encoding="utf-8"))
    rows = ["| net | bits per character | accuracy | seeds | seconds |", "|---|---|---|---|---|"]
    for name, entry in results.items():
        runs = list(entry["runs"].values())
        bits = spread([run["bits_per_character"] for run in runs], 3)
        accuracy = spread([100 * run["accuracy"] for run in runs], 1)
        seconds = statistics.mean(run["seconds"] for run in runs)
        rows.append(f"| {name} | {bits} | {accuracy} % | {len(runs)} | {seconds:.0f} |")
    return "\n".join(rows)


def records() -> str:
    """Every corpus: FF, its twin, FF on a black box, and what counting reaches."""
    results = json.loads((RESULTS / "records.json").read_text(encoding="utf-8"))
    rows = [
        "| corpus | predictor | bits per character | accuracy | validation | seeds | seconds |",
        "|---|---|---|---|---|---|---|",
    ]

    def row(corpus: str, name: str, cells: list[dict[str, Any]], validation: list[float], seconds: str) -> str:
        bits = spread([cell["bits_per_character"] for cell in cells], 3)
        accuracy = spread([100 * cell["accuracy"] for cell in cells], 1)
        seeds = str(len(cells)) if seconds else ""
        seen = spread(validation, 3) if validation else ""
        return f"| {corpus} | {name} | {bits} | {accuracy} % | {seen} | {seeds} | {seconds} |"

    for corpus, methods in results.items():
        floors = next(iter(next(iter(methods.values())).values()))["floors"]
        labels = {
            "ff": "Forward-Forward",
            "twin": "its twin, by backpropagation",
            "twin-equal-work": "the twin, at Forward-Forward's multiplications",
        }
        for method, label in labels.items():
            cells = list(methods.get(method, {}).values())
            if cells:
                seen = [one["validation_bits_per_character"] for one in cells]
                seconds = f"{statistics.mean(cell['seconds'] for cell in cells):.0f}"
                rows.append(row(corpus, label, cells, [bits for bits in seen if bits is not None], seconds))
        on = [cell["learning_on"] for cell in methods.get("ff", {}).values() if "learning_on" in cell]
        if on:
            rows.append(row(corpus, "*Forward-Forward, learning on*", on, [], ""))
        mixed = [cell["on_black_box"] for cell in methods.get("ff", {}).values()]
        kneser_ney = floors["kneser_ney"]
        rows.append(row(corpus, f"Kneser-Ney, order {kneser_ney['order']}", [kneser_ney], [], ""))
        if mixed:
            alone = mixed[0]["black_box_alone"]
            rows.append(row(corpus, "*black box alone: Kneser-Ney that counts on*", [alone], [], ""))
            seconds = f"+ {statistics.mean(cell['seconds'] for cell in mixed):.0f}"
            name = "Forward-Forward, learning on, on that black box" if on else "Forward-Forward on that black box"
            rows.append(row(corpus, f"*{name}*", mixed, [], seconds))
    return "\n".join(rows)


def depth() -> str:
    """Every method's bits at each depth and length of training."""
    places = json.loads((RESULTS / "depth.json").read_text(encoding="utf-8"))
    names = [f"{one['layers']} layers, {one['max_iters']:,} updates" for one in places]
    rows = ["| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for number, first in enumerate(places[0]["rows"]):
        bits = [one["rows"][number]["bits_per_character"] for one in places]
        cells = [f"{one['mean']:.3f} ± {one['sd']:.3f}" for one in bits]
        rows.append(f"| {first['label']} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def between() -> str:
    """Bits of every method with each kind of black box between the layers."""
    results = json.loads((RESULTS / "between.json").read_text(encoding="utf-8"))
    methods = list(next(iter(results.values())))
    rows = ["| between the layers | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for kind, found in results.items():
        cells = [spread([run["bits_per_character"] for run in found[name].values()], 3) for name in methods]
        rows.append(f"| {'nothing' if kind == 'none' else kind} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def stream() -> str:
    """Streams of different length: memory, bits, speed."""
    results = json.loads((RESULTS / "stream.json").read_text(encoding="utf-8"))
    rows = ["| characters | peak memory | bits per character, before each was learned | characters a second |",
            "|---|---|---|---|"]  # fmt: skip
    for one in results.values():
        memory = f"{one['bytes'] / 2**20:.0f} MiB"
        bits = f"{one['prequential_bits_per_character']:.3f} (entropy rate {one['entropy_rate']:.3f})"
        rows.append(f"| {one['characters']:,} | {memory} | {bits} | {one['characters_per_second']:,.0f} |")
    return "\n".join(rows)

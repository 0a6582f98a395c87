"""Write the tables of README from the files in results/.

python runners/tables.py            replace what stands between the markers
python runners/tables.py --check    exit with 1 where README and results differ
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def main_job() -> str:
    """Presets beside the counting floors: mean and standard deviation over seeds."""
    results = json.loads((HERE / "results" / "main_job.json").read_text(encoding="utf-8"))
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
    results = json.loads((HERE / "results" / f"compare_{name}.json").read_text(encoding="utf-8"))
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
    results = json.loads((HERE / "results" / "literal.json").read_text(encoding="utf-8"))
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
    results = json.loads((HERE / "results" / "records.json").read_text(encoding="utf-8"))
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
    places = json.loads((HERE / "results" / "depth.json").read_text(encoding="utf-8"))
    names = [f"{one['layers']} layers, {one['max_iters']:,} updates" for one in places]
    rows = ["| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for number, first in enumerate(places[0]["rows"]):
        bits = [one["rows"][number]["bits_per_character"] for one in places]
        cells = [f"{one['mean']:.3f} ± {one['sd']:.3f}" for one in bits]
        rows.append(f"| {first['label']} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def between() -> str:
    """Bits of every method with each kind of black box between the layers."""
    results = json.loads((HERE / "results" / "between.json").read_text(encoding="utf-8"))
    methods = list(next(iter(results.values())))
    rows = ["| between the layers | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for kind, found in results.items():
        cells = [spread([run["bits_per_character"] for run in found[name].values()], 3) for name in methods]
        rows.append(f"| {'nothing' if kind == 'none' else kind} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def stream() -> str:
    """Streams of different length: memory, bits, speed."""
    results = json.loads((HERE / "results" / "stream.json").read_text(encoding="utf-8"))
    rows = ["| characters | peak memory | bits per character, before each was learned | characters a second |",
            "|---|---|---|---|"]  # fmt: skip
    for one in results.values():
        memory = f"{one['bytes'] / 2**20:.0f} MiB"
        bits = f"{one['prequential_bits_per_character']:.3f} (entropy rate {one['entropy_rate']:.3f})"
        rows.append(f"| {one['characters']:,} | {memory} | {bits} | {one['characters_per_second']:,.0f} |")
    return "\n".join(rows)


def dtypes() -> str:
    """Both types of product over the same seeds, and what bfloat16 has more or less than float32."""
    results = json.loads((HERE / "results" / "dtypes.json").read_text(encoding="utf-8"))
    rows = ["| products | bits per character | against float32 | accuracy | seeds |", "|---|---|---|---|---|"]
    means = {
        dtype: statistics.mean(run["bits_per_character"] for run in runs.values()) for dtype, runs in results.items()
    }
    for dtype in ("float32", "bfloat16"):
        runs = list(results[dtype].values())
        cells = [
            dtype,
            spread([run["bits_per_character"] for run in runs], 3),
            "" if dtype == "float32" else f"{means[dtype] / means['float32'] - 1:+.2%}",
            spread([100 * run["accuracy"] for run in runs], 1) + " %",
            str(len(runs)),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def time_to() -> str:
    """Seconds to what nanoGPT's recipe for a CPU reaches on tiny Shakespeare."""
    found = json.loads((HERE / "results" / "time_to.json").read_text(encoding="utf-8"))
    goal, runs = found["goal"], list(found["runs"].values())
    keys = ("bits_per_character", "learning_seconds", "command_seconds")
    worst = {key: max(run[key] for run in runs) for key in keys}
    name = f"`tinyshakespeare-quick`, {runs[0]['parameters'] / 1e6:.1f} M weights, one thread, {runs[0]['dtype']}"
    reference = f"{goal['bits_per_character']:.3f} | {goal['seconds']:.0f}"
    rows = [
        "| tiny Shakespeare, last tenth | bits per character | seconds of learning | of the whole command |",
        "|---|---|---|---|",
        f"| nanoGPT's recipe for a CPU, 0.8 M weights, two cores | {reference} | |",
    ]
    for label, cells in ((f"median of {len(runs)} seeds", found["medians"]), ("most of them", worst)):
        figures = (f"{cells[key]:.{digits}f}" for key, digits in zip(keys, (3, 1, 1), strict=True))
        rows.append(f"| {name}, {label} | " + " | ".join(figures) + " |")
    return "\n".join(rows)


def bench() -> str:
    """What `ffseq bench` found: nets, then memory, sampling and preparation."""
    found = json.loads((HERE / "results" / "bench.json").read_text(encoding="utf-8"))
    where = f"{found['processor']}, {found['threads']} threads, {found['dtype']}, torch {found['torch']}"
    rows = [f"{where}; the fastest product: {found['matrix_peak_gflops']:,.0f} GFLOP/s.", ""]
    rows += ["| net, positions in an update | FF, positions a second | twin | FF's time / twin's | of that product |",
             "|---|---|---|---|---|"]  # fmt: skip
    for net in found["nets"]:
        cells = [f"{net['name']}, {net['batch']:,}", f"{net['ff_per_second']:,.0f}", f"{net['twin_per_second']:,.0f}",
                 f"{net['ratio_to_twin']:.2f}", f"{net['peak_share']:.0%}"]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    if "processes" in found:
        rows += ["", "| processes of one thread that share 8,192 characters | updates a second | of one's |"]
        rows += ["|---|---|---|"]
        for one in found["processes"]:
            rows.append(f"| {one['workers']} | {one['updates_per_second']:.2f} | {one['ratio_to_one']:.2f} |")
    columns = {
        "ff_bytes": "FF, scope below",
        "ff_recompute_bytes": "scope all, up twice",
        "ff_all_bytes": "scope all",
        "twin_bytes": "twin",
        "ff_resident_bytes": "scope below, resident",
        "twin_resident_bytes": "twin, resident",
    }
    names = [name for name in columns if found["memory"]["depth"][0].get(name) is not None]
    rows += ["", "| most held in an update, MiB | " + " | ".join(columns[name] for name in names) + " |"]
    rows += ["|---" * (1 + len(names)) + "|"]
    for one in found["memory"]["depth"]:
        rows.append(f"| {one['layers']} layers | " + " | ".join(f"{one[name] / 2**20:.1f}" for name in names) + " |")
    if "recompute_price" in found["memory"]:
        price = found["memory"]["recompute_price"]
        sentence = f"In scope all an update that goes up twice (`--recompute`) takes {price:.2f} times as long"
        rows += ["", f"{sentence} (causal 384x5, 2,048)."]
    sampling = found["sampling"]
    rows += [
        "",
        "Sampling from a causal net of 5 layers of 384: "
        f"{sampling['one_string']:,.0f} characters a second in one string, "
        f"{sampling['many_strings']:,.0f} in {sampling['strings']} at once. A text of 100 MB is prepared in "
        f"{found['preparation_seconds_100mb']:.1f} seconds.",
    ]
    return "\n".join(rows)


def sleep() -> str:
    """Bits against the length of phases, beside the best interleaved net; and what a time without negatives does."""
    parts = json.loads((HERE / "results" / "sleep.json").read_text(encoding="utf-8"))
    rows = [
        "| asleep | updates of a phase | bits per character | of interleaved | accuracy | in full phases | kept, KiB |",
        "|---|---|---|---|---|---|---|",
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
        rows += [separation(row, best["bits_per_character"]["mean"]) for row in lines]
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
    if bits is None:
        return f"| {label} | {length} | diverged | | | | |"
    share = "" if "wake" not in row else f"{row['share_at_full_length']:.0%}"
    kept = "" if row["state_bytes"] is None else f"{row['state_bytes'] / 1024:,.0f}"
    figures = f"{bits['mean']:.3f} ± {bits['sd']:.3f} | {bits['mean'] / best:.3f} | {100 * accuracy['mean']:.1f} %"
    return f"| {label} | {length} | {figures} | {share} | {kept} |"


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


#: name → the results it is made of, and how
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "main_job": ("main_job", main_job),
    "compare_aesop": ("compare_aesop", lambda: comparison("aesop")),
    "compare_aesop_book": ("compare_aesop_book", lambda: comparison("aesop_book")),
    "depth": ("depth", depth),
    "between": ("between", between),
    "stream": ("stream", stream),
    "literal": ("literal", literal),
    "bench": ("bench", bench),
    "dtypes": ("dtypes", dtypes),
    "time_to": ("time_to", time_to),
    "records": ("records", records),
    "sleep": ("sleep", sleep),
}


def filled(text: str) -> str:
    """README with every table written anew. Results that are there have a table, and no table is without results."""
    for name, (results, table) in TABLES.items():
        found = re.search(rf"<!-- table {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
        there = (HERE / "results" / f"{results}.json").exists()
        if there != (found is not None):
            raise SystemExit(
                f"README has {'no place for' if there else 'a place, but there are no results, for'} {name}"
            )
        if found is not None:
            text = text[: found.start(1)] + table() + "\n" + text[found.end(1) :]
    return text


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in sys.argv[1:]:
        sys.exit(before != after)
    README.write_text(after, encoding="utf-8")

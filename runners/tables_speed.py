"""Tables of README: how fast, how exact and how much memory."""

from __future__ import annotations

import json
import statistics

from spread import RESULTS, spread


def dtypes() -> str:
    """Both types of product over the same seeds, and what bfloat16 has more or less than float32."""
    results = json.loads((RESULTS / "dtypes.json").read_text(encoding="utf-8"))
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
    found = json.loads((RESULTS / "time_to.json").read_text(encoding="utf-8"))
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
    found = json.loads((RESULTS / "bench.json").read_text(encoding="utf-8"))
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


def bench_looks() -> str:
    """How much the rates of one machine differ from run to run."""
    looks = json.loads((RESULTS / "bench_looks.json").read_text(encoding="utf-8"))
    nets = list(looks[0]["rates"])
    rows = ["| run | fastest product, GFLOP/s | " + " | ".join(nets) + " | two processes, of one |"]
    rows += ["|---" * (len(nets) + 3) + "|"]
    for number, one in enumerate(looks, 1):
        rates = (f"{one['rates'][net]:,.0f}" for net in nets)
        rows.append(f"| {number} | {one['peak']:,.0f} | " + " | ".join(rates) + f" | {one['several']:.2f} |")
    return "\n".join(rows)


def where() -> str:
    """Where the time of an update goes, net by net."""
    found = json.loads((RESULTS / "where.json").read_text(encoding="utf-8"))
    kinds = list(next(iter(found.values()))["shares"])
    rows = ["| net, positions in an update | ms | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 2) + "|"]
    for name, one in found.items():
        shares = (f"{one['shares'][kind]:.0%}" for kind in kinds)
        rows.append(f"| {name} | {one['milliseconds']:.1f} | " + " | ".join(shares) + " |")
    return "\n".join(rows)

"""Pictures that a run leaves behind, and its log read back. The page that tells all of it is made in `ffseq.page`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ffseq.checkpoint import json_or_none


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl, in order; none where nothing was logged. The last line of a killed run may be cut
    short: it is left out.
    """
    log = folder / "log.jsonl"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [json_or_none(line.encode("utf-8")) for line in text.splitlines()]
    return [line for line in lines if isinstance(line, dict) and {"kind", "step"} <= line.keys()]


def plot_curves(folder: Path, floors: dict[str, Any] | None) -> Path | None:
    """Draw `curves.png` from the run's log.jsonl: bits and goodness against characters seen, or against updates
    where some have no real text.

    Returns the path, or None where nothing has been logged yet.
    """
    lines = logged(folder)
    training = [line for line in lines if line["kind"] == "train"]
    validation = [line for line in lines if line["kind"] == "validation"]
    if not training:
        return None
    # Not pyplot: this also runs where there is no display and inside programs that have figures of their own.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    bits, goodness = figure.subplots(2, 1, sharex=True)
    across = "step" if any("phase" in line for line in training) else "characters_seen"

    def curve(lines: list[dict[str, Any]], name: str) -> tuple[list[float], list[Any]]:
        """Asleep there are no positives, awake no negatives: those lines are left out."""
        some = [line for line in lines if line[name] is not None]
        return [line[across] for line in some], [line[name] for line in some]

    bits.plot(*curve(training, "train_bits_per_character"), label="training (with dropout)")
    if validation:
        bits.plot(*curve(validation, "validation_bits_per_character"), label="validation")
    if floors is not None:
        order = floors["kneser_ney"]["order"]
        bits.axhline(
            floors["kneser_ney"]["bits_per_character"],
            color="0.4",
            linestyle="--",
            label=f"Kneser-Ney, order {order} (held out)",
        )
    bits.set_ylabel("bits per character")
    bits.legend()
    named: set[int] = set()
    for name, style in (("positive_goodness", "-"), ("negative_goodness", ":")):
        seen, sides = curve(training, name)
        for number, layer in enumerate(zip(*sides, strict=True)):
            label = f"layer {number + 1}" if number not in named else None
            named.add(number)
            goodness.plot(seen, layer, color=f"C{number}", linestyle=style, label=label)
    goodness.set_ylabel("goodness (dotted: of negatives)")
    goodness.set_xlabel("updates" if across == "step" else "characters seen")
    if named:
        goodness.legend()
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    return path


def plot_comparison(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Validation bits per character against characters seen: mean over seeds, and the spread from lowest to highest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row in rows:
        if "curves" not in row:
            mean = row["bits_per_character"]["mean"]
            axes.axhline(mean, color="0.4", linestyle="--" if row["method"] == "kneser_ney" else ":")
            axes.annotate(f"{row['label']} (held out)", (0.99, mean), xycoords=("axes fraction", "data"), ha="right",
                          va="bottom", fontsize="small", color="0.3")  # fmt: skip
            continue
        by_seed = [dict(map(tuple, curve)) for curve in row["curves"]]
        seen = sorted(set.intersection(*map(set, by_seed)))
        bits = [[one[at] for one in by_seed] for at in seen]
        style = "--" if row["method"] == "twin" else ":" if row["method"] == "random_hidden" else "-"
        (line,) = axes.plot(seen, [sum(b) / len(b) for b in bits], linestyle=style, label=row["label"])
        axes.fill_between(seen, [min(b) for b in bits], [max(b) for b in bits], color=line.get_color(), alpha=0.2)
    axes.set_xlabel("characters seen")
    axes.set_ylabel("bits per character, validation")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    return path


def plot_bench(path: Path, result: dict[str, Any]) -> Path:
    """Draw what `ffseq bench` found: rates of the two ways of learning, and memory against depth."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = [part for part in ("nets", "memory") if part in result]
    figure = Figure(figsize=(8, 3.5 * len(parts)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = dict(zip(parts, figure.subplots(len(parts), 1, squeeze=False)[:, 0], strict=True))
    if "nets" in axes:
        nets = result["nets"]
        for shift, key, label in ((-0.2, "ff_per_second", "Forward-Forward"), (0.2, "twin_per_second", "twin")):
            places = [number + shift for number in range(len(nets))]
            axes["nets"].bar(places, [net[key] for net in nets], width=0.4, label=label)
        axes["nets"].set_xticks(range(len(nets)), [f"{net['name']}\nbatch {net['batch']}" for net in nets], fontsize=7)
        axes["nets"].set_yscale("log")
        axes["nets"].set_ylabel("positions learned a second")
        axes["nets"].legend()
    if "memory" in axes:
        depth = result["memory"]["depth"]
        for key, label in (
            ("ff_bytes", "Forward-Forward, scope below"),
            ("ff_recompute_bytes", "scope all, up twice"),
            ("ff_all_bytes", "scope all"),
            ("twin_bytes", "twin"),
        ):
            axes["memory"].plot(
                [one["layers"] for one in depth], [one[key] / 2**20 for one in depth], marker="o", label=label
            )
        axes["memory"].set_xlabel("layers")
        axes["memory"].set_ylabel("most held in an update, MiB")
        axes["memory"].set_ylim(bottom=0)
        axes["memory"].legend()
    figure.savefig(path, dpi=120)
    return path


def plot_separation(path: Path, result: dict[str, Any]) -> Path:
    """Draw what `ffseq sleep` found: held-out bits against the length of phases, mean and from lowest to highest seed;
    if measured, validation bits asleep after a time without negatives, of the first seed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = {"curve": _plot_phases, "deprivation": _plot_recovery}
    parts = {name: plot for name, plot in parts.items() if result[name]}
    figure = Figure(figsize=(6.5 * len(parts), 5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, plot in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.values(), strict=True):
        plot(axes, result)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    return path


def _plot_phases(axes: Any, result: dict[str, Any]) -> None:
    for name in dict.fromkeys(row["mechanism"] for row in result["curve"]):
        rows = [row for row in result["curve"] if row["mechanism"] == name]
        offline = all(row["offline"] for row in rows)
        rows = [row for row in rows if row["bits_per_character"] is not None]
        bits = [row["bits_per_character"] for row in rows]
        below = [one["mean"] - min(one["by_seed"]) for one in bits]
        above = [max(one["by_seed"]) - one["mean"] for one in bits]
        axes.errorbar(
            [row["wake"] for row in rows], [one["mean"] for one in bits], yerr=[below, above], marker="o", capsize=3,
            linestyle="-" if offline else ":", label=name if offline else f"{name} (real contexts asleep)",
        )  # fmt: skip
    reference = result["interleaved"]
    label = f"interleaved, {reference['objective']}"
    axes.axhline(reference["bits_per_character"]["mean"], color="0.4", linestyle="--", label=label)
    axes.set_xscale("log")
    axes.set_xlabel("updates of a phase")
    axes.set_ylabel("bits per character, held out")


def _plot_recovery(axes: Any, result: dict[str, Any]) -> None:
    for row in result["deprivation"]:
        asleep = row["runs"][0]["asleep"]
        if asleep:
            label = f"{row['mechanism']}, after {row['length']:,} updates without negatives"
            capped = row["mechanism"] == "nce"
            axes.plot(*zip(*asleep, strict=True), marker=".", linestyle="-" if capped else ":", label=label)
    before = result["deprivation"][0]["runs"][0]["before"]
    axes.axhline(before, color="0.4", linestyle="--", label="before")
    axes.set_xscale("symlog")
    axes.set_xlim(left=0)
    axes.set_ylim(top=2 * before)  # uncapped, sleep goes far beyond
    axes.set_xlabel("updates asleep")
    axes.set_ylabel("bits per character, validation")

"""`ffseq sleep`: how far apart in time may learning from text and learning from dreams be?"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from ffseq.commands.common import make_parser, make_progress, parse, print_json, print_table
from ffseq.errors import UsageError, nearest
from ffseq.interrupt import Interrupt
from ffseq.leaving import in_team
from ffseq.options import GROUPS, LARGEST, NAMED, from_flat
from ffseq.pieces import BOUND
from ffseq.separation import MECHANISMS, Plan, mechanism_named

PARTS = ("curve", "deprivation")
OWN = (
    "mechanisms", "lengths", "updates", "seeds", "rates", "search_seed", "search_share", "growing", "deprivation",
    "recovery_limit", "recovery_interval", "only", "quick", "results", "json", "quiet",
)  # fmt: skip
#: Settings of `ffseq train` that are open here; what the experiment itself decides is not.
OPEN: dict[str, tuple[str, ...]] = {
    "text": ("alphabet", "unknown", "split_rule", "split"),
    "pieces": ("kind", "size", "coverage", "model"),
    "network": ("stack", "block_size", "layers", "units", "goodness", "recency", "context_to_all", "dropout"),
    "learning": ("scope", "threshold", "temperature", "calibrate"),
    "optimiser": (
        "optimiser", "beta1", "weight_decay", "warmup_iters", "constant_share", "final_rate", "average",
    ),
    "run": (
        "out_dir", "batch_size", "short_contexts", "eval_interval", "checkpoint_seconds", "threads", "device", "dtype",
    ),
}  # fmt: skip
NET: dict[str, Any] = {
    "stack": "window", "layers": 2, "units": 300, "block_size": 10, "dropout": 0.5, "batch_size": 256, "scope": "all",
}  # fmt: skip
QUICK: dict[str, Any] = {
    "units": 64, "batch_size": 64, "updates": 1500, "lengths": "1,10,50", "seeds": "0", "rates": "2e-3",
    "deprivation": "0,50", "eval_interval": 500, "mechanisms": "nce,plain,contexts,targets,contrast",
    "threads": 1,  # a net this small gains nothing from a second core, and loses much when that core is busy
}  # fmt: skip


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Measure; prints tables, or with --json one object."""
    options = _options(arguments)
    only = options["only"]
    if only not in (None, *PARTS):
        raise UsageError(f"--only: there is no {only!r}{nearest(only, list(PARTS))}. Known: {', '.join(PARTS)}")
    if options["corpus"] == "-":
        raise UsageError("sleep reads its text many times: give the path of a file instead of standard input")
    if in_team():
        raise UsageError("sleep trains in one process: leave torchrun out")
    from ffseq.compute import decided
    from ffseq.corpus import corpus_of
    from ffseq.defaults import resolved
    from ffseq.errors import Interrupted
    from ffseq.report import plot_separation
    from ffseq.separation_runs import Separation

    plan = _plan(options)
    plan.check()
    given = {key: value for key, value in options.items() if key not in OWN}
    config = decided(from_flat(given | {"max_iters": plan.updates}))
    corpus = corpus_of(config)
    config = resolved(config, corpus.train.symbols)
    folder = Path(config.run.out_dir or "runs/sleep-" + re.sub(r"[^\w.-]", "-", corpus.name))
    folder.mkdir(parents=True, exist_ok=True)
    progress = make_progress(options)
    separation = Separation(config, corpus, folder, plan, progress=progress, interrupted=interrupted)
    try:
        with progress:
            reference = separation.reference() if plan.lengths else None
            rows = separation.curve(reference) if reference is not None else []
            deprivation = separation.deprivation() if plan.deprivation else []
    except Interrupted as stop:
        raise Interrupted(f"{stop}; the same command goes on from there") from None
    result = _result(rows, reference, deprivation) | {
        "corpus": corpus.name,
        "split_rule": corpus.split_rule,
        "upper_bound": corpus.alphabet.is_bounding,
        "updates": plan.updates,
        "growing": plan.growing,
        "search": {"rates": plan.rates, "seed": plan.search_seed, "share": plan.search_share},
        "options": {name: value for name, value in separation.base.items() if name not in ("out_dir", "resume")},
    }
    for sample in result["samples"]:
        _write(folder / "samples" / f"{sample['mechanism']}-{sample['wake'] or 0}.txt", sample["text"])
    result["plot"] = str(plot_separation(folder / "sleep.png", result))
    for path in filter(None, (str(folder / "sleep.json"), options["results"])):
        _write(Path(path), json.dumps(result, indent=1) + "\n")
    if options["json"]:
        print_json(result)
        return 0
    for title, columns, lines in _tables(result):
        print_table(title, columns, lines)
    if result["curve"]:
        print("relative: bits beside the interleaved net's; full: share of the updates in phases of the full length")
    if result["upper_bound"]:
        print(BOUND)
    print(f"Plot: {result['plot']}. Samples: {folder / 'samples'}")
    return 0


def _options(arguments: list[str]) -> dict[str, Any]:
    parser = make_parser(
        "sleep",
        "How well a net learns when it has real text for some updates and dreams for as many, beside the same net that "
        "has both at once: bits per character against the length of the phases; and what becomes of a net without "
        "negatives, and how much sleep brings it back. Stop it when you like: the same command goes on.",
    )
    parser.add_argument("corpus", nargs="?", type=str, default="fables", help="a catalogue name, or a path to text")
    parser.add_argument(
        "--mechanisms", type=str, default="all", help="names separated by commas, MODULE:NAME for your own, or all"
    )
    parser.add_argument("--lengths", type=str, default="1,10,100,1000", help="updates of a phase, by commas")
    parser.add_argument("--updates", type=int, default=80_000, help="of each run; an interleaved one counts as two")
    parser.add_argument("--seeds", type=str, default="0,1,2", help="seeds of the full runs, separated by commas")
    parser.add_argument("--rates", type=str, default="1e-3,5e-4", help="learning rates tried for each; one: no search")
    parser.add_argument("--search_seed", type=int, default=0, help="seed of the runs of the search")
    parser.add_argument("--search_share", type=float, default=0.25, help="length of a search run, share of a full one")
    parser.add_argument("--growing", type=bool, default=True, help="nights grow from one update to their full length")
    parser.add_argument("--deprivation", type=str, default="0,100,1000,10000", help="updates without negatives")
    parser.add_argument(
        "--recovery_limit",
        type=int | None,
        default=None,
        help="updates of sleep after that, at most; by default as many as were without negatives",
    )
    parser.add_argument(
        "--recovery_interval",
        type=int | None,
        default=None,
        help="updates of that sleep between evaluations; by default a hundredth of them",
    )
    parser.add_argument("--only", type=str | None, default=None, help=f"{' or '.join(PARTS)}; by default both")
    parser.add_argument("--quick", action="store_true", help="a small net and short runs: a few minutes")
    parser.add_argument("--results", type=str | None, default=None, help="also write the object of --json to this file")
    for name, open_here in OPEN.items():
        group = GROUPS[name]
        skip = {one.name for one in fields(group)} - set(open_here)
        parser.add_class_arguments(group, name if name in NAMED else None, skip=skip)
    parser.set_defaults(NET)
    if parse(parser, arguments)["quick"]:
        parser.set_defaults(QUICK)
    return parse(parser, arguments)


def _plan(options: dict[str, Any]) -> Plan:
    names = list(MECHANISMS) if options["mechanisms"] == "all" else options["mechanisms"].split(",")
    plan = Plan(
        mechanisms=tuple(dict.fromkeys(mechanism_named(name).name for name in names)),
        lengths=_whole("lengths", options["lengths"], 1),
        updates=options["updates"],
        seeds=_whole("seeds", options["seeds"], 0),
        rates=_rates(options["rates"]),
        search_seed=options["search_seed"],
        search_share=options["search_share"],
        growing=options["growing"],
        deprivation=_whole("deprivation", options["deprivation"], 0),
        recovery_limit=options["recovery_limit"],
        recovery_interval=options["recovery_interval"],
    )
    return plan.part(options["only"])


def _whole(name: str, text: str, least: int) -> tuple[int, ...]:
    """Different whole numbers, in the order given."""
    numbers = [int(one) for one in text.split(",")] if re.fullmatch(r"\d{1,10}(,\d{1,10})*", text) else []
    if not numbers or not all(least <= number <= LARGEST for number in numbers):
        raise UsageError(f"--{name} has to be whole numbers from {least}, separated by commas, got {text!r}")
    return tuple(dict.fromkeys(numbers))


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(dict.fromkeys(float(one) for one in text.split(",")))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        raise UsageError(f"--rates has to be positive numbers separated by commas, got {text!r}")
    return rates


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _result(
    rows: list[dict[str, Any]], reference: dict[str, Any] | None, deprivation: list[dict[str, Any]]
) -> dict[str, Any]:
    """The rows, with drift and samples in places of their own."""
    named = (
        rows if reference is None else [{"mechanism": "interleaved", "wake": None, "sleep": None} | reference, *rows]
    )
    drift, samples = [], []
    for row in named:
        which = {name: row[name] for name in ("mechanism", "wake", "sleep")}
        drift += [which | phase for phase in row["drift"]]
        samples += [which | {"text": row["sample"]}] if row["sample"] is not None else []

    def bare(row: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in ("drift", "sample")}

    return {
        "curve": [bare(row) for row in rows],
        "interleaved": None if reference is None else bare(reference),
        "deprivation": deprivation,
        "drift": drift,
        "samples": samples,
    }


def _tables(result: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    from ffseq.deprivation import TOLERANCE

    tables = []
    reference = result["interleaved"]
    columns = ["", "phases", "bits/character", "relative", "accuracy", "rate", "full"]
    if reference is not None:
        what = f"{result['corpus']}, {result['updates']:,} updates, " + (
            "1 seed" if len(reference["seeds"]) == 1 else f"{len(reference['seeds'])} seeds"
        )
        first = ["interleaved", "", *_figures(reference, 1.0), ""]
        strict = [_line(row) for row in result["curve"] if row["offline"]]
        tables.append((f"{what}; asleep there is nothing real", columns, [first, *strict]))
        loose = [_line(row) for row in result["curve"] if not row["offline"]]
        if loose:
            tables.append(("Less than separation: asleep there are real contexts", columns, loose))
    if result["deprivation"]:
        lines = [_recovery(row) for row in result["deprivation"]]
        head = ["", "without negatives", "bits before", "after", "lowest asleep", "updates asleep"]
        tables.append(
            (
                f"Without negatives, then asleep until within {TOLERANCE:.0%} of the bits before; validation",
                head,
                lines,
            )
        )
    if result["drift"]:
        lines = [
            [row["mechanism"], f"{row['wake']:,}", row["phase"], _by_layer(row["beginning"]), _by_layer(row["end"])]
            for row in result["drift"]
        ]
        head = ["", "phases of", "phase", "at its beginning", "at its end"]
        tables.append(("Goodness by layer in the last phases", head, lines))
    return tables


def _line(row: dict[str, Any]) -> list[str]:
    share = f"{row['share_at_full_length']:.0%}"
    return [row["mechanism"], f"{row['wake']:,}", *_figures(row, row["relative_to_interleaved"]), share]


def _recovery(row: dict[str, Any]) -> list[str]:
    stages = [row[f"bits_per_character_{stage}"] for stage in ("before", "after", "lowest_asleep")]
    updates = row["recovery_updates"]
    return [
        row["mechanism"],
        f"{row['length']:,}",
        *("diverged" if bits is None else f"{bits:.3f}" for bits in stages),
        f"more than {row['recovery_limit']:,}" if updates is None else f"{updates:,.0f}",
    ]


def _figures(row: dict[str, Any], relative: float | None) -> list[str]:
    bits, accuracy = row["bits_per_character"], row["accuracy"]
    if bits is None or relative is None:
        return ["diverged", "", "", ""]
    return [
        f"{bits['mean']:.3f} ± {bits['sd']:.3f}",
        f"{relative:.3f}",
        f"{accuracy['mean']:.1%}",
        f"{row['learning_rate']:g}",
    ]


def _by_layer(goodness: list[float]) -> str:
    return " ".join(f"{value:+.2f}" for value in goodness)

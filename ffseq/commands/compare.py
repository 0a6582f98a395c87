"""`ffseq compare`: Forward-Forward nets, their twin, random hidden layers and counting models, in one table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ffseq.commands.common import make_parser, make_progress, print_json, print_table
from ffseq.commands.train import settings_by
from ffseq.errors import UsageError, nearest
from ffseq.interrupt import Interrupt
from ffseq.options import from_flat
from ffseq.pieces import BOUND

OWN = ("methods", "seeds", "learning_rates", "dropouts", "search_share", "results")


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Compare; prints a table, or with --json one object with `rows`."""
    parser = make_parser(
        "compare",
        "Forward-Forward nets, the same nets by backpropagation, random hidden layers and counting models on the same "
        "text. Each method gets the same search on validation text. Stop it when you like: the same command goes on.",
    )
    parser.add_argument("--methods", type=str, default="all", help="names separated by commas, or all")
    parser.add_argument("--seeds", type=str, default="0,1,2", help="seeds of the full runs, separated by commas")
    parser.add_argument(
        "--learning_rates",
        type=str | None,
        default=None,
        help="tried for each method; by default the preset's × ½, 1, 2",
    )
    parser.add_argument(
        "--dropouts", type=str | None, default=None, help="tried for each method; by default around the preset's"
    )
    parser.add_argument("--search_share", type=float, default=0.25, help="length of a search run, share of a full one")
    parser.add_argument("--results", type=str | None, default=None, help="also write the object of --json to this file")
    options = settings_by(parser, arguments)
    from ffseq.baselines.floors import corpus_floors
    from ffseq.comparison import METHODS, Comparison, Search, floor_rows
    from ffseq.compute import decided
    from ffseq.corpus import corpus_of
    from ffseq.defaults import resolved
    from ffseq.errors import Interrupted
    from ffseq.report import plot_comparison

    if options["resume"] is not None:
        raise UsageError("compare takes no --resume: the same command with the same --out_dir goes on")
    if options["corpus"] == "-":
        raise UsageError("compare reads its text many times: give the path of a file instead of standard input")
    if options["stream"]:
        raise UsageError("compare holds text out, and a stream has nothing to hold out: leave --stream out")
    if options["tracker"] != "none":
        raise UsageError("compare trains many nets: leave --tracker out, it is for ffseq train")
    methods = list(METHODS) if options["methods"] == "all" else options["methods"].split(",")
    for name in methods:
        if name not in METHODS:
            raise UsageError(
                f"--methods: there is no {name!r}{nearest(name, list(METHODS))}. Known: {', '.join(METHODS)}"
            )
    given = {key: value for key, value in options.items() if key not in (*OWN, "json", "quiet", "preset")}
    config = decided(from_flat(given))
    corpus = corpus_of(config)
    config = resolved(config, corpus.train.symbols)
    rate, drop = config.optimiser.learning_rate or 0.0, config.network.dropout or 0.0
    search = Search(
        learning_rates=_numbers("learning_rates", options["learning_rates"]) or (rate / 2, rate, 2 * rate),
        dropouts=_numbers("dropouts", options["dropouts"]) or tuple(sorted({drop / 2, drop, (1 + drop) / 2})),
        share=options["search_share"],
    )
    if not 0 < search.share <= 1:
        raise UsageError(f"--search_share has to be above 0 and at most 1, got {search.share}")
    if not re.fullmatch(r"\d+(,\d+)*", options["seeds"]):
        raise UsageError(f"--seeds has to be whole numbers separated by commas, got {options['seeds']!r}")
    seeds = [int(seed) for seed in options["seeds"].split(",")]
    folder = Path(config.run.out_dir or "runs/compare-" + re.sub(r"[^\w.-]", "-", corpus.name))
    folder.mkdir(parents=True, exist_ok=True)
    progress = make_progress(options)
    comparison = Comparison(
        config, corpus, folder, methods=methods, seeds=seeds, search=search, progress=progress, interrupted=interrupted
    )
    try:
        with progress:
            rows = list(comparison.rows()) + floor_rows(corpus, corpus_floors(corpus, progress=progress.status))
    except Interrupted as stop:
        raise Interrupted(f"{stop}; the same command goes on from there") from None
    result: dict[str, Any] = {
        "corpus": corpus.name,
        "split_rule": corpus.split_rule,
        "upper_bound": corpus.alphabet.is_bounding,
        "search": {"learning_rates": search.learning_rates, "dropouts": search.dropouts, "share": search.share},
        "options": {name: value for name, value in comparison.base.items() if name not in ("out_dir", "resume")},
        "plot": str(plot_comparison(folder / "comparison.png", rows)),
        "rows": rows,
    }
    for path in filter(None, (str(folder / "comparison.json"), options["results"])):
        Path(path).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options["json"]:
        print_json(result)
        return 0
    print_table(f"{corpus.name}, held out, {len(seeds)} seeds", _COLUMNS, [_cells(row) for row in rows])
    if result["upper_bound"]:
        print(BOUND)
    print(f"Plot: {result['plot']}")
    return 0


_COLUMNS = ["", "bits/character", "accuracy", "rate", "dropout", "multiply", "seconds", "MiB"]


def _cells(row: dict[str, Any]) -> list[str]:
    bits, accuracy = row["bits_per_character"], row["accuracy"]
    learned = row["seconds"] is not None
    return [
        row["name"],
        f"{bits['mean']:.3f} ± {bits['sd']:.3f}" if learned else f"{bits['mean']:.3f}",
        f"{accuracy['mean']:.1%}",
        f"{row['learning_rate']:g}" if learned else "",
        f"{row['dropout']:g}" if learned else "",
        f"{row['multiplications']:.2g}" if learned else "",
        f"{row['seconds']:.0f}" if learned else "",
        f"{row['peak_memory_bytes'] / 2**20:,.0f}" if learned else "",
    ]


def _numbers(name: str, text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--{name} has to be numbers separated by commas, got {text}") from None

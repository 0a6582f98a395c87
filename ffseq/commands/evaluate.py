"""`ffseq evaluate`: measure a trained network on text, beside the counting models."""

from __future__ import annotations

from typing import Any

from ffseq.commands.common import (
    add_compute_options,
    box_rows,
    figures_row,
    floor_rows,
    make_parser,
    make_progress,
    parse,
    print_figures,
    print_json,
    print_table,
)
from ffseq.interrupt import Interrupt


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Evaluate; prints a table, or with --json one object."""
    parser = make_parser("evaluate", "Measure a trained network: every character scored once, in order, no dropout.")
    parser.add_argument("run", type=str, help="a run folder or a checkpoint folder")
    parser.add_argument("corpus", nargs="?", type=str, default=None, help="another text; by default the run's own")
    parser.add_argument(
        "--split", choices=["held_out", "validation", "train", "all"], default="held_out", help="which part of the text"
    )
    parser.add_argument(
        "--split_rule", type=str | None, default=None, help="shares such as 80/10/10; by default the run's"
    )
    parser.add_argument(
        "--corpus_split",
        type=str | None,
        default=None,
        help="which split of a data set; by default the run's",
    )
    parser.add_argument(
        "--unknown",
        choices=["error", "drop", "replace"],
        default=None,
        help="what to do with characters that the net does not know; by default as in training",
    )
    parser.add_argument(
        "--floors", choices=["auto", "yes", "no"], default="auto", help="counting models; auto: texts of up to 20 MB"
    )
    parser.add_argument(
        "--black_box",
        type=str,
        default="none",
        help="mix the net with kneser_ney, online, or a function MODULE:NAME, by weights that learn as they predict",
    )
    parser.add_argument(
        "--learn_on",
        type=bool,
        default=False,
        help="let the layers learn each block of text once they have predicted it",
    )
    parser.add_argument(
        "--by",
        choices=["distance"],
        default=None,
        help="also the bits where a bracket () [] {} closes, by the distance in symbols to the one that it closes",
    )
    parser.add_argument("--seed", type=int, default=0, help="accepted for uniformity; evaluation draws nothing")
    add_compute_options(parser)
    options = parse(parser, arguments)
    from ffseq.scoring import evaluate

    with make_progress(options) as progress:
        result = evaluate(
            options["run"],
            options["corpus"],
            split=options["split"],
            split_rule=options["split_rule"],
            corpus_split=options["corpus_split"],
            unknown=options["unknown"],
            black_box=options["black_box"],
            learn_on=options["learn_on"],
            by=options["by"],
            floors=options["floors"],
            threads=options["threads"],
            device=options["device"],
            dtype=options["dtype"],
            progress=progress,
        )
    if options["json"]:
        print_json(result)
        return 0
    name = "this net, learning on" if result["learned_on"] else "this net"
    rows = [figures_row(name, result["bits_per_character"], result["accuracy"])]
    if (alone := result["net_alone"]) is not None:
        rows[0][0] = f"{name} and the black box"
        rows.append(figures_row(name, alone["bits_per_character"], alone["accuracy"]))
    if (rest := result["at_rest"]) is not None:
        rows.append(figures_row("this net at rest", rest["bits_per_character"], rest["accuracy"]))
    for layer in result["per_layer"]:
        alone, up_to = layer["alone"], layer["up_to"]
        rows.append(figures_row(f"  layer {layer['layer']} alone", alone["bits_per_character"], alone["accuracy"]))
        rows.append(figures_row(f"  summed up to {layer['layer']}", up_to["bits_per_character"], up_to["accuracy"]))
    rows += box_rows(result) + floor_rows(result["floors"])
    if (exact := result["exact_bits_per_character"]) is not None:
        rows.append([f"the process itself (entropy rate {result['entropy_rate']:.3f})", f"{exact:.3f}", ""])
    title = f"{result['corpus']}, {result['split'].replace('_', ' ')}, {result['characters']:,} characters"
    print_figures(title, rows, result)
    if result["by_distance"] is not None:
        print_by_distance(result["by_distance"])
    return 0


def print_by_distance(found: list[dict[str, Any]]) -> None:
    """A table for each kind of thing that closes, with the columns that are known."""
    titles = {
        "brackets": "closing brackets, by distance to the one that they close",
        "agreement": "verbs, by distance to their subject",
    }
    known = [name for name in ("kneser_ney", "exact") if found[0][name] is not None]
    names = {"kneser_ney": "Kneser-Ney", "exact": "the process itself"}
    columns = ["symbols", "how many", "bits per character", "accuracy", *(names[name] for name in known)]
    for closes in dict.fromkeys(row["closes"] for row in found):
        rows = [
            [
                f"{row['from']}" if row["from"] == row["to"] else f"{row['from']} to {row['to']}",
                f"{row['count']:,}",
                *figures_row("", row["bits_per_character"], row["accuracy"])[1:],
                *(f"{row[name]:.3f}" for name in known),
            ]
            for row in found
            if row["closes"] == closes
        ]
        print()
        print_table(titles[closes], columns, rows)

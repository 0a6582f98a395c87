"""`ffseq floors`: how well counting models predict a text."""

from __future__ import annotations

from ffseq.commands.common import floor_rows, make_parser, make_progress, parse, print_json, print_table
from ffseq.interrupt import Interrupt


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Unigram and the best interpolated Kneser-Ney model; prints a table, or with --json one object."""
    parser = make_parser(
        "floors", "Unigram and the best interpolated Kneser-Ney model of orders 1 to 9, chosen on validation text."
    )
    parser.add_argument("corpus", type=str, help="a catalogue name, a path, hub:owner/name, or - for standard input")
    parser.add_argument(
        "--alphabet",
        choices=["auto", "characters", "bytes", "aesop30", "text8"],
        default="auto",
        help="one symbol is …",
    )
    parser.add_argument("--unknown", choices=["error", "drop", "replace"], default="error", help="unknown characters")
    parser.add_argument("--split_rule", type=str, default="auto", help="shares such as 80/10/10, or hinton")
    parser.add_argument("--split", type=str | None, default=None, help="of a data set; by default train")
    parser.add_argument("--seed", type=int, default=0, help="accepted for uniformity; counting draws nothing")
    options = parse(parser, arguments)
    from ffseq.baselines.floors import corpus_floors
    from ffseq.corpus import load_corpus

    corpus = load_corpus(
        options["corpus"],
        alphabet=options["alphabet"],
        unknown=options["unknown"],
        split_rule=options["split_rule"],
        split=options["split"],
    )
    result = corpus_floors(corpus, progress=make_progress(options).status)
    if options["json"]:
        print_json(result)
    else:
        print_table(f"{corpus.name}, held out", ["", "bits per character", "accuracy"], floor_rows(result))
    return 0

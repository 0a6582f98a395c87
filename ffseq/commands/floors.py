"""`ffseq floors`: how well counting models predict a text."""

from __future__ import annotations

from dataclasses import fields

from ffseq.commands.common import (
    bits_title,
    floor_rows,
    make_parser,
    make_progress,
    parse,
    print_json,
    print_table,
)
from ffseq.config import PiecesConfig
from ffseq.interrupt import Interrupt
from ffseq.pieces import BOUND


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Unigram and the best interpolated Kneser-Ney model; prints a table, or with --json one object."""
    parser = make_parser(
        "floors", "Unigram and the best interpolated Kneser-Ney model of orders 1 to 9, chosen on validation text."
    )
    parser.add_argument("corpus", type=str, help="a catalogue name, a path, hub:owner/name, or - for standard input")
    parser.add_argument(
        "--alphabet",
        choices=["auto", "characters", "bytes", "aesop30", "text8", "pieces"],
        default="auto",
        help="one symbol is …",
    )
    parser.add_class_arguments(PiecesConfig, "pieces", help="pieces of words as symbols")
    parser.add_argument("--unknown", choices=["error", "drop", "replace"], default="error", help="unknown characters")
    parser.add_argument("--split_rule", type=str, default="auto", help="shares such as 80/10/10, or hinton")
    parser.add_argument("--split", type=str | None, default=None, help="of a data set; by default train")
    parser.add_argument("--seed", type=int, default=0, help="accepted for uniformity; counting draws nothing")
    options = parse(parser, arguments)
    from ffseq.baselines.floors import corpus_floors
    from ffseq.corpus import load_corpus
    from ffseq.options import check_pieces

    pieces = PiecesConfig(**{field.name: options[f"pieces.{field.name}"] for field in fields(PiecesConfig)})
    check_pieces(options["alphabet"], pieces)
    corpus = load_corpus(
        options["corpus"],
        alphabet=pieces if options["alphabet"] == "pieces" else options["alphabet"],
        unknown=options["unknown"],
        split_rule=options["split_rule"],
        split=options["split"],
    )
    with make_progress(options) as progress:
        result = corpus_floors(corpus, progress=progress.status)
    if options["json"]:
        print_json(result)
    else:
        bound = corpus.alphabet.is_bounding
        print_table(f"{corpus.name}, held out", ["", bits_title(bound), "accuracy"], floor_rows(result))
        if bound:
            print(BOUND)
    return 0

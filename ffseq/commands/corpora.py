"""`ffseq corpora`: the catalogue of known corpora. List it, show a card, prepare a corpus: fetch it where need be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ffseq.catalogue import catalogue, entry, file_of, has_file
from ffseq.commands.common import make_parser, make_progress, parse, print_json, print_table
from ffseq.errors import UsageError
from ffseq.interrupt import Interrupt


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """List the catalogue, show one card, or prepare one corpus."""
    parser = make_parser("corpora", "The known corpora.")
    parser.add_argument(
        "what",
        nargs="?",
        choices=["list", "show", "prepare"],
        default="list",
        help="list all, show one, or prepare one: fetch it from the Hub if it is not there, and encode it",
    )
    parser.add_argument("name", nargs="?", type=str, default=None, help="the corpus to show or to prepare")
    options = parse(parser, arguments)
    what = options["what"]
    if what != "list" and options["name"] is None:
        raise UsageError(f"ffseq corpora {what} NAME: give the name of a corpus; `ffseq corpora list` has them")
    if what == "prepare":
        return _prepare(options)
    if what == "show":
        card = asdict(entry(options["name"]))
        if options["json"]:
            print_json(card)
        else:
            for key, value in card.items():
                print(f"{key.replace('_', ' ')}: {value}")
        return 0
    if options["name"] is not None:
        raise UsageError(f"ffseq corpora list takes no name; did you mean: ffseq corpora show {options['name']}")
    entries = list(catalogue().values())
    if options["json"]:
        print_json({"corpora": [asdict(one) for one in entries]})
    else:
        print_table("corpora", ["name", "title", "split"], [[one.name, one.title, one.split_rule] for one in entries])
    return 0


def _prepare(options: dict[str, Any]) -> int:
    """Fetch what is missing, and encode it, so that training can begin at once."""
    from ffseq.corpus import load_corpus
    from ffseq.fetching import fetch

    card = entry(options["name"])
    progress = make_progress(options)
    fetched = card.file is not None and not has_file(card)
    if fetched:
        if card.hub is not None:
            progress.say(f"fetching {card.name} from the Hub, {card.hub}")
        fetch(card)
    corpus = load_corpus(card.name)
    result = {
        "corpus": corpus.name,
        "file": str(file_of(card)) if card.file else None,
        "fetched": fetched,
        "symbols": len(corpus.symbols),
        "alphabet_size": len(corpus.alphabet),
    }
    if options["json"]:
        print_json(result)
    else:
        where = f"; its file is {result['file']}" if card.file else ""
        print(f"{corpus.name}: {result['symbols']:,} symbols of {result['alphabet_size']} kinds{where}")
    return 0

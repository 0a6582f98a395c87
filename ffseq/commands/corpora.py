"""`ffseq corpora list` and `ffseq corpora show NAME`: the catalogue of known corpora."""

from __future__ import annotations

from dataclasses import asdict

from ffseq.catalogue import catalogue, entry
from ffseq.commands.common import make_parser, parse, print_json, print_table
from ffseq.errors import UsageError
from ffseq.interrupt import Interrupt


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """List the catalogue, or show one card."""
    parser = make_parser("corpora", "The known corpora.")
    parser.add_argument("what", nargs="?", choices=["list", "show"], default="list", help="list all, or show one")
    parser.add_argument("name", nargs="?", type=str, default=None, help="the corpus to show")
    options = parse(parser, arguments)
    if options["what"] == "show":
        if options["name"] is None:
            raise UsageError("ffseq corpora show NAME: give the name of a corpus; `ffseq corpora list` has them")
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

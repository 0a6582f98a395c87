"""What all verbs share: parsing without tracebacks, the common options, JSON and tables."""

from __future__ import annotations

import json
import re
import sys
from argparse import SUPPRESS, Action
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from ffseq.errors import UsageError, nearest
from ffseq.pieces import BOUND
from ffseq.progress import Progress

# Field descriptions of the settings stand below each field; this shows them in --help.
set_parsing_settings(docstring_parse_attribute_docstrings=True)


#: Options of a verb whose usage names them all, at most.
SHORT = 20


class _Help(DefaultHelpFormatter):
    """Help for people: what an option does and its default; its choices stand beside its name already."""

    def _get_help_string(self, action: Action) -> str:
        nothing = action.default is None or action.default is False or action.default in ("", SUPPRESS)
        known = bool(action.option_strings) and not nothing
        return (action.help or "") + (" (default: %(default)s)" if known else "")


def make_parser(verb: str, description: str) -> ArgumentParser:
    """An empty parser for a verb, with --json and --quiet."""
    parser = ArgumentParser(
        prog=f"ffseq {verb}",
        description=description,
        exit_on_error=False,
        add_help=True,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="the last line of standard output is one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress; errors are still shown")
    return parser


def add_compute_options(parser: ArgumentParser) -> None:
    """--threads, --device, --dtype for verbs that use a trained net."""
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="type of the matrix products"
    )


def parse(parser: ArgumentParser, arguments: list[str]) -> dict[str, Any]:
    """The options as a dictionary. Raises UsageError with one sentence instead of printing the whole usage."""
    if len(parser._actions) > SHORT:
        # Every option once more, without what it does, would fill the screen before the first word about any.
        named = (action.dest.upper() for action in parser._actions if not action.option_strings)
        parser.usage = " ".join([parser.prog, *(f"[{name}]" for name in named), "[--OPTION VALUE ...]"])
    try:
        parsed = parser.parse_args(arguments)
        return {key: value for key, value in parsed.items() if not isinstance(value, Namespace)}
    except ArgumentError as error:
        text = _plain(" ".join(str(error).split()))
        known = [option for action in parser._actions for option in action.option_strings]
        unknown = re.search(r"(--[\w.-]+)", text) if "nrecognized" in text else None
        hint = nearest(unknown.group(1), known) if unknown else ""
        raise UsageError(f"{text}{hint} (see {parser.prog} --help)") from error


def _plain(message: str) -> str:
    r"""jsonargparse's message in the words of the command line.

    >>> _plain("Parser key \"seed\": Expected a <class 'int'>. Got value: x")
    '--seed: expected a whole number, got x'
    """
    found = re.match(r'Parser key "([^"]+)": (.*)', message)
    if found is None:
        return message
    option, reason = found.groups()
    given = re.search(r"(?:Got value|Given value): (.*?)(?: - Expected.*| Given value type.*)?$", reason)
    reason = re.sub(r"\.? *(?:Got value|Given value(?: type)?):.*$", "", reason)
    if "Union subtypes" in reason:  # an option that may also be left open: what it is when it is given
        reason = re.search(r"Expected an? [^-]*", reason.split("Errors:")[-1].replace("NoneType", ""))[0]  # type: ignore[index]
    choices = re.search(r"Literal\[(.*?)\]", reason)
    if choices:
        reason = "expected " + choices[1].replace("'", "").replace(", ", " or ")
    for type_name, words in _WORDS.items():
        reason = reason.replace(f"<class '{type_name}'>", words)
    reason = re.sub(r"^Expected an? ", "expected ", reason.strip())
    return f"--{option}: {reason.strip()}" + (f", got {given[1]}" if given else "")


_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def make_progress(options: dict[str, Any]) -> Progress:
    """Progress on standard error, or none with --quiet."""
    return Progress(quiet=options["quiet"])


def print_json(result: dict[str, Any]) -> None:
    """The result as the last line of standard output."""
    print(json.dumps(result, ensure_ascii=True, allow_nan=False), flush=True)


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    # Printed by us and not by rich, which has ways of its own with pipes that close.
    console = Console(file=sys.stdout, highlight=False)
    with console.capture() as capture:
        console.print(table)
    print(capture.get(), end="")


def bits_title(upper_bound: bool) -> str:
    """The title of a column of bits per character."""
    return "bits per character\n(upper bound)" if upper_bound else "bits per character"


def print_figures(title: str, rows: list[list[str]], result: dict[str, Any]) -> None:
    """A table of bits per character and accuracy, and below it what its first row is per byte of the text."""
    print_table(title, ["", bits_title(result["upper_bound"]), "accuracy"], rows)
    first = rows[0][0]
    said = f"{first[0].upper()}{first[1:]} has {result['bits_per_byte']:.3f} bits per byte."
    print(f"{said} {BOUND}" if result["upper_bound"] else said)


def floor_rows(floors: dict[str, Any] | None) -> list[list[str]]:
    """Rows (name, bits per character, accuracy) of the counting models."""
    if floors is None:
        return []
    unigram, kneser_ney = floors["unigram"], floors["kneser_ney"]
    name = f"Kneser-Ney, order {kneser_ney['order']}, discount {kneser_ney['discount']:g}"
    rows = [
        figures_row(name, kneser_ney["bits_per_character"], kneser_ney["accuracy"]),
        figures_row("unigram", unigram["bits_per_character"], unigram["accuracy"]),
    ]
    if (single := floors.get("kneser_ney_characters")) is not None:
        name = f"Kneser-Ney by characters, order {single['order']}"
        rows.insert(1, figures_row(name, single["bits_per_character"], single["accuracy"]))
    return rows


def box_rows(result: dict[str, Any]) -> list[list[str]]:
    """The row of a net's black box by itself, if it has one."""
    alone = result["black_box_alone"]
    if alone is None:
        return []
    return [figures_row(f"its black box alone ({result['black_box']})", alone["bits_per_character"], alone["accuracy"])]


def figures_row(name: str, bits: float, accuracy: float) -> list[str]:
    """One row of a table of figures."""
    return [name, f"{bits:.3f}", f"{accuracy:.1%}"]

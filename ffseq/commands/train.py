"""`ffseq train`: from a text to a run folder with a trained network in it."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ffseq.advice import advice
from ffseq.commands.common import (
    box_rows,
    figures_row,
    floor_rows,
    make_parser,
    make_progress,
    parse,
    print_figures,
    print_json,
)
from ffseq.config import CorpusConfig
from ffseq.errors import UsageError
from ffseq.interrupt import Interrupt
from ffseq.options import GROUPS, NAMED, from_flat

_TITLES = {
    "text": "the text",
    "pieces": "pieces of words as symbols",
    "network": "the stack of layers",
    "learning": "what the layers learn from",
    "optimiser": "how changes become weights",
    "run": "the run",
    "phases": "wake and sleep",
}


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Train; prints a table, or with --json one object."""
    options = settings(arguments)
    from ffseq.runs import train
    from ffseq.scoring import sample_of

    as_json = options["json"]
    config = from_flat({k: v for k, v in options.items() if k not in ("json", "quiet", "preset")})
    with make_progress(options) as progress:
        interrupted.draws = lambda: progress.draws
        result = train(config, preset=options["preset"], progress=progress, interrupted=interrupted)
    if not result:  # one of a team, and not the one that reports
        return 0
    if as_json:
        print_json(result)
        return 0
    if config.run.stream:
        title, bits = f"{result['corpus']}, before learning it", result["prequential_bits_per_character"]
        print_figures(title, [figures_row("this net", bits, result["accuracy"])], result)
        print(f"{result['characters_seen']:,} characters. Run folder: {result['run']}")
        return 0
    rows = [
        figures_row("this net", result["bits_per_character"], result["accuracy"]),
        *box_rows(result),
        *floor_rows(result["floors"]),
    ]
    if result["entropy_rate"] is not None:
        rows.append(["entropy rate of the source", f"{result['entropy_rate']:.3f}", ""])
    print_figures(f"{result['corpus']}, held out", rows, result)
    print(f"\nA sample:\n\n{sample_of(result['run'])}\n")
    print(f"{result['seconds']:.0f} seconds in all. Run folder: {result['run']}")
    for sentence in advice(Path(result["run"]), config, result):
        print(sentence)
    print(f"Next: ffseq sample {result['run']}   or   ffseq evaluate {result['run']}")
    return 0


def settings(arguments: list[str]) -> dict[str, Any]:
    """All options of a run as a flat dictionary: the preset's or the resumed run's, then those typed."""
    return settings_by(make_parser("train", "Train a network on a text, without backpropagation."), arguments)


def settings_by(parser: ArgumentParser, arguments: list[str]) -> dict[str, Any]:
    """The same for a parser that may have options of its own."""
    parser.add_argument(
        "corpus", nargs="?", type=str, default=None,
        help="a catalogue name (ffseq corpora list), a path (to UTF-8 text, .gz, .xz; a folder or a .zip of texts; a "
        ".jsonl, .csv or .parquet, with :COLUMN behind it), hub:owner/name[:config][:column], or - for standard input; "
        "without it the preset's, else fables",
    )  # fmt: skip
    parser.add_argument(
        "--preset",
        type=str,
        default=None,
        help="a name from `ffseq list`, or a YAML file; by default the "
        "preset with the name of the catalogue corpus, if there is one",
    )
    for name, group in GROUPS.items():
        skip = {"corpus"} if group is CorpusConfig else set()
        parser.add_class_arguments(group, name if name in NAMED else None, skip=skip, help=_TITLES[name])
        for action in parser._actions:
            if action.option_strings == [f"--{name}"]:
                action.help = SUPPRESS  # a file for a whole group: presets are for that
    arguments = [  # --stream alone means true, as flags do
        "--stream=true" if word == "--stream" and following not in ("true", "false") else word
        for word, following in zip_longest(arguments, arguments[1:])
    ]
    first = parse(parser, arguments)
    base = _base(first, parser)
    own = base.pop("corpus", None) or "fables"
    corpus = own if first["corpus"] is None else first["corpus"]
    parser.set_defaults(base)
    return parse(parser, arguments) | {"corpus": corpus}


def _base(typed: dict[str, Any], parser: ArgumentParser) -> dict[str, Any]:
    """What the typed options build on: a resumed run's settings, a preset's (else the corpus's own), or nothing."""
    from ffseq.catalogue import catalogue
    from ffseq.commands.presets import load_preset, preset_files
    from ffseq.resume import recorded_options, resume_source

    source = resume_source(typed["resume"], typed["out_dir"])
    if source is not None:
        # With auto the preset was that of the run's beginning: the same command begins a run and goes on with it.
        if typed["preset"] is not None and typed["resume"] != "auto":
            raise UsageError("--preset and --resume do not go together: a resumed run keeps its settings")
        return {key: value for key, value in recorded_options(source).items() if key not in ("out_dir", "resume")}
    if typed["preset"] is not None:
        return _checked(load_preset(typed["preset"]), typed["preset"], parser)
    own = "fables" if typed["corpus"] is None else typed["corpus"]
    return load_preset(own) | {"preset": own} if own in catalogue() and own in preset_files() else {}


def _checked(preset: dict[str, Any], name: str, parser: ArgumentParser) -> dict[str, Any]:
    """The values of a preset as if they had been typed, each of the type of its option. Raises UsageError."""
    if not isinstance(preset.get("corpus", ""), str):
        raise UsageError(f"preset {name}: corpus has to be a name or a path")
    words = [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in preset.items()
        if key != "corpus"
    ]
    try:
        typed = parse(parser, words) | {"corpus": preset.get("corpus")}
        values = {key: typed[key] for key in preset}
        from_flat(values)
    except UsageError as error:
        raise UsageError(f"preset {name}: {error}") from None
    return values

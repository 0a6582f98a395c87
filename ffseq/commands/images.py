"""`ffseq images`: the image experiments of the Forward-Forward paper."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from ffseq.catalogue import resource_folder
from ffseq.commands.common import make_parser, make_progress, parse, print_json, print_table
from ffseq.errors import FfseqError, UsageError, nearest
from ffseq.images.config import GROUPS, ImagesConfig, from_flat
from ffseq.images.experiment import EXPERIMENTS, module_of
from ffseq.interrupt import Interrupt

_TITLES = {"data": "the images", "step": "how changes become weights", "run": "the run", "own": "the experiment"}


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Run an experiment; prints a table, or with --json one object."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    experiment, *rest = arguments
    if experiment.startswith("-"):
        raise UsageError(f"options follow the experiment: ffseq images supervised {experiment}, for example")
    options = settings(experiment, rest)
    from ffseq.images.runs import run_experiment

    progress = make_progress(options)
    interrupted.draws = lambda: progress.draws
    result = run_experiment(configured(experiment, options), progress=progress, interrupted=interrupted)
    progress.end()
    if options["json"]:
        print_json(result)
        return 0
    rows = [
        [name.replace("_", " "), f"{result[name]:.2f} %"]
        for name in ("test_error_one_pass", "test_error_every_label", "test_error", "validation_error", "train_error")
        if result[name] is not None
    ]
    rows += [
        [name.replace("_", " "), f"{value:.2f} %"]
        for name, value in result.items()
        if name.startswith("test_error_") and name not in ("test_error_one_pass", "test_error_every_label")
    ]
    print_table(f"{experiment} on {result['dataset']}, {result['epochs']} epochs", ["", "error"], rows)
    print(f"{result['seconds']:.0f} seconds in all. Run folder: {result['run']}")
    return 0


def settings(experiment: str, arguments: list[str]) -> dict[str, Any]:
    """All options of a run as a flat dictionary: the preset's or the resumed run's, then those typed."""
    module = module_of(experiment)
    parser = make_parser(f"images {experiment}", f"{experiment}: {EXPERIMENTS[experiment][1]}.")
    presets = ", ".join(preset_files(experiment))
    parser.add_argument(
        "--preset", type=str, default=None, help=f"{presets}, or a YAML file; by default quick, on drawn digits"
    )
    for name, group in {**GROUPS, "own": module.Settings}.items():
        parser.add_class_arguments(group, None, help=_TITLES[name])
        for action in parser._actions:
            if action.option_strings == [f"--{name}"]:
                action.help = SUPPRESS
    typed = parse(parser, arguments)
    parser.set_defaults(_base(experiment, typed, parser))
    return parse(parser, arguments)


def configured(experiment: str, options: dict[str, Any]) -> ImagesConfig:
    """The settings of a run from what `settings` gives. Raises UsageError for values out of range."""
    flat = {key: value for key, value in options.items() if key not in ("json", "quiet", "preset")}
    return from_flat(experiment, module_of(experiment).Settings, flat)


def preset_files(experiment: str) -> dict[str, Path]:
    """The presets of an experiment and their files."""
    folder = resource_folder("presets") / "images"
    longer = tuple(f"{other}-" for other in EXPERIMENTS if other.startswith(f"{experiment}-"))
    return {
        path.stem.removeprefix(f"{experiment}-"): path
        for path in sorted(folder.glob(f"{experiment}-*.yaml"), reverse=True)
        if not path.stem.startswith(longer)
    }


def _base(experiment: str, typed: dict[str, Any], parser: Any) -> dict[str, Any]:
    """What the typed options build on: a resumed run's settings, else those of a preset."""
    from ffseq.resume import recorded_options, resume_source

    source = resume_source(typed["resume"], typed["out_dir"])
    if source is not None:
        if typed["preset"] is not None and typed["resume"] != "auto":
            raise UsageError("--preset and --resume do not go together: a resumed run keeps its settings")
        recorded = recorded_options(source)
        known = {action.dest for action in parser._actions}
        if not recorded.keys() <= known:
            raise UsageError(f"{source} is not a run of ffseq images {experiment}")
        return {key: value for key, value in recorded.items() if key not in ("out_dir", "resume")}
    return _preset(experiment, typed["preset"] or "quick", parser)


def _preset(experiment: str, name: str, parser: Any) -> dict[str, Any]:
    import yaml

    known = preset_files(experiment)
    path = known.get(name, Path(name))
    if name not in known and path.suffix not in (".yaml", ".yml"):
        raise UsageError(
            f"{experiment} has no preset {name!r}{nearest(name, list(known))}. Presets: {', '.join(known)}"
        )
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"preset {name}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FfseqError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise FfseqError(f"{path} has to hold options, one `name: value` a line")
    try:
        words = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]
        typed = parse(parser, words)
    except UsageError as error:
        raise UsageError(f"preset {name}: {error}") from None
    return {key: typed[key] for key in options}


def _overview() -> str:
    lines = ["The image experiments of the Forward-Forward paper (Hinton, arXiv 2212.13345).", ""]
    lines += [f"  ffseq images {name:<14} {what}" for name, (_, what) in EXPERIMENTS.items()]
    return "\n".join([
        *lines,
        "",
        "Alone it runs in under a minute, on digits drawn in twelve typefaces by the program (--dataset glyphs).",
        "--preset paper is the full setting, on MNIST or CIFAR-10 (--data_dir or FFSEQ_DATA names their folder).",
        "ffseq images NAME --help lists the options.",
    ])  # fmt: skip

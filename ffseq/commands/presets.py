"""`ffseq list`, `show`, `cp`: the presets. A preset is a YAML file that holds only what differs from the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ffseq.catalogue import resource_folder
from ffseq.commands.common import make_parser, parse, print_json, print_table
from ffseq.errors import FfseqError, UsageError, nearest
from ffseq.interrupt import Interrupt


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """List, show or copy presets."""
    parser = make_parser(verb, {"list": "The presets.", "show": "Print a preset.", "cp": "Copy a preset."}[verb])
    if verb != "list":
        parser.add_argument("name", type=str, help="a name from `ffseq list`")
    if verb == "cp":
        parser.add_argument("destination", type=str, help="the file to write")
    options = parse(parser, arguments)
    if verb == "list":
        entries = [{"name": name, "about": about(path)} for name, path in preset_files().items()]
        if options["json"]:
            print_json({"presets": entries})
        else:
            print_table("presets", ["name", "about"], [[entry["name"], entry["about"]] for entry in entries])
        return 0
    text = _text(preset_path(options["name"]))
    if verb == "cp":
        destination = Path(options["destination"])
        if destination.exists():
            raise UsageError(f"{destination} exists; give the name of a new file")
        try:
            destination.write_text(text, encoding="utf-8")
        except OSError as error:
            raise FfseqError(f"cannot write {destination}: {error.strerror}") from error
    if options["json"]:
        print_json({"name": options["name"], "options": load_preset(options["name"])})
    elif verb == "show":
        print(text, end="")
    return 0


def preset_files() -> dict[str, Path]:
    """Preset names and their files, in alphabetical order."""
    return {path.stem: path for path in sorted(resource_folder("presets").glob("*.yaml"))}


def about(path: Path) -> str:
    """The first comment line of a preset."""
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def preset_path(name: str) -> Path:
    """The file of a preset: a shipped name, or a path to a YAML file. Raises UsageError."""
    shipped = preset_files()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise UsageError(f"preset {name}: there is no such file")
    raise UsageError(f"there is no preset {name!r}{nearest(name, list(shipped))}. Presets: {', '.join(shipped)}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FfseqError(f"{path} is not UTF-8 text: byte {error.start} cannot be read") from error
    except OSError as error:
        raise FfseqError(f"cannot read {path}: {error.strerror}") from error


def load_preset(name: str) -> dict[str, Any]:
    """The options of a preset. Raises UsageError, FfseqError for a file that is not a mapping of options."""
    path = preset_path(name)
    try:
        options = yaml.safe_load(_text(path)) or {}
    except yaml.YAMLError as error:
        raise FfseqError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise FfseqError(f"{path} has to hold options, one `name: value` a line")
    from ffseq.config import TrainConfig
    from ffseq.options import to_flat

    known = list(to_flat(TrainConfig()))
    for key in options:
        if key not in known:
            raise UsageError(f"{path}: there is no option {key!r}{nearest(key, known)}")
    return options

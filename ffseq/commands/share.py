"""`ffseq share`: a trained network with its card, into a folder or to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ffseq.commands.common import make_parser, parse, print_json
from ffseq.errors import UsageError
from ffseq.hub import is_repo, pushed, repo_of
from ffseq.interrupt import Interrupt


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Share a run; prints where it is, or with --json one object with `to` and `files`, bytes by name."""
    parser = make_parser(
        "share",
        "Give a trained network away: its weights, its alphabet, and a card (README.md) with figures, data, and what "
        "its layers learned from. What only a resumed run needs, and paths of this machine, stay behind.",
    )
    parser.add_argument("run", type=str, help="a run folder (its best/, else last/) or a checkpoint folder")
    parser.add_argument(
        "--to", type=str | None, default=None, help="a new folder, or hub:owner/name, a model on the Hub"
    )
    group = parser.add_argument_group("the card and the Hub")
    group.add_argument("--license", type=str | None, default=None, help="as the Hub spells it, such as apache-2.0")
    group.add_argument("--private", action="store_true", help="where the Hub has no such model yet: make a private one")
    group.add_argument(
        "--message", type=str, default="A network of ffseq, with its card", help="of the commit on the Hub"
    )
    options = parse(parser, arguments)
    if options["to"] is None:
        raise UsageError("ffseq share RUN --to FOLDER, or --to hub:owner/name: say where it is to go")
    repo = repo_of(options["to"])
    from ffseq.sharing import write_shared

    source, license = Path(options["run"]), options["license"]
    if repo is None:
        folder = _new_folder(options["to"])
        result: dict[str, Any] = {
            "to": str(folder),
            "files": write_shared(source, folder, name=folder.name, license=license),
        }
    else:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "network"
            files = write_shared(source, folder, name=repo, license=license)
            address = pushed(folder, repo, message=options["message"], private=options["private"] or None)
        result = {"to": address, "files": files}
    if options["json"]:
        print_json(result)
        return 0
    print(f"{sum(result['files'].values()) / 1e6:.1f} MB ({', '.join(result['files'])}) are at {result['to']}")
    if license is None:
        print("Say under which licence: `license:` in the first lines of README.md, or --license")
    print(f"To load it: SequenceNetwork.from_pretrained({repo or result['to']!r})")
    return 0


def _new_folder(to: str) -> Path:
    folder = Path(to)
    if is_repo(to) and not folder.parent.exists():
        raise UsageError(f"--to {to}: there is no folder {folder.parent}; for the Hub say --to hub:{to}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--to {to} exists: give the name of a new folder")
    return folder

"""`ffseq report`: one page about a run, to be opened in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ffseq.commands.common import add_compute_options, make_parser, make_progress, parse, print_json
from ffseq.errors import FfseqError, UsageError
from ffseq.interrupt import Interrupt
from ffseq.options import LARGEST

#: Symbols of a passage, at most: each has its candidates in the page.
LONGEST_PASSAGE = 100_000


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Write the page; says where it is, with --json also the figures on it."""
    parser = make_parser("report", "Write one HTML page about a run. It needs no network and nothing beside itself.")
    parser.add_argument("run", type=str, help="a run folder or a checkpoint folder")
    parser.add_argument("corpus", nargs="?", type=str, default=None, help="another text; by default the run's own")
    parser.add_argument("--out", type=str | None, default=None, help="the file to write; by default RUN/report.html")
    parser.add_argument("--passage", type=int, default=600, help="symbols of held-out text to show one by one; 0: none")
    parser.add_argument("--from", type=int, default=0, help="symbols of the held-out text before that passage")
    parser.add_argument(
        "--floors", choices=["auto", "yes", "no"], default="auto",
        help="counting models, where the run has none; auto: texts of up to 20 MB",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the sample that is written now")
    add_compute_options(parser)
    options = parse(parser, arguments)
    for name, most in (("passage", LONGEST_PASSAGE), ("from", LARGEST), ("seed", LARGEST)):
        if not 0 <= options[name] <= most:
            raise UsageError(f"--{name} has to be at least 0 and at most {most}, got {options[name]}")
    from ffseq.checkpoint import replace_file, resolve_run
    from ffseq.page.gather import gather
    from ffseq.page.render import page

    resolve_run(Path(options["run"]))  # without a run there is no place for its page
    path = Path(options["out"]) if options["out"] is not None else Path(options["run"]) / "report.html"
    _check_writable(path)
    with make_progress(options) as progress:
        content = gather(
            options["run"],
            options["corpus"],
            passage=options["passage"],
            start=options["from"],
            floors=options["floors"],
            seed=options["seed"],
            threads=options["threads"],
            device=options["device"],
            dtype=options["dtype"],
            progress=progress,
        )
    written = page(content).encode("utf-8", "backslashreplace")  # a file name may hold bytes that are no text
    try:
        replace_file(path, written)
    except OSError as error:
        raise FfseqError(f"cannot write {path}: {error.strerror}") from error
    result = _told(path, len(written), content)
    if options["json"]:
        print_json(result)
        return 0
    for sentence in content.missing:
        progress.say(sentence)
    print(f"{path}, {len(written) / 1000:,.0f} kB: open it in a browser")
    return 0


def _check_writable(path: Path) -> None:
    """Refuse, before anything is computed, a place where no page can be, and a file that is something else."""
    from ffseq.page.render import MARK

    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")
    if path.exists():
        with path.open("rb") as file:
            if MARK.encode() not in file.read(200):
                raise UsageError(f"{path} exists and is no page of ffseq report; give --out the name of a new file")


def _told(path: Path, size: int, content: Any) -> dict[str, Any]:
    """What --json prints."""
    passage = content.passage
    figures = content.figures or {}
    return {
        "page": str(path),
        "bytes": size,
        "checkpoint": content.checkpoint,
        "corpus": content.corpus,
        **{name: figures.get(name) for name in ("bits_per_character", "prequential_bits_per_character", "accuracy")},
        "per_layer": figures.get("per_layer"),
        "floors": content.floors,
        "entropy_rate": content.entropy_rate,
        "passage": None
        if passage is None
        else {
            "from": passage.start,
            "symbols": len(passage.symbols),
            "bits_per_symbol": {view.name: float(view.bits.mean()) for view in passage.views},
        },
        "missing": content.missing,
    }

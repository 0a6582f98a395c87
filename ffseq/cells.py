"""Experiments made of cells: runs with all of their settings fixed, each kept under a name made of them.

So a finished cell is never computed twice, and an interrupted one goes on where it was. Several processes may fill the
same folder: who needs a cell that another one is computing waits for it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from ffseq.checkpoint import json_or_none, replace_file
from ffseq.corpus import Corpus
from ffseq.errors import Interrupted, UsageError
from ffseq.options import from_flat
from ffseq.resume import alone_in

#: Computes the result of a cell in its folder, from its settings.
Compute = Callable[[Path, dict[str, Any]], dict[str, Any]]
#: Seconds between two looks at a cell that another process is computing.
PATIENCE = 0.5
#: The result of a run that diverges. It has no bits, so that a search passes it over.
DIVERGED: dict[str, Any] = {"diverged": True, "validation_bits_per_character": None}


class Cells:
    """The cells of an experiment on one corpus, under `folder`."""

    def __init__(self, corpus: Corpus, folder: Path, interrupted: Callable[[], bool]) -> None:
        self.corpus, self.folder, self.interrupted = corpus, folder, interrupted

    def place(self, options: dict[str, Any]) -> Path:
        """The folder of the cell with these options."""
        text = json.dumps([self.corpus.content_sha256, _settings(options)], sort_keys=True)
        return self.folder / "cells" / hashlib.sha256(text.encode()).hexdigest()[:16]

    def known(self, options: dict[str, Any]) -> dict[str, Any] | None:
        """The result of a finished cell, or None."""
        path = self.place(options) / "cell.json"
        done = json_or_none(path.read_bytes()) if path.exists() else None
        return done if isinstance(done, dict) else None

    def result(self, options: dict[str, Any], compute: Compute) -> dict[str, Any]:
        """The result of the cell with these options of `ffseq train`, computed if it is not there.

        Raises UsageError for options that make no sense, Interrupted with everything saved, and what `compute` raises.
        """
        settings = _settings(options)
        from_flat(settings)
        done = self.known(options)
        if done is not None:
            return done
        if self.interrupted():
            raise Interrupted("interrupted between two cells")
        place = self.place(options)
        with self._held(place):
            done = self.known(options)  # by now another process may have computed it
            return self._computed(place, settings, compute) if done is None else done

    @contextmanager
    def _held(self, place: Path) -> Iterator[None]:
        """Hold a cell's folder, as soon as no other process does."""
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(alone_in(place))
                    break
                except UsageError:
                    if self.interrupted():
                        raise Interrupted("interrupted while another process computes the same cell") from None
                    time.sleep(PATIENCE)
            yield

    def _computed(self, place: Path, settings: dict[str, Any], compute: Compute) -> dict[str, Any]:
        given = {name: value for name, value in settings.items() if name not in ("out_dir", "resume")}
        (place / "options.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
        text = json.dumps(compute(place, settings), indent=1) + "\n"
        replace_file(place / "cell.json", text.encode())
        result: dict[str, Any] = json.loads(text)  # as it is when the cell is known
        return result


def best_of(
    cell: Callable[[dict[str, Any]], dict[str, Any]], options: dict[str, Any], name: str, values: Sequence[float]
) -> tuple[float, float] | None:
    """The value of the option `name` that is best on validation text (the smallest of equals) and its bits per
    character there; None where all diverge.
    """
    figures = {value: cell(options | {name: value})["validation_bits_per_character"] for value in values}
    finite = {value: bits for value, bits in figures.items() if bits is not None}
    best = min(finite, key=lambda value: (finite[value], value), default=None)
    return None if best is None else (best, finite[best])


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """What a cell is known by: its options, but for where it is kept and what it tells."""
    return {**options, "floors": "no", "sample_interval": 0, "out_dir": None, "resume": None}

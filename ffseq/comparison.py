"""One table: Forward-Forward nets, their twin, random hidden layers and counting models on the same data.

A comparison is made of cells (see ffseq/cells.py): each is one training run, in a process of its own, so that its time
and its memory are its own.

Every method gets the same search: short runs, on validation text alone, first over learning rates and then over
dropout; then one full run for each seed with what was found, stopped early (the checkpoint that is best on validation
text), and only then the held-out text is scored.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ffseq.cells import DIVERGED, Cells, best_of
from ffseq.config import TrainConfig
from ffseq.corpus import Corpus
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.options import from_flat, to_flat
from ffseq.progress import Progress
from ffseq.work import literal_multiplications, multiplications

#: Runs of the search share this seed; it is none of those that a comparison reports by default.
SEARCH_SEED = 1000


@dataclass(frozen=True)
class Method:
    """A way to learn. options: what it changes of the common settings; equal: work held equal to the twin's; rates:
    what the learning rates of the search are multiplied by.
    """

    name: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    equal: str = "characters"
    rates: float = 1.0


def _ff(scope: str, objective: str, negatives: str, label: str, equal: str = "characters") -> Method:
    name = f"ff-{scope}-{negatives}" + ("-equal-work" if equal == "multiplications" else "")
    options = {"method": "ff", "hidden": "learned", "scope": scope, "objective": objective, "negatives": negatives}
    return Method(name, "ff", options, label, equal)


METHODS: dict[str, Method] = {
    one.name: one
    for one in (
        _ff("own", "contrast", "sampled", "FF, each layer by its own goodness"),
        _ff("own", "likelihood", "expected", "local cross-entropy (deep supervision): FF, own goodness, expected"),
        _ff("below", "contrast", "sampled", "FF, own goodness and those below"),
        _ff("below", "likelihood", "expected", "FF, own goodness and those below, expected"),
        _ff("all", "contrast", "sampled", "FF, summed score broadcast"),
        _ff("all", "likelihood", "expected", "FF, summed score broadcast, expected"),
        _ff("all", "likelihood", "expected", "the same, at the twin's multiplications", "multiplications"),
        Method("twin-expected", "twin",
               {"method": "twin", "hidden": "learned", "objective": "likelihood", "negatives": "expected"},
               "twin: backpropagation"),
        Method("twin-sampled", "twin",
               {"method": "twin", "hidden": "learned", "objective": "contrast", "negatives": "sampled"},
               "twin: backpropagation, sampled negatives"),
        Method("random-hidden", "random_hidden",
               {"method": "ff", "hidden": "random", "scope": "all", "objective": "likelihood", "negatives": "expected"},
               "random hidden layers, learned read-out"),
        # Goodness that is a sum of squares moves little with each weight: it takes ten times the step.
        Method("ff-literal", "ff_literal",
               {"method": "ff", "hidden": "learned", "stack": "literal", "objective": "threshold",
                "negatives": "sampled", "scope": "all", "literal_goodness": "mean", "goodness_scale": 10.0,
                "candidate_init": 0.3, "negatives_from": "first", "readout": "both", "readout_from": 1,
                "memory": 0, "between": "none", "black_box": "none", "gains": None},
               "FF, the candidate goes through the whole net", rates=10.0),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Search:
    """What is tried for each method, on validation text alone. share: length of its runs as a share of a full run."""

    learning_rates: tuple[float, ...]
    dropouts: tuple[float, ...]
    share: float = 0.25


class Comparison:
    """The cells of a comparison of `methods` on one corpus, under one folder. `base`: settings with nothing open."""

    def __init__(
        self,
        base: TrainConfig,
        corpus: Corpus,
        folder: Path,
        *,
        methods: Sequence[str],
        seeds: Sequence[int],
        search: Search,
        progress: Progress,
        interrupted: Callable[[], bool],
    ) -> None:
        if corpus.validation is None:
            raise UsageError(
                f"{corpus.name} split {corpus.split_rule} has no validation part, and settings are chosen on one: give "
                "--split_rule, such as 80/10/10 or hinton-tuning"
            )
        self.base = to_flat(base)
        self.corpus, self.search = corpus, search
        self.cells = Cells(corpus, folder, interrupted)
        self.methods = [METHODS[name] for name in methods]
        self.seeds, self.progress, self.interrupted = seeds, progress, interrupted

    def rows(self) -> Iterator[dict[str, Any]]:
        """Run what is missing; yields the row of each method as it is complete."""
        boxed: dict[str, Any] | None = None
        for method in self.methods:
            options = self.chosen(method) | {"max_iters": self._iterations(method)}
            self.progress.say(
                f"{method.name}: best on validation text are rate {options['learning_rate']:g}, dropout "
                f"{options['dropout']:g}"
            )
            cells = []
            for seed in self.seeds:
                cells.append(self.cell(options | {"seed": seed}))
                bits = cells[-1]["validation_bits_per_character"]
                self.progress.say(f"  seed {seed}: " + ("diverged" if bits is None else f"validation {bits:.4f}"))
            yield self._row(method, options, cells)
            if cells[0].get("black_box") is not None:
                boxed = cells[0]
        if boxed is not None:
            yield box_row(self.corpus, boxed["black_box"], boxed["black_box_alone"])

    def chosen(self, method: Method) -> dict[str, Any]:
        """The settings that are best on validation text: the learning rate first, then dropout at that rate."""
        short = max(1, round(self.base["max_iters"] * self.search.share))
        options = self.base | method.options | {"max_iters": short, "seed": SEARCH_SEED}
        # Only layers that wait for the sum of all have to go up twice to let go of what they did.
        options["recompute"] = bool(options["recompute"] and method.method == "ff" and options["scope"] == "all")
        if options["dropout"] not in self.search.dropouts:
            options["dropout"] = sorted(self.search.dropouts)[len(self.search.dropouts) // 2]
        rates = tuple(rate * method.rates for rate in self.search.learning_rates)
        for name, values in (("learning_rate", rates), ("dropout", self.search.dropouts)):
            best = best_of(self.cell, options, name, values)
            if best is None:
                raise FfseqError(f"{method.name} diverges at every --{name}s tried: give smaller ones")
            options[name] = best[0]
        return options

    def cell(self, options: dict[str, Any]) -> dict[str, Any]:
        """The result of `ffseq train` with these settings, with its seconds and its peak memory.

        Raises Interrupted, with everything saved, and FfseqError where the run fails, other than by diverging.
        """
        return self.cells.result(options, self._measured)

    def _measured(self, place: Path, settings: dict[str, Any]) -> dict[str, Any]:
        """Train in a process of its own, which reads the settings from the preset in the cell's folder."""
        run = place / "run"
        command = [sys.executable, "-m", "ffseq", "train", "--json", "--quiet", "--out_dir", str(run)]
        command += ["--preset", str(place / "options.yaml"), "--resume", "auto"]
        with (place / "output").open("wb+") as output, (place / "errors").open("wb+") as errors:
            # In a session of its own, so that Ctrl-C reaches it once: through us.
            child = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
            told = False
            while (ended := os.wait4(child.pid, os.WNOHANG))[0] == 0:
                if self.interrupted() and not told:
                    child.send_signal(signal.SIGTERM)
                    told = True
                time.sleep(0.05)
            _, status, usage = ended
            child.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            lines, complaint = output.read().splitlines(), errors.read().decode(errors="replace").strip()
        if child.returncode == 130 or (child.returncode != 0 and self.interrupted()):
            raise Interrupted("interrupted; the cell is saved")
        if child.returncode != 0:
            if "not finite" in complaint:
                return DIVERGED
            raise FfseqError(f"the run in {run} failed: {complaint.removeprefix('ffseq: ')}")
        result: dict[str, Any] = json.loads(lines[-1])
        result["peak_memory_bytes"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        result["curve"] = _curve(run / "log.jsonl")
        return result

    def _iterations(self, method: Method) -> int:
        """Updates of a full run: as many as the twin's, or as its multiplications pay for."""
        if method.equal == "characters":
            return int(self.base["max_iters"])
        return round(int(self.base["max_iters"]) * self._work("twin") / self._work(method.method))

    def _work(self, method: str) -> int:
        config = from_flat(self.base)
        if method == "ff_literal":
            return literal_multiplications(config.network, len(self.corpus.alphabet), config.learning.num_negatives)
        return multiplications(config.network, len(self.corpus.alphabet), method)

    def _row(self, method: Method, options: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
        if any(cell.get("diverged") for cell in cells):
            raise FfseqError(f"{method.name} diverged at --learning_rate {options['learning_rate']:g}")
        seen, train = cells[0]["characters_seen"], self.corpus.train
        symbols = round(seen * train.symbols / train.characters)
        return {
            "name": method.name,
            "label": method.label,
            "method": method.method,
            "scope": options["scope"] if method.method == "ff" else None,
            "negatives": options["negatives"],
            "equal": method.equal,
            "black_box": cells[0].get("black_box"),
            "learning_rate": options["learning_rate"],
            "dropout": options["dropout"],
            "parameters": cells[0]["parameters"],
            "characters_seen": seen,
            "multiplications": symbols * self._work(method.method),
            "seeds": list(self.seeds),
            "bits_per_character": spread([cell["bits_per_character"] for cell in cells]),
            "validation_bits_per_character": spread([cell["validation_bits_per_character"] for cell in cells]),
            "accuracy": spread([cell["accuracy"] for cell in cells]),
            "seconds": statistics.mean(cell["learning_seconds"] for cell in cells),
            "peak_memory_bytes": max(cell["peak_memory_bytes"] for cell in cells),
            "curves": [cell["curve"] for cell in cells],
        }


def floor_rows(corpus: Corpus, floors: dict[str, Any]) -> list[dict[str, Any]]:
    """The counting models as rows of the same table."""
    names = {"kneser_ney": "Kneser-Ney", "kneser_ney_characters": "Kneser-Ney by characters"}
    counting = [
        _still(corpus, kind, f"{name}, order {floors[kind]['order']}", floors[kind])
        for kind, name in names.items()
        if kind in floors
    ]
    return [*counting, _still(corpus, "unigram", "unigram", floors["unigram"])]


def box_row(corpus: Corpus, kind: str, alone: dict[str, Any]) -> dict[str, Any]:
    """A black box by itself, as a row of the same table."""
    return _still(corpus, "black_box", f"the black box alone ({kind})", alone) | {"black_box": kind}


def _still(corpus: Corpus, method: str, label: str, figures: dict[str, Any]) -> dict[str, Any]:
    """A row for what has no layers that learn."""
    return {
        "name": method.replace("_", "-"),
        "label": label,
        "method": method,
        "scope": None,
        "negatives": None,
        "black_box": None,
        "parameters": None,
        "characters_seen": corpus.train.characters,
        "multiplications": None,
        "seeds": [],
        "bits_per_character": {"mean": figures["bits_per_character"], "sd": 0.0},
        "accuracy": {"mean": figures["accuracy"], "sd": 0.0},
        "seconds": None,
        "peak_memory_bytes": None,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation (0 for one value)."""
    return {"mean": statistics.mean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}


def _curve(log: Path) -> list[list[float]]:
    """Characters seen and validation bits per character, from a run's log."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [
        [line["characters_seen"], line["validation_bits_per_character"]]
        for line in lines
        if line["kind"] == "validation"
    ]

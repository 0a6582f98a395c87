"""The runs of a plan of `ffseq.separation`: searches, the interleaved net, the curve, deprivation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ffseq.cells import DIVERGED, Cells, Compute, best_of
from ffseq.comparison import spread
from ffseq.config import TrainConfig
from ffseq.corpus import Corpus, corpus_of
from ffseq.deprivation import CAPS, bits_of_run, healthy_options, recovery, recovery_options, row_of
from ffseq.drift import drift_of
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.options import from_flat, to_flat
from ffseq.phases import share_at_full_length, updates_of
from ffseq.progress import Ahead, Progress, Within
from ffseq.runs import train
from ffseq.scoring import evaluate, load_network
from ffseq.separation import AT_FULL_LENGTH, INTERLEAVED, Mechanism, Plan, mechanism_named, options_of

#: Symbols of a sample, which the net dreams from nothing.
SAMPLE = 200


class Separation:
    """The runs of `plan` on one corpus, under one folder.

    base: settings with nothing open; its eval_interval is that of a run of plan.updates, and others are evaluated as
    often. Raises UsageError for what cannot be measured.
    """

    def __init__(
        self,
        base: TrainConfig,
        corpus: Corpus,
        folder: Path,
        plan: Plan,
        *,
        progress: Progress,
        interrupted: Callable[[], bool],
    ) -> None:
        plan.check()
        self.base, self.corpus, self.plan = to_flat(base), corpus, plan
        #: What a run that choices are made by has of its own.
        self.tuning: dict[str, Any] = {}
        if corpus.validation is None:
            if corpus.split_rule != "hinton":
                raise UsageError(
                    f"{corpus.name} split {corpus.split_rule} has no validation part, and learning rates are chosen on "
                    "one: give --split_rule, such as 80/10/10 or hinton-tuning"
                )
            # The same held-out strings, and the last of those that are learned to choose on.
            self.tuning = {"split_rule": "hinton-tuning"}
        self.cells = Cells(corpus, folder, interrupted)
        self.progress, self.interrupted = progress, interrupted
        self.mechanisms = [mechanism_named(name) for name in plan.mechanisms] if plan.lengths else []
        for mechanism in self.mechanisms:  # what does not go together is refused before the first run
            for length in plan.lengths:
                from_flat(self.base | options_of(mechanism, length, plan.updates, growing=plan.growing))
        if plan.deprivation:
            from_flat(self.base | healthy_options(plan.healthy))
        self.ahead = Ahead(self._iterations())

    def reference(self) -> dict[str, Any]:
        """The best interleaved net of the same size: objective and learning rate chosen on validation text."""
        plan, found = self.plan, {}
        for objective in INTERLEAVED:
            own = {"objective": objective}
            best = self._search(self._options(own, plan.search_updates), f"interleaved, {objective}")
            if best is not None:
                found[objective] = best
        if not found:
            raise FfseqError("interleaved nets diverge at every one of --rates: give smaller ones")
        objective = min(found, key=lambda name: found[name][1])
        rate = found[objective][0]
        options = self._options({"objective": objective}, plan.updates) | {"learning_rate": rate}
        row = self._row(options, f"interleaved, {objective}")
        if row["bits_per_character"] is None:
            raise FfseqError(f"the interleaved net diverged at rate {rate:g}: give smaller --rates")
        return {"objective": objective, "iterations": options["max_iters"]} | row

    def point(self, mechanism: Mechanism, length: int, reference: dict[str, Any]) -> dict[str, Any]:
        """One point of the curve, beside the interleaved net's row."""
        plan, title = self.plan, f"{mechanism.name}, phases of {length:,}"
        rate: float | None = plan.rates[0]
        if len(plan.rates) > 1:
            short = options_of(mechanism, length, plan.search_updates, growing=plan.growing)
            best = self._search(self._options(short, plan.search_updates), title)
            rate = None if best is None else best[0]
        options = self._options(options_of(mechanism, length, plan.updates, growing=plan.growing), plan.updates)
        phases = from_flat(options).phases
        share = share_at_full_length(phases, plan.updates)
        assert share >= AT_FULL_LENGTH
        row: dict[str, Any] = {
            "mechanism": mechanism.name,
            "label": mechanism.label,
            "offline": mechanism.offline,
            "wake": length,
            "sleep": length,
            "growth": phases.growth if phases.kind == "growing" else None,
            "start": phases.start if phases.kind == "growing" else None,
            "share_at_full_length": share,
            "relative_to_interleaved": None,
        }
        if rate is None:
            self._passed(f"{title}: diverges at every one of --rates", len(plan.seeds) * plan.updates, None)
            return row | _nothing(plan)
        row |= self._row(options | {"learning_rate": rate}, title)
        if row["bits_per_character"] is not None:
            mean = reference["bits_per_character"]["mean"]
            row["relative_to_interleaved"] = row["bits_per_character"]["mean"] / mean
        return row

    def curve(self, reference: dict[str, Any]) -> list[dict[str, Any]]:
        """All points, mechanism by mechanism, from the shortest phases to the longest."""
        return [self.point(one, length, reference) for one in self.mechanisms for length in sorted(self.plan.lengths)]

    def deprivation(self) -> list[dict[str, Any]]:
        """What becomes of an interleaved net without negatives, and how much sleep brings it back."""
        plan, corpus = self.plan, self.corpus
        if self.tuning:
            corpus = corpus_of(from_flat(self.base | self.tuning))
        rate = plan.rates[0]
        if len(plan.rates) > 1:
            best = self._search(self.base | healthy_options(plan.healthy_search), "interleaved, nce")
            if best is None:
                raise FfseqError("interleaved nce diverges at every one of --rates: give smaller ones")
            rate = best[0]
        runs: dict[tuple[str, int], list[dict[str, Any]]] = {
            (mechanism, length): [] for length in plan.deprivation for mechanism in CAPS
        }
        for seed in plan.seeds:
            healthy = self.base | self.tuning | healthy_options(plan.healthy) | {"learning_rate": rate, "seed": seed}
            if self._cell(healthy, f"interleaved, nce, seed {seed}").get("diverged"):
                raise FfseqError(f"interleaved nce diverged at rate {rate:g}: give smaller --rates")
            for (mechanism, length), done in runs.items():
                done.append({"seed": seed} | self._deprived(healthy, mechanism, length, corpus))
        rows = []
        for (mechanism, length), done in runs.items():
            limit, interval = plan.recovery_of(length)
            rows.append(row_of(mechanism, length, done, limit=limit, interval=interval))
        return rows

    def _deprived(self, healthy: dict[str, Any], mechanism: str, length: int, corpus: Corpus) -> dict[str, Any]:
        run = self.cells.place(healthy) / "run"
        if length == 0:
            bits = bits_of_run(run)
            return {"before": bits, "after": bits, "recovery_updates": 0, "lowest": bits, "asleep": []}
        title = f"{mechanism}, {length:,} updates without negatives, seed {healthy['seed']}"
        compute = partial(
            recovery, healthy=run, corpus=corpus, progress=Within(self.progress, title), interrupted=self.interrupted
        )
        limit, interval = self.plan.recovery_of(length)
        options = recovery_options(healthy, length, limit, interval, CAPS[mechanism])
        return self._cell(options, title, compute, parts=length + limit)

    def _options(self, own: dict[str, Any], counted: int) -> dict[str, Any]:
        """Options of a run that counts so many updates."""
        options = self.base | own
        iterations = counted if options["phases.kind"] != "interleaved" else counted // 2
        every = max(1, self.base["eval_interval"] * iterations // self.plan.updates)
        return options | {"max_iters": iterations, "eval_interval": every}

    def _search(self, options: dict[str, Any], title: str) -> tuple[float, float] | None:
        """The learning rate that is best on validation text, and its bits; None where all diverge."""
        options = options | self.tuning | {"seed": self.plan.search_seed}

        def cell(tried: dict[str, Any]) -> dict[str, Any]:
            return self._cell(tried, f"{title}, search, rate {tried['learning_rate']:g}")

        return best_of(cell, options, "learning_rate", self.plan.rates)

    def _row(self, options: dict[str, Any], title: str) -> dict[str, Any]:
        """Figures over the seeds; a net that diverges at one of them has none."""
        cells = [self._cell(options | {"seed": seed}, f"{title}, seed {seed}") for seed in self.plan.seeds]
        row = _nothing(self.plan) | {"learning_rate": options["learning_rate"]}
        if any(cell.get("diverged") for cell in cells):
            return row
        assert all(cell["updates"] == self.plan.updates for cell in cells)
        return row | {
            **{
                name: spread(by_seed) | {"by_seed": by_seed}
                for name in ("bits_per_character", "accuracy")
                for by_seed in [[cell[name] for cell in cells]]
            },
            "state_bytes": cells[0]["state_bytes"],
            "seconds": statistics.mean(cell["learning_seconds"] for cell in cells),
            "drift": cells[0]["drift"],
            "sample": cells[0]["sample"],
        }

    def _cell(
        self, options: dict[str, Any], title: str, compute: Compute | None = None, parts: int | None = None
    ) -> dict[str, Any]:
        """The result of a cell, with a line about it."""
        known, began = self.cells.known(options) is not None, time.monotonic()
        training = partial(_trained, progress=Within(self.progress, title), interrupted=self.interrupted)
        result = self.cells.result(options, compute or training)
        if result.get("diverged"):
            title += ": diverged"
        elif compute is None and result["validation_bits_per_character"] is not None:
            title += f": validation {result['validation_bits_per_character']:.4f}"
        self._passed(title, parts or options["max_iters"], None if known else time.monotonic() - began)
        return result

    def _passed(self, line: str, parts: int, seconds: float | None) -> None:
        self.ahead.advance(parts, seconds)
        self.progress.say(f"{line}  ({self.ahead})")

    def _iterations(self) -> int:
        """Updates of all runs as they are made, an interleaved one as one; sleep that recovers at its most."""
        plan, rates, seeds, total = self.plan, len(self.plan.rates), len(self.plan.seeds), 0
        if self.mechanisms:
            searched = rates * plan.search_updates if rates > 1 else 0
            total += len(self.mechanisms) * len(plan.lengths) * (searched + seeds * plan.updates)
            total += len(INTERLEAVED) * rates * plan.search_updates // 2 + seeds * plan.updates // 2
        if plan.deprivation:
            total += rates * plan.healthy_search if rates > 1 else 0
            deprived = sum(length + plan.recovery_of(length)[0] for length in plan.deprivation if length)
            total += seeds * (plan.healthy + len(CAPS) * deprived)
        return total


def _nothing(plan: Plan) -> dict[str, Any]:
    """A row without figures."""
    row: dict[str, Any] = {"seeds": list(plan.seeds), "updates": plan.updates, "learning_rate": None}
    figures = ("bits_per_character", "accuracy", "state_bytes", "seconds", "sample")
    return row | dict.fromkeys(figures) | {"drift": []}


def _trained(
    place: Path, settings: dict[str, Any], *, progress: Progress, interrupted: Callable[[], bool]
) -> dict[str, Any]:
    """What `ffseq train` finds, with the updates counted, the drift of goodness, and a sample."""
    config = from_flat(settings | {"out_dir": str(place / "run"), "resume": "auto"})
    try:
        result = train(config, progress=progress, interrupted=interrupted)
    except Interrupted:
        raise Interrupted("interrupted; the cell is saved") from None
    except FfseqError as error:
        if "not finite" in str(error):
            return DIVERGED
        raise
    phases, iterations, run = config.phases, result["iterations"], place / "run"
    apart = phases.kind in ("sleep", "growing")
    if apart:
        result |= _at_the_end(run / "last", validation=result["validation_bits_per_character"] is not None)
    network, _ = load_network(run / "last" if apart else run, device="cpu")
    return result | {
        "updates": updates_of(phases, iterations),
        "drift": drift_of(run / "log.jsonl", phases, iterations) if apart else [],
        "sample": network.generate(max_new_tokens=SAMPLE),
    }


def _at_the_end(last: Path, *, validation: bool) -> dict[str, Any]:
    """Figures of a run's last checkpoint. The one that is best on validation text may be from before its nights were
    long; interleaved nets, with which those that sleep are compared, may well be stopped early.
    """
    held_out = evaluate(last, floors="no", device="cpu")
    found = {name: held_out[name] for name in ("bits_per_character", "accuracy")}
    if validation:
        found["validation_bits_per_character"] = evaluate(last, split="validation", device="cpu")["bits_per_character"]
    return found

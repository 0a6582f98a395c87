"""A net that has learned with positives and negatives is left without negatives: how bad does it get, and how much
sleep brings it back?

All of it learns by `nce`, whose signals are bounded: interleaved at a rate that stays as it is, so that each stage
depends on the updates before it alone; then awake, then asleep with dreams of the net as it is when it falls asleep,
both at a rate that is capped as on the curve (`nce`), or at the rate that the net had before (`nce-uncapped`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ffseq.cells import DIVERGED
from ffseq.checkpoint import checkpoint_exists, load_checkpoint
from ffseq.compute import compute
from ffseq.config import TrainConfig
from ffseq.corpus import Corpus
from ffseq.errors import FfseqError, Interrupted
from ffseq.network import SequenceNetwork
from ffseq.options import from_flat
from ffseq.phases import sequence_of
from ffseq.progress import Progress
from ffseq.resume import alone_in, cut_log
from ffseq.separation import LONG
from ffseq.training import Trainer

#: A net is as good as before once its bits per character are within this share of what they were.
TOLERANCE = 0.01
#: What the rate of a phase without the other side is at most, times the length of the phase, by mechanism.
CAPS: dict[str, float | None] = {"nce": LONG["phases.rate_cap"], "nce-uncapped": None}
#: Points of a recovery that are told, about.
POINTS = 100


def healthy_options(updates: int) -> dict[str, Any]:
    """Options of a net before its negatives stop, after so many interleaved updates. What follows them in its schedule
    never comes: it is there so that the checkpoint knows of dreams.
    """
    return {
        "objective": "nce", "phases.kind": "sequence", "phases.sequence": f"interleaved {updates}, sleep 1",
        "phases.asleep": "dreams", "phases.dreamer": "frozen", "phases.renew": 1, "phases.rate_cap": None,
        "constant_share": 1.0, "max_iters": updates, "eval_interval": updates,
    }  # fmt: skip


def recovery_options(
    healthy: dict[str, Any], awake: int, limit: int, interval: int, cap: float | None
) -> dict[str, Any]:
    """Options of the same net's time without negatives and of the sleep that follows. cap: one of CAPS."""
    updates = healthy["max_iters"]
    return healthy | {
        "phases.sequence": f"interleaved {updates}, wake {awake}, sleep {limit}",
        "max_iters": updates + awake + limit,
        "eval_interval": interval,
        "phases.rate_cap": cap,
    }


def bits_of_run(run: Path) -> float:
    """Validation bits per character at the end of a run."""
    state = load_checkpoint(run / "last").trainer_state
    if state is None or state["validation_bits"] is None:
        raise FfseqError(f"{run} does not say how good its net is on validation text")
    return float(state["validation_bits"])


def recovery(
    place: Path,
    settings: dict[str, Any],
    *,
    healthy: Path,
    corpus: Corpus,
    progress: Progress,
    interrupted: Callable[[], bool],
) -> dict[str, Any]:
    """Take the net of the run folder `healthy` through the settings of `recovery_options`, in `place`.

    Returns validation bits per character `before` and `after` the time awake, `recovery_updates`, the updates of sleep
    until they were within TOLERANCE of what they had been (None: not within the limit), the `lowest` until then, and
    `asleep`, pairs of updates of sleep and bits. Raises Interrupted with everything saved.
    """
    config, run = from_flat(settings), place / "run"
    (_, updates), (_, awake), (_, limit) = sequence_of(config.phases.sequence)
    before = bits_of_run(healthy)
    goal = (1 + TOLERANCE) * before
    with alone_in(run):
        try:
            for last, stops_at in ((updates + awake, None), (updates + awake + limit, goal)):
                _go_on(run, healthy, config, corpus, last, stops_at, progress, interrupted)
        except FfseqError as error:
            if "not finite" not in str(error):
                raise
            return DIVERGED | {"before": before, "after": None, "recovery_updates": None, "lowest": None, "asleep": []}
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    bits = [
        (line["step"] - updates - awake, line["validation_bits_per_character"])
        for line in lines
        if line["kind"] == "validation"
    ]
    assert bits[0][0] == 0
    return {
        "before": before,
        "after": bits[0][1],
        "recovery_updates": next((step for step, value in bits if value <= goal), None),
        "lowest": min(value for _, value in bits),
        "asleep": sorted({*bits[:: -(-len(bits) // POINTS)], bits[-1]}),
    }


def _go_on(
    run: Path,
    healthy: Path,
    config: TrainConfig,
    corpus: Corpus,
    last: int,
    goal: float | None,
    progress: Progress,
    interrupted: Callable[[], bool],
) -> None:
    """Learn on up to update `last`, evaluated there, or with a goal every so often until it is reached."""
    checkpoint = load_checkpoint((run if checkpoint_exists(run / "last") else healthy) / "last")
    every = config.run.eval_interval if goal is not None else last
    config = replace(config, run=replace(config.run, max_iters=last, eval_interval=every))
    device, products = compute(config)
    network = SequenceNetwork(config.network, corpus.alphabet, seed=config.run.seed)
    network.products = products
    trainer = Trainer(network.to(device), corpus, config, run, progress)
    trainer.restore(checkpoint)
    cut_log(run / "log.jsonl", trainer.state.step)

    def recovered() -> bool:
        bits = trainer.state.validation_bits
        return goal is not None and bits is not None and bits <= goal

    if not trainer.run(lambda: recovered() or interrupted()) and not recovered():
        raise Interrupted("interrupted; the cell is saved")


def row_of(mechanism: str, length: int, runs: Sequence[dict[str, Any]], *, limit: int, interval: int) -> dict[str, Any]:
    """A row of the report from the runs of all seeds: means, None where one of them has nothing (it diverged, or did
    not recover).
    """

    def mean(name: str) -> float | None:
        found = [run[name] for run in runs]
        return None if None in found else statistics.mean(found)

    return {
        "mechanism": mechanism,
        "length": length,
        "seeds": [run["seed"] for run in runs],
        "bits_per_character_before": mean("before"),
        "bits_per_character_after": mean("after"),
        "bits_per_character_lowest_asleep": mean("lowest"),
        "recovery_updates": mean("recovery_updates"),
        "recovery_limit": limit,
        "recovery_interval": interval,
        "part": "validation",
        "runs": list(runs),
    }

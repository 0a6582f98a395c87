"""How far goodness drifts inside a phase: awake it only rises, asleep it only falls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from ffseq.config import PhasesConfig
from ffseq.phases import stretches

#: In which field of a line of log.jsonl the goodness of a phase is.
GOODNESS: dict[Literal["wake", "sleep"], str] = {"wake": "positive_goodness", "sleep": "negative_goodness"}


def drift_of(log: Path, phases: PhasesConfig, total: int) -> list[dict[str, Any]]:
    """Goodness by layer at the beginning and the end of the last whole wake phase and of the last whole sleep phase of
    the full length, in nats: the first and the last line of log.jsonl that are of that phase alone.

    total: updates of the run. Where a phase is shorter than a line, both are those of the last line that has it. A
    phase that never came whole has no entry.
    """
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    training = [line for line in lines if line["kind"] == "train"]
    found = []
    for phase, field in GOODNESS.items():
        last = _last(phases, phase, total)
        if last is None:
            continue
        first, end = last
        steps = [0, *(line["step"] for line in training)]
        spans = zip(steps, training, strict=False)
        inside = [line[field] for before, line in spans if before >= first and line["step"] <= end]
        inside = inside or [line[field] for line in training if line[field] is not None][-1:]
        if inside:
            found.append({"phase": phase, "updates": end - first, "beginning": inside[0], "end": inside[-1]})
    return found


def _last(phases: PhasesConfig, wanted: Literal["wake", "sleep"], total: int) -> tuple[int, int] | None:
    """The updates before and up to the end of the last whole phase of that kind and of the full length."""
    step, found = 0, None
    full = phases.wake if wanted == "wake" else phases.sleep
    for phase, length in stretches(phases):
        step += length
        if step > total:
            return found
        if phase == wanted and length == full:
            found = (step - length, step)
    raise AssertionError("a schedule does not end")

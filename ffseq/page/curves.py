"""The charts of a run: bits, and goodness of positives and negatives layer by layer, from the lines of its log."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from ffseq.page.charts import Curve, Level, chart

Lines = list[dict[str, Any]]


def bits_chart(log: Lines, floors: dict[str, Any] | None, entropy_rate: float | None, ignorance: float) -> str:
    """Bits per character of training and validation text, beside the floors; empty where nothing was logged.

    ignorance: bits per character of a net that knows nothing; what is far above that is drawn at the upper edge.
    """
    curves = [
        Curve("training, with dropout", "other", _points(log, "train_bits_per_character")),
        Curve("validation", "main", _points(log, "validation_bits_per_character")),
        Curve("of late, before each was learned", "other", _points(log, "recent_bits_per_character")),
        Curve("all, before each was learned", "main", _points(log, "prequential_bits_per_character")),
    ]
    levels = []
    if floors is not None:
        kneser_ney = floors["kneser_ney"]
        levels = [
            Level(f"Kneser-Ney, order {kneser_ney['order']}, held out", "dashed", kneser_ney["bits_per_character"]),
            Level("unigram, held out", "dotted", floors["unigram"]["bits_per_character"]),
        ]
    if entropy_rate is not None:
        levels.append(Level("entropy rate of the source", "limit", entropy_rate))
    return chart(
        "Bits per character while the net learned", curves, levels, across=_axis(log), up="bits per character",
        highest=1.25 * ignorance,
    )  # fmt: skip


def goodness_charts(log: Lines, layers: Sequence[str]) -> str:
    """A small chart for each layer: mean goodness of positives and of negatives; empty where none was logged."""
    charts = []
    for number, name in enumerate(layers):
        drawn = chart(
            f"Goodness in {name}",
            [
                Curve("positives", "main", _points(log, "positive_goodness", number)),
                Curve("negatives", "other", _points(log, "negative_goodness", number)),
            ],
            across=_axis(log),
            up="mean goodness",
        )
        if drawn:
            charts.append(f"<div><h3>{escape(name)}</h3>{drawn}</div>")
    return f'<div class="small">{"".join(charts)}</div>' if charts else ""


def by_phases(log: Lines) -> bool:
    """Whether some updates had no real text: then the charts count updates, not characters."""
    return any("phase" in line for line in log)


def _axis(log: Lines) -> str:
    return "updates" if by_phases(log) else "characters learned from"


def _points(log: Lines, name: str, layer: int | None = None) -> list[tuple[float, float]]:
    """Where a line of the log has a value: asleep there are no positives, awake no negatives."""
    across = "step" if by_phases(log) else "characters_seen"
    found = []
    for line in log:
        value = line.get(name)
        if isinstance(value, list):
            value = value[layer] if layer is not None and layer < len(value) else None
        if isinstance(value, int | float) and across in line:
            found.append((float(line[across]), float(value)))
    return found

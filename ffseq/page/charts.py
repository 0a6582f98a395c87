"""Curves as inline SVG that stretches with the page, while its numbers stay text of the page's own size.

The lines are drawn in a square of 1000 by 1000 that is stretched to the chart's width; strokes are not stretched
(vector-effect in style.css). Colours come from the classes of the lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SIZE = 1000
#: Points of a curve, at most: of more, the means of neighbours.
POINTS = 240

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y). kind: its class in style.css."""

    name: str
    kind: str
    points: Points


@dataclass(frozen=True)
class Level:
    """A named horizontal line."""

    name: str
    kind: str
    value: float


def chart(
    title: str,
    curves: Sequence[Curve],
    levels: Sequence[Level] = (),
    *,
    across: str,
    up: str,
    highest: float = math.inf,
) -> str:
    """HTML of one chart: its lines, its ticks, and what each line is.

    across, up: what the axes say; highest: nothing above is shown. Curves without points are left out; without any,
    there is no chart, and the HTML is empty.
    """
    curves = [Curve(one.name, one.kind, _thinned(one.points)) for one in curves if one.points]
    if not curves:
        return ""
    every = [point for curve in curves for point in curve.points]
    right = max(x for x, _ in every) or 1.0
    values = [min(y, highest) for _, y in every] + [level.value for level in levels]
    low, high = min(values), max(values)
    space = (high - low) * 0.05 or max(abs(high) * 0.05, 0.1)
    low, high = low - space, high + space
    y_ticks, x_ticks = ticks(low, high), ticks(0, right)

    def at(x: float, y: float) -> str:
        return f"{x / right * SIZE:.4g} {(high - min(max(y, low), high)) / (high - low) * SIZE:.4g}"

    drawn = [f'<path class="grid" d="M{at(0, y)}H{SIZE}"/>' for y in y_ticks]
    drawn += [f'<path class="{level.kind}" d="M{at(0, level.value)}H{SIZE}"/>' for level in levels]
    # A line of no length has round ends: a single point is a dot.
    drawn += [
        f'<path class="{curve.kind}" d="M{"L".join(at(*point) for point in curve.points)}h0"/>' for curve in curves
    ]
    said = [f"{curve.name} {number(curve.points[-1][1])}" for curve in curves]
    said += [f"{level.name} {number(level.value)}" for level in levels]
    spoken = f"{title}. At the end: {'; '.join(said)}."
    return (
        f'<div class="chart"><p class="up">{escape(up)}</p><div class="plot">'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(spoken)}">{"".join(drawn)}</svg>'
        + "".join(_tick("y", (high - y) / (high - low), number(y)) for y in y_ticks)
        + "".join(_tick("x", x / right, short(x)) for x in x_ticks)
        + f'</div><p class="across">{escape(across)}</p>'
        + _key(
            [(one.kind, one.name, one.points[-1][1]) for one in curves] + [(v.kind, v.name, v.value) for v in levels]
        )
        + "</div>"
    )


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers between two, so many at most, evenly apart: by 1, 2 or 5 times a power of ten.

    >>> ticks(1.9, 4.4)
    [2.0, 2.5, 3.0, 3.5, 4.0]
    """
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * (1 - 1e-9))
    return [round(one * step, 12) for one in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A value on an axis or in a key.

    >>> number(2.5), number(-0.04321), number(1234.5)
    ('2.5', '−0.0432', '1,234')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def short(count: float) -> str:
    """A large count in few characters.

    >>> short(250_000), short(1_200_000), short(800)
    ('250k', '1.2M', '800')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.4g}{unit}"
    return f"{count:.4g}"


def _tick(axis: str, place: float, text: str) -> str:
    side = "top" if axis == "y" else "left"
    return f'<span class="{axis}" style="{side}:{place:.2%}" aria-hidden="true">{text}</span>'


def _key(lines: Sequence[tuple[str, str, float]]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><path class="{kind}" d="M1 4H23"/></svg>'
        f"{escape(name)} <b>{number(value)}</b></li>"
        for kind, name, value in lines
    )
    return f'<ul class="key">{items}</ul>'


def _thinned(points: Points) -> list[tuple[float, float]]:
    """No more points than can be seen, each the mean of some neighbours; the last one stays."""
    together = math.ceil(len(points) / POINTS)
    groups = [points[first : first + together] for first in range(0, len(points), together)]
    thinned = [(sum(x for x, _ in one) / len(one), sum(y for _, y in one) / len(one)) for one in groups]
    return thinned if together == 1 else [*thinned[:-1], points[-1]]

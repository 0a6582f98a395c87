"""Pictures of an image run, each as PNG and as SVG in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ffseq.images.fields import Fields
from ffseq.images.hybrid import masks
from ffseq.report import logged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Dots per inch of the PNG.
DPI = 120


def new_figure(width: float, height: float) -> Figure:
    """An empty figure. Not pyplot's: this also runs where there is no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_pictures(folder: Path, pictures: dict[str, Figure]) -> list[Path]:
    """Write NAME.png and NAME.svg of every picture; the paths."""
    import matplotlib

    paths = []
    # An SVG whose identifiers do not change from run to run.
    with matplotlib.rc_context({"svg.hashsalt": "ffseq"}):
        for name, figure in pictures.items():
            for end in ("png", "svg"):
                path = folder / f"{name}.{end}"
                more: dict[str, Any] = {"metadata": {"Date": None}} if end == "svg" else {}
                figure.savefig(path, dpi=DPI, **more)
                paths.append(path)
    return paths


def curves(folder: Path) -> dict[str, Figure]:
    """`curves`, validation error and the training figures by epoch, and `goodness`, that of positives and negatives by
    layer, from a run's log.jsonl; nothing where nothing was logged.
    """
    lines = [line for line in logged(folder) if line["kind"] == "epoch"]
    if not lines:
        return {}
    epochs = [line["epoch"] for line in lines]
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for name, label in (
        ("validation_error", "validation"), ("readout_error", "training, read-out"), ("error", "training"),
    ):  # fmt: skip
        if name in lines[0]:
            axes.plot(epochs, [line[name] for line in lines], label=label)
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("error in percent")
    axes.legend()
    found = {"curves": figure}
    if "positive_goodness" in lines[0]:
        found["goodness"] = _goodness(epochs, lines)
    return found


def _goodness(epochs: list[int], lines: list[dict[str, Any]]) -> Figure:
    layers = len(lines[0]["positive_goodness"])
    figure = new_figure(3 * layers, 3)
    for number, axes in enumerate(figure.subplots(1, layers, squeeze=False)[0]):
        axes.plot(epochs, [line["positive_goodness"][number] for line in lines], label="positives")
        axes.plot(epochs, [line["negative_goodness"][number] for line in lines], label="negatives", linestyle="--")
        axes.set_title(f"layer {number + 1}")
        axes.set_xlabel("epoch")
        if number == 0:
            axes.set_ylabel("mean goodness")
            axes.legend()
    return figure


def receptive_fields(weight: Tensor, shape: tuple[int, int, int], most: int = 100) -> Figure:
    """The weights (I, H) into the first `most` units of the first layer, each as an image; grey is zero (figure 2).

    Images of three planes are shown in colour, each scaled to its own largest weight.
    """
    planes, rows, columns = shape
    count = min(most, weight.shape[1])
    fields = weight[:, :count].t().float().cpu()
    fields = fields / fields.abs().amax(1, keepdim=True).clamp(min=1e-12) / 2 + 0.5
    across = min(10, count)
    return image_grid([list(fields[i : i + across]) for i in range(0, count, across)], (planes, rows, columns))


def local_receptive_fields(fields: Fields, weight: Tensor, most: int = 100) -> Figure:
    """The same of units with fields of their own, at places all over the map; weights (P, F, M)."""
    units = range(0, fields.hidden, max(1, -(-fields.hidden // most)))
    own = fields.fields_of(weight, list(units))
    return receptive_fields(own, (fields.channels, fields.field, fields.field), most)


def hybrid_figure(images: Tensor, shape: tuple[int, int, int], blurs: int, random: torch.Generator) -> Figure:
    """Images, masks and hybrids of one with the next, in columns of five examples (figure 1)."""
    planes, rows, columns = shape
    some = images[:6].cpu()
    mask = masks(5, rows, columns, blurs, random).repeat(1, planes, 1).flatten(1)
    mixed = torch.lerp(some[1:], some[:5], mask)
    return image_grid([list(some[:5]), list(some[1:]), list(mask), list(mixed)], shape,
                      ["an image", "another", "mask", "hybrid"])  # fmt: skip


def image_grid(rows: list[list[Tensor]], shape: tuple[int, int, int], titles: list[str] | None = None) -> Figure:
    """Images (I,) float32 in 0..1, row by row, as one picture; titles: one for each row."""
    planes, height, width = shape
    across, gap = max(len(row) for row in rows), 2
    canvas = torch.ones(planes, len(rows) * (height + gap) - gap, across * (width + gap) - gap)
    for number, row in enumerate(rows):
        for place, image in enumerate(row):
            top, left = number * (height + gap), place * (width + gap)
            canvas[:, top : top + height, left : left + width] = image.view(planes, height, width)
    figure = new_figure(0.8 * across, 0.8 * len(rows))
    axes = figure.subplots()
    pixels = canvas.movedim(0, 2) if planes == 3 else canvas[0]
    axes.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([n * (height + gap) + height / 2 for n in range(len(rows))] if titles else [], titles or [])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return figure

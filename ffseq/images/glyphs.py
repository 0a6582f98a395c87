"""The data set that needs no download: digits in the twelve DejaVu typefaces that come with matplotlib.

Each digit of each face is drawn once, large; an image is such a drawing, turned, slanted, stretched, moved and shrunk
to 28×28 pixels at random, with some noise. 6,000 for training, 1,000 each for validation and test, always the same.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path as FilePath

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ffseq.images.data import ImageData, Split
from ffseq.randomness import generator

FACES = tuple(
    f"DejaVu{family}{style}.ttf"
    for family, styles in (
        ("Sans", ("", "-Bold", "-Oblique", "-BoldOblique")),
        ("SansMono", ("", "-Bold", "-Oblique", "-BoldOblique")),
        ("Serif", ("", "-Bold", "-Italic", "-BoldItalic")),
    )
    for style in styles
)
SIZE, LARGE = 28, 56
COUNTS = (6_000, 1_000, 1_000)
#: Deviation of the noise, as a share of white.
NOISE = 0.1


@cache
def glyphs() -> ImageData:
    """The data set."""
    drawn = _drawn()
    random = generator(0, "glyphs")
    splits = [_split(drawn, count, random) for count in COUNTS]
    return ImageData("glyphs", (1, SIZE, SIZE), tuple("0123456789"), *splits)


def _split(drawn: Tensor, count: int, random: torch.Generator) -> Split:
    labels = torch.arange(count) % 10
    labels = labels[torch.randperm(count, generator=random)]
    faces = torch.randint(0, len(FACES), (count,), generator=random)
    turn, slant, wide, high, right, down = torch.rand(6, count, generator=random) * 2 - 1
    turn, slant = turn * 0.35, slant * 0.4
    across, along = 1.3 * torch.exp(0.25 * wide), 1.3 * torch.exp(0.25 * high)
    cos, sin = turn.cos(), turn.sin()
    rows = torch.stack([across * cos, along * (slant * cos - sin), 0.25 * right], 1)
    columns = torch.stack([across * sin, along * (slant * sin + cos), 0.25 * down], 1)
    where = F.affine_grid(torch.stack([rows, columns], 1), [count, 1, LARGE, LARGE], align_corners=False)
    images = torch.empty(count, SIZE * SIZE, dtype=torch.uint8)
    for some in torch.split(torch.arange(count), 500):
        large = F.grid_sample(drawn[labels[some], faces[some]][:, None], where[some], align_corners=False)
        small = F.avg_pool2d(large, LARGE // SIZE).flatten(1)
        small += NOISE * torch.randn(small.shape, generator=random)
        images[some] = small.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
    return Split(images, labels)


def _drawn() -> Tensor:
    """Every digit in every face: float32 (10, faces, LARGE, LARGE), the digit filling the height."""
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    fonts = FilePath(matplotlib.get_data_path()) / "fonts" / "ttf"
    middle = (np.arange(LARGE) + 0.5) / LARGE * 2 - 1
    points = np.stack(np.meshgrid(middle, -middle), -1).reshape(-1, 2)
    drawn = torch.empty(10, len(FACES), LARGE, LARGE)
    for number, face in enumerate(FACES):
        properties = FontProperties(fname=str(fonts / face))
        for digit in range(10):
            path = TextPath((0, 0), str(digit), size=1, prop=properties)
            box = path.get_extents()
            centre, half = (np.asarray(box.min) + np.asarray(box.max)) / 2, box.height / 2
            # A point is ink where an odd number of outlines are around it: the hole of a nought has two.
            inside = np.zeros(len(points), dtype=bool)
            for outline in path.to_polygons():
                inside ^= Path(outline).contains_points(points * half + centre)
            drawn[digit, number] = torch.from_numpy(inside.reshape(LARGE, LARGE).astype(np.float32))
    return drawn

"""Fixtures of the image tests: a data set small enough to run an experiment in a moment."""

from __future__ import annotations

import pytest

from ffseq.images.data import ImageData, Split
from ffseq.images.glyphs import glyphs


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are on a few small images, so that most of their time is not the tests on a thousand."""

    def load(dataset: str, data_dir: str | None, train_images: int) -> ImageData:
        split = glyphs().test
        small = Split(
            split.images[:120].view(-1, 28, 28)[:, 2:26:3, 2:26:3].flatten(1).contiguous(), split.labels[:120]
        )
        return ImageData("few", (1, 8, 8), glyphs().names, small, small, small)

    monkeypatch.setattr("ffseq.images.runs.load_images", load)

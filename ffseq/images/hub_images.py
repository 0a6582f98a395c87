"""Images and labels of a data set of the Hugging Face Hub, or of a folder laid out like one, through `datasets`.

It needs a split `train` and a split `test`, a column of images and a column of classes; which columns, their types say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffseq.errors import FfseqError, UsageError
from ffseq.hub import PREFIX
from ffseq.hub_data import quiet, readable
from ffseq.images.data import ImageData, parts

Part = tuple[NDArray[np.uint8], NDArray[np.integer]]


def from_hub(name: str) -> ImageData:
    """The data set that `hub:owner/name[:config]` or `hub:FOLDER[:config]` means; its last training images validate.

    Raises UsageError for names that are not there, FfseqError for what cannot be read as images of one size.
    """
    path, _, config = name.removeprefix(PREFIX).partition(":")
    if not path:
        raise UsageError(f"--dataset {name}: behind hub: comes owner/name, or a folder")
    with readable(name), quiet() as datasets:
        found = datasets.load_dataset(str(Path(path)) if Path(path).is_dir() else path, config or None)
        missing = [split for split in ("train", "test") if split not in found]
        if missing:
            raise UsageError(f"{name} has no split {missing[0]}: it has {', '.join(found)}")
        image, label, names = _columns(name, found["train"].features)
        train, test = (_part(name, found[split], image, label) for split in ("train", "test"))
    shape = train[0].shape[1:]
    if test[0].shape[1:] != shape:
        raise FfseqError(f"{name}: its test images are of shape {test[0].shape[1:]}, its training images of {shape}")
    flat = {"train": _flat(train), "test": _flat(test)}
    short = re.sub(r"[^\w-]+", "-", Path(path).name) or "images"
    return parts(short, (shape[0], shape[1], shape[2]), names, **flat, validation=len(train[1]) // 6)


def _columns(name: str, features: Any) -> tuple[str, str, tuple[str, ...]]:
    """The column of images, that of classes, and the names of the classes."""
    images = [column for column, kind in features.items() if type(kind).__name__ == "Image"]
    labels = [column for column, kind in features.items() if type(kind).__name__ == "ClassLabel"]
    if len(images) != 1 or len(labels) != 1:
        kinds = ", ".join(f"{column} ({type(kind).__name__})" for column, kind in features.items())
        raise FfseqError(f"{name} has to have one column of images and one of classes; it has {kinds}")
    return images[0], labels[0], tuple(map(str, features[labels[0]].names))


def _flat(part: Part) -> Part:
    return part[0].reshape(len(part[0]), -1), part[1]


def _part(name: str, rows: Any, image: str, label: str) -> Part:
    """Images (n, planes, rows, columns) and labels (n,)."""
    pictures = []
    for row in rows.select_columns([image]):
        array = np.asarray(row[image])
        pictures.append(array[None] if array.ndim == 2 else np.moveaxis(array, 2, 0))
        if pictures[-1].shape != pictures[0].shape or array.dtype != np.uint8:
            raise FfseqError(
                f"{name}: image {len(pictures)} is {array.dtype} of shape {pictures[-1].shape}, the first one uint8 of "
                f"shape {pictures[0].shape}: all have to be alike"
            )
    if not pictures:
        raise FfseqError(f"{name} has no images")
    return np.stack(pictures), np.asarray(rows[label], dtype=np.int64)

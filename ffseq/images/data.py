"""Images and labels: from files, from a data set of the Hub or drawn here, split into three parts.

MNIST and Fashion-MNIST: the first 50,000 training images, the last 10,000 as validation part, and 10,000 test images.
CIFAR-10: 45,000, 5,000 and 10,000 in the same way. Anything else: the last sixth of its training part validates.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffseq.errors import FfseqError, UsageError, nearest
from ffseq.randomness import generator

#: Data sets that come as files: where they may lie below the folder, and how many training images validate.
FOLDERS: dict[str, tuple[tuple[str, ...], int]] = {
    "mnist": (("mnist", "MNIST/raw", "MNIST", ""), 10_000),
    "fashion-mnist": (("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "dataset-fashion-mnist", ""), 10_000),
    "cifar10": (("cifar10", "cifar-10", "cifar-10-batches-bin", "cifar-10-batches-py", ""), 5_000),
}


@dataclass(frozen=True)
class Split:
    """One part: images (n, I) uint8, planes of rows of pixels; labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """A data set. shape: planes, rows and columns of an image; names: of the classes."""

    name: str
    shape: tuple[int, int, int]
    names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def classes(self) -> int:
        """C, number of classes."""
        return len(self.names)

    @property
    def pixels(self) -> int:
        """I, numbers in an image."""
        return int(np.prod(self.shape))


def load_images(dataset: str, data_dir: str | None = None, train_images: int = 0) -> ImageData:
    """The data set of that name, see `DataConfig`.

    Raises UsageError for names that are none, FfseqError for files that are missing or damaged.
    """
    if dataset == "glyphs":
        from ffseq.images.glyphs import glyphs

        found = glyphs()
    elif dataset in FOLDERS:
        found = _from_files(dataset, data_dir)
    elif dataset.startswith("hub:"):
        from ffseq.images.hub_images import from_hub

        found = from_hub(dataset)
    else:
        known = ["glyphs", *FOLDERS]
        raise UsageError(
            f"--dataset {dataset}: there is no such data set{nearest(dataset, known)}. It is {', '.join(known)}, or "
            "hub:owner/name"
        )
    if train_images > len(found.train):
        raise UsageError(f"--train_images {train_images}: {found.name} has {len(found.train)} training images")
    if train_images:
        train = Split(found.train.images[:train_images], found.train.labels[:train_images])
        found = replace(found, train=train)
    return found


def parts(
    name: str,
    shape: tuple[int, int, int],
    names: tuple[str, ...],
    train: tuple[NDArray[np.uint8], NDArray[np.integer]],
    test: tuple[NDArray[np.uint8], NDArray[np.integer]],
    validation: int,
) -> ImageData:
    """A data set whose last `validation` training images are its validation part. Arrays: (n, I) and (n,).

    Raises FfseqError where a label is no class.
    """
    for part, (_, given) in (("training", train), ("test", test)):
        if len(given) and not 0 <= int(given.min()) <= int(given.max()) < len(names):
            raise FfseqError(f"{name}: a {part} image has label {given.max()}, but there are {len(names)} classes")
    cut = len(train[1]) - validation
    images, labels = torch.from_numpy(train[0]), torch.from_numpy(train[1].astype(np.int64))
    return ImageData(
        name,
        shape,
        names,
        Split(images[:cut], labels[:cut]),
        Split(images[cut:], labels[cut:]),
        Split(torch.from_numpy(test[0]), torch.from_numpy(test[1].astype(np.int64))),
    )


def as_floats(images: Tensor, device: torch.device) -> Tensor:
    """Images (n, I) uint8 as float32 in 0..1 on the device."""
    return images.to(device).float().div_(255)


def batch_of(
    data: ImageData,
    step: int,
    batch_size: int,
    *,
    seed: int,
    device: torch.device,
    jitter: int = 0,
    mirror: bool = False,
    drop_pixels: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Images (B, I) float32 and labels (B,) of update `step`, counted from 0 over all epochs.

    An epoch goes through the training images in a random order of its own; what is left over at its end, less than a
    batch, is not seen.
    """
    each = updates_of_epoch(data, batch_size)
    epoch, number = divmod(step, each)
    some = _order(len(data.train), seed, epoch)[number * batch_size : (number + 1) * batch_size]
    images = data.train.images[some]
    if jitter:
        images = jittered(images, data.shape, jitter, generator(seed, "jitter", step))
    if mirror:
        images = mirrored(images, data.shape, generator(seed, "mirror", step))
    pixels = as_floats(images, device)
    if drop_pixels:
        kept = torch.rand(images.shape, generator=generator(seed, "pixels", step)) >= drop_pixels
        pixels *= (kept / math.sqrt(1 - drop_pixels)).to(device)
    return pixels, data.train.labels[some].to(device)


@lru_cache(maxsize=2)
def _order(images: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch; kept, since an update needs a few of tens of thousands of numbers."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))


def updates_of_epoch(data: ImageData, batch_size: int) -> int:
    """Updates in an epoch. Raises UsageError where there is not one."""
    if batch_size > len(data.train):
        raise UsageError(f"--batch_size {batch_size}: {data.name} has {len(data.train)} training images")
    return len(data.train) // batch_size


def jittered(images: Tensor, shape: tuple[int, int, int], most: int, random: torch.Generator) -> Tensor:
    """Images (B, I), each shifted by up to `most` pixels in both directions; zeros come in from outside."""
    planes, rows, columns = shape
    down, right = torch.randint(0, 2 * most + 1, (2, len(images)), generator=random)
    padded = images.new_zeros(len(images), planes, rows + 2 * most, columns + 2 * most)
    padded[:, :, most : most + rows, most : most + columns] = images.view(-1, planes, rows, columns)
    at_row = (down[:, None] + torch.arange(rows))[:, :, None]
    at_column = (right[:, None] + torch.arange(columns))[:, None, :]
    shifted = padded.movedim(1, 3)[torch.arange(len(images))[:, None, None], at_row, at_column]
    return shifted.movedim(3, 1).flatten(1)


def mirrored(images: Tensor, shape: tuple[int, int, int], random: torch.Generator) -> Tensor:
    """Images (B, I), about half of them turned around, left to right."""
    turned = images.view(-1, *shape).flip(3).flatten(1)
    return torch.where(torch.rand(len(images), 1, generator=random) < 0.5, turned, images)


def data_folder(dataset: str, data_dir: str | None) -> list[Path]:
    """Folders in which the files of a data set may lie, in order. Raises UsageError where none was named."""
    named = data_dir or os.environ.get("FFSEQ_DATA")
    if not named:
        raise UsageError(
            f"where is {dataset}? Name the folder of its files with --data_dir or FFSEQ_DATA, or use --dataset glyphs, "
            "which needs none"
        )
    if not Path(named).is_dir():
        raise UsageError(f"{'--data_dir' if data_dir else 'FFSEQ_DATA'} {named}: there is no such folder")
    return [Path(named) / below for below in FOLDERS[dataset][0] if (Path(named) / below).is_dir()]


def _from_files(dataset: str, data_dir: str | None) -> ImageData:
    from ffseq.images.cifar import cifar_batches
    from ffseq.images.idx import idx_data

    folders = data_folder(dataset, data_dir)
    read = cifar_batches if dataset == "cifar10" else idx_data
    for folder in folders:
        found = read(dataset, folder)
        if found is not None:
            name, train, test, shape, names = found
            return parts(name, shape, names, train, test, _validation(dataset, len(train[1])))
    looked = ", ".join(str(folder) for folder in folders) or data_dir or os.environ.get("FFSEQ_DATA")
    raise FfseqError(f"the files of {dataset} are not in {looked}: name their folder with --data_dir")


def _validation(dataset: str, train: int) -> int:
    most = FOLDERS[dataset][1]
    return most if train > 2 * most else train // 6

"""MNIST's files: IDX, plain or .gz (LeCun & Cortes). Big-endian: a magic number, the sizes, then bytes."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ffseq.errors import FfseqError

#: Checksums of the official files: SHA-256 of what is unpacked for MNIST, MD5 of the .gz for Fashion-MNIST.
UNPACKED = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
PACKED = {
    "train-images": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels": "bb300cfdad3c16e7a12a480ee83cd310",
}
NAMES: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
}  # fmt: skip
FILES = ("train-images", "train-labels", "t10k-images", "t10k-labels")

Part = tuple[NDArray[np.uint8], NDArray[np.integer]]


def idx_data(dataset: str, folder: Path) -> tuple[str, Part, Part, tuple[int, int, int], tuple[str, ...]] | None:
    """Name, training and test part, shape and names of the classes of MNIST or Fashion-MNIST; None where no file is.

    Raises FfseqError where some are missing, damaged, or not the official ones.
    """
    paths = [_path(folder, name) for name in FILES]
    if not any(paths):
        return None
    arrays = []
    for name, path in zip(FILES, paths, strict=True):
        if path is None:
            raise FfseqError(f"{folder} has no file {name}-idx{'3' if 'images' in name else '1'}-ubyte or .gz")
        arrays.append(read_idx(path))
        if len(arrays[-1]) == (60_000 if name.startswith("train") else 10_000):
            _check_official(dataset, name, path)
    images, labels, test_images, test_labels = arrays
    for part, answers, path in ((images, labels, paths[1]), (test_images, test_labels, paths[3])):
        if len(part) != len(answers) or part.ndim != 3 or part.shape[1:] != images.shape[1:]:
            raise FfseqError(f"{path} has {len(answers)} labels for images of shape {part.shape}")
    return (
        dataset,
        (images.reshape(len(images), -1), labels),
        (test_images.reshape(len(test_images), -1), test_labels),
        (1, images.shape[1], images.shape[2]),
        NAMES[dataset],
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes, writeable. Raises FfseqError, with a sentence, for anything else."""
    content = _unpacked(path)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise FfseqError(f"{path} is not an IDX file of bytes: it begins with {content[:4].hex() or 'nothing'}")
    dimensions = content[3]
    first = 4 + 4 * dimensions
    sizes = np.frombuffer(content[4:first] if len(content) >= first else b"", ">u4").astype(int)
    if len(sizes) != dimensions or len(content) - first != int(np.prod(sizes)):
        raise FfseqError(
            f"{path} is damaged: its sizes {sizes.tolist()} do not go with the {max(0, len(content) - first)} bytes "
            "behind them"
        )
    return np.frombuffer(content, np.uint8, offset=first).reshape(sizes).copy()


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FfseqError(f"{path} is damaged: it cannot be unpacked ({error})") from error


def _check_official(dataset: str, name: str, path: Path) -> None:
    """Files of the official size have to be the official ones; those of another size are the user's own."""
    of_mnist = hashlib.sha256(_unpacked(path)).hexdigest() == UNPACKED[name]
    if dataset == "mnist":
        same = of_mnist
    else:
        same = not of_mnist and (path.suffix != ".gz" or hashlib.md5(path.read_bytes()).hexdigest() == PACKED[name])
    if not same:
        raise FfseqError(f"{path} is not the file of {dataset} that it says it is: its checksum is another")


def _path(folder: Path, name: str) -> Path | None:
    kind = "idx3-ubyte" if "images" in name else "idx1-ubyte"
    for candidate in (f"{name}-{kind}", f"{name}.{kind}"):
        for end in ("", ".gz"):
            if (folder / (candidate + end)).is_file():
                return folder / (candidate + end)
    return None

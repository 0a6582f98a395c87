"""CIFAR-10's files (Krizhevsky 2009): binary batches or those for Python, plain, .gz or .xz."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffseq.errors import FfseqError

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
RECORD = 1 + 3 * 32 * 32
#: MD5 of the official batches for Python, unpacked.
OFFICIAL = (
    "c99cafc152244af753f735de768cd75f", "d4bba439e000b95fd0a9bffe97cbabec", "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a", "482c414d41f54cd18b22e5b47cb7c3cb", "40351d587109b95175f43aff81a1287e",
)  # fmt: skip

Part = tuple[NDArray[np.uint8], NDArray[np.integer]]


def cifar_batches(dataset: str, folder: Path) -> tuple[Part, Part, tuple[int, int, int], tuple[str, ...]] | None:
    """Training and test part, shape and names of the classes; None where no batch is there.

    Images are (n, 3072) uint8: planes of red, green and blue. Raises FfseqError where batches are missing or damaged.
    """
    paths = [_path(folder, name) for name in BATCHES]
    if not any(paths):
        return None
    missing = [name for name, path in zip(BATCHES, paths, strict=True) if path is None]
    if missing:
        raise FfseqError(f"{folder} has no file {missing[0]} of {dataset}, plain or with .bin, .gz or .xz behind it")
    found = [_batch(path, number) for number, path in enumerate(paths) if path is not None]
    train = tuple(np.concatenate([batch[side] for batch in found[:-1]]) for side in (0, 1))
    return (train[0], train[1]), found[-1], (3, 32, 32), NAMES


def _batch(path: Path, number: int) -> Part:
    content = _unpacked(path)
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    if path.name.removesuffix(".gz").removesuffix(".xz").endswith(".bin"):
        if not content or len(content) % RECORD:
            raise FfseqError(
                f"{path} is damaged: {len(content)} bytes are not a number of whole records of {RECORD} bytes"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
        images, labels = records[:, 1:].copy(), np.array(records[:, 0], np.int64)
    else:
        images, labels = _of_python(path, content)
        if len(labels) == 10_000 and hashlib.md5(content).hexdigest() != OFFICIAL[number]:
            raise FfseqError(f"{path} is not the batch of CIFAR-10 that it says it is: its checksum is another")
    if labels.max(initial=0) >= len(NAMES):
        raise FfseqError(f"{path} is damaged: it has label {labels.max()}, and there are {len(NAMES)} classes")
    return images, labels


class _Numbers(pickle.Unpickler):
    """Reads a pickle of arrays of numbers, and nothing that could run a program."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype"}
        if module.split(".")[0] == "numpy" and name in allowed:
            import numpy.core.multiarray as multiarray  # where numpy before 2 said that its arrays are from

            return getattr(np, name, None) or multiarray._reconstruct
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _of_python(path: Path, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        table = _Numbers(io.BytesIO(content), encoding="latin1").load()
        images = np.asarray(table["data"], dtype=np.uint8)
        labels = np.asarray(table["labels"], dtype=np.int64)
    except Exception as error:  # a damaged pickle may raise anything
        raise FfseqError(f"{path} is not a batch of CIFAR-10: {' '.join(str(error).split())[:200]}") from error
    if images.shape != (len(labels), RECORD - 1):
        raise FfseqError(f"{path} is damaged: {len(labels)} labels for images of shape {images.shape}")
    return images, labels


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    try:
        if path.suffix == ".gz":
            return gzip.decompress(content)
        return lzma.decompress(content) if path.suffix == ".xz" else content
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise FfseqError(f"{path} is damaged: it cannot be unpacked ({error})") from error


def _path(folder: Path, name: str) -> Path | None:
    for end in (".bin", ".bin.xz", ".bin.gz", "", ".xz", ".gz"):
        if (folder / (name + end)).is_file():
            return folder / (name + end)
    return None

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
#: SHA-256 of the batches of a reconstruction, 104 of whose images have been through JPEG, unpacked.
RECONSTRUCTED = (
    "0def081c410489f98b3935c2d405fc7436d23377894a5d6a710ce1fad8082588",
    "bfb92ecee3ace02fdb768866911a0123cb3cf369e071b18c8e1be79297a35a28",
    "121076ec0d3c7be3f1a6e3e94430ab5bb10bdb03bdf439c59ec721c0c800071e",
    "801fea19102f4d15ea4305e84c63adeee65cd3f094d35b7b0c1cde585010b85c",
    "682b209e35d9768151f3289c0b3578b1a87cb95bbeb6488b39bf115a8af93fae",
    "12b72019dddc66aa680d9654ddcc864aa808e6540641e0887054d04d415d6427",
)
#: MD5 of the official batches for Python, unpacked.
OFFICIAL = (
    "c99cafc152244af753f735de768cd75f", "d4bba439e000b95fd0a9bffe97cbabec", "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a", "482c414d41f54cd18b22e5b47cb7c3cb", "40351d587109b95175f43aff81a1287e",
)  # fmt: skip

Part = tuple[NDArray[np.uint8], NDArray[np.integer]]


def cifar_batches(dataset: str, folder: Path) -> tuple[str, Part, Part, tuple[int, int, int], tuple[str, ...]] | None:
    """Name, training and test part, shape and names of the classes; None where no batch is there.

    The name says so where the batches are those of the reconstruction.

    Images are (n, 3072) uint8: planes of red, green and blue. Raises FfseqError where batches are missing or damaged.
    """
    paths = [_path(folder, name) for name in BATCHES]
    if not any(paths):
        return None
    missing = [name for name, path in zip(BATCHES, paths, strict=True) if path is None]
    if missing:
        raise FfseqError(f"{folder} has no file {missing[0]} of {dataset}, plain or with .bin, .gz or .xz behind it")
    contents = [_unpacked(path) for path in paths if path is not None]
    if all(hashlib.sha256(one).hexdigest() == known for one, known in zip(contents, RECONSTRUCTED, strict=True)):
        dataset = f"{dataset} (reconstructed)"
    found = [_batch(path, contents[number], number) for number, path in enumerate(paths) if path is not None]
    train = tuple(np.concatenate([batch[side] for batch in found[:-1]]) for side in (0, 1))
    return dataset, (train[0], train[1]), found[-1], (3, 32, 32), NAMES


def _batch(path: Path, content: bytes, number: int) -> Part:
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

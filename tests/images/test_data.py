"""Images from files made by hand and from data sets laid out like the Hub's; damaged ones are refused."""

from __future__ import annotations

import gzip
import lzma
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from ffseq.errors import FfseqError, UsageError
from ffseq.images.cifar import BATCHES
from ffseq.images.data import batch_of, load_images
from ffseq.images.glyphs import glyphs
from ffseq.images.idx import read_idx

CPU = torch.device("cpu")


def idx(array: np.ndarray) -> bytes:
    head = b"\x00\x00\x08" + bytes([array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 12, test: int = 4, *, packed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {}
    for name, count in (("train", train), ("t10k", test)):
        arrays[f"{name}-images-idx3-ubyte"] = random.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        arrays[f"{name}-labels-idx1-ubyte"] = random.integers(0, 10, count, dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = idx(array)
        (folder / (name + (".gz" if packed else ""))).write_bytes(gzip.compress(content) if packed else content)
    return arrays["train-images-idx3-ubyte"], arrays["train-labels-idx1-ubyte"]


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_as_they_were_written(tmp_path: Path, packed: bool) -> None:
    images, labels = write_mnist(tmp_path / "mnist", packed=packed)
    data = load_images("mnist", str(tmp_path))
    assert data.shape == (1, 5, 4)
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 2, 4)
    both = torch.cat([data.train.images, data.validation.images])
    assert torch.equal(both, torch.from_numpy(images.reshape(12, 20)))
    assert torch.cat([data.train.labels, data.validation.labels]).tolist() == labels.tolist()


def test_damaged_idx_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    for content, words in (
        (idx(np.zeros((3, 4, 5)))[:-1], "sizes"),
        (b"<!DOCTYPE html>", "not an IDX file"),
        (b"", "not an IDX file"),
        (b"\x00\x00\x08\x03\x00\x00", "sizes"),
    ):
        path = tmp_path / "some-idx3-ubyte"
        path.write_bytes(content)
        with pytest.raises(FfseqError, match=words):
            read_idx(path)
    path = tmp_path / "some-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((3, 4, 5))))[:-9])
    with pytest.raises(FfseqError, match="cannot be unpacked"):
        read_idx(path)


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    write_mnist(folder)
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(11)))
    with pytest.raises(FfseqError, match="11 labels"):
        load_images("mnist", str(tmp_path))
    labels.write_bytes(idx(np.full(12, 10)))
    with pytest.raises(FfseqError, match="label 10"):
        load_images("mnist", str(tmp_path))
    labels.unlink()
    with pytest.raises(FfseqError, match="has no file train-labels"):
        load_images("mnist", str(tmp_path))


def test_files_of_the_official_size_have_to_be_the_official_ones(tmp_path: Path) -> None:
    write_mnist(tmp_path, test=10_000)
    with pytest.raises(FfseqError, match=r"t10k-images.* checksum"):
        load_images("mnist", str(tmp_path))


def test_names_and_folders_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'mnist'"):
        load_images("mnits")
    with pytest.raises(UsageError, match="no such folder"):
        load_images("mnist", str(tmp_path / "nowhere"))
    with pytest.raises(FfseqError, match="are not in"):
        load_images("cifar10", str(tmp_path))
    monkeypatch.delenv("FFSEQ_DATA", raising=False)
    with pytest.raises(UsageError, match="--data_dir"):
        load_images("mnist")
    with pytest.raises(UsageError, match="6000 training images"):
        load_images("glyphs", train_images=6001)


def write_cifar(folder: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    images, labels = random.integers(0, 256, (18, 3072), dtype=np.uint8), random.integers(0, 10, 18)
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(BATCHES):
        some = slice(3 * number, 3 * number + 3)
        if kind == "python":
            (folder / name).write_bytes(pickle.dumps({"data": images[some], "labels": labels[some].tolist()}))
            continue
        content = np.concatenate([labels[some, None].astype(np.uint8), images[some]], 1).tobytes()
        end = {"bin": ".bin", "xz": ".bin.xz", "gz": ".bin.gz"}[kind]
        pack = {"bin": bytes, "xz": lzma.compress, "gz": gzip.compress}[kind]
        (folder / (name + end)).write_bytes(pack(content))
    return images, labels


@pytest.mark.parametrize("kind", ["bin", "xz", "gz", "python"])
def test_cifar_batches_of_every_kind_hold_the_same(tmp_path: Path, kind: str) -> None:
    images, labels = write_cifar(tmp_path / "cifar10", kind)
    data = load_images("cifar10", str(tmp_path))
    assert data.shape == (3, 32, 32)
    found = [data.train, data.validation, data.test]
    assert [len(part) for part in found] == [13, 2, 3]
    assert torch.equal(torch.cat([part.images for part in found]), torch.from_numpy(images))
    assert torch.cat([part.labels for part in found]).tolist() == labels.tolist()


class Harm:
    """What a file that means harm would hold."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('a program ran')",)


def test_damaged_cifar_batches_are_refused_and_no_program_in_them_runs(tmp_path: Path) -> None:
    write_cifar(tmp_path, "bin")
    path = tmp_path / "data_batch_3.bin"
    good = path.read_bytes()
    for content, words in ((good[:-1], "whole records"), (b"", "whole records"), (b"\x0b" + good[1:], "label 11")):
        path.write_bytes(content)
        with pytest.raises(FfseqError, match=words):
            load_images("cifar10", str(tmp_path))
    path.unlink()
    with pytest.raises(FfseqError, match="no file data_batch_3"):
        load_images("cifar10", str(tmp_path))
    for content in (
        pickle.dumps(Harm()),
        b"nothing",
        pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [1]}),
    ):
        (tmp_path / "data_batch_3").write_bytes(content)
        with pytest.raises(FfseqError, match="data_batch_3 is"):
            load_images("cifar10", str(tmp_path))


def test_images_laid_out_like_the_hub_are_read_through_datasets(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as Pictures

    random = np.random.default_rng(2)
    arrays, labels = random.integers(0, 256, (16, 6, 5, 3), dtype=np.uint8), random.integers(0, 2, 16)
    features = Features({"img": Image(), "label": ClassLabel(names=["cat", "dog"])})
    (tmp_path / "data").mkdir()
    for split, some in (("train", slice(0, 12)), ("test", slice(12, 16))):
        rows = {"img": [Pictures.fromarray(one) for one in arrays[some]], "label": labels[some].tolist()}
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    data = load_images(f"hub:{tmp_path}")
    assert (data.shape, data.names) == ((3, 6, 5), ("cat", "dog"))
    found = torch.cat([data.train.images, data.validation.images, data.test.images]).view(16, 3, 6, 5)
    assert torch.equal(found, torch.from_numpy(arrays).movedim(3, 1))
    assert torch.cat([data.train.labels, data.validation.labels, data.test.labels]).tolist() == labels.tolist()


def test_every_image_is_seen_once_in_an_epoch_and_in_another_order_in_the_next() -> None:
    data = load_images("glyphs", train_images=60)
    seen = [
        [batch_of(data, step, 20, seed=0, jitter=0, device=CPU)[0] for step in range(3 * e, 3 * e + 3)] for e in (0, 1)
    ]
    images = data.train.images.float() / 255
    for epoch in seen:
        found = torch.cat(epoch)
        assert sorted(found.sum(1).tolist()) == pytest.approx(sorted(images.sum(1).tolist()))
    assert not torch.equal(seen[0][0], seen[1][0])


def test_the_drawn_digits_are_what_their_labels_say() -> None:
    data = glyphs()
    assert (len(data.train), len(data.validation), len(data.test)) == (6000, 1000, 1000)
    assert torch.bincount(data.train.labels).tolist() == [600] * 10
    ink = data.train.images.float().mean(1)
    one, eight = (float(ink[data.train.labels == digit].mean()) for digit in (1, 8))
    assert one < eight  # an eight has more ink than a one
    middle = data.train.images.view(-1, 28, 28)[:, 12:16, 12:16].float().mean((1, 2))
    assert float(middle[data.train.labels == 0].mean()) < float(middle[data.train.labels == 8].mean())  # a hole


def test_mnist_is_not_taken_for_fashion(real_data: Path) -> None:
    if not (real_data / "mnist").is_dir():
        pytest.skip("FFSEQ_DATA has no MNIST")
    with pytest.raises(FfseqError, match="not the file of fashion-mnist"):
        load_images("fashion-mnist", str(real_data / "mnist"))


def test_real_mnist_has_its_checksums_and_its_split(real_data: Path) -> None:
    if not (real_data / "mnist").is_dir():
        pytest.skip("FFSEQ_DATA has no MNIST")
    data = load_images("mnist", str(real_data))
    assert (len(data.train), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]

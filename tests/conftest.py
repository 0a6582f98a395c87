"""Fixtures shared by the tests: small alphabets, small nets, and where the real corpora are."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from ffseq.alphabet import Alphabet
from ffseq.checkpoint import load_checkpoint
from ffseq.cli import main
from ffseq.config import NetworkConfig
from ffseq.images.data import ImageData, Split
from ffseq.images.glyphs import glyphs
from ffseq.network import SequenceNetwork
from ffseq.options import from_flat
from ffseq.runs import train


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared corpora and floors go to a folder of the test session, never to the user's cache; nothing to the Hub."""
    os.environ["FFSEQ_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hub"))
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture
def real_data() -> Path:
    """The folder of real corpora; tests that need it skip where it is absent."""
    folder = os.environ.get("FFSEQ_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FFSEQ_DATA does not name a folder with the real corpora")
    return Path(folder)


def small_network(
    alphabet: str = "abcde", *, seed: int = 0, block_size: int = 4, units: int = 12, layers: int = 3, **options: object
) -> SequenceNetwork:
    """A net small enough to check against autograd."""
    config = NetworkConfig(block_size=block_size, units=units, layers=layers, dropout=0.0, **options)  # type: ignore[arg-type]
    return SequenceNetwork(config, Alphabet.of_characters(alphabet), seed=seed)


#: A short text, and options for a net that learns it in a moment.
TEXT = "the cat sat on the mat and the dog ran to the log; " * 60
QUICK = [
    "--layers", "2", "--units", "16", "--block_size", "5", "--batch_size", "16", "--max_iters", "20",
    "--log_interval", "5", "--threads", "1", "--dtype", "float32",
]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture
def run_folder(text: str, tmp_path: Path) -> str:
    folder = str(tmp_path / "run")
    assert main(["train", text, *QUICK, "--out_dir", folder, "--quiet"]) == 0
    return folder


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int | None = None) -> str:
    """The sentence with which a command is refused: exit 1 or 2, no traceback, one line."""
    capsys.readouterr()
    code = main(list(arguments))
    error = capsys.readouterr().err
    assert code == status if status is not None else code in (1, 2)
    assert error.startswith("ffseq: ")
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    return error


#: Settings of a run that takes a moment, through the API.
SMALL = {
    "stack": "window", "layers": 2, "units": 24, "block_size": 6, "dropout": 0.25, "batch_size": 32, "max_iters": 40,
    "learning_rate": 1e-3, "eval_interval": 10, "log_interval": 5, "sample_interval": 0, "floors": "no", "threads": 1,
    "dtype": "float32", "alphabet": "characters",
}  # fmt: skip


def go(text: str, folder: Path, **options: Any) -> dict[str, Any]:
    return train(from_flat(SMALL | {"corpus": text, "out_dir": str(folder)} | options))


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / name).model


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


class Answering(BaseHTTPRequestHandler):
    """What speaks HTTP for a test, and says nothing about it."""

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in (
            {"Content-Length": str(len(body)), "Content-Type": "application/json"} | (headers or {})
        ).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(handler: type[Answering], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in for the Hub: the client's address is that of `handler` as long as this lasts; nobody is logged in."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    # The library reads its variables when it is imported, which may have been long ago.
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", os.devnull)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image runs are on a few small images, so that most of their time is not the tests on a thousand."""

    def load(dataset: str, data_dir: str | None, train_images: int) -> ImageData:
        split = glyphs().test
        small = Split(
            split.images[:120].view(-1, 28, 28)[:, 2:26:3, 2:26:3].flatten(1).contiguous(), split.labels[:120]
        )
        return ImageData("few", (1, 8, 8), glyphs().names, small, small, small)

    monkeypatch.setattr("ffseq.images.runs.load_images", load)

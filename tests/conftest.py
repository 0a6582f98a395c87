"""Fixtures shared by the tests: small alphabets, small nets, and where the real corpora are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ffseq.alphabet import Alphabet
from ffseq.config import NetworkConfig
from ffseq.network import SequenceNetwork


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared corpora and floors go to a folder of the test session, never to the user's cache."""
    os.environ["FFSEQ_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    torch.set_num_threads(2)


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

"""Whether threads have cores of their own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import QUICK

from ffseq import compute
from ffseq.cli import main


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_that_share_their_cores_are_told_of_and_left_as_they_are(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(compute, "CROWDED", 0.0)
    told = compute.crowded(threads)
    assert (told is not None) == (threads > 1)
    assert told is None or f"on {threads} threads as on one" in told
    monkeypatch.setattr(compute, "CROWDED", math.inf)
    assert compute.crowded(threads) is None
    assert torch.get_num_threads() == before


def test_a_run_says_it_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compute, "CROWDED", 0.0)
    path = tmp_path / "text.txt"
    path.write_text("the fox and the grapes " * 50)
    for folder, threads, count in (("two", "2", 1), ("one", "1", 0)):  # the last one leaves one thread to other tests
        options = [*QUICK, "--max_iters", "2", "--threads", threads, "--out_dir", str(tmp_path / folder)]
        assert main(["train", str(path), *options]) == 0
        assert capsys.readouterr().err.count("other processes are busy") == count

"""Whether threads have cores of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import QUICK

from ffseq import crowding
from ffseq.cli import main

CPU = torch.device("cpu")


def rates(monkeypatch: pytest.MonkeyPatch, one: list[float], together: list[float]) -> None:
    """Let rounds find these rates on one thread and on all, in turns."""
    left = {True: list(one), False: list(together)}

    def rate(function: Callable[[], object]) -> float:
        return left[torch.get_num_threads() == 1].pop(0)

    monkeypatch.setattr(crowding, "_rate", rate)
    monkeypatch.setattr(crowding, "ROUNDS", len(one))


@pytest.mark.parametrize(
    ("one", "together", "told"),
    [
        ([100.0] * 5, [150.0] * 5, False),
        ([100.0] * 5, [80.0] * 5, False),
        ([100.0] * 5, [20.0] * 5, True),
        ([100.0] * 5, [150.0, 150.0, 1.0, 150.0, 1.0], False),  # a lost slice or two is no crowd
        ([100.0, 100.0, 5.0, 100.0, 100.0], [20.0, 0.1, 20.0, 150.0, 20.0], True),
    ],
)
def test_threads_that_are_slower_than_one_are_told_of(
    one: list[float], together: list[float], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates(monkeypatch, one, together)
    before = torch.get_num_threads()
    sentence = crowding.crowded(2, CPU)
    assert (sentence is not None) == told
    assert torch.get_num_threads() == before


def test_one_thread_and_a_gpu_are_never_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    rates(monkeypatch, [], [])
    assert crowding.crowded(1, CPU) is None
    assert crowding.crowded(8, torch.device("cuda")) is None


def test_the_cause_is_what_can_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, cause in ((2, "there are 2 cores"), (8, "other processes have their cores")):
        rates(monkeypatch, [100.0], [1.0])
        monkeypatch.setattr(crowding, "cores", lambda: count)  # noqa: B023
        assert cause in str(crowding.crowded(4, CPU))


def test_rates_are_counted_by_the_clock() -> None:
    slow = crowding._rate(lambda: torch.ones(1 << 20).sin_())
    assert crowding._rate(lambda: None) > 10 * slow > 0


def test_a_run_says_it_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the fox and the grapes " * 50)
    for folder, threads, count in (("two", "2", 1), ("one", "1", 0)):  # the last one leaves one thread to other tests
        rates(monkeypatch, [100.0], [1.0])
        options = [*QUICK, "--max_iters", "2", "--threads", threads, "--out_dir", str(tmp_path / folder)]
        assert main(["train", str(path), *options]) == 0
        assert capsys.readouterr().err.count("threads wait for each other") == count

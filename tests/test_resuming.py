"""Runs that go on: the same bits as never interrupted, and what is refused."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, TEXT, go, same, weights

from ffseq.checkpoint import load_checkpoint
from ffseq.corpus import cache_folder
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.options import from_flat
from ffseq.resume import resumed
from ffseq.runs import train


@pytest.mark.parametrize(
    "options", [{}, {"optimiser": "sgd"}, {"average": 0.9}, {"scope": "own"}, {"objective": "threshold"}]
)
def test_same_seed_same_bits_and_resumed_is_the_same_as_never_interrupted(
    text: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    straight = go(text, tmp_path / "straight", **options)
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(
            from_flat(SMALL | options | {"corpus": text, "out_dir": str(tmp_path / "broken")}),
            interrupted=lambda: next(calls) >= 17,
        )
    assert load_checkpoint(tmp_path / "broken" / "last").trainer_state["step"] == 17
    resumed = go(text, tmp_path / "broken", resume="auto", **options)
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "broken"))
    assert same(weights(tmp_path / "straight", "best"), weights(tmp_path / "broken", "best"))
    for name in ("bits_per_character", "accuracy", "validation_bits_per_character"):
        assert straight[name] == resumed[name]
    timeless = []
    for folder in ("straight", "broken"):
        lines = [json.loads(line) for line in (tmp_path / folder / "log.jsonl").read_text().splitlines()]
        timeless.append([{k: v for k, v in line.items() if k != "seconds"} for line in lines])
    assert timeless[0] == timeless[1]


def test_log_lines_after_the_checkpoint_are_dropped_on_resume(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=20)
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + '{"kind": "train", "step": 25}\n{"kind": "tra')
    go(text, tmp_path / "run", resume="auto", max_iters=40)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(steps)
    assert [steps.count(step) for step in (15, 20, 25)] == [1, 2, 1]  # at 20 there is a validation line too


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"units": 25}, "--units"),
        ({"split_rule": "70/10/20"}, "split"),
        ({"alphabet": "bytes"}, "another alphabet"),
    ],
)
def test_a_resumed_run_keeps_its_text_and_shape(text: str, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    go(text, tmp_path / "run", max_iters=5)
    with pytest.raises(UsageError, match=words):
        go(text, tmp_path / "run", resume="auto", **options)


def test_a_run_is_not_resumed_with_another_text_or_in_another_folder(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=5)
    other = tmp_path / "other.txt"
    other.write_text(TEXT[::-1], encoding="utf-8")
    with pytest.raises(UsageError, match="this text or split differs"):
        go(str(other), tmp_path / "run", resume="auto")
    with pytest.raises(UsageError, match="leave --out_dir out"):
        go(text, tmp_path / "elsewhere", resume=str(tmp_path / "run"))
    assert not (tmp_path / "elsewhere").exists()


def test_resumed_settings_are_the_runs_own(text: str, tmp_path: Path) -> None:
    straight = go(text, tmp_path / "straight", learning_rate=5e-3, scope="below", max_iters=20)
    go(text, tmp_path / "run", learning_rate=5e-3, scope="below", max_iters=20)
    config = resumed(tmp_path / "run", max_iters=20)
    assert (config.optimiser.learning_rate, config.learning.scope) == (5e-3, "below")
    assert train(config)["bits_per_character"] == straight["bits_per_character"]
    with pytest.raises(UsageError, match="no run or checkpoint"):
        resumed(tmp_path / "nowhere")


def test_dtype_and_threads_are_decided_once_and_recorded(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", dtype="auto", threads=0, max_iters=5)
    options = json.loads((tmp_path / "run" / "last" / "config.json").read_text())["options"]
    assert options["dtype"] in ("float32", "bfloat16")
    assert options["threads"] >= 1
    go(text, tmp_path / "run", dtype="auto", threads=0, max_iters=8, resume="auto")
    again = json.loads((tmp_path / "run" / "last" / "config.json").read_text())["options"]
    assert (again["dtype"], again["threads"]) == (options["dtype"], options["threads"])


def test_killed_before_the_first_checkpoint_was_whole_a_run_begins_anew(text: str, tmp_path: Path) -> None:
    half = tmp_path / "run" / "last.new"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    assert go(text, tmp_path / "run", resume="auto")["iterations"] == 40
    assert sorted(path.name for path in (tmp_path / "run").glob("last*")) == ["last"]


def test_a_folder_that_is_not_empty_is_refused_without_resume(text: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        go(text, tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_resume_from_best_is_refused_since_it_has_no_state(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run")
    with pytest.raises(FfseqError, match="weights only"):
        go(text, tmp_path / "run", out_dir=None, resume=str(tmp_path / "run" / "best"))


@pytest.mark.parametrize("looks", range(40, 44))
def test_interrupted_after_learning_the_run_is_kept_and_finished_by_resume(
    looks: int, text: str, tmp_path: Path
) -> None:
    """Learning is over when the signal comes, in scoring or in counting: --resume gives the figures."""
    calls = 0

    def interrupted() -> bool:
        nonlocal calls
        calls += 1
        return calls > looks  # one look before each of the 40 updates, then those of scoring and of counting

    config = from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "run"), "floors": "yes"})
    shutil.rmtree(cache_folder() / "floors", ignore_errors=True)
    with contextlib.suppress(Interrupted):
        train(config, interrupted=interrupted)
    assert calls > looks, "the signal never came"
    resumed = go(text, tmp_path / "run", resume="auto", floors="yes")
    assert resumed["iterations"] == 40
    straight = go(text, tmp_path / "straight", floors="yes")
    for name in ("bits_per_character", "accuracy", "floors"):
        assert resumed[name] == straight[name]

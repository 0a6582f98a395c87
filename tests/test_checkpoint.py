"""A checkpoint is whole or refused, whatever happens while it is written."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffseq import checkpoint
from ffseq.checkpoint import load_checkpoint, resolve_run, save_checkpoint
from ffseq.errors import FfseqError


def save(folder: Path, number: int, *, state: bool = True) -> None:
    save_checkpoint(
        folder,
        config={"number": number},
        model={"weight": torch.full((3, 4), float(number)), "other": torch.arange(5)},
        alphabet={"symbols": ["a", "b"]},
        trainer_state={"step": number} if state else None,
        trainer_tensors={"0.exp_avg": torch.full((2,), float(number))} if state else None,
    )


def number_of(folder: Path) -> int:
    """Which checkpoint this is; all of its files have to agree."""
    loaded = load_checkpoint(folder)
    number = loaded.config["number"]
    assert torch.equal(loaded.model["weight"], torch.full((3, 4), float(number)))
    assert loaded.trainer_state == {"step": number}
    assert loaded.trainer_tensors is not None
    assert torch.equal(loaded.trainer_tensors["0.exp_avg"], torch.full((2,), float(number)))
    return int(number)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    save(tmp_path / "last", 1)
    assert number_of(tmp_path / "last") == 1
    save(tmp_path / "last", 2)
    assert number_of(tmp_path / "last") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last"]
    assert load_checkpoint(tmp_path / "last").alphabet == {"symbols": ["a", "b"]}


def test_weights_only(tmp_path: Path) -> None:
    save(tmp_path / "best", 3, state=False)
    loaded = load_checkpoint(tmp_path / "best")
    assert loaded.trainer_state is None
    assert loaded.trainer_tensors is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_noticed_and_its_file_named(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "last"
    save(folder, 4)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    message = ""
    try:
        assert load_checkpoint(folder).config == {"number": 4}
    except FfseqError as error:
        message = str(error)
    if message:
        assert path.name in message or "manifest.json" in message
    else:  # white space in the manifest is the one thing that carries nothing
        assert path.name == "manifest.json"


@pytest.mark.parametrize(
    "name", ["config.json", "alphabet.json", "model.safetensors", "trainer_state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_missing_and_cut_files_are_named_and_the_other_checkpoint_is_offered(
    tmp_path: Path, name: str, damage: str
) -> None:
    save(tmp_path / "last", 1)
    save(tmp_path / "best", 1)
    path = tmp_path / "last" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -3])
    with pytest.raises(FfseqError) as refused:
        load_checkpoint(tmp_path / "last")
    assert str(path) in str(refused.value)
    assert f"good checkpoint is at {tmp_path / 'best'}: use that instead" in str(refused.value)
    save(tmp_path / "best", 1, state=False)
    with pytest.raises(FfseqError, match="holds weights only: sample or evaluate it"):
        load_checkpoint(tmp_path / "last")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "last", 1)
    path = tmp_path / "last" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(FfseqError, match="format_version 99"):
        load_checkpoint(tmp_path / "last")


def test_run_means_best_else_last_else_the_folder_itself(tmp_path: Path) -> None:
    save(tmp_path / "run" / "last", 1)
    assert resolve_run(tmp_path / "run") == tmp_path / "run" / "last"
    save(tmp_path / "run" / "best", 2)
    assert resolve_run(tmp_path / "run") == tmp_path / "run" / "best"
    assert resolve_run(tmp_path / "run" / "last") == tmp_path / "run" / "last"
    (tmp_path / "empty").mkdir()
    for path, words in ((tmp_path / "nowhere", "no run or checkpoint"), (tmp_path / "empty", "holds no checkpoint")):
        with pytest.raises(FfseqError, match=words):
            resolve_run(path)


class Stopped(Exception):
    """The machine stops here."""


def _calls(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None]) -> None:
    """Run `before` ahead of everything that a save does to the disk."""
    for module, name in ((os, "rename"), (os, "fsync"), (checkpoint.shutil, "rmtree"), (Path, "mkdir")):
        original = getattr(module, name)

        def wrapped(*arguments: Any, _original: Any = original, **options: Any) -> Any:
            before()
            return _original(*arguments, **options)

        monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize("failure", [Stopped, OSError(28, "No space left on device")])
@pytest.mark.parametrize("leftovers", [0, 1])
def test_stopped_at_any_step_of_a_save_there_is_a_whole_checkpoint(
    tmp_path: Path, failure: Any, leftovers: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1

        save(tmp_path / "count", 0)
        _calls(patch, tick)
        save(tmp_path / "count", 1)
    assert count > 10
    for stop in range(count + 3):
        folder = tmp_path / f"{stop}" / "last"
        save(folder, 0)
        for number in range(1, 2 + leftovers):  # with leftovers: stopped once more, on what the first stop left
            remaining = stop if number == 1 else 2 * stop % (count + 1)
            with pytest.MonkeyPatch.context() as patch:

                def fail() -> None:
                    nonlocal remaining
                    remaining -= 1
                    if remaining < 0:
                        raise failure

                _calls(patch, fail)
                with contextlib.suppress(Stopped, FfseqError):
                    save(folder, number)
            assert number_of(folder) in range(number + 1)
        save(folder, 9)
        assert number_of(folder) == 9
        assert [path.name for path in folder.parent.iterdir()] == ["last"]


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_checkpoint import save
number = int(sys.argv[3])
print("ready", flush=True)
while True:
    save(Path(sys.argv[1]), number)
    number += 1
"""


def test_killed_at_random_moments_there_is_always_a_readable_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    save(folder, 0)
    before, pick = 0, random.Random(0)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), str(Path(__file__).parent), str(before + 1)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(pick.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        now = number_of(folder)
        assert now >= before
        before = now
    assert before > 0

"""Trackers are told what log.jsonl is told, whatever happens to the run."""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from conftest import go, refused

from ffseq.errors import Interrupted
from ffseq.options import from_flat
from ffseq.progress import Progress
from ffseq.resume import resumed
from ffseq.runs import train
from ffseq.trackers import Told

RUN = {"max_iters": 20, "log_interval": 5, "eval_interval": 10}


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every number of log.jsonl by name, with its step."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines()):
        for name, value in line.items():
            for number, one in enumerate(value, 1) if isinstance(value, list) else [(0, value)]:
                if name not in ("step", "kind"):
                    found[f"{name}/{number}" if number else name].append((line["step"], one))
    return found


def of_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def same(told: dict[str, list[tuple[int, float]]], log: dict[str, list[tuple[int, float]]]) -> None:
    assert told.keys() == log.keys() > {"train_bits_per_character", "validation_bits_per_character", "dead_units/2"}
    for name, points in log.items():
        assert [step for step, _ in told[name]] == [step for step, _ in points], name
        assert [value for _, value in told[name]] == pytest.approx([value for _, value in points], rel=1e-6), name


def stopped(text: str, folder: Path, after: int, **options: Any) -> None:
    calls = iter(range(1000))
    config = from_flat(
        {"corpus": text, "out_dir": str(folder), "units": 8, "layers": 2, "block_size": 4, "batch_size": 16,
         "floors": "no", "threads": 1, "dtype": "float32", "sample_interval": 0} | RUN | options
    )  # fmt: skip
    with pytest.raises(Interrupted):
        train(config, interrupted=lambda: next(calls) >= after)


def test_tensorboard_has_the_log_also_after_ctrl_c_and_a_kill(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(text, folder, 10, tracker="tensorboard")
    same(of_tensorboard(folder), logged(folder))
    shutil.copytree(folder / "last", tmp_path / "last")
    train(resumed(folder))
    same(of_tensorboard(folder), logged(folder))
    # As if it had been killed after its last line and before its last checkpoint: steps 11 to 20 come again.
    shutil.rmtree(folder / "last")
    shutil.copytree(tmp_path / "last", folder / "last")
    train(resumed(folder, max_iters=15))
    log = logged(folder)
    assert max(step for step, _ in log["train_bits_per_character"]) == 15
    same(of_tensorboard(folder), log)


def test_a_tracker_that_comes_later_is_told_what_was_before(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", **RUN)
    train(resumed(tmp_path / "run", max_iters=30, tracker="tensorboard"))
    same(of_tensorboard(tmp_path / "run"), logged(tmp_path / "run"))


def test_wandb_offline_has_the_log_in_one_run(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    stopped(text, tmp_path / "run", 10, tracker="wandb")
    time.sleep(1)  # an offline run is called after the second of its beginning
    train(resumed(tmp_path / "run"))
    files = sorted((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))
    name = (tmp_path / "run" / "wandb-id").read_text().strip()
    assert [file.stem for file in files] == [f"run-{name}"] * 2  # `wandb sync` makes one of them
    told: dict[str, dict[int, float]] = defaultdict(dict)
    for file in files:
        until = time.monotonic() + 10
        while (history := of_wandb(file)) is None and time.monotonic() < until:
            time.sleep(0.05)  # its service writes the end of a file in its own time
        for step, scalars in history or []:
            for key, value in scalars.items():
                told[key][step] = value
    # Lines of the same step are one point there.
    assert told == {name: dict(points) for name, points in logged(tmp_path / "run").items()}


def of_wandb(file: Path) -> list[tuple[int, dict[str, float]]] | None:
    """The history in an offline file, or None where it has no end yet.

    There are 7 bytes of header, then records in blocks of 32 KiB, each behind its checksum, its length, and whether it
    is whole (1) or the first, a middle or the last part of one (2, 3, 4).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, data, found = file.read_bytes(), 7, b"", []
    while at + 7 < len(content):
        if -at % 32768 < 7:
            at += -at % 32768
        length, part = struct.unpack_from("<HB", content, at + 4)
        data += content[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (2, 3):
            continue
        record, data = Record.FromString(data), b""
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.append((items["_step"], {key: value for key, value in items.items() if not key.startswith("_")}))
        if record.WhichOneof("record_type") == "exit":
            return found
    return None


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_a_package_that_is_missing_is_named_before_anything(
    tracker: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffseq.trackers.find_spec", lambda name: None)
    error = refused(capsys, "train", text, "--tracker", tracker, "--out_dir", str(tmp_path / "run"), status=1)
    assert f"pip install 'ffseq[{tracker}]'" in error
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_fails_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    class Full:
        lines = 0

        def write(self, scalars: dict[str, float], step: int) -> None:
            self.lines += 1
            raise OSError("no space left on device")

        def close(self) -> None:
            pass

    full = Full()
    told = Told(full, Progress())
    told.line({"step": 1, "seconds": 1.0})
    told.line({"step": 2, "seconds": 2.0})
    told.close()
    assert full.lines == 1
    assert capsys.readouterr().err.count("the tracker failed (no space left on device)") == 1

"""Ctrl-C, signals, pipes that close and two commands at once: nothing finished is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import QUICK, as_json, refused


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ffseq", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )  # fmt: skip


def test_two_trainings_do_not_share_a_folder(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    process = start("train", text, *QUICK, "--max_iters", "1000000", "--out_dir", str(folder), "--quiet")
    while not (folder / "last").exists():
        time.sleep(0.05)
    assert "another process" in refused(capsys, "train", "--resume", str(folder), status=2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_closed_and_narrow_standard_streams() -> None:
    """No reader, no stream, no Unicode: never a traceback."""
    python = [sys.executable, "-m", "ffseq"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    narrow = subprocess.run([*python, "train", "--help"], env=environment, capture_output=True, text=True)
    assert narrow.returncode == 0, narrow.stderr
    for redirection in (">&-", "2>&-", "<&-", "2>/dev/full"):
        command = " ".join([*python, "list", redirection])
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (redirection, done.stderr)
    piped = subprocess.run(
        ["bash", "-c", " ".join([*python, "list | true; exit ${PIPESTATUS[0]}"])], capture_output=True, text=True
    )
    assert (piped.returncode, piped.stderr) == (0, "")


def test_training_goes_on_when_nobody_reads_its_progress(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("train", text, *QUICK, "--max_iters", "400", "--log_interval", "1", "--out_dir", str(folder))
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    assert process.stdout is not None
    process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert json.loads((folder / "result.json").read_text())["iterations"] == 400


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "delay"), [(signal.SIGINT, 0.4), (signal.SIGTERM, 0.9), (signal.SIGINT, 6.0)])
def test_signals_save_and_exit_130_and_the_run_goes_on(
    number: signal.Signals, delay: float, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    process = start("train", text, *QUICK, "--max_iters", "1000000", "--out_dir", folder, "--floors", "no")
    time.sleep(delay)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert f"--resume {folder}" in error
    state = json.loads((Path(folder) / "last" / "trainer_state.json").read_text())
    more = state["step"] + 3
    result = as_json(capsys, "train", "--resume", folder, "--max_iters", str(more))
    assert result["iterations"] == more


@pytest.mark.parametrize("verb", ["floors", "train"])
def test_with_nothing_to_save_the_first_signal_is_enough(verb: str, tmp_path: Path) -> None:
    """Standard input that never ends: it would wait for ever."""
    command = [sys.executable, "-m", "ffseq", verb, "-"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "ffseq: stopped\n"


def test_a_reader_that_goes_away_is_no_error(run_folder: str) -> None:
    process = start("sample", run_folder, "--max_new_tokens", "20000")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()

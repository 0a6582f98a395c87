"""The comparison: the same search for all, no cell twice, and multiplications as counted by hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ffseq.cli import main
from ffseq.comparison import METHODS
from ffseq.config import NetworkConfig
from ffseq.work import literal_multiplications, multiplications

QUICK = [
    "--layers", "2", "--units", "16", "--block_size", "4", "--max_iters", "12", "--batch_size", "16", "--eval_interval",
    "4", "--threads", "1", "--dtype", "float32", "--learning_rates", "0.002,0.02", "--dropouts", "0,0.2", "--quiet",
]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat and the dog ran to the log; " * 60, encoding="utf-8")
    return str(path)


def compared(text: str, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(["compare", text, *QUICK, "--out_dir", str(folder), "--json", *more]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_rows_have_what_is_promised_and_a_finished_cell_is_not_run_again(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = ["--methods", "ff-all-expected,twin-expected", "--seeds", "0,1"]
    result = compared(text, tmp_path / "c", capsys, *methods)
    assert [row["method"] for row in result["rows"]] == ["ff", "twin", "kneser_ney", "unigram"]
    promised = {
        "method", "scope", "negatives", "black_box", "parameters", "characters_seen", "multiplications", "seeds",
        "bits_per_character", "accuracy", "seconds", "peak_memory_bytes",
    }  # fmt: skip
    for row in result["rows"]:
        assert promised <= row.keys()
        assert {"mean", "sd"} <= row["bits_per_character"].keys()
    ours, twin = result["rows"][:2]
    assert ours["characters_seen"] == twin["characters_seen"] == 12 * 16
    assert ours["parameters"] == twin["parameters"]
    assert ours["multiplications"] < twin["multiplications"]
    assert ours["peak_memory_bytes"] > 50_000_000
    assert ours["bits_per_character"]["sd"] > 0
    assert (tmp_path / "c" / "comparison.png").stat().st_size > 5000
    # Learning rates at the first dropout, dropouts at the best rate (one of them known), one full run for each seed.
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").glob("cells/*/cell.json")}
    assert len(cells) == 2 * (2 + 1 + 2)
    again = compared(text, tmp_path / "c", capsys, *methods)
    assert again["rows"] == result["rows"]
    assert cells == {path: path.stat().st_mtime_ns for path in (tmp_path / "c").glob("cells/*/cell.json")}
    # The settings that were chosen are the best ones on validation text.
    tried = [
        (cell["validation_bits_per_character"], options["learning_rate"], options["dropout"])
        for cell, options in (
            (json.loads(path.read_text()), json.loads((path.parent / "run" / "options.json").read_text()))
            for path in cells
        )
        if options["seed"] == 1000 and options["method"] == "twin"
    ]
    assert min(tried)[1:] == (twin["learning_rate"], twin["dropout"])


def test_interrupted_a_comparison_goes_on_where_it_was(text: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ffseq", "compare", text, *QUICK, "--methods", "ff-all-expected", "--seeds", "0"]
    command += ["--learning_rates", "0.01", "--dropouts", "0", "--out_dir", str(tmp_path / "c"), "--json"]
    long = [*command, "--max_iters", "1000", "--search_share", "1", "--eval_interval", "200"]
    with subprocess.Popen(long, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list((tmp_path / "c").glob("cells/*/run/last")):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"goes on from there" in error
    (state,) = (tmp_path / "c").glob("cells/*/run/last/trainer_state.json")
    reached = json.loads(state.read_text())["step"]
    done = subprocess.run(long, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["rows"][0]["characters_seen"] == 1000 * 16
    assert reached < 1000


def test_multiplications_are_those_counted_by_hand() -> None:
    window = NetworkConfig(block_size=3, units=10, layers=2, context_to_all=False)
    # Layer 1: 3 rows of 10 in, 5 candidates out; layer 2: 10 x 10 in, 5 candidates out.
    forward = (3 * 10 + 5 * 10) + (10 * 10 + 5 * 10)
    changes, to_units, down = forward, 2 * 5 * 10, 10 * 10
    assert multiplications(window, 5, "ff") == forward + changes + to_units
    assert multiplications(window, 5, "twin") == forward + changes + to_units + down
    assert multiplications(window, 5, "random_hidden") == forward + 2 * 5 * 10
    # Two layers for nobody, the truth and one negative; learning from the latter two; layer 1 with every candidate.
    literal = replace(window, stack="literal")
    first, second, softmax = 3 * 10 + 3 * 10 + 3 * 10, (1 + 2 + 2) * 10 * 10, 2 * 2 * 5 * 10
    squares, all_candidates = 2 * (2 + 2) * 10, 3 * 10 + 5 * 10
    assert literal_multiplications(literal, 5, 1) == first + second + softmax + squares + all_candidates
    causal = NetworkConfig(stack="causal", block_size=3, units=10, layers=2, context_to_all=True)
    assert multiplications(causal, 5, "twin") - multiplications(causal, 5, "ff") == 2 * 10 * 10


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--methods", "ff-al-expected"], "ff-all-expected"),
        (["--split_rule", "90/0/10"], "validation"),
        (["--learning_rates", "fast"], "--learning_rates"),
        (["--search_share", "0"], "--search_share"),
        (["--resume", "auto"], "--resume"),
        (["--seeds", ""], "--seeds"),
        (["--seeds", "0.5"], "--seeds"),
        (["--stream"], "--stream"),
        (["--stream", "true"], "--stream"),
    ],
)
def test_wrong_requests_are_refused(
    more: list[str], words: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", text, *QUICK, "--out_dir", str(tmp_path / "c"), *more]) == 2
    assert words in capsys.readouterr().err


def test_every_method_is_a_setting_that_train_takes(text: str, tmp_path: Path) -> None:
    from ffseq.options import from_flat

    for method in METHODS.values():
        # Whatever was typed, a row is learned by the method that it is called by.
        typed = {"corpus": text, "method": "twin", "hidden": "random", "scope": "own", "gains": "1,1", "layers": 2}
        learning = from_flat(typed | method.options).learning
        assert learning.method == ("twin" if method.method == "twin" else "ff")
        assert learning.hidden == ("random" if method.method == "random_hidden" else "learned")
        assert method.method == "twin" or f"-{learning.scope}-" in f"-{method.name}-all-"


def test_rows_on_a_black_box_name_it_and_the_box_has_a_row_of_its_own(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--learning_rates", "0.01", "--dropouts", "0", "--search_share", "1", "--seeds", "1000"]
    more = ["--methods", "ff-all-expected,ff-literal", "--black_box", "online", "--memory", "64",
            "--memory_lengths", "2,3", *quick]  # fmt: skip
    rows = compared(text, tmp_path / "c", capsys, *more)["rows"]
    assert [(row["method"], row["black_box"]) for row in rows] == [
        ("ff", "online"), ("ff_literal", None), ("black_box", "online"), ("kneser_ney", None), ("unigram", None),
    ]  # fmt: skip
    assert rows[2]["bits_per_character"]["mean"] <= rows[3]["bits_per_character"]["mean"] + 0.01

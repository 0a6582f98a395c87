"""The live table at a terminal, and what is said when a run is over."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK
from rich.console import Console

from ffseq.advice import advice
from ffseq.board import WIDEST, Board
from ffseq.cli import main
from ffseq.options import from_flat
from ffseq.progress import Progress

BOARD = Board(
    step=150, total=400, done=0.375, left=83.0, rate=12345.6, phase="sleep 3 of 10, night 2", train=2.5,
    validation=2.75, best=2.25, layers=["memory", "layer 1"], positive=[1.5, 2.0], negative=[1.0, -0.5],
)  # fmt: skip


def shown(board: Board, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(board.drawn())
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_it_says_where_the_run_is_how_fast_how_good_and_how_far_layers_tell_apart() -> None:
    lines = shown(BOARD)
    text = "\n".join(lines)
    assert "150 of 400" in text
    assert "1:23 left" in text
    assert "12,346 characters/s" in text
    assert "sleep 3 of 10, night 2" in text
    assert "train 2.500  validation 2.750  best 2.250" in text
    rows = {line.split("  ")[0].strip(): line.split()[-3:] for line in lines if "memory" in line or "layer 1" in line}
    assert rows == {"memory": ["1.500", "1.000", "0.500"], "layer 1": ["2.000", "-0.500", "2.500"]}
    assert lines[-1].strip() == ""  # a Ctrl-C is answered there


@pytest.mark.parametrize("width", [40, 80, 300])
def test_it_fits_the_terminal(width: int) -> None:
    assert max(map(len, shown(BOARD, width))) <= min(width, WIDEST)


def test_what_is_not_known_yet_is_a_dash() -> None:
    text = "\n".join(shown(replace(BOARD, train=None, validation=None, best=None, positive=None, negative=None)))
    assert "train -  validation -  best -" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_stay_above_the_table_and_the_cursor_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    progress = Progress(stream=terminal)
    progress.table(BOARD.drawn())
    assert progress.draws
    progress.say("a line that stays")
    progress.close()
    assert not progress.draws
    said = terminal.getvalue()
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1
    assert said.index("a line that stays") < said.rindex("150 of 400")


@pytest.mark.parametrize(("term", "quiet"), [("dumb", False), ("xterm", True)])
def test_no_table_where_none_can_be_or_is_wanted(term: str, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    terminal = Terminal()
    Progress(stream=terminal, quiet=quiet).table(BOARD.drawn())
    assert terminal.getvalue() == ""


def test_a_run_at_a_terminal_ends_with_the_table_of_its_last_update(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = os.openpty()
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                seen.extend(os.read(master, 4096))
            except OSError:
                return

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(["train", text, *QUICK, "--out_dir", str(tmp_path / "run")]) == 0
        monkeypatch.undo()
    reader.join()
    os.close(master)
    said = seen.decode()
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") > 0
    last = said[said.rindex("20 of 20") :]
    assert "validation" in last
    assert "layer 2" in last
    assert "Next: ffseq sample" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bits", "counted", "options", "words"),
    [
        ([3.0, 2.5, 2.3, 2.2], 2.4, {}, ["still getting better when it ended: a longer run (--max_iters)"]),
        ([3.0, 2.5, 2.3, 2.2], 2.4, {"max_seconds": 9.0}, ["(--max_seconds)"]),
        ([3.0, 2.2, 2.3, 2.4], 2.4, {}, ["best after 20 of 40 updates"]),
        ([3.0, 2.5, 2.2, 2.2], 2.4, {}, []),
        ([3.0, 2.5, 2.2, 2.2], 2.1, {}, ["Counting is ahead by 0.100 bits"]),
        ([3.0, 2.5, 2.2, 2.2], 2.1, {"memory": 64, "memory_lengths": "2"}, []),
        ([3.0], None, {}, []),
    ],
)
def test_advice_says_what_stands_out(
    bits: list[float], counted: float | None, options: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    lines = [
        {"kind": "validation", "step": 10 * (number + 1), "validation_bits_per_character": value}
        for number, value in enumerate(bits)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    floors = None if counted is None else {"kneser_ney": {"bits_per_character": counted}}
    found = advice(tmp_path, from_flat(options), {"bits_per_character": 2.2, "floors": floors})
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))

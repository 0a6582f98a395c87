"""What long work says at a terminal is gone when its result is written."""

from __future__ import annotations

import io
import re
import sys

import pytest

from ffseq.cli import main
from ffseq.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines that are left to see: what is written after a carriage return and an erased line replaces it."""
        lines = [line.split("\r\x1b[2K")[-1] for line in self.getvalue().split("\n")]
        return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in lines]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.mark.parametrize("verb", ["evaluate", "floors", "report"])
def test_no_line_of_progress_is_left_before_the_result(
    verb: str, run_folder: str, text: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    # By bytes the counting models of this text are not in the cache.
    more = {"report": ["--passage", "5", "--floors", "no"], "floors": ["--alphabet", "bytes"], "evaluate": []}[verb]
    assert main([verb, text if verb == "floors" else run_folder, *more]) == 0
    said = {"evaluate": "scoring: ", "floors": "counting models: ", "report": "writing a sample"}[verb]
    assert said in terminal.getvalue()
    assert not [line for line in terminal.screen() if said in line]
    assert [line for line in terminal.screen() if "text.txt, held out" in line or "open it in a browser" in line]


def test_a_step_is_told_however_soon_it_follows_another(terminal: Terminal) -> None:
    with Progress(stream=terminal) as progress:
        for step in ("reading", "thinking", "writing"):
            progress.step(step)
    assert terminal.getvalue().replace("\r\x1b[2K", " ").split() == ["reading", "thinking", "writing"]
    assert terminal.screen() == [""]


def test_the_line_is_taken_away_when_the_work_fails_too(terminal: Terminal) -> None:
    def fail() -> None:
        with Progress(stream=terminal) as progress:
            progress.status("half done")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert "half done" in terminal.getvalue()
    assert terminal.screen() == [""]
    terminal.write("ffseq: no")
    assert terminal.screen() == ["ffseq: no"]

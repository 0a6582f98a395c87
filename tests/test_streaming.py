"""A stream: predicted before it is learned, in constant memory, whatever pieces it comes in, and resumed exactly."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.alphabet import Alphabet
from ffseq.blocks import blocks_of_stream, blocks_of_symbols
from ffseq.checkpoint import load_checkpoint
from ffseq.cli import main
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.markov import markov_text
from ffseq.options import from_flat
from ffseq.runs import train

TEXT = "the cat sat on the mat and the dog ran to the log; " * 40
SMALL = {
    "stream": True, "stack": "causal", "layers": 3, "units": 16, "block_size": 3, "string_length": 10, "threads": 1,
    "dtype": "float32", "learning_rate": 5e-3, "alphabet": "characters", "log_interval": 20,
}  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def go(corpus: str, folder: Path, **options: Any) -> dict[str, Any]:
    return train(from_flat(SMALL | {"corpus": corpus, "out_dir": str(folder)} | options))


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("stack", ["causal", "window"])
def test_each_character_is_predicted_before_it_is_learned(stack: str, text: str, tmp_path: Path) -> None:
    """The first block is scored by the untrained net: whatever follows, its bits are those of the net as it was."""
    first = go(text, tmp_path / "first", stack=stack, max_iters=1)
    untrained = go(text, tmp_path / "none", stack=stack, learning_rate=1e-30, max_iters=1)
    assert first["prequential_bits_per_character"] == pytest.approx(untrained["prequential_bits_per_character"])
    assert first["characters_seen"] == 10
    whole = go(text, tmp_path / "whole", stack=stack)
    assert whole["characters_seen"] == len(TEXT)
    assert whole["recent_bits_per_character"] < whole["prequential_bits_per_character"] < 2.0
    assert whole["accuracy"] > 0.5


def test_a_character_that_no_one_could_foresee_is_not_foreseen(tmp_path: Path) -> None:
    """Uniform noise: a figure below log2 V would mean that the net had seen what it predicts."""
    noise = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 6000))
    (tmp_path / "noise.txt").write_text(noise)
    assert go(str(tmp_path / "noise.txt"), tmp_path / "run")["prequential_bits_per_character"] > 3.0


def test_blocks_of_a_stream_see_across_their_borders(tmp_path: Path) -> None:
    """With a rate of nothing the bits do not depend on where the text is cut: what is remembered is complete."""
    path = tmp_path / "chain.txt"
    path.write_text(markov_text(600))
    bits = [
        go(str(path), tmp_path / f"{length}", string_length=length, learning_rate=1e-30)[
            "prequential_bits_per_character"
        ]
        for length in (1, 7, 600)
    ]
    assert bits[0] == pytest.approx(bits[1], rel=1e-5)
    assert bits[0] == pytest.approx(bits[2], rel=1e-5)


def test_what_is_kept_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "chain.txt"
    kept = []
    for size in (500, 5000):
        path.write_text(markov_text(size))
        kept.append(go(str(path), tmp_path / str(size))["remembered_bytes"])
    assert kept[0] == kept[1] == (2 + 4) * 16 * 4 + 3 * 8  # two taps of float32 activities, three symbols


@pytest.mark.parametrize(
    "options", [{}, {"optimiser": "sgd"}, {"scope": "below"}, {"negatives": "argmax", "objective": "threshold"}]
)
def test_interrupted_and_resumed_it_is_the_same_stream(text: str, tmp_path: Path, options: dict[str, Any]) -> None:
    straight = go(text, tmp_path / "straight", **options)
    looks = iter(range(10_000))
    config = from_flat(SMALL | options | {"corpus": text, "out_dir": str(tmp_path / "run")})
    with pytest.raises(Interrupted, match="characters; go on with --resume"):
        train(config, interrupted=lambda: next(looks) >= 57)
    resumed = go(text, tmp_path / "run", resume="auto", **options)
    assert resumed["prequential_bits_per_character"] == straight["prequential_bits_per_character"]
    one, two = load_checkpoint(tmp_path / "straight" / "last"), load_checkpoint(tmp_path / "run" / "last")
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)


def test_resuming_with_another_text_is_refused(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=5)
    other = tmp_path / "other.txt"
    other.write_text(TEXT[::-1])
    with pytest.raises(UsageError, match="another text"):
        go(str(other), tmp_path / "run", resume="auto")
    with pytest.raises(UsageError, match="--units"):
        go(text, tmp_path / "run", resume="auto", units=17)


def test_standard_input_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, TEXT.encode())
    one = go("-", tmp_path / "run", alphabet="auto")
    assert one["characters_seen"] == len(TEXT)
    piped(monkeypatch, "more é text".encode())
    two = go("-", tmp_path / "run", alphabet="auto", resume="auto")
    assert two["characters_seen"] == len(TEXT) + 11
    assert two["bits_per_byte"] < two["prequential_bits_per_character"]
    alphabet = json.loads((tmp_path / "run" / "last" / "alphabet.json").read_text())
    assert alphabet["kind"] == "bytes"


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), length=st.integers(1, 9),
       cuts=st.lists(st.integers(1, 5), max_size=30))  # fmt: skip
@settings(deadline=None)
def test_a_stream_is_the_text_whatever_pieces_it_comes_in(text: str, length: int, cuts: list[int]) -> None:
    data = text.encode()

    class Slow(io.BytesIO):
        """Gives a few bytes at a time, as a pipe would."""

        sizes = iter(cuts)

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(next(self.sizes, 3))

    for alphabet in (Alphabet.named("bytes"), Alphabet.of_characters(text)):
        Slow.sizes = iter(cuts)
        pieces = list(blocks_of_stream(Slow(data), alphabet, length))
        assert alphabet.decode(np.concatenate([p.symbols for p in pieces] or [np.array([], int)])) == text
        assert sum(piece.characters for piece in pieces) == len(text)
        assert sum(piece.bytes for piece in pieces) == len(data)
        assert all(piece.characters == length for piece in pieces[:-1])


def test_a_prepared_text_counts_characters_and_bytes() -> None:
    text = "aé€" * 5
    for alphabet in (Alphabet.named("bytes"), Alphabet.of_characters(text)):
        symbols = alphabet.encode(text)
        pieces = list(blocks_of_symbols(symbols, alphabet, 4, 0))
        assert (sum(p.characters for p in pieces), sum(p.bytes for p in pieces)) == (15, 30)
        rest = np.concatenate([p.symbols for p in blocks_of_symbols(symbols, alphabet, 4, 5)])
        assert rest.tolist() == symbols[5:].tolist()


def test_bad_bytes_and_unknown_characters_are_found_where_they_are() -> None:
    with pytest.raises(FfseqError, match="byte 6 cannot be read"):
        list(blocks_of_stream(io.BytesIO("aé€".encode() + b"\xff"), Alphabet.named("bytes"), 2))
    with pytest.raises(FfseqError, match=r"line 2, column 3: .*U\+00E9"):
        list(blocks_of_stream(io.BytesIO("ab\nabé".encode()), Alphabet.of_characters("ab\n"), 4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dropout": 0.1}, "--dropout"), ({"method": "twin"}, "--method twin"), ({"scope": "own"}, "--temperature"),
        ({"average": 0.9}, "--average"), ({"objective": "nce", "negatives": "unigram"}, "--negatives unigram"),
        ({"corpus": "-", "alphabet": "characters"}, "--alphabet bytes"),
    ],
)  # fmt: skip
def test_what_a_stream_has_no_use_for_is_refused(
    options: dict[str, Any], words: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        train(from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "run")} | options))


def test_the_command(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--stack", "causal", "--units", "16", "--layers", "2", "--threads", "1", "--out_dir"]
    assert main(["train", text, "--stream", *options, str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < result["prequential_bits_per_character"] < 8
    assert result["characters_seen"] == len(TEXT)
    assert main(["sample", str(tmp_path / "run"), "--start", "the ", "--max_new_tokens", "10"]) == 0
    assert main(["train", text, "--stream", *options, str(tmp_path / "two"), "--quiet"]) == 0
    assert "before learning it" in capsys.readouterr().out


def test_a_slow_stream_is_learned_as_it_comes_and_stops_at_a_signal(tmp_path: Path) -> None:
    """A pipe that stays open: blocks are learned while it does, and one signal saves and ends."""
    command = [sys.executable, "-m", "ffseq", "train", "-", "--stream", "--stack", "causal", "--units", "16"]
    command += [
        "--string_length",
        "10",
        "--threads",
        "1",
        "--checkpoint_seconds",
        "0.2",
        "--out_dir",
        str(tmp_path / "r"),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdin is not None
        process.stdin.write(b"a stream of text that does not end; " * 5)
        process.stdin.flush()
        state = tmp_path / "r" / "last" / "trainer_state.json"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if state.exists() and json.loads(state.read_text())["step"] == 18:
                break
        else:
            pytest.fail("the stream was not learned while it was open")
        timer = threading.Timer(30, process.kill)
        timer.start()
        process.send_signal(2)
        assert process.wait() == 130
        timer.cancel()

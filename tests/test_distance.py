"""Bits where something closes, by distance: against the bits of every character and texts whose brackets are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, as_json, go, refused

from ffseq.baselines.ngram import KneserNey
from ffseq.cli import main
from ffseq.corpus import load_corpus
from ffseq.distance import ByDistance, closings
from ffseq.brackets import BRACKETS
from ffseq.grammar import grammar_text, symbol_bits
from ffseq.scoring import evaluate, load_network
from ffseq.splits import Part, Segment

#: 35 characters, in which brackets close after 1, 3, 7, 10 and 13 of them, and one that is never opened.
LINE = "a() (b) [abc(ab)d]e {abcdefghijkl})"
FROM_TO_COUNT = [(1, 1, 1), (2, 3, 2), (4, 7, 0), (8, 15, 2)]


@pytest.fixture
def bracketed(tmp_path: Path) -> str:
    path = tmp_path / "bracketed.txt"
    path.write_text(LINE * 100, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("options", [{"stack": "window"}, {"stack": "causal", "string_length": 8}, {"stack": "literal"}])
def test_figures_are_the_means_of_the_bits_of_what_closes(
    bracketed: str, tmp_path: Path, options: dict[str, object]
) -> None:
    go(bracketed, tmp_path / "run", **options, floors="no", objective="threshold" if options["stack"] == "literal" else "likelihood")
    result = evaluate(tmp_path / "run", by="distance", threads=1)
    held_out = LINE * 10
    network, _ = load_network(tmp_path / "run")
    bits = network.score(LINE * 100)[-len(held_out) :].numpy()
    closing = {0: [2], 1: [6, 15], 3: [17, 33]}  # the power of two of the distance, and where in the line
    corpus = load_corpus(bracketed)
    floor = result["floors"]["kneser_ney"]
    model = KneserNey.fit(corpus.symbols[: corpus.train.stop], len(corpus.alphabet), floor["order"], floor["discount"])
    assert [row["from"] for row in result["by_distance"]] == [2**power for power in closing]
    for row, (power, places) in zip(result["by_distance"], closing.items(), strict=True):
        at = np.array([start + place for start in range(0, len(held_out), len(LINE)) for place in places])
        assert row["closes"] == "brackets"
        assert row["to"] == 2 ** (power + 1) - 1
        assert row["count"] == len(at)
        assert row["bits_per_character"] == pytest.approx(float(bits[at].mean()), rel=1e-4)
        positions = np.sort(at) + len(LINE) * 90
        p = model.probabilities(corpus.symbols, positions, np.zeros_like(positions))
        counted = -np.log2(p[np.arange(len(p)), corpus.symbols[positions].astype(int)])
        assert row["kneser_ney"] == pytest.approx(float(counted.mean()))
        assert row["exact"] is None
        assert 0 <= row["accuracy"] <= 1

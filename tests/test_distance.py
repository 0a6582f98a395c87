"""Bits where something closes, by distance: against the bits of every character and texts whose brackets are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import as_json, go, refused

from ffseq.baselines.ngram import KneserNey
from ffseq.brackets import BRACKETS
from ffseq.cli import main
from ffseq.corpus import load_corpus
from ffseq.distance import closings
from ffseq.grammar import symbol_bits
from ffseq.scoring import evaluate, load_network
from ffseq.splits import Part, Segment

#: 35 characters, in which brackets close after 1, 3, 7, 10 and 13 of them, and one that is never opened.
LINE = "a() (b) [abc(ab)d]e {abcdefghijkl})"


@pytest.fixture
def bracketed(tmp_path: Path) -> str:
    path = tmp_path / "bracketed.txt"
    path.write_text(LINE * 100, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "options",
    [
        {"stack": "window", "objective": "likelihood"},
        {"stack": "causal", "objective": "likelihood", "string_length": 8},
        {"stack": "literal", "objective": "threshold"},
    ],
    ids=lambda options: options["stack"],
)
def test_figures_are_the_means_of_the_bits_of_what_closes(
    bracketed: str, tmp_path: Path, options: dict[str, object]
) -> None:
    go(bracketed, tmp_path / "run", **options)
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


def test_figures_are_those_of_the_predictor_that_is_asked_for(bracketed: str, tmp_path: Path) -> None:
    go(bracketed, tmp_path / "run")
    totals = []
    for options in ({}, {"learn_on": True}, {"black_box": "online"}, {"black_box": "online", "learn_on": True}):
        result = evaluate(tmp_path / "run", by="distance", floors="no", threads=1, **options)  # type: ignore[arg-type]
        totals.append(sum(row["count"] * row["bits_per_character"] for row in result["by_distance"]))
        assert sum(row["count"] for row in result["by_distance"]) == 50
        assert {row["kneser_ney"] for row in result["by_distance"]} == {None}
    assert len(set(totals)) == len(totals)
    # Whoever goes on learning, or counting, knows the repeated line better in the end.
    assert min(totals[1:]) < totals[0]


def test_a_partner_that_may_not_be_seen_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ab" * 20 + "(a)(b[a)b]a(" + ")b" * 4, encoding="utf-8")
    corpus = load_corpus(str(path))
    # Positions 42 to 47 are scored from 41 on, which does not see the first bracket; 51 on from 50 on.
    part = Part(40, 60, (Segment(41, 42, 48), Segment(50, 51, 60)), 15, 15, 15)
    found = closings(corpus, part, BRACKETS)
    assert found.which.tolist() == [47 - 42, 6 + 52 - 51]
    assert found.positions.tolist() == [47, 52]
    assert found.distances.tolist() == [4, 1]
    assert found.begins.tolist() == [41, 50]


def test_the_grammar_is_sorted_by_brackets_and_by_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = load_corpus("grammar", split_rule="98/1/1")
    go("grammar", tmp_path / "run", max_iters=2, split_rule="98/1/1")
    result = as_json(capsys, "evaluate", str(tmp_path / "run"), "--by", "distance", "--floors", "no", "--quiet")
    text = corpus.alphabet.decode(corpus.symbols)
    bits, first = symbol_bits(text), corpus.held_out.start
    assert result["entropy_rate"] == corpus.entropy_rate
    assert result["exact_bits_per_character"] == pytest.approx(bits[first:].mean())
    for closes, symbols in {"brackets": ")]}", "agreement": "SP"}.items():
        rows = [row for row in result["by_distance"] if row["closes"] == closes]
        there = [position for position in range(first, len(text)) if text[position] in symbols]
        assert sum(row["count"] for row in rows) == len(there)  # every one has a partner
        assert sum(row["count"] * row["exact"] for row in rows) == pytest.approx(bits[there].sum())
    assert main(["evaluate", str(tmp_path / "run"), "--by", "distance", "--floors", "no", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "closing brackets, by distance" in shown
    assert "verbs, by distance to their subject" in shown
    assert f"entropy rate {corpus.entropy_rate:.3f}" in shown
    assert "Kneser-Ney" not in shown


def test_a_text_without_brackets_is_refused(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no bracket" in refused(capsys, "evaluate", run_folder, "--by", "distance", status=2)
    assert "distance" in refused(capsys, "evaluate", run_folder, "--by", "size", status=2)

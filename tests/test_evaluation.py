"""What a trained net scores: every held-out character once, against its own probabilities."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TEXT, go

from ffseq.corpus import load_corpus
from ffseq.errors import FfseqError, UsageError
from ffseq.evaluation import evaluate_segments
from ffseq.progress import Progress
from ffseq.scoring import evaluate, floors_if_asked, load_network
from ffseq.windows import contexts_at


def test_layers_alone_are_read_out_at_their_own_best_temperature(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=150, learning_rate=5e-3, objective="difference")
    figures = evaluate(tmp_path / "run", floors="no", threads=1)
    network, _ = load_network(tmp_path / "run")
    corpus = load_corpus(text)
    held_out = np.arange(corpus.held_out.start, corpus.held_out.stop)
    contexts = contexts_at(corpus.symbols, held_out, network.block_size, len(corpus.alphabet))
    targets = torch.from_numpy(corpus.symbols[held_out].astype(np.int64))
    for layer, own in zip(figures["per_layer"], network.goodness(contexts), strict=True):
        bits = [float(F.cross_entropy(own / t, targets)) / math.log(2) for t in np.geomspace(0.05, 20, 400)]
        assert layer["alone"]["bits_per_character"] == pytest.approx(min(bits), rel=0.05)
        assert layer["alone"]["accuracy"] == pytest.approx(float((own.argmax(1) == targets).double().mean()))
        assert layer["positive_goodness"] == pytest.approx(float(own.gather(1, targets[:, None]).mean()), rel=1e-4)
    assert figures["per_layer"][0]["alone"] != figures["per_layer"][1]["alone"]


def test_floors_of_large_texts_are_not_fitted_unasked(text: str) -> None:
    corpus = load_corpus(text)
    quiet = Progress(quiet=True)
    assert floors_if_asked(corpus, "auto", quiet) is not None
    assert floors_if_asked(corpus, "no", quiet) is None
    large = replace(corpus, bytes=20_000_001)
    assert floors_if_asked(large, "auto", quiet) is None
    assert floors_if_asked(large, "yes", quiet) is not None


def test_evaluate_repeats_the_figures_of_train(text: str, tmp_path: Path) -> None:
    trained = go(text, tmp_path / "run", floors="yes")
    again = evaluate(tmp_path / "run", threads=1)
    for name in ("bits_per_character", "accuracy", "bits_per_byte"):
        assert again[name] == pytest.approx(trained[name], rel=1e-6)
    assert again["floors"] == trained["floors"]
    assert again["per_layer"][-1]["up_to"]["bits_per_character"] == pytest.approx(again["bits_per_character"])
    validation = evaluate(tmp_path / "run", split="validation", floors="no", threads=1)
    assert validation["bits_per_character"] == pytest.approx(trained["validation_bits_per_character"], rel=1e-6)


def test_evaluation_scores_each_held_out_character_once(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run")
    network, _ = load_network(tmp_path / "run")
    corpus = load_corpus(text)
    part = corpus.held_out
    figures = evaluate(tmp_path / "run", floors="no", threads=1)
    assert figures["characters"] == part.characters == len(TEXT) - part.start
    bits = network.score(TEXT)[part.start :]
    assert figures["bits_per_character"] == pytest.approx(float(bits.mean()), rel=1e-5)


def test_bits_per_character_count_dropped_and_replaced_characters(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run")
    other = tmp_path / "other.txt"
    other.write_text("the cat é sat on the mat " * 40, encoding="utf-8")
    with pytest.raises(FfseqError, match=r"U\+00E9"):
        evaluate(tmp_path / "run", str(other), floors="no")
    figures = evaluate(tmp_path / "run", str(other), floors="no", unknown="drop", threads=1)
    assert figures["dropped"] == 4
    assert figures["characters"] == 100
    assert figures["symbols"] == 96
    assert figures["bits_per_character"] == pytest.approx(figures["bits_per_symbol"] * 96 / 100)
    assert figures["bits_per_byte"] == pytest.approx(figures["bits_per_symbol"] * 96 / 104)


def test_a_net_that_is_too_sure_is_calibrated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "noise.txt"
    path.write_text("".join(np.random.default_rng(0).choice(list("abcdefgh"), 3000)))
    options: dict[str, Any] = {"max_iters": 400, "learning_rate": 5e-3, "dropout": 0.0, "eval_interval": 400}
    sure = go(str(path), tmp_path / "sure", **options)
    calibrated = go(str(path), tmp_path / "calibrated", **options, calibrate=True)
    assert sure["temperature"] == 1.0
    assert calibrated["temperature"] > 2
    assert calibrated["accuracy"] == pytest.approx(sure["accuracy"], abs=0.02)
    assert calibrated["bits_per_character"] < min(3.03, sure["bits_per_character"] - 0.03)
    with pytest.raises(UsageError, match="--calibrate"):
        go(text, tmp_path / "both", calibrate=True, temperature=2.0)


def test_a_whole_text_is_scored(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run")
    figures = evaluate(tmp_path / "run", split="all", floors="no", threads=1)
    assert figures["characters"] == figures["symbols"] == len(TEXT)
    network, _ = load_network(tmp_path / "run")
    assert figures["bits_per_character"] == pytest.approx(float(network.score(TEXT).mean()), rel=1e-5)


def test_an_untrained_uniform_net_scores_log2_v(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=0)
    network, _ = load_network(tmp_path / "run")
    for layer in network.stack():
        layer.candidates.zero_()
        layer.candidate_bias.zero_()
    corpus = load_corpus(text)
    result = evaluate_segments(network, corpus.symbols, corpus.held_out.segments)
    assert result.bits_per_symbol == pytest.approx(math.log2(len(corpus.alphabet)))


def test_dead_units_are_counted(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=0)
    network, _ = load_network(tmp_path / "run")
    list(network.stack())[1].bias[:6] = -1e6
    corpus = load_corpus(text)
    result = evaluate_segments(network, corpus.symbols, corpus.held_out.segments)
    assert result.layers[1].dead == pytest.approx(6 / 24)
    assert result.layers[0].dead < 0.2

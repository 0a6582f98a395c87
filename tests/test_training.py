"""The loop: it learns, it repeats itself bit for bit, interrupted or not, and it stops before it does harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TEXT, go, same, weights

from ffseq.checkpoint import load_checkpoint
from ffseq.corpus import load_corpus
from ffseq.errors import FfseqError
from ffseq.evaluation import evaluate_segments, fit_temperature
from ffseq.scoring import evaluate, load_network


def test_learning_beats_the_unigram_by_far(text: str, tmp_path: Path) -> None:
    result = go(text, tmp_path / "run", max_iters=300, learning_rate=5e-3, floors="yes")
    assert result["bits_per_character"] < 0.5 * result["floors"]["unigram"]["bits_per_character"]
    assert result["accuracy"] > 0.8
    assert result["characters_seen"] == 300 * 32
    assert result["iterations"] == 300


def test_other_seeds_give_other_weights(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "0")
    go(text, tmp_path / "1", seed=1)
    assert not same(weights(tmp_path / "0"), weights(tmp_path / "1"))


def test_state_dict_holds_every_weight(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run")
    network, checkpoint = load_network(tmp_path / "run")
    names = {f"layers.{n}.{kind}" for n in range(2) for kind in ("bias", "candidates", "candidate_bias")}
    names |= {"layers.0.context", "layers.1.context", "layers.1.below"}
    assert names | {"gains", "temperature", "prior"} == set(checkpoint.model)
    assert sum(value.numel() for name, value in checkpoint.model.items() if name in names) == network.parameter_count()


def test_a_trained_net_survives_saving(text: str, tmp_path: Path) -> None:
    from ffseq.network import SequenceNetwork

    go(text, tmp_path / "run")
    network = SequenceNetwork.from_pretrained(tmp_path / "run")
    network.save_pretrained(tmp_path / "copy")
    copy = SequenceNetwork.from_pretrained(tmp_path / "copy")
    torch.testing.assert_close(network.score("the cat"), copy.score("the cat"), rtol=0, atol=0)
    assert network.generate("the ", seed=1) == copy.generate("the ", seed=1)


def test_a_rate_that_diverges_stops_the_run_and_keeps_the_last_good_state(text: str, tmp_path: Path) -> None:
    with pytest.raises(FfseqError, match=r"not finite.*--learning_rate"):
        go(text, tmp_path / "run", optimiser="sgd", learning_rate=1e30, warmup_iters=0)
    kept = weights(tmp_path / "run")
    assert all(value.isfinite().all() for value in kept.values())


@pytest.mark.parametrize(
    "options",
    [
        {}, {"objective": "threshold", "negatives": "unigram"}, {"scope": "own"},
        {"scope": "own", "split_rule": "90/0/10"},
    ],
)  # fmt: skip
def test_held_out_text_is_never_used_for_learning_or_choosing(
    text: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Other held-out text, same weights, same best checkpoint, same temperature; other training text, others."""
    options = {"eval_interval": 4} | options
    go(text, tmp_path / "one", **options)
    changed = tmp_path / "changed.txt"
    held_out = len(TEXT) - len(TEXT) // 10
    # A text that the net predicts worse and worse as it learns: chosen on it, the best would be an early checkpoint.
    changed.write_text(TEXT[:held_out] + "g;" * ((len(TEXT) - held_out) // 2), encoding="utf-8")
    go(str(changed), tmp_path / "two", **options)
    names = ["last"] if "split_rule" in options else ["last", "best"]
    for name in names:
        assert same(weights(tmp_path / "one", name), weights(tmp_path / "two", name))
    changed.write_text(TEXT[:500][::-1] + TEXT[500:], encoding="utf-8")
    go(str(changed), tmp_path / "three", **options)
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "three"))


def test_figures_are_those_of_the_best_checkpoint(text: str, tmp_path: Path) -> None:
    """With validation text that gets worse as the net learns, the best checkpoint is the first one."""
    changed = tmp_path / "changed.txt"
    begin, end = len(TEXT) * 80 // 100, len(TEXT) * 90 // 100
    changed.write_text(TEXT[:begin] + "g;" * ((end - begin) // 2) + TEXT[end:], encoding="utf-8")
    result = go(str(changed), tmp_path / "run", max_iters=200, learning_rate=5e-3)
    assert load_checkpoint(tmp_path / "run" / "best").config["step"] < 100
    best = evaluate(tmp_path / "run" / "best", floors="no", threads=1)
    last = evaluate(tmp_path / "run" / "last", floors="no", threads=1)
    assert result["bits_per_character"] == pytest.approx(best["bits_per_character"], rel=1e-6)
    assert last["bits_per_character"] < 0.9 * best["bits_per_character"]


def test_log_lines_are_means_over_their_interval(text: str, tmp_path: Path) -> None:
    def lines(folder: str, interval: int) -> list[dict[str, Any]]:
        go(text, tmp_path / folder, max_iters=6, log_interval=interval)
        logged = [json.loads(line) for line in (tmp_path / folder / "log.jsonl").read_text().splitlines()]
        return [line for line in logged if line["kind"] == "train"]

    each, (whole,) = lines("each", 1), lines("whole", 6)
    assert len(each) == 6
    for name in ("train_bits_per_character", "positive_goodness", "negative_goodness"):
        assert np.allclose(whole[name], np.mean([line[name] for line in each], axis=0), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_hidden_random_leaves_hidden_weights_as_they_were(text: str, tmp_path: Path, dtype: str) -> None:
    """And moves the others, also where they are rounded in one row, which is made when the first product is."""
    go(text, tmp_path / "run", hidden="random", max_iters=0, dtype=dtype)
    before = weights(tmp_path / "run")
    go(text, tmp_path / "longer", hidden="random", dtype=dtype)
    after = weights(tmp_path / "longer")
    for name, value in before.items():
        hidden = name.split(".")[-1] in ("context", "below", "bias")
        assert torch.equal(value, after[name]) == hidden or name in ("gains", "temperature", "prior"), name


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "contrast"}, {"objective": "likelihood"}, {"objective": "nce"},
        {"objective": "nce", "negatives": "unigram"}, {"objective": "threshold"},
        {"objective": "threshold", "negatives": "expected", "exclude_truth": True},
        {"objective": "threshold", "negatives": "unigram"}, {"objective": "threshold", "negatives": "argmax"},
        {"objective": "threshold", "negatives": "corrupted"}, {"objective": "difference"},
        {"objective": "difference", "negatives": "argmax"},
        {"objective": "likelihood", "goodness": "squares"}, {"objective": "threshold", "goodness": "squares"},
        {"objective": "contrast", "scope": "own"}, {"objective": "nce", "scope": "below"},
        {"objective": "threshold", "scope": "own"}, {"objective": "difference", "scope": "below"},
        {"objective": "contrast", "optimiser": "sgd", "learning_rate": 0.3},
    ],
)  # fmt: skip
def test_every_objective_learns_a_text_and_is_read_out_right(tmp_path: Path, options: dict[str, Any]) -> None:
    """A text in which a fifth of the characters is noise: each gets far, at the temperature that suits it."""
    random = np.random.default_rng(0)
    letters = np.array(list(TEXT * 2))
    noise = random.random(len(letters)) < 0.2
    letters[noise] = random.choice(np.array(sorted(set(TEXT))), noise.sum())
    path = tmp_path / "noisy.txt"
    path.write_text("".join(letters), encoding="utf-8")
    common = {"max_iters": 400, "batch_size": 64, "learning_rate": 3e-3}
    result = go(str(path), tmp_path / "run", **(common | options))
    assert result["bits_per_character"] < 2.7
    assert result["accuracy"] > 0.5
    # No other temperature would have predicted the held-out text much better.
    network, _ = load_network(tmp_path / "run")
    corpus = load_corpus(str(path))
    network.temperature.fill_(fit_temperature(network, corpus.symbols, corpus.held_out.segments))
    best = evaluate_segments(network, corpus.symbols, corpus.held_out.segments)
    assert result["bits_per_character"] < 1.02 * best.bits_per_symbol


def test_dead_units_are_watched_where_there_is_no_validation_text(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", split_rule="90/0/10")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    watched = [line["dead_units"] for line in lines if line["kind"] == "units"]
    assert len(watched) == 4
    assert all(len(dead) == 2 and max(dead) < 0.5 for dead in watched)
    assert not [line for line in lines if line["kind"] == "validation"]


def test_average_of_weights_is_what_evaluation_sees(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", average=0.95)
    checkpoint = load_checkpoint(tmp_path / "run" / "last")
    raw = {k.removeprefix("weights."): v for k, v in checkpoint.trainer_tensors.items() if k.startswith("weights.")}
    assert not same(raw, checkpoint.model)
    assert raw.keys() == checkpoint.model.keys()


def test_training_reads_the_text_through_a_memory_map(text: str) -> None:
    corpus = load_corpus(text)
    assert isinstance(corpus.symbols, np.memmap)
    assert not corpus.symbols.flags.writeable


def test_a_net_comes_near_the_entropy_rate_and_random_hidden_layers_do_not(tmp_path: Path) -> None:
    options = {
        "stack": "window", "units": 128, "block_size": 3, "recency": 0.0, "dropout": 0.0, "objective": "likelihood",
        "batch_size": 256,
        "learning_rate": 5e-3, "max_iters": 1200, "eval_interval": 600, "alphabet": "auto", "threads": 1,
    }  # fmt: skip
    learned = go("markov", tmp_path / "learned", **options)
    frozen = go("markov", tmp_path / "frozen", **options, hidden="random")
    rate = learned["entropy_rate"]
    assert 0.99 * rate < learned["bits_per_character"] < 1.06 * rate
    assert frozen["bits_per_character"] > 1.05 * learned["bits_per_character"]


def test_bfloat16_products_learn_the_same_to_within_their_digits(text: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_iters": 150, "learning_rate": 5e-3}
    exact = go(text, tmp_path / "float32", **options)
    rounded = go(text, tmp_path / "bfloat16", **options, dtype="bfloat16")
    assert rounded["dtype"] == "bfloat16"
    assert not same(weights(tmp_path / "float32"), weights(tmp_path / "bfloat16"))
    assert rounded["bits_per_character"] == pytest.approx(exact["bits_per_character"], rel=0.05)
    for weight in weights(tmp_path / "bfloat16").values():
        assert weight.dtype == torch.float32

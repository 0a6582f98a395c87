"""The loop: it learns, it repeats itself bit for bit, interrupted or not, and it stops before it does harm."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TEXT

from ffseq.checkpoint import load_checkpoint
from ffseq.corpus import cache_folder, load_corpus
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.evaluation import evaluate_segments, fit_temperature
from ffseq.options import from_flat
from ffseq.progress import Progress
from ffseq.resume import resumed
from ffseq.runs import train
from ffseq.scoring import evaluate, floors_if_asked, load_network
from ffseq.windows import contexts_at

SMALL = {
    "stack": "window", "layers": 2, "units": 24, "block_size": 6, "dropout": 0.25, "batch_size": 32, "max_iters": 40,
    "learning_rate": 1e-3, "eval_interval": 10, "log_interval": 5, "sample_interval": 0, "floors": "no", "threads": 1,
    "dtype": "float32", "alphabet": "characters",
}  # fmt: skip


def go(text: str, folder: Path, **options: Any) -> dict[str, Any]:
    return train(from_flat(SMALL | {"corpus": text, "out_dir": str(folder)} | options))


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / name).model


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_learning_beats_the_unigram_by_far(text: str, tmp_path: Path) -> None:
    result = go(text, tmp_path / "run", max_iters=300, learning_rate=5e-3, floors="yes")
    assert result["bits_per_character"] < 0.5 * result["floors"]["unigram"]["bits_per_character"]
    assert result["accuracy"] > 0.8
    assert result["characters_seen"] == 300 * 32
    assert result["iterations"] == 300


@pytest.mark.parametrize(
    "options", [{}, {"optimiser": "sgd"}, {"average": 0.9}, {"scope": "own"}, {"objective": "threshold"}]
)
def test_same_seed_same_bits_and_resumed_is_the_same_as_never_interrupted(
    text: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    straight = go(text, tmp_path / "straight", **options)
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(
            from_flat(SMALL | options | {"corpus": text, "out_dir": str(tmp_path / "broken")}),
            interrupted=lambda: next(calls) >= 17,
        )
    assert load_checkpoint(tmp_path / "broken" / "last").trainer_state["step"] == 17
    resumed = go(text, tmp_path / "broken", resume="auto", **options)
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "broken"))
    assert same(weights(tmp_path / "straight", "best"), weights(tmp_path / "broken", "best"))
    for name in ("bits_per_character", "accuracy", "validation_bits_per_character"):
        assert straight[name] == resumed[name]
    timeless = []
    for folder in ("straight", "broken"):
        lines = [json.loads(line) for line in (tmp_path / folder / "log.jsonl").read_text().splitlines()]
        timeless.append([{k: v for k, v in line.items() if k != "seconds"} for line in lines])
    assert timeless[0] == timeless[1]


def test_other_seeds_give_other_weights(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "0")
    go(text, tmp_path / "1", seed=1)
    assert not same(weights(tmp_path / "0"), weights(tmp_path / "1"))


def test_log_lines_after_the_checkpoint_are_dropped_on_resume(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=20)
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + '{"kind": "train", "step": 25}\n{"kind": "tra')
    go(text, tmp_path / "run", resume="auto", max_iters=40)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(steps)
    assert [steps.count(step) for step in (15, 20, 25)] == [1, 2, 1]  # at 20 there is a validation line too


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


def test_hidden_random_leaves_hidden_weights_as_they_were(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", hidden="random", max_iters=0)
    before = weights(tmp_path / "run")
    go(text, tmp_path / "longer", hidden="random")
    after = weights(tmp_path / "longer")
    for name, value in before.items():
        hidden = name.split(".")[-1] in ("context", "below", "bias")
        assert torch.equal(value, after[name]) == hidden or name in ("gains", "temperature", "prior"), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"units": 25}, "--units"),
        ({"split_rule": "70/10/20"}, "split"),
        ({"alphabet": "bytes"}, "another alphabet"),
    ],
)
def test_a_resumed_run_keeps_its_text_and_shape(text: str, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    go(text, tmp_path / "run", max_iters=5)
    with pytest.raises(UsageError, match=words):
        go(text, tmp_path / "run", resume="auto", **options)


def test_a_run_is_not_resumed_with_another_text_or_in_another_folder(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", max_iters=5)
    other = tmp_path / "other.txt"
    other.write_text(TEXT[::-1], encoding="utf-8")
    with pytest.raises(UsageError, match="this text or split differs"):
        go(str(other), tmp_path / "run", resume="auto")
    with pytest.raises(UsageError, match="leave --out_dir out"):
        go(text, tmp_path / "elsewhere", resume=str(tmp_path / "run"))
    assert not (tmp_path / "elsewhere").exists()


def test_resumed_settings_are_the_runs_own(text: str, tmp_path: Path) -> None:
    straight = go(text, tmp_path / "straight", learning_rate=5e-3, scope="below", max_iters=20)
    go(text, tmp_path / "run", learning_rate=5e-3, scope="below", max_iters=20)
    config = resumed(tmp_path / "run", max_iters=20)
    assert (config.optimiser.learning_rate, config.learning.scope) == (5e-3, "below")
    assert train(config)["bits_per_character"] == straight["bits_per_character"]
    with pytest.raises(UsageError, match="no run or checkpoint"):
        resumed(tmp_path / "nowhere")


def test_dtype_and_threads_are_decided_once_and_recorded(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run", dtype="auto", threads=0, max_iters=5)
    options = json.loads((tmp_path / "run" / "last" / "config.json").read_text())["options"]
    assert options["dtype"] in ("float32", "bfloat16")
    assert options["threads"] >= 1
    go(text, tmp_path / "run", dtype="auto", threads=0, max_iters=8, resume="auto")
    again = json.loads((tmp_path / "run" / "last" / "config.json").read_text())["options"]
    assert (again["dtype"], again["threads"]) == (options["dtype"], options["threads"])


def test_killed_before_the_first_checkpoint_was_whole_a_run_begins_anew(text: str, tmp_path: Path) -> None:
    half = tmp_path / "run" / "last.new"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    assert go(text, tmp_path / "run", resume="auto")["iterations"] == 40
    assert sorted(path.name for path in (tmp_path / "run").glob("last*")) == ["last"]


def test_floors_of_large_texts_are_not_fitted_unasked(text: str) -> None:
    corpus = load_corpus(text)
    quiet = Progress(quiet=True)
    assert floors_if_asked(corpus, "auto", quiet) is not None
    assert floors_if_asked(corpus, "no", quiet) is None
    large = replace(corpus, bytes=20_000_001)
    assert floors_if_asked(large, "auto", quiet) is None
    assert floors_if_asked(large, "yes", quiet) is not None


def test_a_folder_that_is_not_empty_is_refused_without_resume(text: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        go(text, tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_resume_from_best_is_refused_since_it_has_no_state(text: str, tmp_path: Path) -> None:
    go(text, tmp_path / "run")
    with pytest.raises(FfseqError, match="weights only"):
        go(text, tmp_path / "run", out_dir=None, resume=str(tmp_path / "run" / "best"))


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


@pytest.mark.parametrize("looks", range(40, 44))
def test_interrupted_after_learning_the_run_is_kept_and_finished_by_resume(
    looks: int, text: str, tmp_path: Path
) -> None:
    """Learning is over when the signal comes, in scoring or in counting: --resume gives the figures."""
    calls = 0

    def interrupted() -> bool:
        nonlocal calls
        calls += 1
        return calls > looks  # one look before each of the 40 updates, then those of scoring and of counting

    config = from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "run"), "floors": "yes"})
    shutil.rmtree(cache_folder() / "floors", ignore_errors=True)
    with contextlib.suppress(Interrupted):
        train(config, interrupted=interrupted)
    assert calls > looks, "the signal never came"
    resumed = go(text, tmp_path / "run", resume="auto", floors="yes")
    assert resumed["iterations"] == 40
    straight = go(text, tmp_path / "straight", floors="yes")
    for name in ("bits_per_character", "accuracy", "floors"):
        assert resumed[name] == straight[name]


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

"""Image runs from the command line: results, exact resume, refusals; nets small enough to take a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import as_json, refused

from ffseq.checkpoint import load_checkpoint
from ffseq.commands.images import preset_files, settings
from ffseq.errors import FfseqError, Interrupted
from ffseq.images.config import from_flat
from ffseq.images.data import as_floats
from ffseq.images.experiment import EXPERIMENTS, module_of
from ffseq.images.glyphs import glyphs
from ffseq.images.runs import run_experiment

SMALL = ["--dataset", "glyphs", "--epochs", "2", "--batch_size", "30", "--units", "16",
         "--threads", "1", "--dtype", "float32", "--quiet"]  # fmt: skip
CPU = torch.device("cpu")
KEYS = {
    "experiment", "dataset", "test_error", "test_error_every_label", "test_error_one_pass", "validation_error",
    "train_error", "epochs", "epochs_to_2_percent", "seconds", "run",
}  # fmt: skip
DENSE = ("supervised", "jitter", "unsupervised")
NOISY = {"net": "regularised", "batch_norm": True, "noise": 0.3}


def options(experiment: str, folder: Path, **more: Any) -> Any:
    flat = settings(experiment, [*SMALL, "--out_dir", str(folder)])
    flat = {key: value for key, value in flat.items() if key not in ("json", "quiet", "preset")}
    return from_flat(experiment, module_of(experiment).Settings, flat | more)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("words", [["supervised"], ["unsupervised"], ["backprop", "--net", "regularised"],
                                   ["backprop", "--net", "conv", "--channels", "2"]])  # fmt: skip
def test_a_run_has_figures_and_pictures(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    result = as_json(capsys, "images", *words, *SMALL, "--out_dir", str(folder))
    assert result.keys() >= KEYS
    assert json.loads((folder / "result.json").read_text())["test_error"] == result["test_error"]
    assert result["run"] == str(folder)
    tests = {"every_label": result["test_error_every_label"], "one_pass": result["test_error_one_pass"]}
    has = {"supervised": {"every_label", "one_pass"}, "unsupervised": {"one_pass"}, "backprop": set()}[words[0]]
    assert {name for name, value in tests.items() if value is not None} == has
    if has:
        assert result["test_error"] == tests[result["best_test"]]  # chosen by validation
        assert result["validation_error"] == min(result["validation_errors"].values())
    names = {"curves"} | ({"goodness", "receptive_fields"} if has else set())
    names |= {"hybrids"} if words[0] == "unsupervised" else set()
    for name in names:
        assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (folder / f"{name}.svg").read_text()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("experiment", "more"), [*((name, {}) for name in (*DENSE, "backprop")), ("backprop", NOISY)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(experiment: str, more: Any, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_experiment(options(experiment, whole, **more))
    for stops in (3, 3):  # in the first epoch, and in the second
        asked = iter([False] * stops)
        with pytest.raises(Interrupted, match="--resume"):
            run_experiment(options(experiment, parts, resume="auto", **more), interrupted=lambda: next(asked, True))  # noqa: B023
    assert load_checkpoint(parts / "last").config["step"] == 6
    run_experiment(options(experiment, parts, resume="auto", **more))
    one, two = load_checkpoint(whole / "last"), load_checkpoint(parts / "last")
    assert one.model.keys() == two.model.keys()
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    assert one.trainer_tensors is not None
    assert two.trainer_tensors is not None
    assert all(torch.equal(one.trainer_tensors[name], two.trainer_tensors[name]) for name in one.trainer_tensors)
    assert (whole / "log.jsonl").read_text() == (parts / "log.jsonl").read_text()


def test_layers_that_learned_are_read_better_than_those_that_did_not(tmp_path: Path) -> None:
    more = {"train_images": 1500, "epochs": 3, "units": 64, "batch_size": 25, "layers": 2, "temperature": 5.0}
    learned, untrained = (
        run_experiment(options("unsupervised", tmp_path / hidden, hidden=hidden, **more))["test_error"]
        for hidden in ("learned", "random")
    )
    assert learned < untrained < 80  # of 90 by chance


def test_products_in_bfloat16_learn_the_same_within_their_rounding() -> None:
    images, labels = as_floats(glyphs().test.images[:20], CPU), glyphs().test.labels[:20]
    for experiment in ("supervised", "unsupervised"):
        module, learned = module_of(experiment), []
        config = from_flat(experiment, module.Settings, {"layers": 2, "units": 8, "batch_size": 20})
        for products in (torch.float32, torch.bfloat16):
            made = module.make(glyphs(), config, CPU, products)
            made.update(images, labels, random=torch.Generator().manual_seed(0), share=1.0, done=0.0)
            learned.append(made.modules.state_dict())
        for name in learned[0]:
            # Three digits in a product; and an activity near zero may fall on the other side.
            torch.testing.assert_close(learned[0][name], learned[1][name], atol=2e-3, rtol=2e-2)


def test_every_experiment_has_its_presets(tmp_path: Path) -> None:
    for experiment in EXPERIMENTS:
        assert {"quick", "paper"} <= preset_files(experiment).keys()
        for preset in preset_files(experiment):
            typed = settings(experiment, ["--preset", preset, "--seed", "3"])
            assert typed["seed"] == 3
            flat = {key: value for key, value in typed.items() if key not in ("json", "quiet", "preset")}
            config = from_flat(experiment, module_of(experiment).Settings, flat)
            assert config.data.dataset == ("glyphs" if preset == "quick" else config.data.dataset)
    own = tmp_path / "mine.yaml"
    own.write_text("units: 7\ntemperature: 3\n")
    assert settings("supervised", ["--preset", str(own), "--units", "9"])["units"] == 9


@pytest.mark.usefixtures("few")
def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    for words, said in (
        (["supervized"], "did you mean 'supervised'"),
        (["--units", "3"], "options follow the experiment"),
        (["supervised", "--units", "x"], "--units"),
        (["supervised", "--momentun", "0.5"], "did you mean '--momentum'"),
        (["supervised", "--preset", "papre"], "did you mean 'paper'"),
        (["supervised", "--temperature", "0"], "--temperature"),
        (["supervised", "--momentum", "1"], "--momentum"),
        (["supervised", "--batch_size", "400"], "120 training images"),
        (["unsupervised", "--batch_size", "1"], "--batch_size"),
        (["backprop", "--net", "deep"], "--net"),
        (["backprop", "--dropout", "1"], "--dropout"),
        (["backprop", "--net", "regularised", "--noise", "-1"], "--noise"),
        (["backprop", "--noise", "0.1"], "--net regularised"),
        (["backprop", "--net", "regularised", "--batch_norm", "true", "--batch_size", "1"], "--batch_size"),
        (["supervised", "--resume", folder], "no run or checkpoint"),
    ):
        assert said in refused(capsys, "images", *words, "--quiet")
    assert not (tmp_path / "run").exists()
    assert as_json(capsys, "images", "supervised", *SMALL, "--layers", "1", "--out_dir", folder)["parameters"] > 0
    assert "not empty" in refused(capsys, "images", "supervised", *SMALL, "--out_dir", folder)
    assert "keeps it" in refused(capsys, "images", "supervised", "--resume", folder, "--units", "17")
    assert "not a run of" in refused(capsys, "images", "backprop", "--resume", folder)


@pytest.mark.usefixtures("few")
def test_learning_that_runs_away_is_said_and_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FfseqError, match="not finite"):
        run_experiment(options("backprop", folder, learning_rate=1e9))
    assert all(bool(one.isfinite().all()) for one in load_checkpoint(folder / "last").model.values())

"""The command line as a person meets it: verbs, options, JSON, tables."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from conftest import QUICK, TEXT, as_json, refused

from ffseq.cli import main
from ffseq.commands.train import settings


def test_train_json_has_the_promised_figures(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = as_json(capsys, "train", text, *QUICK, "--out_dir", str(tmp_path / "run"))
    promised = {
        "run", "bits_per_character", "accuracy", "bits_per_byte", "validation_bits_per_character", "parameters",
        "characters_seen", "iterations", "seconds", "characters_per_second", "floors",
    }  # fmt: skip
    assert promised <= result.keys()
    assert {"order", "discount", "bits_per_character", "accuracy"} <= result["floors"]["kneser_ney"].keys()
    assert {"bits_per_character", "accuracy"} <= result["floors"]["unigram"].keys()
    folder = Path(result["run"])
    assert {"log.jsonl", "best", "last", "curves.png", "samples"} <= {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "alphabet.json", "manifest.json"} <= {
        path.name for path in (folder / "best").iterdir()
    }
    assert (folder / "last" / "trainer_state.json").exists()


def test_train_ends_with_a_table_and_a_sample(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", text, *QUICK, "--out_dir", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert "Kneser-Ney" in captured.out
    assert "A sample:" in captured.out
    assert "characters/s" in captured.err
    assert "goodness" in captured.err


def test_quiet_silences_progress(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", text, *QUICK, "--out_dir", str(tmp_path / "run"), "--quiet", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_evaluate_json(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = as_json(capsys, "evaluate", run_folder)
    assert {"bits_per_character", "accuracy", "characters", "per_layer", "floors"} <= result.keys()
    assert len(result["per_layer"]) == 2
    assert main(["evaluate", run_folder, "--split", "validation"]) == 0


def test_floors_json(text: str, run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    floors = as_json(capsys, "floors", text)
    assert floors == as_json(capsys, "evaluate", run_folder)["floors"]
    assert 1 <= floors["kneser_ney"]["order"] <= 9


def test_sample_json_same_seed_same_text(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["sample", run_folder, "--start", "the ", "--max_new_tokens", "30", "--num_samples", "3"]
    one = as_json(capsys, *options, "--seed", "7")["samples"]
    assert one == as_json(capsys, *options, "--seed", "7")["samples"]
    assert one != as_json(capsys, *options, "--seed", "8")["samples"]
    assert len(one) == 3
    assert len(set(one)) > 1
    assert all(sample.startswith("the ") and len(sample) == 34 for sample in one)


def test_sample_prints_text(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["sample", run_folder, "--start", "the ", "--max_new_tokens", "20"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the ")
    assert len(out) == 25


def test_sample_start_from_a_file_and_from_standard_input(
    run_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompt").write_text("the dog")
    sample = ["sample", run_folder, "--max_new_tokens", "5", "--start"]
    assert as_json(capsys, *sample, f"FILE:{tmp_path / 'prompt'}")["samples"][0].startswith("the dog")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the log")))
    assert as_json(capsys, *sample, "-")["samples"][0].startswith("the log")


def test_sample_temperature_zero_needs_no_seed(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["sample", run_folder, "--temperature", "0", "--max_new_tokens", "20"]
    assert as_json(capsys, *options, "--seed", "1") == as_json(capsys, *options, "--seed", "2")


def test_unknown_characters_in_a_prompt(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "U+00E9" in refused(capsys, "sample", run_folder, "--start", "cat\u00e9", status=1)
    kept = as_json(capsys, "sample", run_folder, "--start", "ca\u00e9t", "--unknown", "drop", "--max_new_tokens", "0")
    assert kept["samples"] == ["cat"]


def test_presets_are_listed_shown_and_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {entry["name"] for entry in as_json(capsys, "list")["presets"]}
    assert {"fables", "aesop-hinton", "aesop-small", "random-hidden", "tinyshakespeare"} <= names
    assert main(["show", "aesop-small"]) == 0
    assert "units: 500" in capsys.readouterr().out
    copy = tmp_path / "mine.yaml"
    assert main(["cp", "fables", str(copy)]) == 0
    assert main(["cp", "fables", str(copy)]) == 2
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--preset", "mine.yaml", *QUICK, "--out_dir", "run", "--quiet", "--floors", "no"]) == 0


def test_corpora_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    names = {entry["name"] for entry in as_json(capsys, "corpora", "list")["corpora"]}
    assert names >= {"fables", "markov", "aesop", "tinyshakespeare", "text8", "enwik8", "text8-prefix", "enwik8-prefix"}
    assert as_json(capsys, "corpora", "show", "aesop")["name"] == "aesop"


def test_typed_options_win_over_the_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert (
        main(["train", *QUICK, "--learning_rate", "0.004", "--out_dir", str(folder), "--quiet", "--floors", "no"]) == 0
    )
    options = json.loads((folder / "last" / "config.json").read_text())["options"]
    assert options["corpus"] == "fables"
    assert options["units"] == 16
    assert options["learning_rate"] == 0.004


@pytest.mark.parametrize(
    ("words", "streams"),
    [([], False), (["--stream"], True), (["--stream", "--seed", "1"], True), (["fables", "--stream", "false"], False)],
)
def test_stream_is_a_flag_and_nothing_typed_is_the_default_corpus(words: list[str], streams: bool) -> None:
    chosen = settings(words)
    assert chosen["corpus"] == "fables"
    assert chosen["stream"] is streams


def test_resume_continues_with_the_runs_own_settings(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = as_json(capsys, "train", "--resume", run_folder, "--max_iters", "30")
    assert result["iterations"] == 30
    assert result["run"] == run_folder
    auto = as_json(capsys, "train", "--resume", "auto", "--out_dir", run_folder, "--max_iters", "35")
    assert auto["iterations"] == 35


def test_standard_input_is_a_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    result = as_json(capsys, "train", "-", *QUICK, "--out_dir", str(tmp_path / "run"))
    assert result["iterations"] == 20


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "ffseq train" in capsys.readouterr().out
    assert main(["--version"]) == 0
    for verb in ("train", "sample", "evaluate", "floors", "corpora", "list", "show"):
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        assert "--json" in capsys.readouterr().out


# --- bad input ------------------------------------------------------------------------------------------------------

"""What the command line refuses, and how it says so: sentences instead of tracebacks."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from conftest import QUICK, TEXT, as_json, refused

from ffseq.cli import main


def make(tmp_path: Path, name: str) -> str:
    """A malformed text of the given kind; returns its path."""
    path = tmp_path / name
    whole = gzip.compress(TEXT.encode())
    contents = {
        "empty.txt": b"",
        "one_symbol.txt": b"a" * 5000,
        "short.txt": b"ab abc",
        "invalid.txt": TEXT.encode() + b"\xff\xfe" + TEXT.encode(),
        "truncated.gz": whole[: len(whole) // 2],
        "not_gzip.gz": TEXT.encode(),
        "not_xz.xz": TEXT.encode(),
    }
    path.write_bytes(contents[name])
    return str(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.txt", "empty"), ("one_symbol.txt", "one"), ("short.txt", "block_size"), ("invalid.txt", "UTF-8"),
        ("truncated.gz", "truncated.gz"), ("not_gzip.gz", "not_gzip.gz"), ("not_xz.xz", "not_xz.xz"),
    ],
)  # fmt: skip
def test_malformed_texts_are_refused(name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "train", make(tmp_path, name), *QUICK, "--out_dir", str(tmp_path / "run"), status=1)
    assert words in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "no/such/file.txt"], "no/such/file.txt"),
        (["train", "aesob"], "aesop"),
        (["train", "--preset", "fabels"], "fables"),
        (["train", "--preset", "no.yaml"], "no.yaml"),
        (["train", "--learning_rate", "nan"], "--learning_rate"),
        (["train", "--learning_rate", "-1"], "--learning_rate"),
        (["train", "--learning_rate", "fast"], "learning_rate"),
        (["train", "--objective", "contrats"], "objective"),
        (["train", "--objectiv", "nce"], "--objectiv "),
        (["train", "--objective", "contrast", "--negatives", "unigram"], "does not go with"),
        (["train", "--unitz", "3"], "--units"),
        (["train", "--max_iters", "1.5"], "max_iters"),
        (["train", "--dropout", "1"], "--dropout"),
        (["train", "--split_rule", "50/20/10"], "50/20/10"),
        (["train", "--resume", "auto"], "--out_dir"),
        (["train", "--resume", "nowhere"], "nowhere"),
        (["trian"], "train"),
        (["train", ""], "empty"),
        (["train", "--units", "1.5"], "--units: expected a whole number, got 1.5"),
        (["train", "--max_iters", "1e1"], "--max_iters: expected a whole number, got 10.0"),
        (["train", "--exclude_truth", "maybe"], "--exclude_truth: expected true or false, got maybe"),
        (["train", "--scope", "al"], "--scope: expected own or below or all, got al"),
        (["train", "--num_negatives", "99999999999999999999"], "--num_negatives"),
        (["train", "--dropout", "0.999"], "--dropout"),
        (["train", "--threads", "100000"], "--threads"),
        (["train", "--resume", ""], "--resume"),
        (["--json", "list"], "follow the verb"),
        (["corpora", "list", "junk"], "corpora show junk"),
        (["sample", "nowhere"], "nowhere"),
        (["sample"], "run"),
        (["evaluate", "nowhere"], "nowhere"),
        (["floors", "nowhere.txt"], "nowhere.txt"),
        (["show", "fabels"], "fables"),
        (["corpora", "show", "aesob"], "aesop"),
        (["corpora", "show"], "NAME"),
    ],
)
def test_wrong_requests_are_refused_with_a_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir()), "a refused request leaves nothing behind"


@pytest.mark.parametrize(
    "option", ["--temperature=-1", "--temperature=nan", "--top_k=0", "--top_p=2", "--num_samples=0"]
)
def test_bad_sampling_options_are_refused(option: str, run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert option.split("=")[0] in refused(capsys, "sample", run_folder, option, status=2)


def test_a_cache_that_cannot_be_written_and_a_net_that_does_not_fit_are_sentences(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = [*QUICK, "--units", "1000000000", "--out_dir", text + ".run"]
    assert "not enough memory" in refused(capsys, "train", text, "--quiet", *huge, status=1)
    monkeypatch.setenv("FFSEQ_CACHE", text)
    assert text in refused(capsys, "train", text, *QUICK, "--out_dir", text + ".other", status=1)


def test_out_dir_that_is_a_file(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is a file" in refused(capsys, "train", text, *QUICK, "--out_dir", text, status=2)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "alphabet.json", "manifest.json"])
def test_one_flipped_bit_is_noticed_and_the_other_checkpoint_offered(
    name: str, run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(run_folder) / "best" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error = refused(capsys, "sample", run_folder, status=1)
    assert name in error
    assert "last" in error


def test_catalogue_corpora_say_what_they_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FFSEQ_DATA", raising=False)
    assert "FFSEQ_DATA" in refused(capsys, "train", "aesop", "--out_dir", str(tmp_path / "run"))


def test_a_preset_with_an_unknown_option_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "bad.yaml"
    preset.write_text("unitz: 3\n")
    assert "units" in refused(capsys, "train", "--preset", str(preset))
    preset.write_text("{[")
    assert "YAML" in refused(capsys, "train", "--preset", str(preset))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("units: abc", "--units"), ("units: 1.5", "--units"), ("seed: null", "--seed"),
        ("layers: true", "--layers"),
        ("objective: foo", "--objective"), ("seed: 1e400", "--seed"), ("split_rule: 80", "split_rule"),
        ("corpus: 5", "corpus"), ("learning_rate: -1", "--learning_rate"), ("- units", "name: value"),
    ],
)  # fmt: skip
def test_values_of_a_preset_are_checked_as_if_typed(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(content)
    error = refused(capsys, "train", "--preset", "bad.yaml", "--floors", "no")
    assert words in error
    assert "bad.yaml" in error or "split_rule" in content
    Path("latin.yaml").write_bytes(b"# \xe9\nunits: 3\n")
    assert "latin.yaml" in refused(capsys, "show", "latin.yaml", status=1)


@pytest.mark.parametrize(
    "changed", [["--optimiser", "sgd"], ["--average", "0.9"], ["--seed", "5"], ["--objective", "likelihood"],
                ["--batch_size", "8"], ["--temperature", "2"]]
)  # fmt: skip
def test_a_resumed_run_keeps_what_it_learns_by(
    changed: list[str], run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, "train", "--resume", run_folder, "--max_iters", "30", *changed, status=2)
    assert f"{changed[0]} {changed[1]}" in error
    assert "differs from the run's" in error
    slower = as_json(capsys, "train", "--resume", run_folder, "--max_iters", "30", "--learning_rate", "0.0001")
    assert slower["iterations"] == 30


def test_the_command_that_began_a_run_also_resumes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "--preset", "fables", *QUICK, "--out_dir", "run", "--resume", "auto", "--floors", "no"]
    one, two = as_json(capsys, *command), as_json(capsys, *command)
    assert one["bits_per_character"] == two["bits_per_character"]
    assert two["iterations"] == 20


def test_evaluate_keeps_the_runs_policy_and_split(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = tmp_path / "mixed.txt"
    mixed.write_text(TEXT + "É" + TEXT)
    for unknown, alphabet in (("drop", "text8"), ("replace", "text8")):
        folder = str(tmp_path / unknown)
        options = ["--alphabet", alphabet, "--unknown", unknown, "--split_rule", "50/0/50", "--out_dir", folder]
        trained = as_json(capsys, "train", str(mixed), *QUICK, *options)
        again = as_json(capsys, "evaluate", folder)
        assert again["bits_per_character"] == pytest.approx(trained["bits_per_character"])
        # Through a pipe the text has no name; by its content it is known, and split as it was.
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mixed.read_bytes())))
        piped = as_json(capsys, "evaluate", folder, "-")
        assert piped["characters"] == again["characters"]
        assert main(["evaluate", folder, "--split_rule", "10/10/80"]) == 0
        assert "may have learned" in capsys.readouterr().err


def test_a_pipe_given_as_a_path_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_text(TEXT))
    writer.start()
    result = as_json(capsys, "train", str(fifo), *QUICK, "--out_dir", str(tmp_path / "run"))
    writer.join()
    assert result["iterations"] == 20


def test_names_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff.txt")
    Path(name).write_text(TEXT)
    assert as_json(capsys, "train", name, *QUICK, "--out_dir", name + ".run")["iterations"] == 20
    assert as_json(capsys, "evaluate", name + ".run")["characters"] == len(TEXT) - len(TEXT) * 90 // 100


def test_a_checkpoint_folder_may_be_called_dot(
    run_folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(run_folder) / "best")
    assert as_json(capsys, "sample", ".", "--max_new_tokens", "3")["samples"]
    assert "--threads" in refused(capsys, "evaluate", ".", "--threads", "-1", status=2)
    monkeypatch.chdir(run_folder)
    assert as_json(capsys, "train", "--resume", ".", "--max_iters", "21")["iterations"] == 21


def test_figures_of_the_net_outlive_floors_that_fail_and_a_lost_best(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("ffseq.scoring.corpus_floors", fail)
        result = as_json(capsys, "train", text, *QUICK, "--out_dir", str(folder))
    assert result["floors"] is None
    assert json.loads((folder / "result.json").read_text())["bits_per_character"] == result["bits_per_character"]
    shutil.rmtree(folder / "best")
    assert main(["train", "--resume", str(folder), "--floors", "no"]) == 0
    assert "best is gone" in capsys.readouterr().err

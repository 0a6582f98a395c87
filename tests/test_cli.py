"""The command line as a person meets it: verbs, JSON, sentences instead of tracebacks, Ctrl-C."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ffseq.cli import main
from ffseq.commands.train import settings

TEXT = "the cat sat on the mat and the dog ran to the log; " * 60
QUICK = [
    "--layers", "2", "--units", "16", "--block_size", "5", "--batch_size", "16", "--max_iters", "20",
    "--log_interval", "5", "--threads", "1", "--dtype", "float32",
]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture
def run_folder(text: str, tmp_path: Path) -> str:
    folder = str(tmp_path / "run")
    assert main(["train", text, *QUICK, "--out_dir", folder, "--quiet"]) == 0
    return folder


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int | None = None) -> str:
    """The sentence with which a command is refused: exit 1 or 2, no traceback, one line."""
    capsys.readouterr()
    code = main(list(arguments))
    error = capsys.readouterr().err
    assert code == status if status is not None else code in (1, 2)
    assert error.startswith("ffseq: ")
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    return error


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


def test_two_trainings_do_not_share_a_folder(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    process = start("train", text, *QUICK, "--max_iters", "1000000", "--out_dir", str(folder), "--quiet")
    while not (folder / "last").exists():
        time.sleep(0.05)
    assert "another process" in refused(capsys, "train", "--resume", str(folder), status=2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_closed_and_narrow_standard_streams() -> None:
    """No reader, no stream, no Unicode: never a traceback."""
    python = [sys.executable, "-m", "ffseq"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    narrow = subprocess.run([*python, "train", "--help"], env=environment, capture_output=True, text=True)
    assert narrow.returncode == 0, narrow.stderr
    for redirection in (">&-", "2>&-", "<&-", "2>/dev/full"):
        command = " ".join([*python, "list", redirection])
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (redirection, done.stderr)
    piped = subprocess.run(
        ["bash", "-c", " ".join([*python, "list | true; exit ${PIPESTATUS[0]}"])], capture_output=True, text=True
    )
    assert (piped.returncode, piped.stderr) == (0, "")


def test_training_goes_on_when_nobody_reads_its_progress(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("train", text, *QUICK, "--max_iters", "400", "--log_interval", "1", "--out_dir", str(folder))
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    assert process.stdout is not None
    process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert json.loads((folder / "result.json").read_text())["iterations"] == 400


# --- signals --------------------------------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ffseq", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )  # fmt: skip


@pytest.mark.parametrize(("number", "delay"), [(signal.SIGINT, 0.4), (signal.SIGTERM, 0.9), (signal.SIGINT, 6.0)])
def test_signals_save_and_exit_130_and_the_run_goes_on(
    number: signal.Signals, delay: float, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    process = start("train", text, *QUICK, "--max_iters", "1000000", "--out_dir", folder, "--floors", "no")
    time.sleep(delay)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert f"--resume {folder}" in error
    state = json.loads((Path(folder) / "last" / "trainer_state.json").read_text())
    more = state["step"] + 3
    result = as_json(capsys, "train", "--resume", folder, "--max_iters", str(more))
    assert result["iterations"] == more


@pytest.mark.parametrize("verb", ["floors", "train"])
def test_with_nothing_to_save_the_first_signal_is_enough(verb: str, tmp_path: Path) -> None:
    """Standard input that never ends: it would wait for ever."""
    command = [sys.executable, "-m", "ffseq", verb, "-"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "ffseq: stopped\n"


def test_a_reader_that_goes_away_is_no_error(run_folder: str) -> None:
    process = start("sample", run_folder, "--max_new_tokens", "20000")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()

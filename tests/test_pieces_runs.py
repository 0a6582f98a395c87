"""Runs whose symbols are pieces: bits are counted by the characters of the text."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import QUICK, as_json, go, refused
from pieces import PIECES, TEXT, foreign

from ffseq.alphabet import Alphabet
from ffseq.baselines.floors import corpus_floors
from ffseq.checkpoint import load_checkpoint
from ffseq.cli import main
from ffseq.config import PiecesConfig
from ffseq.corpus import load_corpus
from ffseq.network import SequenceNetwork
from ffseq.piece_model import lossless
from ffseq.scoring import evaluate


def test_figures_are_bits_per_character_an_upper_bound_beside_counting_by_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Total bits by hand: the net's own log probabilities along the pieces of the held-out text."""
    path, run = tmp_path / "text.txt", tmp_path / "run"
    path.write_text(TEXT)
    trained = as_json(capsys, "train", str(path), *QUICK, *PIECES, "--out_dir", str(run))
    corpus = load_corpus(str(path), alphabet=PiecesConfig(size=90))
    network = SequenceNetwork.from_pretrained(run)
    assert network.alphabet == corpus.alphabet
    stop, bits = len(corpus.symbols), 0.0
    for place in range(corpus.held_out.start, stop):
        known = [network.alphabet.pieces and len(network.alphabet)] * 5
        before = corpus.symbols[max(0, place - 5) : place][::-1].tolist()
        context = torch.tensor([(before + known)[:5]])
        log_p = network.log_probabilities(network.scores(context))[0]
        bits -= float(log_p[int(corpus.symbols[place])]) / math.log(2)
    held_out = TEXT[len(TEXT) * 90 // 100 :]
    assert trained["bits_per_character"] == pytest.approx(bits / len(held_out), rel=1e-4)
    assert trained["bits_per_byte"] == pytest.approx(bits / len(held_out.encode()), rel=1e-4)
    assert trained["upper_bound"] is True
    train = corpus.train
    assert trained["characters_seen"] == round(20 * 16 * train.characters / train.symbols)
    result = as_json(capsys, "evaluate", str(run))
    assert result["upper_bound"] is True
    assert result["bits_per_character"] == trained["bits_per_character"]
    assert result["floors"]["kneser_ney_characters"] == corpus_floors(load_corpus(str(path)))["kneser_ney"]
    floors = as_json(capsys, "floors", str(path), *PIECES)
    assert floors == result["floors"] == trained["floors"]
    for arguments in (["evaluate", str(run)], ["floors", str(path), *PIECES]):
        said = told(capsys, *arguments)
        assert "(upper bound)" in said
        assert "Kneser-Ney by characters, order" in said
        assert (f"{result['bits_per_byte']:.3f} bits per byte" in said) == (arguments[0] == "evaluate")
    assert "single characters" in refused(capsys, "evaluate", str(run), "--by", "distance", status=2)
    said = told(capsys, "train", str(path), *QUICK, "--out_dir", str(tmp_path / "other"), "--floors", "no")
    assert "bits per byte" in said
    assert "upper bound" not in said


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*arguments, "--quiet"]) == 0
    return " ".join(capsys.readouterr().out.replace("┃", " ").split())


def test_a_run_is_complete_without_its_model_file_and_its_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sampled, resumed, reported on and shared when the .model is gone; refused with other pieces."""
    path, run = tmp_path / "text.txt", tmp_path / "run"
    path.write_text(TEXT)
    model = foreign(tmp_path)
    options = ["--alphabet", "pieces", "--pieces.model", str(model), "--sample_interval", "10"]
    trained = as_json(capsys, "train", str(path), *QUICK, *options, "--out_dir", str(run))
    assert trained["bits_per_character"] < 20
    model.unlink()
    (tmp_path / "it.vocab").unlink()
    again = as_json(capsys, "train", "--resume", str(run), "--max_iters", "25")
    assert again["iterations"] == 25
    assert "pieces.size" in refused(capsys, "train", "--resume", str(run), "--pieces.size", "99", status=2)
    (sample,) = as_json(capsys, "sample", str(run), "--start", "The  ▁é fox", "--max_new_tokens", "9")["samples"]
    assert sample.startswith("The  ▁é fox")
    page = as_json(capsys, "report", str(run), "--passage", "50")
    assert "upper bound" in Path(page["page"]).read_text()
    shared = tmp_path / "shared"
    assert set(as_json(capsys, "share", str(run), "--to", str(shared))["files"]) >= {"alphabet.json", "README.md"}
    assert "upper bound" in (shared / "README.md").read_text()
    for name in ("alphabet.json", "config.json"):
        assert str(tmp_path) not in (shared / name).read_text(), name
    assert str(tmp_path).encode() not in lossless(load_pieces(shared))
    path.unlink()
    (sample,) = as_json(capsys, "sample", str(shared), "--max_new_tokens", "5")["samples"]
    assert "no such file" in refused(capsys, "evaluate", str(run), status=1).lower()


def load_pieces(folder: Path) -> bytes:
    pieces = Alphabet.from_json(load_checkpoint(folder).alphabet).pieces
    assert pieces is not None
    return pieces.model


def test_a_stream_is_learned_by_pieces_of_another_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = tmp_path / "text.txt", tmp_path / "run"
    path.write_text(TEXT)
    model = str(foreign(tmp_path))
    stream = ["train", str(path), "--stream", "--alphabet", "pieces", "--threads", "1", "--dtype", "float32"]
    stream += ["--layers", "2", "--units", "16"]
    figures = as_json(capsys, *stream, "--pieces.model", model, "--out_dir", str(run))
    assert figures["characters_seen"] == len(TEXT)
    assert figures["upper_bound"] is True
    assert figures["bits_per_byte"] * len(TEXT.encode()) == pytest.approx(
        figures["prequential_bits_per_character"] * len(TEXT)
    )
    assert "--pieces.model" in refused(capsys, *stream, "--out_dir", str(tmp_path / "other"), status=2)
    stdin = ["train", "-", *stream[2:], "--pieces.model", model, "--out_dir", str(tmp_path / "other")]
    assert "characters" in refused(capsys, *stdin, status=2)
    assert not (tmp_path / "other").exists()


def test_nets_that_learn_otherwise_learn_pieces_too(tmp_path: Path) -> None:
    """A causal stack that learns on, a black box, dreams as negatives, wake and sleep."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    pieces = {"alphabet": "pieces", "pieces.size": 90, "max_iters": 4, "eval_interval": 4}
    go(str(path), tmp_path / "causal", **pieces, stack="causal", string_length=8)
    learned_on = evaluate(tmp_path / "causal", learn_on=True, floors="no")
    assert learned_on["upper_bound"] is True
    assert learned_on["bits_per_character"] != learned_on["at_rest"]["bits_per_character"]
    boxed = go(str(path), tmp_path / "boxed", **pieces, black_box="kneser_ney")
    corpus = load_corpus(str(path), alphabet=PiecesConfig(size=90))
    counting = corpus_floors(corpus)["kneser_ney"]["bits_per_character"]
    assert boxed["black_box_alone"]["bits_per_character"] == pytest.approx(counting, rel=1e-3)
    sleeping = {"objective": "nce", "phases.kind": "sleep", "phases.wake": 2, "phases.sleep": 2}
    for name, more in (("dreams", {"negatives": "dream", "objective": "nce"}), ("sleep", sleeping)):
        assert math.isfinite(go(str(path), tmp_path / name, **pieces, **more)["bits_per_character"])


@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        (["--pieces.size", "90"], "does nothing without --alphabet pieces", 2),
        (["--alphabet", "pieces", "--pieces.size", "5000"], "--pieces.size 5000 is more than the training part of", 2),
        (["--alphabet", "pieces", "--pieces.size", "9"], "less than the", 2),
        (["--alphabet", "pieces", "--pieces.size", "0"], "--pieces.size has to be", 2),
        (["--alphabet", "pieces", "--pieces.kind", "words"], "--pieces.kind", 2),
        (["--alphabet", "pieces", "--pieces.coverage", "0"], "--pieces.coverage", 2),
        (["--alphabet", "pieces", "--pieces.model", "text.txt"], "text.txt is not a SentencePiece model", 1),
        (["--alphabet", "pieces", "--pieces.model", "empty.model"], "is not a SentencePiece model", 1),
        (["--alphabet", "pieces", "--pieces.model", "no.model"], "No such file", 1),
        (["--alphabet", "pieces", "--pieces.model", "."], "directory", 1),
        (["--alphabet", "pieces", "--pieces.model", "no.model", "--pieces.kind", "bpe"], "give one", 2),
        (["--alphabet", "pieces", "--split_rule", "hinton"], "strings of 100 characters", 2),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_leaves_nothing(
    options: list[str],
    words: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    Path("empty.model").write_bytes(b"")
    assert words in refused(capsys, "train", "text.txt", *QUICK, *options, status=status)
    assert words in refused(capsys, "floors", "text.txt", *options, status=status)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.model", "text.txt"]


def test_without_the_package_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = tmp_path / "text.txt", tmp_path / "run"
    path.write_text(TEXT)
    go(str(path), run, alphabet="pieces", **{"pieces.size": 90})
    shutil.copy(run / "last" / "alphabet.json", tmp_path / "it.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    other = ["--out_dir", str(tmp_path / "other")]
    for command in (
        ["sample", str(run)],
        ["evaluate", str(run)],
        ["train", str(path), *PIECES, *other],
        ["train", str(path), "--alphabet", "pieces", "--pieces.model", str(tmp_path / "it.model"), *other],
        ["train", "--resume", str(run), "--max_iters", "50"],
    ):
        assert "pip install 'ffseq[pieces]'" in refused(capsys, *command, status=1)
    assert not (tmp_path / "other").exists()


def test_a_comparison_has_the_counting_models_of_both_and_says_what_its_bits_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    net = ["--stack", "window", "--layers", "1", "--units", "8", "--batch_size", "32", "--block_size", "4"]
    one = ["--methods", "ff-own-expected", "--seeds", "0", "--learning_rates", "1e-3", "--dropouts", "0.1"]
    command = ["compare", str(path), *PIECES, *net, *one, "--max_iters", "8", "--threads", "1", "--dtype", "float32"]
    command += ["--out_dir", str(tmp_path / "comparison")]
    result = as_json(capsys, *command)
    assert result["upper_bound"] is True
    names = [row["name"] for row in result["rows"]]
    assert names == ["ff-own-expected", "kneser-ney", "kneser-ney-characters", "unigram"]
    learned, corpus = result["rows"][0], load_corpus(str(path), alphabet=PiecesConfig(size=90))
    assert learned["characters_seen"] == round(8 * 32 * corpus.train.characters / corpus.train.symbols)
    assert learned["multiplications"] % (8 * 32) == 0  # of symbols, not of characters
    assert "upper bound" in told(capsys, *command)

"""Alphabets of SentencePiece pieces: nothing of a text is lost, and bits are counted by its characters."""

from __future__ import annotations

import copy
import io
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from conftest import QUICK, as_json, go, refused
from hypothesis import given
from hypothesis import strategies as st

from ffseq.alphabet import Alphabet
from ffseq.baselines.floors import corpus_floors
from ffseq.checkpoint import load_checkpoint
from ffseq.cli import main
from ffseq.config import NetworkConfig, PiecesConfig
from ffseq.corpus import load_corpus
from ffseq.documents import Documents
from ffseq.errors import FfseqError, UsageError
from ffseq.network import SequenceNetwork
from ffseq.page.symbols import CONTINUED, cells, names
from ffseq.piece_learning import learn_pieces
from ffseq.piece_model import fields, lossless
from ffseq.pieces import LONGEST, Pieces, sentences
from ffseq.sampling import _decoded
from ffseq.scoring import evaluate
from ffseq.textfile import TextFile

FOX = (Path(__file__).parent.parent / "corpora" / "fables.txt").read_text(encoding="utf-8")[:6_000].replace("é", "e")
#: Its é is too rare to be a piece.
TEXT = FOX[:3_000] + "An é in the middle.\n" + FOX[3_000:]
PIECES = ["--alphabet", "pieces", "--pieces.size", "90"]


def learned(text: str = TEXT, **options: Any) -> Pieces:
    return learn_pieces(TextFile.of_text(text, "it"), PiecesConfig(**{"size": 90} | options), len(text))


def foreign(tmp_path: Path, **options: Any) -> Path:
    """A .model as SentencePiece makes it by itself: its own normaliser, a dummy prefix, no byte fallback, paths."""
    (tmp_path / "secret.txt").write_text(TEXT)
    sentencepiece.SentencePieceTrainer.train(
        **{"input": str(tmp_path / "secret.txt"), "model_prefix": str(tmp_path / "it"), "vocab_size": 60,
           "minloglevel": 2, "hard_vocab_limit": False} | options
    )  # fmt: skip
    return tmp_path / "it.model"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Alphabet]:
    folder = tmp_path_factory.mktemp("models")
    made = {kind: learned(kind=kind) for kind in ("unigram", "bpe", "char")}
    for kind in ("unigram", "bpe", "word"):
        path = foreign(folder, model_type=kind, model_prefix=str(folder / kind))
        made[f"foreign {kind}"] = Pieces.of((folder / f"{kind}.model").read_bytes())
        assert path.parent == folder
    suffix = foreign(folder, treat_whitespace_as_suffix=True, user_defined_symbols=["<sep>", "\t", "▁▁"])
    made["suffix"] = Pieces.of(suffix.read_bytes())
    return {name: Alphabet.of_pieces(pieces) for name, pieces in made.items()}


ODD = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(["▁", " ", "\n", "\0", "\t", "\r\n", "▅", "<s>", "<unk>", "<0x41>", "<sep>", "é", "\ufeff",
                         "😀", "\u2028", "The fox", " the hen", "\u0301", "ﬁ", "ＡＢ", "\u2047", "\ufffd", "  "])
    ).map("".join),
)  # fmt: skip


@given(text=ODD)
def test_every_text_comes_back_as_it_was(models: dict[str, Alphabet], text: str) -> None:
    for name, alphabet in models.items():
        symbols = alphabet.encode(text)
        assert alphabet.decode(symbols) == text, name
        assert b"".join(map(alphabet.utf8, symbols[:, None])) == text.encode(), name
        assert "".join(_decoded(alphabet, iter(torch.tensor(symbols.astype(np.int64))[:, None]), len(symbols))) == text


def test_long_lines_and_the_real_text_come_back(models: dict[str, Alphabet]) -> None:
    text = "word " * 3 * LONGEST + "x" * 3 * LONGEST + "\n" + TEXT
    assert max(map(len, sentences(text))) <= LONGEST
    assert "".join(sentences(text)) == text
    for alphabet in models.values():
        assert alphabet.decode(alphabet.encode(text)) == text
    for kind in ("unigram", "bpe"):
        assert len(models[kind].encode(TEXT)) < 0.7 * len(TEXT)
        assert len(models[kind]) == 90 + 256
    assert len(models["char"].encode(FOX)) == len(FOX)


def test_a_sign_for_a_space_is_no_space_and_a_newline_is_one_symbol(models: dict[str, Alphabet]) -> None:
    for kind in ("unigram", "bpe", "char"):
        alphabet = models[kind]
        assert len(alphabet.encode("\n\n\n")) == 3
        assert [alphabet.symbols[one] for one in alphabet.encode("▁")] == ["<0xE2>", "<0x96>", "<0x81>"]
        assert alphabet.decode([alphabet.symbols.index("▁")]) == " "
    with pytest.raises(FfseqError, match=r"it, line 2, column 3: .*U\+D800"):
        alphabet.encode("a\nbc\ud800", source="it")


def test_the_segmentation_is_the_one_of_sentencepiece(models: dict[str, Alphabet]) -> None:
    for kind in ("unigram", "bpe"):
        alphabet = models[kind]
        assert alphabet.pieces is not None
        processor = sentencepiece.SentencePieceProcessor(model_proto=alphabet.pieces.model)
        for line in TEXT.splitlines()[:9]:
            assert [alphabet.symbols[one] for one in alphabet.encode(line)] == processor.encode(line, out_type=str)


def test_the_alphabet_is_kept_whole_and_says_what_is_no_alphabet(models: dict[str, Alphabet]) -> None:
    for alphabet in models.values():
        content = json.loads(json.dumps(alphabet.to_json()))
        assert Alphabet.from_json(content) == alphabet
        assert copy.deepcopy(alphabet).pieces is alphabet.pieces
        for change in ({"symbols": content["symbols"][1:]}, {"model": "AAAA"}, {"model": "no"}, {"model": 3}):
            with pytest.raises(FfseqError, match="does not describe an alphabet"):
                Alphabet.from_json(content | change)
    with pytest.raises(FfseqError, match="no symbol for unknown"):
        alphabet.with_unknown("replace")


def test_a_foreign_model_is_made_lossless_and_forgets_paths(tmp_path: Path) -> None:
    """Its pieces and their scores are the same; only the 256 bytes are new."""
    before = foreign(tmp_path).read_bytes()
    after = lossless(before)
    assert b"secret" in before
    assert b"secret" not in after
    assert lossless(after) == after
    old, new = (sentencepiece.SentencePieceProcessor(model_proto=one) for one in (before, after))
    assert new.get_piece_size() == old.get_piece_size() + 256
    for number in range(old.get_piece_size()):
        assert (old.id_to_piece(number), old.get_score(number)) == (new.id_to_piece(number), new.get_score(number))
    assert old.decode(old.encode("ﬁt  é")) != "ﬁt  é"
    assert len({one.number for one in fields(before)}) == 3


@given(data=st.binary(max_size=200))
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Pieces.of(data)


def test_a_model_that_is_cut_short_or_changed_is_refused_or_read() -> None:
    model = learned().model
    for end in (1, 10, len(model) // 2, len(model) - 1):
        with pytest.raises(ValueError, match=r"\w"):
            Pieces.of(model[:end])
    random = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(model)
        changed[random.integers(len(model))] = random.integers(256)
        try:
            alphabet = Alphabet.of_pieces(Pieces.of(bytes(changed)))
        except ValueError:
            continue
        assert len(alphabet.symbols) == len(set(alphabet.symbols))


def test_pieces_are_learned_from_the_training_part_alone_and_alike_each_time(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    one = load_corpus(str(path), alphabet=PiecesConfig(size=90, kind="bpe"))
    assert one.alphabet.pieces == learned(TEXT[: len(TEXT) * 80 // 100], kind="bpe")
    cut = len(TEXT) * 80 // 100
    path.write_text(TEXT[:cut] + "q" * (len(TEXT) - cut))
    two = load_corpus(str(path), alphabet=PiecesConfig(size=90, kind="bpe"))
    assert two.content_sha256 != one.content_sha256
    assert two.alphabet == one.alphabet
    assert np.array_equal(two.symbols[: one.train.stop], one.symbols[: one.train.stop])
    assert one.alphabet.decode(one.symbols) == TEXT
    for part, text in zip(one.parts, (TEXT[:cut], TEXT[cut : len(TEXT) * 90 // 100], TEXT[len(TEXT) * 90 // 100 :]),
                          strict=True):  # fmt: skip
        assert (part.characters, part.bytes) == (len(text), len(text.encode()))
        assert one.alphabet.decode(one.symbols[part.start : part.stop]) == text


def test_of_a_long_text_some_lines_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffseq.piece_learning.LEARNED", len(TEXT) // 3)
    some = learned(TEXT.replace("\n\n", "\n"))
    assert some == learned("\n".join(TEXT.replace("\n\n", "\n").split("\n")[2::3]) + "\n")
    assert some != learned()


def test_no_piece_spans_documents(tmp_path: Path) -> None:
    texts = ["ab" * 30 + "cd", "ab" * 30, "cdab" * 20]
    text = Documents("it", lambda: iter([(f"{k}", [one]) for k, one in enumerate(texts)]))
    joined = learn_pieces(text, PiecesConfig(kind="bpe", size=9), sum(map(len, texts)))
    assert "ababcd" not in joined.names
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, part in enumerate([FOX, "a" + FOX, FOX[:500], FOX[3:900]]):
        (folder / f"{name}.txt").write_text(part)
    corpus = load_corpus(str(folder), alphabet=PiecesConfig(size=80))
    starts = corpus.begins
    assert starts is not None
    ends = [*starts[1:], len(corpus.symbols)]
    pieces = [corpus.alphabet.decode(corpus.symbols[a:b]) for a, b in zip(starts, ends, strict=True)]
    assert pieces == [FOX, "a" + FOX, FOX[:500], FOX[3:900]]
    floors = corpus_floors(corpus)
    assert floors["kneser_ney_characters"] == corpus_floors(load_corpus(str(folder)))["kneser_ney"]


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


def test_scores_are_at_characters_and_sum_to_the_texts(models: dict[str, Alphabet]) -> None:
    for alphabet in models.values():
        network = SequenceNetwork(NetworkConfig(block_size=3, units=8, layers=1, dropout=0.0), alphabet)
        text = "The clever ▁é fox\n"
        bits = network.score(text)
        assert bits.shape == (len(text),)
        uniform = len(alphabet.encode(text)) * math.log2(len(alphabet))
        assert float(bits.sum()) == pytest.approx(uniform, rel=0.2)
        assert float(bits[text.index("▁")]) > 2 * math.log2(len(alphabet))  # its three bytes
        assert len(network.score("")) == 0


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


def test_the_size_that_a_refusal_names_is_one_that_is_possible() -> None:
    for kind in ("unigram", "bpe"):
        with pytest.raises(UsageError, match="at most") as refusal:
            learned(size=5000, kind=kind)
        most = int(str(refusal.value).split(" at most")[0].split()[-1])
        assert len(learned(size=most, kind=kind).names) == most + 256
    with pytest.raises(UsageError, match="less than the") as refusal:
        learned(size=9)
    least = int(str(refusal.value).split("less than the ")[1].split()[0])
    assert len(learned(size=least).names) == least + 256


@pytest.mark.parametrize("text", ["\n\n\n", "▁▁▁▁", "\0"])
def test_a_text_without_anything_to_learn_from_is_refused(text: str) -> None:
    with pytest.raises(FfseqError, match="too short"):
        learned(text)


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


def test_pieces_are_shown_as_they_stand(models: dict[str, Alphabet]) -> None:
    alphabet = models["bpe"]
    symbols = alphabet.encode("The fox é▁\n").tolist()
    shown = cells(alphabet, symbols)
    assert len(shown) == len(symbols)
    assert "".join(shown).replace(CONTINUED, "") == "The fox é▁⏎\n"
    cut = alphabet.encode("▁").tolist()[:2]
    assert cells(alphabet, cut) == ["‹E2›", "‹96›"]
    assert names(alphabet, [*cut, alphabet.encode(" the")[0]]) == ["byte E2", "byte 96", "␣the"]
    assert io.StringIO("".join(shown)).read()


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

"""Alphabets of SentencePiece pieces: nothing of a text is lost."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from pieces import FOX, TEXT, foreign, learned

from ffseq.alphabet import Alphabet
from ffseq.baselines.floors import corpus_floors
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


def test_pieces_are_shown_as_they_stand(models: dict[str, Alphabet]) -> None:
    alphabet = models["bpe"]
    symbols = alphabet.encode("The fox é▁\n").tolist()
    shown = cells(alphabet, symbols)
    assert len(shown) == len(symbols)
    assert "".join(shown).replace(CONTINUED, "") == "The fox é▁⏎\n"
    cut = alphabet.encode("▁").tolist()[:2]
    assert cells(alphabet, cut) == ["‹E2›", "‹96›"]
    assert names(alphabet, [*cut, alphabet.encode(" the")[0]]) == ["byte E2", "byte 96", "␣the"]

"""A text becomes three parts that do not overlap, read in pieces, cached by content."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffseq.alphabet import Alphabet
from ffseq.catalogue import catalogue, entry, file_of, process_of, resource_folder
from ffseq.corpus import Corpus, cache_folder, load_corpus
from ffseq.errors import FfseqError, UsageError
from ffseq.splits import split, tuning
from ffseq.textfile import TextFile

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), min_size=20, max_size=300)


def written(folder: Path, text: str, name: str = "text.txt") -> str:
    (folder / name).write_bytes(text.encode("utf-8"))
    return str(folder / name)


def text_of(corpus: Corpus) -> list[str]:
    parts = [corpus.train, corpus.validation, corpus.held_out]
    return [corpus.alphabet.decode(corpus.symbols[part.start : part.stop]) for part in parts if part]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, chunk=st.integers(1, 9))
def test_the_parts_are_the_text_in_order_whatever_the_pieces_it_is_read_in(
    tmp_path: Path, text: str, chunk: int
) -> None:
    if len(set(text)) < 2:
        return
    target = tmp_path / "symbols.bin"
    alphabet = Alphabet.of_characters(text)
    count, parts = split(TextFile.of_text(text, "text", chunk=chunk), alphabet, "80/10/10", target)
    symbols = np.fromfile(target, dtype=alphabet.dtype)
    assert count == len(symbols) == len(text)
    at = [0, len(text) * 80 // 100, len(text) * 90 // 100, len(text)]
    for part, begin, end in zip(parts.values(), at, at[1:], strict=False):
        assert part is not None
        assert (part.start, part.stop, part.symbols, part.characters) == (begin, end, end - begin, end - begin)
        assert alphabet.decode(symbols[part.start : part.stop]) == text[begin:end]
        assert part.bytes == len(text[begin:end].encode("utf-8"))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, chunk=st.integers(1, 9))
def test_parts_of_bytes_end_at_the_end_of_a_character(tmp_path: Path, text: str, chunk: int) -> None:
    if len(set(text)) < 2:
        return
    target = tmp_path / "symbols.bin"
    _, parts = split(TextFile.of_text(text, "text", chunk=chunk), Alphabet.named("bytes"), "50/20/30", target)
    data = target.read_bytes()
    pieces = [data[part.start : part.stop].decode("utf-8") for part in parts.values() if part]
    assert "".join(pieces) == text
    for part, piece in zip(parts.values(), pieces, strict=True):
        assert part is not None
        assert (part.symbols, part.bytes, part.characters) == (len(piece.encode()), len(piece.encode()), len(piece))


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_plain_and_compressed_texts_are_the_same_corpus(tmp_path: Path, ending: str) -> None:
    text = "Ein Löwe, ein Wolf und ein Fuchs.\r\nEnde\n" * 20
    path = tmp_path / f"text.txt{ending}"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[ending](text.encode("utf-8")))
    corpus = load_corpus(str(path))
    assert "".join(text_of(corpus)) == text
    assert corpus.bytes == len(text.encode("utf-8"))
    assert corpus.held_out.bytes > corpus.held_out.characters


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    with_mark = written(tmp_path, "\ufeffabcab" * 1 + "abc" * 20)
    assert "\ufeff" not in load_corpus(with_mark).alphabet.symbols


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(b"hello world " * 20)

    monkeypatch.setattr(sys, "stdin", Input())
    corpus = load_corpus("-")
    assert "".join(text_of(corpus)) == "hello world " * 20
    assert corpus.name == "standard input"
    assert not list(cache_folder().glob("copy-*"))


def test_the_cache_goes_by_content_and_is_rebuilt_when_damaged(tmp_path: Path) -> None:
    path = written(tmp_path, "one two three " * 50)
    first = load_corpus(path)
    file = Path(first.symbols.filename)  # type: ignore[attr-defined]
    assert isinstance(first.symbols, np.memmap)
    changed = file.stat().st_mtime_ns
    again = load_corpus(written(tmp_path, "one two three " * 50, "other name.txt"))
    assert Path(again.symbols.filename) == file  # type: ignore[attr-defined]
    assert file.stat().st_mtime_ns == changed
    written(tmp_path, "one two threE " * 50)
    assert "".join(text_of(load_corpus(path))) == "one two threE " * 50
    file.write_bytes(file.read_bytes()[:-7])
    assert "".join(text_of(load_corpus(str(tmp_path / "other name.txt")))) == "one two three " * 50
    (file.parent / "corpus.json").write_text("{")
    assert "".join(text_of(load_corpus(str(tmp_path / "other name.txt")))) == "one two three " * 50


def test_another_alphabet_or_split_is_another_cache(tmp_path: Path) -> None:
    path = written(tmp_path, "One Two Three " * 50)
    assert load_corpus(path).held_out.symbols == 70
    assert load_corpus(path, split_rule="50/0/50").held_out.symbols == 350
    assert load_corpus(path, split_rule="50/0/50").validation is None
    dropped = load_corpus(path, alphabet="text8", unknown="drop")
    assert "".join(text_of(dropped)) == "ne wo hree " * 50
    assert dropped.train.dropped + dropped.held_out.dropped + dropped.validation.dropped == 150  # type: ignore[union-attr]


def test_an_unknown_character_is_found_where_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, "abc\n" * 40 + "ab€c\n" + "abc\n" * 3)
    with pytest.raises(FfseqError, match=r"text\.txt, line 41, column 3: .*U\+20AC, EURO SIGN"):
        load_corpus(path, alphabet=Alphabet.of_characters("abc\n"))


def test_a_byte_that_is_not_utf8_is_found_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"abc\nabc\n\xffabc")
    with pytest.raises(FfseqError, match=r"byte 8 \(0xff, line 3\)"):
        load_corpus(str(tmp_path / "bad.txt"))
    (tmp_path / "cut.txt").write_bytes(b"abc\n\xe2\x82")
    with pytest.raises(FfseqError, match=r"byte 4 \(0xe2, line 2\)"):
        load_corpus(str(tmp_path / "cut.txt"))


@pytest.mark.parametrize("rule", ["80/10", "80/10/20", "0/50/50", "90/10/0", "a/b/c", "hinto"])
def test_malformed_split_rules_are_refused(tmp_path: Path, rule: str) -> None:
    with pytest.raises(UsageError, match="split_rule"):
        load_corpus(written(tmp_path, "some text " * 20), split_rule=rule)


def test_a_large_text_is_prepared_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    line = "the quick brown fox jumps over the lazy dog, and then it does so again and again for ever\n"
    with path.open("w") as file:
        for _ in range(400):
            file.write(line * 1000)
    tracemalloc.start()
    corpus = load_corpus(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(corpus.symbols) == 400_000 * len(line)
    assert peak < 80 * 2**20 < len(corpus.symbols) * 3


def test_every_card_of_the_catalogue_is_whole() -> None:
    for card in catalogue().values():
        assert card.title
        assert card.source
        assert card.licence
        assert card.size
        assert card.split_rule
        assert bool(card.file) != bool(process_of(card))  # read from a file, or generated
        if card.instead:
            entry(card.instead)
    with pytest.raises(UsageError, match="did you mean 'tinyshakespeare'"):
        entry("tinyshakespear")


def test_the_embedded_fables_are_what_their_card_says() -> None:
    text = file_of(entry("fables")).read_text(encoding="utf-8")
    fables = text.strip("\n").split("\n\n")
    assert len(fables) >= 120
    assert len(text) >= 80_000
    assert f"{len(fables)} of them" in entry("fables").title
    assert entry("fables").size == f"{len(text):,} characters"
    titles = [fable.split("\n")[0] for fable in fables]
    assert len(set(titles)) == len(titles)
    for fable in fables:
        title, paragraph = fable.split("\n")
        assert title == title.strip()
        assert paragraph == paragraph.strip()
        assert paragraph[-1] in '.!?"'
        assert len(paragraph) > 200
    assert text.isascii()
    assert (resource_folder("corpora") / "fables.md").read_text(encoding="utf-8").count(
        f"{len(text):,} characters"
    ) == 1
    sentences = [one.strip() for one in text.replace("\n", " ").split(". ") if len(one) > 40]
    assert len(set(sentences)) == len(sentences)


def test_aesop_is_the_text_of_the_protocol(real_data: Path) -> None:
    whole = load_corpus("aesop")
    assert len(whole.symbols) == 140_369
    assert len(whole.alphabet) == 30
    hinton = load_corpus("aesop", split_rule="hinton")
    assert hinton.validation is None
    assert (hinton.train.start, hinton.train.stop) == (0, 24_800)
    assert hinton.held_out.symbols == 22_320
    assert len(hinton.held_out.segments) == 248
    for number, one in enumerate(hinton.held_out.segments):
        begin = 24_800 + 100 * number
        assert (one.begin, one.start, one.stop) == (begin, begin + 10, begin + 100)
    assert hinton.symbols[:100].tolist() == whole.symbols[:100].tolist()
    tuned = load_corpus("aesop", split_rule="hinton-tuning")
    assert tuned.train.stop == 22_300
    assert tuned.validation is not None
    assert [one.begin for one in tuned.validation.segments] == list(range(22_300, 24_800, 100))
    assert tuning(hinton.train, "hinton") == (22_300, tuned.validation.segments)


@pytest.mark.parametrize(
    ("name", "symbols", "alphabet_size"),
    [("tinyshakespeare", 1_115_394, 65), ("text8-prefix", 3_010_294, 27), ("enwik8-prefix", 4_154_064, 256)],
)
def test_the_other_real_corpora_are_what_their_cards_say(
    real_data: Path, name: str, symbols: int, alphabet_size: int
) -> None:
    corpus = load_corpus(name)
    assert len(corpus.symbols) == symbols
    assert len(corpus.alphabet) == alphabet_size
    assert corpus.validation is not None
    assert corpus.train.stop == corpus.validation.start
    assert corpus.validation.stop == corpus.held_out.start
    assert corpus.held_out.stop == symbols


def test_a_corpus_that_does_not_come_along_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FFSEQ_DATA", raising=False)
    with pytest.raises(FfseqError, match="FFSEQ_DATA"):
        load_corpus("aesop")
    monkeypatch.setenv("FFSEQ_DATA", str(tmp_path))
    with pytest.raises(FfseqError, match="text8-prefix may be there"):
        load_corpus("text8")
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare" / "input.txt").write_text("To be, or not to be")
    with pytest.raises(FfseqError, match="not the expected file"):
        load_corpus("tinyshakespeare")

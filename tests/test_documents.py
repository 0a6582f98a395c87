"""Folders and archives of texts: which files, in which order, cut where, and what is refused."""

from __future__ import annotations

import itertools
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, as_json, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.alphabet import Alphabet
from ffseq.cli import main
from ffseq.corpus import cache_folder, load_corpus
from ffseq.documents import Documents
from ffseq.errors import FfseqError, UsageError
from ffseq.segments import Segments
from ffseq.splits import split

TEXTS = {"b.txt": "the cat sat. " * 9, "a/c.md": "on the mat: " * 7, "a/é.TXT": "é", "z.txt": "and then it ran " * 5}
ORDER = ["a/c.md", "a/é.TXT", "b.txt", "z.txt"]
WORDS = st.lists(st.text(st.sampled_from("abé\n "), max_size=12), min_size=1, max_size=12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    others = {"empty.txt": "", ".hidden.txt": "no", ".git/x.txt": "no", "data.bin": "no"}
    for name, text in (TEXTS | others).items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "texts"


def zipped(path: Path, members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@settings(deadline=None, max_examples=60)
@given(
    texts=WORDS,
    alphabet=st.sampled_from(["characters", "bytes", "aesop30"]),
    rule=st.sampled_from(["80/10/10", "50/0/50"]),
    gathered=st.integers(1, 20),
)
def test_documents_are_split_as_their_text_is_and_cut_where_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], alphabet: str, rule: str, gathered: int
) -> None:
    whole = "".join(texts)
    kind = (
        Alphabet.of_characters("ab\n", unknown="drop") if alphabet == "characters"
        else Alphabet.named(alphabet, unknown="replace" if alphabet == "aesop30" else "error")  # type: ignore[arg-type]
    )  # fmt: skip
    target = tmp_path_factory.getbasetemp() / "symbols.bin"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ffseq.documents.GATHERED", gathered)
        source = Documents("some", lambda: ((str(n), (text[:3], text[3:])) for n, text in enumerate(texts)))
        try:
            count, parts = split(source, kind, rule, target)
        except FfseqError:
            return  # too short, or one symbol only
    symbols = np.fromfile(target, dtype=kind.dtype)
    encoded = [kind.encode(text) for text in texts]
    assert symbols.tolist() == np.concatenate(encoded).tolist()
    begins = [0, *np.cumsum([len(one) for one in encoded]).tolist()]
    expected = [(a, b) for a, b in itertools.pairwise(begins) if a < b]
    found = [one for part in parts.values() if part for one in part.segments]
    assert sum(part.characters for part in parts.values() if part) == len(whole)
    assert sum(part.bytes for part in parts.values() if part) == len(whole.encode())
    place = 0
    for one in found:  # every symbol once, in order, and from no further back than its own document
        assert one.start == place
        place = one.stop
        assert any(a == one.begin and one.stop <= b for a, b in expected)
    assert place == count
    cuts = {part.start for part in parts.values() if part}
    assert all(one.start == one.begin or one.start in cuts for one in found)


def test_a_folder_and_its_archive_are_the_same_documents_in_the_order_of_their_paths(folder: Path) -> None:
    corpus = load_corpus(str(folder))
    assert corpus.documents == 4
    assert corpus.alphabet.decode(corpus.symbols) == "".join(TEXTS[name] for name in ORDER)
    assert Segments.of(corpus.every.segments).starts.tolist() == [0, 84, 85, 202]
    everything = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    archive = zipped(folder.parent / "texts.zip", everything | {"__MACOSX/b.txt": "no"})
    assert load_corpus(str(archive)).content_sha256 == corpus.content_sha256
    moved = dict(TEXTS) | {"b.txt": TEXTS["z.txt"], "z.txt": TEXTS["b.txt"]}
    assert load_corpus(str(zipped(archive, moved))).content_sha256 != corpus.content_sha256
    joined = {"a.txt": "".join(TEXTS[name] for name in ORDER)}
    one = load_corpus(str(zipped(archive, joined)))
    assert one.content_sha256 != corpus.content_sha256  # the same text, and no boundaries in it
    (folder / "one").mkdir()
    (folder / "one" / "text").write_text(joined["a.txt"])
    assert load_corpus(str(folder / "one" / "text")).content_sha256 == one.content_sha256
    assert load_corpus(str(zipped(archive, {"text8": joined["a.txt"]}))).content_sha256 == one.content_sha256


def test_an_unknown_character_is_found_in_its_document(folder: Path) -> None:
    with pytest.raises(FfseqError, match=r"texts/a/é\.TXT, line 1, column 1: .*U\+00E9"):
        load_corpus(str(folder), alphabet=Alphabet.of_characters("".join(TEXTS[name] for name in ("a/c.md", "b.txt"))))
    with pytest.raises(UsageError, match="4 documents"):
        load_corpus(str(folder), split_rule="hinton")


def test_documents_are_learned_and_scored_from_a_folder_and_a_resumed_run_finds_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    options = [*QUICK, "--stack", "causal", "--string_length", "8", "--out_dir", run]
    assert as_json(capsys, "train", str(folder), *options)["iterations"] == 20
    assert as_json(capsys, "train", "--resume", run, "--max_iters", "30")["iterations"] == 30
    figures = as_json(capsys, "evaluate", run)
    assert figures["floors"] == as_json(capsys, "floors", str(folder))
    archive = zipped(tmp_path / "same.zip", TEXTS)
    assert main(["evaluate", run, str(archive), "--json"]) == 0
    out, err = capsys.readouterr()
    assert f'"bits_per_character": {figures["bits_per_character"]}' in out
    assert "warning" not in err
    assert "4 documents" in refused(capsys, "evaluate", run, "--black_box", "online", status=2)
    stream = ["--stream", "--threads", "1", "--dtype", "float32", "--out_dir", str(tmp_path / "stream")]
    assert as_json(capsys, "train", str(folder), *stream)["characters_seen"] == 282
    (folder / "zz.txt").write_text("one more")
    assert "differs" in refused(capsys, "train", "--resume", run, "--max_iters", "40", status=2)


TEXT = "some text, and more of it. " * 20


def encrypted(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[6] |= 1
    changed[changed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def lying(data: bytes) -> bytes:
    """Said to unpack to 1,000 bytes."""
    place = data.index(b"PK\x01\x02") + 24
    return data[:place] + struct.pack("<I", 1000) + data[place + 4 :]


@pytest.mark.parametrize(
    ("members", "change", "words"),
    [
        ({"a.txt": TEXT, "../x.txt": TEXT}, bytes, "'../x.txt', whose path leads out"),
        ({"/etc/x.txt": TEXT}, bytes, "'/etc/x.txt', whose path"),
        ({"..\\x.txt": TEXT}, bytes, "whose path leads out"),
        ({"a.txt": b"ab" * 10_000_000}, bytes, "100 times its size"),
        ({"a.txt": b"ab" * 10_000_000}, lying, "damaged"),
        ({"a.txt": TEXT}, encrypted, "a.txt is encrypted"),
        ({"a.bin": TEXT, "b.bin": TEXT}, bytes, "holds no texts"),
        ({}, bytes, "holds no texts"),
        ({"a.txt": ""}, bytes, "is empty"),
        ({"a.txt": TEXT, "b/c.txt": b"good\nbad \xff"}, bytes, "x.zip, b/c.txt is not UTF-8 text: byte 9 (0xff"),
        ({"a.txt": TEXT * 9}, lambda data: data[:60] + b"??" + data[62:], "damaged"),
        ({"a.txt": TEXT}, lambda data: data[:-30], "damaged"),
    ],
)  # fmt: skip
def test_archives_that_are_not_to_be_trusted_leave_nothing_behind(
    members: dict[str, str | bytes], change: object, words: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("FFSEQ_CACHE", str(tmp_path / "cache"))
    path = zipped(tmp_path / "x.zip", members)
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    assert words in refused(capsys, "train", str(path), *QUICK, "--out_dir", str(tmp_path / "run"), status=1)
    assert not [*tmp_path.glob("cache/*/*"), *tmp_path.glob("run")]


def test_a_folder_without_texts_or_with_what_belongs_to_tables_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "é.TXT" in "".join(os.listdir(folder / "a"))
    assert "leave it out" in refused(capsys, "floors", f"{folder}:text", status=2)
    assert "--split" in refused(capsys, "floors", str(folder), "--split", "train", status=2)
    (folder / "none").mkdir()
    assert "holds no texts" in refused(capsys, "floors", str(folder / "none"), status=1)
    (folder / "a" / "b.txt").write_bytes(b"abc\n\xe9")
    assert "texts/a/b.txt is not UTF-8 text: byte 4 (0xe9, line 2)" in refused(capsys, "floors", str(folder), status=1)
    assert not list(cache_folder().glob("corpora/.new-*"))


def test_a_zip_packed_in_a_way_that_nobody_here_unpacks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = zipped(tmp_path / "stories.zip", {"one.txt": "a fox and a hen " * 40})
    content = bytearray(path.read_bytes())
    for header, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # where each says how the member is packed
        content[content.index(header) + place] = 97
    path.write_bytes(content)
    assert "packed in a way that cannot be read" in refused(capsys, "train", str(path), status=1)

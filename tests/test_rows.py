"""Tables whose rows are documents: what is read of them, and what is wrong with them is said, and where."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffseq.corpus import cache_folder, load_corpus
from ffseq.rows import table_documents
from ffseq.segments import Segments

#: What a cell may hold; a CSV reader takes a lone carriage return for the end of a line.
CELLS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=9), max_size=9)
ROWS = ["one two three.\nfour", "", 'fünf, "sechs"', "\u2028seven eight nine ten" * 3]


def written(folder: Path, kind: str, rows: list[str], **more: list[object]) -> Path:
    """A table with a column of numbers, a column `text`, and more columns."""
    path = folder / f"table{kind}"
    table = {"n": list(range(len(rows))), "text": rows} | more
    lines = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    if kind == ".parquet":
        pq.write_table(pa.table(table), path)
    elif kind == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table))
            writer.writeheader()
            writer.writerows(lines)
    else:
        text = "".join(json.dumps(line, ensure_ascii=len(rows) % 2 == 0) + "\n" for line in lines)
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith(".gz") else text.encode())
    return path


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=CELLS)
def test_every_row_is_read_as_it_was_written(tmp_path: Path, cells: list[str]) -> None:
    for kind in (".csv", ".jsonl", ".parquet"):
        read = table_documents(written(tmp_path, kind, ["a", *cells]), kind, "text").read()
        assert ["".join(pieces) for _, pieces in read] == ["a", *cells]


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".json", ".parquet", ".jsonl.gz"])
def test_rows_are_documents_the_same_from_every_table(tmp_path: Path, kind: str) -> None:
    rows = ROWS * 3
    path = str(written(tmp_path, kind, rows))
    corpus = load_corpus(path)
    assert corpus.alphabet.decode(corpus.symbols) == "".join(rows)
    assert corpus.documents == 9
    begins = [sum(map(len, rows[:n])) for n, row in enumerate(rows) if row]
    assert Segments.of(corpus.every.segments).starts.tolist() == begins
    assert load_corpus(f"{path}:text").content_sha256 == corpus.content_sha256
    assert corpus.content_sha256 == load_corpus(str(written(tmp_path, ".csv", rows))).content_sha256


def test_a_folder_laid_out_for_the_hub_is_read_by_its_splits_and_configs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    for name, rows in (("train", ROWS * 3), ("test", ["held out, and long enough"] * 3)):
        written(tmp_path, ".parquet", rows).rename(tmp_path / "set" / "data" / f"{name}-00000-of-00001.parquet")
    folder = str(tmp_path / "set")
    train, test = load_corpus(folder), load_corpus(folder, split="test")
    assert train.content_sha256 == load_corpus(str(written(tmp_path, ".jsonl", ROWS * 3))).content_sha256
    assert (train.name, test.documents, test.bytes) == ("set", 3, 75)
    assert load_corpus(f"{folder}::text", split="test+train").bytes == train.bytes + test.bytes
    for word, options, expected in (
        (":nix", [], "no column 'nix': it has n, text"),
        (":n", [], "column 'n' is not text"),
        (":nix:text", [], "no config 'nix'"),
        ("", ["--split", "tset"], "did you mean 'test'"),
        (":a:b:c", [], "no more"),
    ):
        assert expected in refused(capsys, "floors", folder + word, *options, status=2)
    configs = [{"config_name": name, "data_files": f"data/{name}-*"} for name in ("train", "test")]
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n# A set\n")
    (tmp_path / "set" / "notes.txt").write_text("not a document, for the card declares what is")
    assert load_corpus(f"{folder}:test").content_sha256 == test.content_sha256
    assert "several configs" in refused(capsys, "floors", folder, status=2)
    (tmp_path / "set" / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")
    assert "ArrowInvalid" in refused(capsys, "floors", f"{folder}:test", status=1)
    assert not list(cache_folder().glob("corpora/.new-*"))


LINE = '{"text": "some text to learn from", "n": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("x.jsonl", LINE * 3 + '{"text": oops}\n', 1, "x.jsonl, line 4 is not JSON: Expecting value, column 10"),
        ("x.jsonl:text", LINE * 200 + '{"text": 5}\n', 1, "line 201: field 'text' is not text but 5"),
        ("x.jsonl:text", LINE * 200 + '{"txt": "a"}\n', 1, "line 201 has no field 'text': it has txt"),
        ("x.jsonl", LINE * 3 + '"text"\n', 1, "line 4 is no object"),
        ("x.jsonl", LINE * 3 + '{"text": "a\\ud800"}\n', 1, "line 4: '\\ud800' is half of a character"),
        ("x.jsonl", (LINE * 3).encode() + b'{"text": "\xff"}', 1, "byte 142 (0xff, line 4)"),
        ("x.jsonl", LINE + '{"text": ' + "[" * 100_000, 1, "line 2 is not JSON"),
        ("x.json", f"[{LINE}]", 1, "x.json, line 1 begins an array"),
        ("x.jsonl", "\n\n", 1, "x.jsonl has no rows"),
        ("x.jsonl:nix", LINE, 2, "x.jsonl has no column 'nix': it has text, n"),
        ("x.jsonl:n", LINE, 2, "column 'n' is not text; columns of text: text"),
        ("x.jsonl", '{"a": "b", "c": "d"}\n', 2, "several columns of text, a, c: say which"),
        ("x.jsonl:a:b", LINE, 2, "leave it out"),
        ("x.csv", "text,n\nabc,1\nabc\n", 1, "x.csv, line 3 has 1 fields, the header has 2"),
        ("x.csv", 'text,n\n"abc,1\n' + "x,2\n" * 9, 1, "x.csv, line 11 is not CSV"),
        ("x.csv", "", 1, "x.csv is empty"),
        ("x.csv:text", "text,n\n", 1, "x.csv is empty"),
        ("x.csv", "a,b\n1,2\n", 2, "x.csv has no column of text: it has a, b"),
        ("x.parquet", "PAR1", 1, "x.parquet is damaged, or not parquet"),
        ("y.parquet", "", 1, "cannot read y.parquet"),
    ],
)  # fmt: skip
def test_damaged_tables_and_wrong_columns_are_refused_and_leave_nothing_behind(
    name: str, content: str | bytes, status: int, words: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FFSEQ_CACHE", str(tmp_path / "cache"))
    if content:
        Path(name.split(":")[0]).write_bytes(content if isinstance(content, bytes) else content.encode())
    elif "csv" in name:
        Path(name).touch()
    assert words in refused(capsys, "floors", name, status=status)
    assert not list(tmp_path.glob("cache/*/*"))

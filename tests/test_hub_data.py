"""Data sets of the Hub as texts, by way of something that speaks as the Hub does; known corpora fetched from it."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import QUICK, Answering, as_json, go, refused, served

from ffseq.card import model_card
from ffseq.catalogue import Entry, entry
from ffseq.checkpoint import load_checkpoint
from ffseq.cli import main
from ffseq.corpus import cache_folder, load_corpus
from ffseq.errors import UsageError
from ffseq.interrupt import Interrupt
from ffseq.sharing import without_paths

SHA, CONVERTED = "0123456789" * 4, "c" * 40
#: A card as the library writes it: with the columns, so that no row has to be looked at.
CARD = b"""---
dataset_info:
  features:
  - {name: n, dtype: int64}
  - {name: text, dtype: string}
---
"""
ROWS = ["one two three.\n", "", "four five six", "seven eight nine ten "] * 6


def table(rows: list[str]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"n": range(len(rows)), "text": rows}), file)
    return file.getvalue()


class Hub(Answering):
    """As much of the Hub's HTTP as reading data sets needs."""

    repos: dict[str, dict[str, bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        path = unquote(self.path).split("?")[0].removeprefix("/api")
        self.asked.append(path)
        found = re.fullmatch(r"/datasets/(\w+/\w+)(?:/(revision|tree|resolve)/(refs/convert/parquet|\w+)/?(.*))?", path)
        repo = self.repos.get(found[1]) if found else None
        if found is None or repo is None:
            return self.answer({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        name, what, revision, file = found.groups()
        sha = SHA
        if revision in ("refs/convert/parquet", CONVERTED):
            repo, sha = self.repos[f"{name}, as files"], CONVERTED
        if what in (None, "revision"):
            return self.answer({"id": name, "sha": sha, "tags": [], "siblings": [{"rfilename": one} for one in repo]})
        if what == "tree":
            depth = file.count("/") + 2 if file else 1
            within = [one for one in listing(repo) if one["path"].startswith(f"{file}/" if file else "")]
            return self.answer([one for one in within if one["path"].count("/") < depth])
        if file not in repo:
            return self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        content, headers = repo[file], {"ETag": f'"{hashlib.sha1(repo[file]).hexdigest()}"', "X-Repo-Commit": sha}
        some = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if some is None:
            return self.answer(content, 200, headers)
        first, last = int(some[1]), min(int(some[2]), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self.answer(content[first : last + 1], 206, headers)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = parse_qs(body).get("paths") or json.loads(body)["paths"]
        repo = self.repos["/".join(self.path.split("/")[3:5])]
        self.answer([one for one in listing(repo) if one["path"] in asked])


def listing(repo: dict[str, bytes]) -> list[dict[str, Any]]:
    folders = {str(folder) for path in repo for folder in list(PurePosixPath(path).parents)[:-1]}
    files = [{"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()} for p, c in repo.items()]
    return [*files, *({"type": "directory", "path": one, "size": 0, "oid": "0" * 40} for one in sorted(folders))]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A Hub with one data set, someone/set."""
    import datasets
    from huggingface_hub import constants

    files = {f"data/{split}-00000-of-00001.parquet": table(rows) for split, rows in (("train", ROWS), ("test", ["x"]))}
    handler = type("Handler", (Hub,), {"repos": {"someone/set": {"README.md": CARD, **files}}, "asked": []})
    monkeypatch.setenv("FFSEQ_CACHE", str(tmp_path / "cache"))
    with served(handler, monkeypatch):
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", constants.ENDPOINT)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        yield handler


def test_a_data_set_is_streamed_once_and_then_used_without_a_network(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = load_corpus("hub:someone/set")
    assert corpus.alphabet.decode(corpus.symbols) == "".join(ROWS)
    assert (corpus.name, corpus.documents) == ("someone/set", 18)
    assert load_corpus("hub:someone/set", split="test+train").bytes == corpus.bytes + 1
    fetched = [path for path in hub.asked if "train-" in path]
    assert fetched
    hub.asked.clear()
    assert load_corpus("hub:someone/set").content_sha256 == corpus.content_sha256
    assert not [path for path in hub.asked if "train-" in path]
    # A new version is read anew.
    hub.repos["someone/set"]["data/train-00000-of-00001.parquet"] = table(["something", "else"] * 9)
    monkeypatch.setattr(f"{__name__}.SHA", "abcdef0123" * 4)
    assert load_corpus("hub:someone/set").documents == 18
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", "http://127.0.0.1:9")
    assert load_corpus("hub:someone/set").documents == 18
    # The run that it made says where its text is from, and so does its card.
    go("hub:someone/set", tmp_path / "run", max_iters=2)
    config = without_paths(load_checkpoint(tmp_path / "run" / "last").config)
    assert config["corpus"]["source"] == config["options"]["corpus"] == "hub:someone/set"
    card = model_card("a/b", config, symbols=5, parameters=7)
    assert "\ndatasets:\n- someone/set\n---" in card
    assert "- source: `hub:someone/set` on the Hub" in card
    assert "cannot be reached" in refused(capsys, "floors", "hub:someone/set", "--split", "test", status=1)


def test_a_data_set_that_is_a_program_is_read_from_the_files_that_the_hub_made_of_it(hub: type[Hub]) -> None:
    hub.repos |= {
        "someone/program": {"program.py": b"import os", "README.md": b""},
        "someone/program, as files": {f"{one}/train/0000.parquet": table(ROWS) for one in ("default", "small")},
    }
    assert load_corpus("hub:someone/program:small:text").documents == 18
    with pytest.raises(UsageError, match=r"several configs: say which, …:default\. It has default, small"):
        load_corpus("hub:someone/program")
    hub.repos |= {"someone/one": {"one.py": b""}, "someone/one, as files": {"one/test/0000.parquet": table(ROWS[:16])}}
    assert load_corpus("hub:someone/one").documents == 12


def test_what_the_hub_does_not_have_is_said_and_leaves_nothing_behind(
    hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--out_dir", str(tmp_path / "run"), *QUICK]
    for word, options, status, expected in (
        ("someone/sets", [], 2, "there is no data set someone/sets on the Hub"),
        ("set", [], 2, "hub:owner/name"),
        ("someone/set:txt", [], 2, "no column 'txt' (did you mean 'text'?)"),
        ("someone/set:n", [], 2, "column 'n' is not text; columns of text: text"),
        ("someone/set::n", [], 2, "column 'n' is not text"),
        ("someone/set:small:text", [], 2, "no config 'small'"),
        ("someone/set", ["--split", "tests"], 2, "no split 'tests' (did you mean 'test'?)"),
        ("someone/damaged", [], 1, "someone/damaged cannot be read as a data set"),
        ("someone/empty", [], 1, "someone/empty has no files"),
    ):
        hub.repos |= {"someone/damaged": {"data/train.parquet": b"PAR1"}, "someone/empty": {"README.md": b""}}
        assert expected in refused(capsys, "train", f"hub:{word}", *run, *options, status=status)
    assert not [*tmp_path.glob("cache/*/*"), *tmp_path.glob("run")]


def test_a_known_corpus_is_fetched_whole_or_not_at_all(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FFSEQ_DATA", str(tmp_path / "data"))
    prepare = ["corpora", "prepare", "text8"]
    card = replace(entry("text8"), hub="hub:someone/set", hub_split="train+test", bytes=7)
    known: dict[str, Entry] = {"text8": card}
    for module in ("catalogue", "sources", "corpus"):
        monkeypatch.setattr(f"ffseq.{module}.catalogue", lambda: known)
    assert "it has 295 bytes and not 7" in refused(capsys, *prepare, "--quiet", status=1)
    assert not [*tmp_path.glob("data/*"), *tmp_path.glob("data/.*")]
    hub.repos["someone/more"] = {"train.parquet": table(["a bc", " de "] * 9), "test.parquet": table(["x"])}
    known["text8"] = replace(card, hub="hub:someone/more", bytes=73)
    result = as_json(capsys, *prepare)
    assert (result["fetched"], result["symbols"]) == (True, 73)
    assert Path(result["file"]).read_text() == "a bc de " * 9 + "x"
    assert not as_json(capsys, *prepare)["fetched"]
    assert as_json(capsys, "floors", "text8")["kneser_ney"]


def test_without_a_network_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FFSEQ_DATA", str(tmp_path))
    refusal = refused(capsys, "corpora", "prepare", "text8", "--quiet", status=1)
    assert "the Hub cannot be reached" in refusal
    assert "put text8 (100,000,000 bytes, from" in refusal
    assert "not to be had from the Hub: put" in refused(capsys, "corpora", "prepare", "text8-prefix", status=2)
    assert "ffseq corpora prepare text8" in refused(capsys, "train", "text8", status=1)
    assert as_json(capsys, "corpora", "prepare", "fables")["fetched"] is False
    assert not [*tmp_path.iterdir(), *cache_folder().glob("data/*")]


def test_a_command_that_was_stopped_does_not_stop_what_is_read_after_it(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: list[str], interrupted: Interrupt) -> int:
        interrupted.requested = True
        return 130

    with monkeypatch.context() as patch:
        patch.setattr("ffseq.cli._dispatch", stopped)
        assert main(["train"]) == 130
    assert load_corpus("hub:someone/set").documents == 18

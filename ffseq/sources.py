"""From what is typed as CORPUS to the text itself.

    NAME                                 a corpus of the catalogue
    PATH                                 a text; a folder or a .zip of texts; a table whose rows are documents
    PATH:COLUMN                          a table, and which column is the text
    FOLDER[:CONFIG][:COLUMN]             a folder laid out as a data set of the Hub
    hub:OWNER/NAME[:CONFIG][:COLUMN]     a data set of the Hub
    -                                    standard input

A folder is read as a data set if its README.md declares one, or if it has tables and no texts beside README.md.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ffseq.catalogue import cache_folder, catalogue, file_of
from ffseq.checkpoint import replace_file
from ffseq.documents import ENDINGS, Documents, Read, Text, files_below, folder_documents, is_document, zip_documents
from ffseq.errors import FfseqError, UsageError, nearest
from ffseq.hub import PREFIX, is_repo
from ffseq.interrupt import nothing_to_save
from ffseq.textfile import CHUNK, Scan, TextFile

#: Tables, by what their name ends with.
TABLES = (".jsonl", ".json", ".csv", ".parquet")


@contextlib.contextmanager
def opened(corpus: str, split: str | None = None) -> Iterator[Text | None]:
    """The text that a word means, or None where it is generated.

    split: of a data set, see `ffseq.hub_data`. What had to be copied, to be read twice, is gone at the end. Raises
    UsageError and FfseqError.
    """
    if not corpus:
        raise UsageError("the name of the text is empty: give a catalogue name, a path, or - for standard input")
    card = catalogue().get(corpus)
    if corpus == "-" or card is not None:
        _refuse_rest(corpus, [], split)
    if corpus == "-":
        with _copied(sys.stdin.buffer, "standard input") as text:
            yield text
    elif card is not None:
        yield TextFile(file_of(card), card.name) if card.file else None
    elif corpus.startswith(PREFIX):
        with _of_the_hub(corpus, split) as rows:
            yield rows
    else:
        path, words = _path_and_words(corpus)
        if path.exists() and not (path.is_file() or path.is_dir()):
            _refuse_rest(corpus, words, split)
            with path.open("rb") as pipe, _copied(pipe, path.name) as text:
                yield text
        else:
            yield _on_disk(path, words, split)


def _path_and_words(corpus: str) -> tuple[Path, list[str]]:
    """The path of a text, and what was typed behind it."""
    path, words = corpus, list[str]()
    while not Path(path).exists() and ":" in path:
        path, _, word = path.rpartition(":")
        words = [word, *words]
    if path and Path(path).exists():
        return Path(path), words
    if os.sep in corpus or Path(corpus).suffix:
        return Path(corpus), []
    known = list(catalogue())
    raise UsageError(
        f"{corpus!r} is neither a file nor a known corpus{nearest(corpus, known)}. Known corpora: {', '.join(known)}"
    )


def _on_disk(path: Path, words: list[str], split: str | None) -> Text:
    name = path.resolve().name
    if path.is_dir():
        paths = files_below(path)
        texts = [one for one in paths if is_document(one)]
        if _is_data_set(path, paths, texts):
            from ffseq.hub_data import data_set

            return data_set(str(path), words, split, name).documents
        _refuse_rest(name, words, split)
        if not texts:
            raise FfseqError(f"{path} holds no texts: files that end in {' or '.join(ENDINGS)} would be read")
        return folder_documents(path, texts)
    _refuse_rest(name, words[1:], split)
    kind = Path(path.stem if path.suffix.lower() in (".gz", ".xz") else path.name).suffix.lower()
    if kind in TABLES and path.exists():
        from ffseq.rows import table_documents

        return table_documents(path, kind, words[0] if words else None)
    _refuse_rest(name, words, None)
    return zip_documents(path) if kind == ".zip" and path.exists() else TextFile(path, name)


def _is_data_set(folder: Path, paths: list[PurePosixPath], texts: list[PurePosixPath]) -> bool:
    """Whether a folder is laid out as a data set of the Hub, and not a folder of texts."""
    if PurePosixPath("README.md") in texts:
        head = re.match(r"---\n(.*?)\n---", (folder / "README.md").read_text("utf-8", errors="replace"), re.DOTALL)
        if head and re.search(r"^(configs|dataset_info):", head[1], re.MULTILINE):
            return True
    return any(one.suffix.lower() in TABLES for one in paths) and set(texts) <= {PurePosixPath("README.md")}


def _refuse_rest(name: str, words: Sequence[str], split: str | None) -> None:
    """Refuse what only a data set, or a table, has."""
    if words:
        raise UsageError(f"{name} has no :{':'.join(words)}: leave it out")
    if split is not None:
        raise UsageError(f"--split {split} is for data sets, and {name} is none: leave --split out")


@contextlib.contextmanager
def _of_the_hub(corpus: str, split: str | None) -> Iterator[Documents]:
    """A data set of the Hub, fetched once.

    What a text was is remembered, by the files that it came from. So it is not fetched again while these are the same
    and its symbols are in the cache, and can then be used without a network.
    """
    from ffseq.hub_data import Unreachable, data_set

    path, *words = corpus.removeprefix(PREFIX).split(":")
    if not is_repo(path):
        raise UsageError(f"{corpus}: a data set of the Hub is hub:owner/name, with :config and :column behind it")
    if Path(path).is_dir():
        raise UsageError(f"{corpus}: there is a folder {path} here, which would be taken for it; is it ./{path}?")
    key = hashlib.sha256(json.dumps([corpus, split]).encode()).hexdigest()
    memory = cache_folder() / "hub" / f"{key[:32]}.json"
    known_files, scan = _remembered(memory)
    try:
        found = data_set(path, words, split, path)
        read, files = found.documents.read, found.files
    except Unreachable as error:
        read, files = partial(_unread, error), known_files
    if scan is not None and files == known_files:
        yield Documents(path, read, scan=scan)
        return
    with _temporary() as file, nothing_to_save():
        rows = _spooled(path, read, file)
        memory.parent.mkdir(parents=True, exist_ok=True)
        known = asdict(rows.scan()) | {"distinct": "".join(sorted(rows.scan().distinct))}
        content = {"files": files, "scan": known}
        replace_file(memory, json.dumps(content).encode())
        yield rows


def _unread(error: Exception) -> Iterator[tuple[str, Iterable[str]]]:
    raise error
    yield  # what makes this an iterator, so that the error comes when the text is read


def _remembered(path: Path) -> tuple[tuple[str, ...], Scan | None]:
    """The files that a text came from when it was read, and what it was."""
    try:
        content = json.loads(path.read_text("utf-8"))
        scan = content["scan"]
        return tuple(content["files"]), Scan(**scan | {"distinct": frozenset(scan["distinct"])})
    except (OSError, ValueError, KeyError, TypeError):
        return (), None


def _spooled(name: str, read: Read, file: Path) -> Documents:
    """Documents copied to a file."""
    sizes = array("q")
    with file.open("wb") as copy:
        for _, pieces in read():
            begin = copy.tell()
            for piece in pieces:
                copy.write(piece.encode("utf-8"))
            sizes.append(copy.tell() - begin)

    def again() -> Iterator[tuple[str, Iterable[str]]]:
        with file.open("rb") as copy:
            for number, size in enumerate(sizes, start=1):
                ends = [min(CHUNK, size - at) for at in range(0, size, CHUNK)]
                yield f"{name}, row {number}", codecs.iterdecode(map(copy.read, ends), "utf-8")

    return Documents(name, again)


@contextlib.contextmanager
def _copied(pipe: IO[bytes], name: str) -> Iterator[TextFile]:
    """What comes through a pipe, copied: a text is read more than once."""
    with _temporary() as file:
        with file.open("wb") as copy, nothing_to_save():
            shutil.copyfileobj(pipe, copy)
        yield TextFile(file, name)


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="copy-", suffix=".txt")
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)

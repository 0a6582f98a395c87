"""The rows of a table as documents: JSON lines, CSV, parquet. One column is the text; what has none is left out.

A column that is not named is the only one of text. What a table is made of is read as it comes: a text may be larger
than memory, a row may not.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ffseq.documents import Documents
from ffseq.errors import FfseqError, UsageError, nearest
from ffseq.textfile import TextFile

#: Rows that are looked at to find out which columns are text.
LOOKED_AT = 100
#: Characters of one field of a CSV, at most: a quotation mark that is never closed would take in all the rest.
FIELD = 1 << 26

#: The place of a row, and its text.
Rows = Iterator[tuple[str, str]]


def table_documents(path: Path, kind: str, field: str | None) -> Documents:
    """The rows of a table. kind: .jsonl, .json, .csv or .parquet.

    Raises UsageError for a column that is not there, is not text, or has to be named, FfseqError for a damaged file.
    """
    columns, rows = {".parquet": (_parquet, _parquet_rows), ".csv": (_csv, _csv_rows)}.get(kind, (_json, _json_rows))
    column = chosen(path.name, field, *columns(path))

    def read() -> Iterator[tuple[str, Iterable[str]]]:
        for place, text in rows(path, column):
            yield f"{path.name}, {place}", (text,)

    return Documents(path.name, read)


def chosen(name: str, field: str | None, columns: Sequence[str], texts: Sequence[str]) -> str:
    """The column to read: `field`, else the only one of text. columns: all, texts: those of text. Raises UsageError."""
    if not columns:
        raise FfseqError(f"{name} has no rows: there is nothing to learn from")
    if field is None:
        if len(texts) == 1:
            return texts[0]
        if not texts:
            raise UsageError(f"{name} has no column of text: it has {', '.join(columns)}")
        raise UsageError(
            f"{name} has several columns of text, {', '.join(texts)}: say which, by its name behind a colon at the end "
            f"(…:{texts[0]})"
        )
    if field not in columns:
        raise UsageError(f"{name} has no column {field!r}{nearest(field, list(columns))}: it has {', '.join(columns)}")
    if field not in texts:
        which = f"columns of text: {', '.join(texts)}" if texts else "it has no column of text"
        raise UsageError(f"{name}: column {field!r} is not text; {which}")
    return field


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends; only a newline ends one."""
    begun: list[str] = []
    for text in TextFile(path, path.name).texts():
        first, *others = text.split("\n")
        begun.append(first)
        for other in others:
            yield "".join(begun) + "\n"
            begun = [other]
    if any(begun):
        yield "".join(begun)


def _json(path: Path) -> tuple[list[str], list[str]]:
    """The columns that the first rows have, and those of them that hold text."""
    return columns_of([row for _, row in itertools.islice(_objects(path), LOOKED_AT)])


def columns_of(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The columns of some rows, and those of them that hold text and nothing else."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in columns}
    return columns, [name for name, some in values.items() if some and all(isinstance(one, str) for one in some)]


def _json_rows(path: Path, field: str) -> Rows:
    for line, row in _objects(path):
        where = f"{path.name}, line {line}"
        if field not in row:
            raise FfseqError(f"{where} has no field {field!r}: it has {', '.join(row) or 'none'}")
        text = row[field]
        if text is None:
            continue
        if not isinstance(text, str):
            raise FfseqError(f"{where}: field {field!r} is not text but {json.dumps(text)[:40]}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise FfseqError(f"{where}: {text[error.start]!a} is half of a character and stands alone") from None
        yield f"line {line}", text


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The line and the object of each row."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        if number == 1 and line.lstrip().startswith("["):
            raise FfseqError(f"{where} begins an array: write one object on each line, without commas between them")
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise FfseqError(f"{where} is not JSON: {error.msg}, column {error.colno}") from error
        except (ValueError, RecursionError) as error:
            raise FfseqError(f"{where} is not JSON that can be read: {error}") from error
        if not isinstance(row, dict):
            raise FfseqError(f'{where} is no object, such as {{"text": "…"}}')
        yield number, row


def _csv(path: Path) -> tuple[list[str], list[str]]:
    """The columns of the header, and those of them whose first rows are not all numbers."""
    rows = list(itertools.islice(_records(path), LOOKED_AT + 1))
    if not rows:
        raise FfseqError(f"{path.name} is empty: its first line would name its columns")
    columns = rows[0][1]
    columns_of = zip(*(row for _, row in rows[1:]), strict=True)
    values = dict(zip(columns, columns_of, strict=False)) if rows[1:] else dict.fromkeys(columns, ("",))
    return columns, [name for name in columns if not all(map(_is_number, values[name]))]


def _csv_rows(path: Path, field: str) -> Rows:
    records = _records(path)
    column = next(records)[1].index(field)
    for line, row in records:
        yield f"line {line}", row[column]


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row ends, and its fields; the header is the first."""
    csv.field_size_limit(FIELD)
    reader = csv.reader(_lines(path), strict=True)
    width = None
    try:
        for row in filter(None, reader):
            width = len(row) if width is None else width
            if len(row) != width:
                raise FfseqError(f"{path.name}, line {reader.line_num} has {len(row)} fields, the header has {width}")
            yield reader.line_num, row
    except csv.Error as error:
        raise FfseqError(f"{path.name}, line {reader.line_num} is not CSV: {error}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> tuple[list[str], list[str]]:
    """The columns of a parquet file, and those of text."""
    with _parquet_file(path) as file:
        schema = file.schema_arrow
    return schema.names, [one.name for one in schema if _holds_text(one.type)]


def _parquet_rows(path: Path, field: str) -> Rows:
    number = 0
    with _parquet_file(path) as file:
        for batch in file.iter_batches(batch_size=256, columns=[field]):
            for value in batch.column(0):
                number += 1
                text = value.as_py()
                if text is not None:
                    yield f"row {number}", text


@contextlib.contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    """A parquet file; what reading it raises is an FfseqError."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            yield file
    except UnicodeDecodeError as error:
        raise FfseqError(f"{path.name} holds text that is not UTF-8: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise FfseqError(f"{path} is damaged, or not parquet: {str(error).splitlines()[0]}") from error


def _holds_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))

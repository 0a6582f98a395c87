"""Data sets of the Hugging Face Hub, and folders laid out like one, through the library `datasets`.

They are streamed: rows come as they are asked for, and nothing is kept of them here.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging import CRITICAL, ERROR
from pathlib import Path
from types import ModuleType
from typing import Any

from ffseq.documents import Documents
from ffseq.errors import FfseqError, UsageError, nearest
from ffseq.rows import LOOKED_AT, chosen, columns_of

#: Rows asked for at once.
TOGETHER = 64
#: Where the Hub keeps the rows of data sets that are programs, as files.
AS_FILES = "refs/convert/parquet"


class Unreachable(FfseqError):
    """There is no way to the Hub."""


@dataclass(frozen=True)
class DataSet:
    """The rows of one column, and the files that they come from; those of the Hub say which version they are."""

    documents: Documents
    files: tuple[str, ...]


def data_set(path: str, words: Sequence[str], split: str | None, name: str) -> DataSet:
    """A column of a data set. path: owner/name, or a folder; words: what was typed behind it.

    One word is a config, if there is one of that name, else the column; of two the first is the config. split: one,
    or several joined by +, in that order; by default `train`, or the only one. Raises UsageError for names that are
    not there and columns that are not text, Unreachable without a way to the Hub, FfseqError for what is damaged.
    """
    with readable(name), quiet() as datasets:
        if not Path(path).is_dir():
            _look_for(path)
        program = False
        try:
            configs = datasets.get_dataset_config_names(path)
        except (RuntimeError, ValueError) as error:
            if not re.search("script|remote.code", str(error)):
                raise
            program, configs = True, _converted(path)
        config, field = _config_and_field(name, words, configs)
        if config is None and len(configs) > 1:
            config = None if program else datasets.get_dataset_default_config_name(path)
            if config is None:
                raise UsageError(f"{name} has several configs: say which, …:{configs[0]}. It has {', '.join(configs)}")
        if program:
            builder = datasets.load_dataset_builder(path, data_dir=config or configs[0], revision=AS_FILES)
        else:
            builder = datasets.load_dataset_builder(path, config)
        splits = builder.as_streaming_dataset()
        chosen_splits = [splits[one] for one in _splits(name, split, list(splits))]
        column = chosen(name, field, *_columns(chosen_splits[0]))

    def read() -> Iterator[tuple[str, Iterable[str]]]:
        number = 0
        with readable(name), quiet():
            for rows in chosen_splits:
                for some in rows.select_columns([column]).iter(batch_size=TOGETHER):
                    for text in some[column]:
                        number += 1
                        yield f"{name}, row {number}", (text or "",)

    files = builder.config.data_files or {}
    names = [str(file) for one in _splits(name, split, list(splits)) for file in files.get(one, [builder.hash])]
    return DataSet(Documents(name, read), tuple(names))


def _look_for(path: str) -> None:
    """Ask the Hub for a data set: it answers at once, where the library would try again for half a minute."""
    from huggingface_hub import HfApi

    HfApi().dataset_info(path, timeout=30)


def _converted(path: str) -> list[str]:
    """The configs of a data set that is a program, of whose rows the Hub has made files, a folder for each."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFolder

    tree = HfApi().list_repo_tree(path, revision=AS_FILES, repo_type="dataset")
    return [one.path for one in tree if isinstance(one, RepoFolder)]


def _config_and_field(name: str, words: Sequence[str], configs: Sequence[str]) -> tuple[str | None, str | None]:
    if len(words) > 2:
        raise UsageError(f"{name}: behind the data set come its config and its column, no more")
    config, field = (*words, None)[:2] if len(words) == 2 else (None, words[0] if words else None)
    if field in configs and len(words) == 1:
        config, field = field, None
    if config and config not in configs:
        hint = nearest(config, list(configs))
        raise UsageError(f"{name} has no config {config!r}{hint}: it has {', '.join(configs)}")
    return config or None, field or None


def _splits(name: str, split: str | None, known: Sequence[str]) -> list[str]:
    """The splits to be read, in order."""
    if split is None:
        if "train" not in known and len(known) > 1:
            raise UsageError(f"{name} has no split train: say which with --split. It has {', '.join(known)}")
        return ["train"] if "train" in known else list(known)
    for one in split.split("+"):
        if one not in known:
            raise UsageError(f"{name} has no split {one!r}{nearest(one, list(known))}: it has {', '.join(known)}")
    return split.split("+")


def _columns(rows: Any) -> tuple[list[str], list[str]]:
    """All columns of a data set, and those of text: as it declares them, else as its first rows are."""
    if rows.features is None:
        return columns_of(list(rows.take(LOOKED_AT)))
    return list(rows.features), [
        column
        for column, kind in rows.features.items()
        if getattr(kind, "dtype", None) in ("string", "large_string") and not isinstance(kind, Mapping | list)
    ]


@contextlib.contextmanager
def quiet() -> Iterator[ModuleType]:
    """The library, without its progress, its warnings, its reports to anybody, and programs from the Hub."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_TRUST_REMOTE_CODE", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
        from huggingface_hub.utils import logging

        bars, verbosity = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
        of_the_client = logging.get_verbosity()
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(CRITICAL)
        logging.set_verbosity(ERROR)
        try:
            yield datasets
        finally:
            logging.set_verbosity(of_the_client)
            datasets.logging.set_verbosity(verbosity)
            if bars:
                datasets.enable_progress_bars()


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns what the library raises into an FfseqError: it raises almost anything, of libraries of its own too."""
    try:
        yield
    except FfseqError:
        raise
    except Exception as error:
        kinds = {kind.__name__ for one in _causes(error) for kind in type(one).__mro__}
        reason = " ".join(str(error).split())[:300]
        if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
            raise UsageError(
                f"there is no data set {name} on the Hub, or it is not open to you ({reason}): its name is owner/name"
            ) from error
        if kinds & {"ConnectionError", "ConnectError", "ConnectTimeout", "OfflineModeIsEnabled", "TimeoutException"}:
            raise Unreachable(
                f"the Hub cannot be reached, so {name} cannot be read ({reason}): connect to the network"
            ) from error
        if "DataFilesNotFoundError" in kinds or "EmptyDatasetError" in kinds:
            raise FfseqError(f"{name} has no files that can be read as a table ({reason})") from error
        raise FfseqError(f"{name} cannot be read as a data set: {type(error).__name__}: {reason}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

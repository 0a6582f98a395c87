"""What is your own, by its name MODULE:NAME. Code comes from a module that can be imported, never from a checkpoint."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ffseq.errors import UsageError, nearest


def is_own(name: str) -> bool:
    """Whether a name means something of the user's, MODULE:NAME."""
    return ":" in name


def imported(option: str, name: str, shipped: Sequence[str] = ()) -> Any:
    """What MODULE:NAME is in its module. option, shipped: for the message, where else the name may come from.

    Raises UsageError for a name that is none, and for a module that cannot be imported or does not have it.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        known = f"{', '.join(shipped)}, or " if shipped else ""
        hint = nearest(name, list(shipped))
        raise UsageError(f"{option} {name}{hint}: give {known}what is yours as MODULE:NAME")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        where = "it has to be installed, on PYTHONPATH, or in the folder where ffseq is started"
        raise UsageError(f"{option} {name}: {error} ({where})") from error
    except Exception as error:  # a module of the user's may fail in any way while it is imported
        raise UsageError(f"{option} {name}: {type(error).__name__}: {error}") from error

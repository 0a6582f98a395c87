"""Checkpoints on the Hugging Face Hub: pulled from there into its cache, pushed there from a folder.

Errors of the network, of names and of tokens become sentences. The Hub's own variables hold: HF_TOKEN, HF_ENDPOINT,
HF_HUB_OFFLINE, HF_HUB_CACHE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ffseq.errors import FfseqError, UsageError

PREFIX = "hub:"
#: The libraries that the Hub's client has spoken HTTP with; their errors mean that there was no answer.
_HTTP = frozenset({"httpx2", "httpx", "requests", "urllib3"})


def is_repo(name: str) -> bool:
    """Whether a name has the form owner/name.

    >>> is_repo("someone/fables"), is_repo("fables"), is_repo("runs/mine/best"), is_repo("../mine")
    (True, False, False, False)
    """
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def repo_of(name: str) -> str | None:
    """The owner/name of hub:owner/name, or None for a name without that prefix. Raises UsageError."""
    if not name.startswith(PREFIX):
        return None
    repo = name[len(PREFIX) :]
    if not is_repo(repo):
        raise UsageError(f"{name}: give a model of the Hub as hub:owner/name")
    return repo


def pulled(
    repo: str, *, revision: str | None = None, token: str | None = None, cache_dir: Path | str | None = None
) -> Path:
    """The folder, in the Hub's cache, of the checkpoint in a model repository.

    Raises FfseqError where it cannot be had.
    """
    from huggingface_hub import HfApi

    with _explained(repo, "read"):
        folder = HfApi(token=token).snapshot_download(
            repo, revision=revision, cache_dir=cache_dir, allow_patterns=["*.json", "*.safetensors", "*.model"]
        )
    if not (Path(folder) / "manifest.json").is_file():
        raise FfseqError(f"{repo} on the Hub is not a network of ffseq: it has no manifest.json")
    return Path(folder)


def pushed(folder: Path, repo: str, *, message: str, private: bool | None = None, token: str | None = None) -> str:
    """Upload what is in a folder as one commit to a model repository, which is made if it is not there; its address.

    Raises FfseqError where the Hub does not take it.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _explained(repo, "write"):
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=folder, commit_message=message)
    return str(address)


@contextmanager
def _explained(repo: str, purpose: str) -> Iterator[None]:
    """Turn what the Hub's client raises into a sentence, and keep its bars off the terminal: networks are small, and
    what is refused is one line. Raises FfseqError.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    try:
        yield
    except FfseqError:
        raise
    except Exception as error:  # its client's errors, and those of whichever HTTP library it uses
        raise FfseqError(f"{repo} on the Hub: {_reason(error, purpose)}") from error
    finally:
        if shown:
            enable_progress_bars()


def _reason(error: Exception, purpose: str) -> str:
    from huggingface_hub import constants, errors

    known = isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None
    cause = error.__cause__ if known else error
    response = getattr(cause, "response", None)
    status = getattr(response, "status_code", None)
    login = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set and there is no copy of it in the cache"
    if isinstance(cause, errors.HFValidationError):
        return f"that is not a name that the Hub takes ({_line(cause)})"
    if isinstance(cause, errors.RevisionNotFoundError):
        return "it has no such revision"
    if purpose == "write" and (status == 401 or isinstance(cause, errors.LocalTokenNotFoundError)):
        return f"nobody is logged in, or the token is not valid: {login} to a token that may write"
    if status == 403:
        what = "write there" if purpose == "write" else "read it (its page may ask you to accept terms)"
        return f"your token may not {what}: {login} to another one"
    if status in (401, 404):
        return f"there is no such model, or it is private: look at the name, or {login}"
    if status is not None:
        return f"the server answered {status} ({_line(cause)}): try again later"
    if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__module__.split(".")[0] in _HTTP:
        return f"{constants.ENDPOINT} cannot be reached ({_line(cause)})"
    return f"{type(cause).__name__}: {_line(cause)}"


def _line(error: BaseException | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

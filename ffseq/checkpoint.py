"""Checkpoints: a folder of JSON and safetensors with the checksum of every file, replaced so that one is always whole.

A new checkpoint is written beside the old one as NAME.new, its manifest last, everything forced to disk; then
NAME → NAME.old, NAME.new → NAME, and NAME.old goes. Whenever the machine stops, at least one of the three is whole,
and readers take the first that is, in the order NAME, NAME.new, NAME.old.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ffseq.errors import FfseqError

FORMAT_VERSION = 4


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint; trainer state and tensors only where it can be resumed."""

    path: Path
    config: dict[str, Any]
    model: dict[str, Tensor]
    alphabet: dict[str, Any]
    trainer_state: dict[str, Any] | None = None
    trainer_tensors: dict[str, Tensor] | None = None


def save_checkpoint(
    folder: Path,
    *,
    config: dict[str, Any],
    model: dict[str, Tensor],
    alphabet: dict[str, Any],
    trainer_state: dict[str, Any] | None = None,
    trainer_tensors: dict[str, Tensor] | None = None,
    beside: dict[str, bytes] | None = None,
) -> None:
    """Write a checkpoint in place of the one that `folder` may hold.

    beside: further files by name, which may change later: the manifest does not list them.

    Raises FfseqError where the disk refuses; the old checkpoint is then still there. NaN or infinity in the JSON
    parts is a ValueError.
    """
    files = {
        "config.json": _json_bytes(config),
        "alphabet.json": _json_bytes(alphabet),
        "model.safetensors": _tensor_bytes(model),
    }
    if trainer_state is not None:
        files["trainer_state.json"] = _json_bytes(trainer_state)
        files["trainer_state.safetensors"] = _tensor_bytes(trainer_tensors or {})
    listed = {name: {"sha256": _sha256(content), "bytes": len(content)} for name, content in files.items()}
    manifest = {"format_version": FORMAT_VERSION, "sha256": _sha256(_json_bytes(listed)), "files": listed}
    try:
        _recover(folder)
        new, old = _beside(folder, ".new"), _beside(folder, ".old")
        new.mkdir(parents=True)
        for name, content in {**(beside or {}), **files, "manifest.json": _json_bytes(manifest)}.items():
            _write(new / name, content)
        _sync_folder(new)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
        _sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        kept = " The checkpoint before it is kept." if checkpoint_is_whole(folder) else ""
        raise FfseqError(f"cannot write the checkpoint {folder}: {error.strerror or error}.{kept}") from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises FfseqError naming the file that is missing or damaged, and offering the run's other checkpoint if it is good.
    """
    folder = Path(folder)
    for candidate in _candidates(folder):
        if candidate.is_dir():
            break
    else:
        raise FfseqError(f"there is no checkpoint at {folder}")
    try:
        return _load(candidate)
    except FfseqError as damage:
        # An interrupted save can leave a damaged NAME only together with a whole NAME.new or NAME.old.
        for other in _candidates(folder):
            if other != candidate and not _fault(other):
                return _load(other)
        sibling = folder.with_name({"best": "last", "last": "best"}.get(folder.name, "best"))
        good = next((other for other in _candidates(sibling) if other.is_dir() and not _fault(other)), None)
        offer = ""
        if good and sibling != folder:
            whole = (good / "trainer_state.json").exists()
            use = "use that instead" if whole else "it holds weights only: sample or evaluate it, or begin a new run"
            offer = f" A good checkpoint is at {good}: {use}."
        raise FfseqError(f"{damage}{offer}") from damage


def resolve_run(path: Path) -> Path:
    """The checkpoint folder that RUN means: a checkpoint folder itself, or a run folder's best/, else last/.

    Raises FfseqError where there is none.
    """
    path = Path(os.path.abspath(path))  # a name for every folder, also for .
    for folder in (path / "best", path / "last", path):
        if checkpoint_exists(folder):
            return folder
    if not path.exists():
        raise FfseqError(f"there is no run or checkpoint at {path}")
    raise FfseqError(f"{path} holds no checkpoint: looked for best/, last/ and manifest.json in it")


def checkpoint_exists(folder: Path) -> bool:
    """Whether there is a checkpoint of that name, whole or not."""
    return any(candidate.is_dir() and _looks_like_one(candidate) for candidate in _candidates(Path(folder)))


def checkpoint_is_whole(folder: Path) -> bool:
    """Whether a checkpoint of that name can be loaded."""
    return any(candidate.is_dir() and not _fault(candidate) for candidate in _candidates(Path(folder)))


def _looks_like_one(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() or (folder / "model.safetensors").is_file()


def _load(folder: Path) -> Checkpoint:
    fault = _fault(folder)
    if fault:
        raise FfseqError(fault)
    has_state = (folder / "trainer_state.json").exists()
    return Checkpoint(
        path=folder,
        config=_read_json(folder / "config.json"),
        model=_read_tensors(folder / "model.safetensors"),
        alphabet=_read_json(folder / "alphabet.json"),
        trainer_state=_read_json(folder / "trainer_state.json") if has_state else None,
        trainer_tensors=_read_tensors(folder / "trainer_state.safetensors") if has_state else None,
    )


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None where every file is the one in its manifest."""
    path = folder / "manifest.json"
    if not path.is_file():
        return f"{path} is missing: the checkpoint is not whole."
    manifest = json_or_none(path.read_bytes())
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(files, dict) or not _required() <= files.keys():
        return f"{path} is damaged: it does not list the files of a checkpoint."
    if manifest.get("sha256") != _sha256(_json_bytes(files)):
        return f"{path} is damaged: its own SHA-256 does not fit."
    if manifest.get("format_version") != FORMAT_VERSION:
        return (
            f"{path} has format_version {manifest.get('format_version')!r}; this ffseq reads {FORMAT_VERSION}: "
            "use the ffseq that wrote it."
        )
    for name, entry in files.items():
        file = folder / Path(name).name
        if not file.is_file():
            return f"{file} is missing: the checkpoint is not whole."
        if not isinstance(entry, dict) or _sha256(file.read_bytes()) != entry.get("sha256"):
            return f"{file} is damaged: its SHA-256 is not the one in manifest.json."
    return None


def _required() -> set[str]:
    return {"config.json", "alphabet.json", "model.safetensors"}


def _recover(folder: Path) -> None:
    """Clear what an interrupted save left, keeping a whole checkpoint at every moment."""
    new, old = _beside(folder, ".new"), _beside(folder, ".old")
    if not folder.exists():
        if new.is_dir() and not _fault(new):
            os.rename(new, folder)
        elif old.is_dir():
            os.rename(old, folder)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)


def _beside(folder: Path, end: str) -> Path:
    return folder.with_name(folder.name + end)


def _candidates(folder: Path) -> list[Path]:
    return [folder, _beside(folder, ".new"), _beside(folder, ".old")]


def _json_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("utf-8")


def _tensor_bytes(tensors: dict[str, Tensor]) -> bytes:
    # Clones: safetensors refuses views that share storage, and flat buffers are full of them.
    return bytes(save_tensors({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}))


def _read_json(path: Path) -> dict[str, Any]:
    content = json_or_none(path.read_bytes())
    if not isinstance(content, dict):
        raise FfseqError(f"{path} does not hold a JSON object.")
    return content


def json_or_none(content: bytes) -> Any:
    """Parsed JSON, or None where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_tensors(path.read_bytes()))
    except SafetensorError as error:
        raise FfseqError(f"{path} is not a safetensors file ({error}).") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that readers find whole, old or new, whatever happens meanwhile."""
    beside = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        _write(beside, content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""A run made ready to be given away: its weights and what is known about them, without what is only here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ffseq.card import model_card
from ffseq.catalogue import catalogue
from ffseq.checkpoint import Checkpoint, checkpoint_exists, json_or_none, load_checkpoint, resolve_run, save_checkpoint
from ffseq.hub import PREFIX
from ffseq.network import SequenceNetwork


def write_shared(run: Path, folder: Path, *, name: str, license: str | None = None) -> dict[str, int]:
    """Write the checkpoint of a run (best/, else last/) into a new folder, with a card; its files and their bytes.

    name: what `from_pretrained` is to be given. What is needed to go on training stays behind, and so do the paths of
    this machine. Raises FfseqError.
    """
    checkpoint = load_checkpoint(resolve_run(run))
    network = SequenceNetwork.from_checkpoint(checkpoint)
    config = without_paths(checkpoint.config)
    card = model_card(
        name,
        config,
        symbols=len(network.alphabet),
        parameters=network.parameter_count(),
        result=result_of(checkpoint),
        sample=network.generate(max_new_tokens=300, temperature=0.7).strip(),
        license=license,
    )
    save_checkpoint(
        folder,
        config=config,
        model=checkpoint.model,
        alphabet=checkpoint.alphabet,
        beside={"README.md": card.encode("utf-8")},
    )
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's config.json without the paths of this machine: of a text's only the name is left."""
    config = json.loads(json.dumps(config))
    if "options" in config:
        config["options"] |= {"out_dir": None, "resume": None, "corpus": _named(config["options"]["corpus"])}
        if config["options"].get("pieces.model") is not None:
            config["options"]["pieces.model"] = Path(config["options"]["pieces.model"]).name
    if "corpus" in config:
        config["corpus"]["source"] = _named(config["corpus"]["source"])
    return config


def _named(source: str) -> str:
    public = source in catalogue() or source == "-" or source.startswith(PREFIX)
    return source if public else Path(source).name


def result_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The result.json of the run that a checkpoint lies in, or None where it has none or it is another checkpoint's."""
    folder, name = checkpoint.path.parent, checkpoint.path.name.split(".")[0]
    path = folder / "result.json"
    if name not in ("best", "last") or (name == "last" and checkpoint_exists(folder / "best")) or not path.is_file():
        return None
    result = json_or_none(path.read_bytes())
    return result if isinstance(result, dict) else None

"""Networks saved, loaded and shared, with the names that the Hugging Face Hub's own libraries use.

Not by huggingface_hub's mixin: it writes a config.json of its own after ours, and the manifest would no longer fit.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from ffseq.alphabet import Alphabet
from ffseq.blackbox import BlackBox, black_box_of
from ffseq.card import model_card
from ffseq.checkpoint import Checkpoint, load_checkpoint, resolve_run, save_checkpoint
from ffseq.config import NetworkConfig
from ffseq.errors import FfseqError
from ffseq.hub import is_repo, pulled, pushed, repo_of
from ffseq.own import is_own
from ffseq.passes import Tables


class Pretrained(nn.Module):
    """A network with what it has to do with files and with the Hub.

    black_box: what stands in its score beside the layers, if anything; tables: what that says of the texts that are
    asked for; there with it.
    """

    config: NetworkConfig
    alphabet: Alphabet
    black_box: BlackBox | None = None
    tables: Tables | None = None

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """The network that a loaded checkpoint describes. Raises FfseqError where shapes and config disagree."""
        try:
            config = NetworkConfig(**checkpoint.config["network"])
            network = cls(config, Alphabet.from_json(checkpoint.alphabet))
            if config.black_box != "none":
                network.attach(black_box_of(config, checkpoint.model["black_box_text"].numpy(), len(network.alphabet)))
            network.load_state_dict(checkpoint.model)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise FfseqError(
                f"{checkpoint.path}: config.json, alphabet.json and model.safetensors do not belong together ({reason})"
            ) from error
        return network

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """The network of a run folder (its best/, else last/), of a checkpoint folder, or of the Hub.

        path: a folder, or where there is none of that name owner/name, a model on the Hub (hub:owner/name is always
        that); revision, token, cache_dir: as huggingface_hub takes them. Raises FfseqError.
        """
        repo = repo_of(str(path))
        if repo is None and not Path(path).exists() and is_repo(str(path)):
            repo = str(path)
        if repo is None:
            return cls.from_checkpoint(checkpoint_of(path))
        return cls.from_checkpoint(_of_hub(repo, revision=revision, token=token, cache_dir=cache_dir))

    def save_pretrained(
        self, path: str | Path, *, repo_id: str | None = None, push_to_hub: bool = False, **options: Any
    ) -> None:
        """Write the network as a checkpoint folder that `from_pretrained` reads, with a README.md if it has none.

        push_to_hub: afterwards also to the Hub, as repo_id, by default the name of the folder; options: those of
        `push_to_hub`. Raises FfseqError.
        """
        folder = Path(path)
        config = {"format": "ffseq", "network": asdict(self.config)}
        name = repo_id or folder.name
        card = model_card(name, config, symbols=len(self.alphabet), parameters=self.parameter_count())
        readme = folder / "README.md"
        beside = {"README.md": readme.read_bytes() if readme.is_file() else card.encode("utf-8")}
        save_checkpoint(folder, config=config, model=self.state_dict(), alphabet=self.alphabet.to_json(), beside=beside)
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name, **options)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "A network of ffseq",
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """Write the network to the model repository owner/name on the Hub; returns its address. Raises FfseqError.

        A net alone does not know its figures: `ffseq share` writes a card with those of its run.
        """
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "network"
            self.save_pretrained(folder, repo_id=repo_id)
            return pushed(folder, repo_id, message=commit_message, private=private, token=token)

    def attach(self, box: BlackBox) -> None:
        """Put a black box into the stack. What it counts becomes part of the net, and of its checkpoints."""
        self.black_box, self.tables = box, Tables(box)
        text = np.asarray(box.text if box.counts else box.text[:0])
        kind = np.uint8 if text.itemsize == 1 else np.int32
        self.register_buffer("black_box_text", torch.from_numpy(text.astype(kind)))

    def parameter_count(self) -> int:
        """Number of learnable weights."""
        return sum(parameter.numel() for parameter in self.parameters())


def checkpoint_of(run: str | Path) -> Checkpoint:
    """The checkpoint that RUN means: of a run folder, a checkpoint folder, or hub:owner/name. Raises FfseqError."""
    repo = repo_of(str(run))
    return load_checkpoint(resolve_run(Path(run))) if repo is None else _of_hub(repo)


def _of_hub(repo: str, **options: Any) -> Checkpoint:
    """A checkpoint of the Hub. Raises FfseqError, also where it names code: strangers do not choose what runs here."""
    folder = pulled(repo, **options)
    checkpoint = load_checkpoint(folder)
    network = checkpoint.config.get("network") or {}
    named = [name for name in (network.get("goodness"), network.get("black_box")) if isinstance(name, str)]
    for name in filter(is_own, named):
        raise FfseqError(
            f"{repo} on the Hub names code of its own, {name}, which would be run: if you trust it, load the folder "
            f"{folder}"
        )
    return checkpoint

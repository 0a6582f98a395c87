"""What is kept of a run: written into its checkpoints, and read back so that it goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ffseq.checkpoint import Checkpoint, save_checkpoint
from ffseq.errors import FfseqError
from ffseq.means import Means
from ffseq.optim import restore_state, state_tensors
from ffseq.options import to_flat
from ffseq.phases import moments

if TYPE_CHECKING:
    from ffseq.training import Trainer


@dataclass
class State:
    """Where a run is. `seconds` counts learning time over all its sittings, `read` the updates that had real text."""

    step: int = 0
    seconds: float = 0.0
    best_bits: float | None = None
    validation_bits: float | None = None
    read: int = 0

    def symbols_seen(self, batch_size: int) -> int:
        """Symbols of real text that were learned, each as often as it was."""
        return self.read * batch_size


def save_run(trainer: Trainer, name: str) -> None:
    """Write the checkpoint `best` (weights only) or `last` (with all that is needed to go on)."""
    state: dict[str, Any] | None = None
    tensors: dict[str, Tensor] | None = None
    if name == "last":
        state = asdict(trainer.state) | {"means": trainer.means.to_json()}
        tensors = state_tensors(trainer.optimisers) if trainer.pipeline is None else dict(trainer.pipeline.gathered)
        if trainer.nights is not None:
            tensors |= trainer.nights.tensors()
        if trainer.rollouts is not None:
            tensors |= trainer.rollouts.tensors()
        if trainer.shown is not trainer.network:
            tensors |= {
                f"weights.{key}": value
                for key, value in trainer.network.state_dict().items()
                if not key.startswith("memory.")
            }
    save_checkpoint(
        trainer.folder / name,
        config=_description(trainer),
        model=trainer.shown.state_dict(),
        alphabet=trainer.corpus.alphabet.to_json(),
        trainer_state=state,
        trainer_tensors=tensors,
    )


def restore_run(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Go on from a checkpoint written by `save_run`."""
    if checkpoint.trainer_state is None or checkpoint.trainer_tensors is None:
        raise FfseqError(
            f"{checkpoint.path} cannot be resumed: it holds weights only. Resume from the run's last/ checkpoint."
        )
    state = dict(checkpoint.trainer_state)
    means = Means.from_json(state.pop("means"), trainer.network.prior.device)
    trainer.state = State(**state)
    if trainer.leads:  # the others of a pipeline do not have all of them
        trainer.means = means
    trainer.shown.load_state_dict(checkpoint.model)
    tensors = dict(checkpoint.trainer_tensors)
    if trainer.shown is not trainer.network:
        prefix = "weights."
        weights = {key[len(prefix) :]: tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}
        shared = {key: value for key, value in checkpoint.model.items() if key.startswith("memory.")}
        trainer.network.load_state_dict(weights | shared)
    if trainer.pipeline is not None:
        tensors = trainer.pipeline.own(tensors)
    restore_state(trainer.optimisers, tensors)
    if trainer.nights is not None:
        trainer.nights.restore(tensors)
    if trainer.rollouts is not None:
        trainer.rollouts.restore(tensors, trainer.network.prior.device)
    trainer.moments = moments(trainer.config.phases, trainer.state.step)


def _description(trainer: Trainer) -> dict[str, Any]:
    """What config.json says: everything needed to build the net again and to repeat the run."""
    return {
        "format": "ffseq",
        "network": asdict(trainer.config.network),
        "options": to_flat(trainer.config),
        "corpus": {
            "name": trainer.corpus.name,
            "source": trainer.config.text.corpus,
            "split": trainer.config.text.split,
            "content_sha256": trainer.corpus.content_sha256,
            "split_rule": trainer.corpus.split_rule,
        },
        "step": trainer.state.step,
        "characters_seen": trainer.characters_seen,
        "validation_bits_per_character": trainer.state.validation_bits,
    }

"""What scores are read out with: temperature, prior and gains, as theory gives them or fitted on text not learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ffseq.calibration import fit_gains
from ffseq.config import LearningConfig, TrainConfig, gains_of, source_of
from ffseq.evaluation import fit_temperature
from ffseq.network import SequenceNetwork
from ffseq.objective import excludes_truth, readout_temperature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffseq.segments import Segment


def known_temperature(config: TrainConfig) -> float | None:
    """The temperature that was given, else the one that theory gives, or None where it has to be fitted."""
    learning = config.learning
    if learning.temperature is not None:
        return learning.temperature
    if learning.calibrate:
        return None
    if config.network.stack == "literal":
        # A softmax that learned from the likelihood is right as it is; goodness is in no unit.
        return 1.0 if config.network.readout == "softmax" else None
    return readout_temperature(
        learning.objective,
        source_of(learning),
        exclude_truth=_excludes_truth(learning) or _told_the_truth(config),
        negatives_temperature=learning.negatives_temperature,
        scope=learning.scope,
        goodness=config.network.goodness,
    )


def _told_the_truth(config: TrainConfig) -> bool:
    """Whether a net that sleeps is told when it happens to say the truth."""
    return config.phases.kind not in ("interleaved", "deprived") and config.phases.asleep == "targets"


def set_readout(
    networks: Iterable[SequenceNetwork], config: TrainConfig, temperature: float | None, unigram: Tensor | None
) -> None:
    """Set temperature (1 until it is fitted), gains that were given, and the prior that the negatives ask for.

    unigram: (V,) frequencies that negatives are drawn with, or None for those of another source.
    """
    learning = config.learning
    for network in networks:
        network.temperature.fill_(temperature or 1.0)
        if learning.gains is not None:
            network.gains.copy_(torch.tensor(gains_of(learning.gains)))
        if unigram is not None and learning.objective != "nce":
            # Against the frequencies q a threshold learns log P/q, and log P/(q(1 − q)) where the truth, drawn
            # with its own frequency, is left out: the read-out puts back what is missing.
            network.prior.copy_(unigram.log() + (torch.log1p(-unigram) if _excludes_truth(learning) else 0.0))


def fit_readout(
    network: SequenceNetwork, symbols: NDArray[np.integer], segments: Sequence[Segment], *, calibrate: bool
) -> None:
    """Fit the temperature, and with `calibrate` the gains too, on text that was not learned."""
    if calibrate:
        network.gains.fill_(1.0)
    network.temperature.fill_(fit_temperature(network, symbols, segments))
    if calibrate and network.config.stack != "literal":
        network.gains.copy_(fit_gains(network, symbols, segments))


def frequencies(symbols: NDArray[np.integer], start: int, stop: int, size: int) -> Tensor:
    """How frequent each symbol is in a range of the text, each counted once more than it is there: (V,) float32."""
    counts = np.zeros(size, dtype=np.int64)
    for first in range(start, stop, 1 << 22):  # in pieces: bincount makes integers of eight bytes
        piece = symbols[first : min(first + (1 << 22), stop)]
        counts += np.bincount(piece, minlength=size)
    return torch.from_numpy((counts + 1) / (counts + 1).sum()).float()


def _excludes_truth(learning: LearningConfig) -> bool:
    return excludes_truth(learning.objective, source_of(learning), learning.exclude_truth)

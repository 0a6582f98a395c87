"""What a run with phases keeps from one update to the next: the net that speaks asleep, and its dreams.

Asleep there is no real text: nothing here has a corpus, `sleep` takes contexts from it only for the two kinds of sleep
that are less than true separation. Awake nothing is kept of the real text. What is kept is counted in `state_bytes`.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from ffseq import dreams
from ffseq.apart import asleep, awake, say
from ffseq.bank import Bank
from ffseq.config import TrainConfig
from ffseq.learning import Update
from ffseq.mechanisms import own_balance
from ffseq.network import SequenceNetwork
from ffseq.phases import Moment, speaks_frozen
from ffseq.randomness import generator


class Nights:
    """For one network and its settings, which have to be resolved (see `ffseq.defaults`)."""

    def __init__(self, network: SequenceNetwork, config: TrainConfig) -> None:
        self.network, self.config = network, config
        assert config.run.batch_size is not None
        self.dreams = dreams.begun(
            config.run.batch_size,
            block_size=network.block_size,
            alphabet_size=len(network.alphabet),
            length=config.phases.dream_length,
            device=network.prior.device,
        )
        #: The net at the onset of a sleep, and the update of that; before the first sleep so long ago that it goes.
        self.frozen = _frozen(network) if speaks_frozen(config) else None
        self.frozen_at = -config.phases.renew
        size, device = config.phases.bank, network.prior.device
        self.bank = Bank(size, network.block_size, device) if size else None
        flat = network.flat()
        assert flat is not None
        self.places = flat.places
        self.balance = own_balance(config.phases.mechanism)(flat)

    def wake(self, moment: Moment, step: int, contexts: Tensor, targets: Tensor) -> Update:
        """An update with real contexts (B, K) and targets (B,), and without negatives."""
        if self.frozen is not None and not moment.nights and not moment.since:
            self.frozen = _frozen(self.network)  # no sleep has come before, or comes at all
        return awake(
            self.network,
            contexts,
            targets,
            self.config.learning,
            random=self._random("learn", step),
            drop=self.config.network.dropout or 0.0,
            frozen=self.frozen,
            gated=self.config.phases.gated,
            places=self.places,
            weighed=partial(self.balance.signal, moment=moment),
        )

    def sleep(self, moment: Moment, step: int, real: tuple[Tensor, Tensor] | None = None) -> Update:
        """An update without real text. real: for the kinds of sleep that see real contexts, those and their targets."""
        phases = self.config.phases
        if self.frozen is not None and not moment.since and step - self.frozen_at >= phases.renew:
            self.frozen, self.frozen_at = _frozen(self.network), step
        contexts, random = self.dreams.contexts if real is None else real[0], self._random("dream", step)
        said = again = None
        if self.bank is not None:
            assert self.frozen is not None
            said = say(self.frozen, contexts, self.config.learning, random)
            self.bank.add(contexts, said)
            contexts, again = self.bank.draw(len(contexts), random)
        update, symbols = asleep(
            self.network,
            contexts,
            self.config.learning,
            random=random,
            drop=self.config.network.dropout or 0.0,
            frozen=self.frozen,
            truth=real[1] if real is not None and phases.asleep == "targets" else None,
            again=again,
            places=self.places,
            weighed=partial(self.balance.signal, moment=moment),
        )
        if real is None:
            size, symbols = len(self.network.alphabet), symbols if said is None else said.symbols
            self.dreams = dreams.onward(self.dreams, symbols, alphabet_size=size, length=phases.dream_length)
        return update

    @property
    def state_bytes(self) -> int:
        """Bytes of what is kept, the weights themselves and their optimiser left out."""
        kept: list[Tensor] = [*self.frozen.layers.parameters()] if self.frozen is not None else []
        if self.config.phases.asleep == "dreams" and self.config.phases.kind != "deprived":
            kept += [self.dreams.contexts, self.dreams.ages]
        banked = self.bank.state_bytes if self.bank is not None else 0
        return sum(one.numel() * one.element_size() for one in kept) + banked + self.balance.state_bytes

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs to go on from in mid-phase."""
        frozen = self.frozen.layers.state_dict() if self.frozen is not None else {}
        return {
            "dreams.contexts": self.dreams.contexts,
            "dreams.ages": self.dreams.ages,
            "dreams.frozen_at": torch.tensor(self.frozen_at),
            **{f"frozen.{name}": value for name, value in frozen.items()},
            **(self.bank.tensors() if self.bank is not None else {}),
            **self.balance.tensors(),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; other names are passed over."""
        device = self.network.prior.device
        self.dreams = dreams.Dreams(*(tensors[f"dreams.{name}"].to(device) for name in ("contexts", "ages")))
        self.frozen_at = int(tensors["dreams.frozen_at"])
        if self.frozen is not None:
            prefix = "frozen."
            named = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
            self.frozen.layers.load_state_dict(named)
        if self.bank is not None:
            self.bank.restore(tensors)
        self.balance.restore(tensors)

    def _random(self, purpose: str, step: int) -> torch.Generator:
        return generator(self.config.run.seed, purpose, step, self.network.prior.device)


def _frozen(network: SequenceNetwork) -> SequenceNetwork:
    """The net as it is now: the weights that learn, not their average, read out without temperature and gains."""
    other = copy.deepcopy(network)
    other.gains.fill_(1.0)
    other.products = network.products
    return other

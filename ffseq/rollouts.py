"""Negatives that are text of the net's own, in the same update as real text.

    rollout     the net goes on from a real context, symbol by symbol, and after a while from another one
    dream       the same from the beginning of a text: nothing of it is real

Every string says one symbol an update, drawn from the net as it is, under the update's dropout; context and symbol are
a negative, whose goodness falls. So half of the contexts of an update are the net's own, where a `sampled` negative
shares the real one. As asleep (`ffseq.apart`) the signals are bounded: a softmax, which writes the text, does not know
how high a whole context stands.

Shape letters: B positions in a batch, K context length, V alphabet size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq import dreams
from ffseq.apart import falling, rising
from ffseq.config import TrainConfig, source_of
from ffseq.flat import Views
from ffseq.learning import Update, learn, threshold_of
from ffseq.negatives import Negatives, sampled
from ffseq.network import SequenceNetwork


class Rollouts:
    """The B strings that a run goes on with from update to update. `config` has to be resolved."""

    def __init__(self, network: SequenceNetwork, config: TrainConfig) -> None:
        assert config.run.batch_size is not None
        self.learning, self.drop = config.learning, config.network.dropout or 0.0
        self.real = source_of(config.learning) == "rollout"
        self.strings = dreams.begun(
            config.run.batch_size,
            block_size=network.block_size,
            alphabet_size=len(network.alphabet),
            length=config.learning.rollout_length,
            device=network.prior.device,
        )

    def learn(
        self,
        network: SequenceNetwork,
        contexts: Tensor,
        targets: Tensor,
        *,
        random: torch.Generator,
        places: Views | None = None,
    ) -> Update:
        """One update: contexts (B, K) and targets (B,) of real text, and the strings, which are a symbol longer then.

        places: as `ffseq.learning.learn` takes them.
        """
        learning, size, index = self.learning, len(network.alphabet), targets[:, None]
        own = self.strings.contexts
        if self.real:
            # Nothing said yet: it goes on from what is real at its place in this batch.
            own = torch.where(own[:, :1] == size, contexts, own)
        said_by: list[Tensor] = []

        def judge(scores: Tensor, layers: int) -> tuple[Tensor, Negatives]:
            log_q = torch.log_softmax(scores / learning.negatives_temperature, 1)
            said = sampled(log_q[len(targets) :].exp(), 1, random)
            said_by.append(said)
            threshold, chosen = threshold_of(network, learning, layers), torch.cat([index, said])
            score, known = (of.gather(1, chosen)[:, 0].view(2, -1) for of in (scores, log_q))
            up = rising(learning.objective, score[0], log_q=known[0], threshold=threshold)
            down = falling(learning.objective, score[1], log_q=known[1], threshold=threshold)
            signal = torch.zeros_like(scores).scatter_(1, chosen, torch.cat([up, -down])[:, None])
            return signal, Negatives(torch.zeros_like(scores[len(targets) :]).scatter_(1, said, 1.0), None)

        update = learn(
            network,
            torch.cat([contexts, own]),
            targets,
            learning,
            random=random,
            drop=self.drop,
            places=places,
            judge=judge,
        )
        # In scopes own and below every layer has said something of its own: the last one's word counts.
        self.strings = dreams.onward(
            dreams.Dreams(own, self.strings.ages),
            said_by[-1][:, 0],
            alphabet_size=size,
            length=learning.rollout_length,
        )
        return update

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs to go on."""
        return {"rollouts.contexts": self.strings.contexts, "rollouts.ages": self.strings.ages}

    def restore(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """The inverse of `tensors`; other names are passed over."""
        self.strings = dreams.Dreams(*(tensors[f"rollouts.{name}"].to(device) for name in ("contexts", "ages")))

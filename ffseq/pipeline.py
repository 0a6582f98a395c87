"""The layers spread over processes: each learns its own, and batches go up from process to process.

    torchrun --nproc-per-node 2 -m ffseq train … --scope below --pipeline true

In scopes `own` and `below` a layer has learned from a batch before the layer above has seen it. So it takes up the next
batch at once, while those above still learn this one. Backpropagation has to come back first.

Every message goes from a process to a later one. The first has the clock and hears who asks to stop; what it decided
goes up with the batch. The last knows the prediction, so it leads: it logs, evaluates and saves, and is sent the
weights of all layers when it does. The state of the random numbers goes up too; so a pipeline learns what one process
would, to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ffseq.compute import choose_device
from ffseq.config import TrainConfig
from ffseq.errors import UsageError
from ffseq.learning import Entering, Update, learn
from ffseq.network import SequenceNetwork
from ffseq.optim import state_of, state_tensors
from ffseq.parallel import Decision, Team, check_several

#: Batches that may wait between two processes; whoever has sent one more waits too. So much memory, and no more.
AHEAD = 2


@dataclass
class Parcel:
    """The memory of one message. content: its bytes; fields: what they say, views of them; sending: under way."""

    content: Tensor
    fields: dict[str, Tensor]
    sending: dist.Work | None = None


def check_pipeline(config: TrainConfig, size: int) -> None:
    """Refuse what so many processes cannot learn as a pipeline. Raises UsageError. config: resolved."""
    check_several(config)
    layers = config.network.layers
    assert layers is not None
    if config.learning.method == "twin":
        raise UsageError(
            "--pipeline: backpropagation comes down again through all layers, and in a pipeline nothing goes down: "
            "leave --pipeline or --method twin out"
        )
    if config.learning.scope == "all":
        raise UsageError(
            "--pipeline does not go with --scope all: no layer could learn before the sum over all of them is known. "
            "Give --scope own or --scope below"
        )
    if layers < size:
        raise UsageError(f"--pipeline: {size} processes cannot share {layers} layers, each needs one of its own")
    if choose_device(config.run.device).type != "cpu":
        raise UsageError("--pipeline is for the CPU so far: add --device cpu")


def spread(layers: int, size: int) -> list[range]:
    """The numbers of the layers of each process, neighbours together, as evenly as can be.

    The lower processes have the odd ones: the lowest layer has nothing below it and is the cheapest.

    >>> spread(5, 3)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    bounds = [-(-layers * rank // size) for rank in range(size + 1)]
    return [range(first, stop) for first, stop in pairwise(bounds)]


def weights_of(network: SequenceNetwork, layers: range) -> list[Tensor]:
    """The weights of some layers of a stack, in order."""
    return [weight for number in layers for weight in network.layers[number].parameters()]


class Pipeline:
    """This process among those that share the layers. layers: the numbers of its own."""

    def __init__(self, team: Team, network: SequenceNetwork, batch_size: int) -> None:
        self.team, self.network = team, network
        self._parts = spread(len(network.layers), team.size)
        self.layers = self._parts[team.rank]
        self._decision = Decision(False, 0.0, False)
        #: In the process that leads, what the optimisers of all remembered when last gathered.
        self.gathered: dict[str, Tensor] = {}
        flat = network.flat()
        assert flat is not None
        self.flat = flat
        self._incoming = self._parcel(batch_size, self.layers.start) if team.rank else None
        waiting = AHEAD if team.rank < team.size - 1 else 0
        self._outgoing = deque(self._parcel(batch_size, self.layers.stop) for _ in range(waiting))

    def _parcel(self, batch: int, layers: int) -> Parcel:
        """Memory for a batch that so many layers have learned."""
        size, config = len(self.network.alphabet), self.network.config
        assert config.units is not None
        # Wide numbers first: each field has to begin at a multiple of its own width.
        kinds: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "decision": (torch.float64, (len(self._decision),)),
            "scores": (torch.float32, (batch, size)),
            "positive": (torch.float32, (layers,)),
            "negative": (torch.float32, (layers,)),
            "units": (self.network.products, (batch, config.units)),
            "random": (torch.uint8, tuple(torch.Generator().get_state().shape)),
        }
        widths = [prod(shape) * dtype.itemsize for dtype, shape in kinds.values()]
        content = torch.zeros(sum(widths), dtype=torch.uint8)
        parts = torch.split(content, widths)
        fields = {
            name: part.view(dtype).view(shape)
            for (name, (dtype, shape)), part in zip(kinds.items(), parts, strict=True)
        }
        return Parcel(content, fields)

    def agreed(self, decision: Decision) -> Decision:
        """What the first process decided before this update, whatever the others would have. Waits for its batch."""
        if self._incoming is not None:
            dist.recv(self._incoming.content, src=self.team.rank - 1)
            stop, seconds, save = self._incoming.fields["decision"].tolist()
            decision = Decision(bool(stop), seconds, bool(save))
        self._decision = decision
        if decision.stop:
            self._send({})  # there is no batch to go with it
        return decision

    def learn(self, *given: Any, random: torch.Generator, **more: Any) -> Update:
        """What `ffseq.learning.learn` computes, for the layers of this process, and send the batch on."""
        entering = None
        if self._incoming is not None:
            fields = self._incoming.fields
            random.set_state(fields["random"].clone())  # torch reads a state from where its memory begins
            entering = Entering(fields["units"], fields["scores"], fields["positive"], fields["negative"])
        update = learn(*given, random=random, **more, layers=self.layers, entering=entering)
        if update.units is not None:
            sent = {"units": update.units, "scores": update.scores, "random": random.get_state()}
            self._send(sent | {"positive": update.positive, "negative": update.negative})
        return update

    def _send(self, fields: dict[str, Tensor]) -> None:
        """Begin to send what goes to the next process, with the decision; waits while too much is under way."""
        if not self._outgoing:
            return
        parcel = self._outgoing[0]
        self._outgoing.rotate(-1)
        if parcel.sending is not None:
            parcel.sending.wait()
        parcel.fields["decision"].copy_(torch.tensor(self._decision, dtype=torch.float64))
        for name, value in fields.items():
            parcel.fields[name].copy_(value)
        parcel.sending = dist.isend(parcel.content, dst=self.team.rank + 1)

    def own(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the optimiser of this process has to remember, of what a checkpoint has for all layers."""
        return {name: value.clone() for name, value in state_of(state, self.flat, self.layers).items()}

    def gather(self, networks: Sequence[SequenceNetwork], optimisers: list[torch.optim.Optimizer]) -> None:
        """Send what this process has learned to the last one, which then has everything: in `networks` (the net, and
        the average of its weights) the weights of all layers, in `gathered` what their optimisers remember.
        """
        own = state_tensors(optimisers)
        rows = sorted(name for name, value in own.items() if value.dim())

        def all_of(layers: range, state: dict[str, Tensor]) -> list[Tensor]:
            weights = [weight for network in networks for weight in weights_of(network, layers)]
            return weights + [state[name] for name in rows]

        if not self.team.leads:
            for one in all_of(self.layers, own):
                dist.send(one, dst=self.team.leader)
            return
        lengths = {"0": self.flat.biases, "1": len(self.flat.values) - self.flat.biases}
        whole = own | {name: torch.zeros(lengths[name.split(".")[1]], dtype=own[name].dtype) for name in rows}
        for rank, layers in enumerate(self._parts):
            part = state_of(whole, self.flat, layers)
            if rank == self.team.rank:
                for name in rows:
                    part[name].copy_(own[name])
                continue
            for one in all_of(layers, part):
                dist.recv(one, src=rank)
        self.gathered = whole

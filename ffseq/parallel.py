"""Several processes learn together: each takes its rows of every batch, and a layer's change is averaged as soon as it
is there, while the next layer computes.

    torchrun --nproc-per-node 2 -m ffseq train …

Backpropagation has its last layer's change first and has to keep everything below it until then; here the lowest layer
is done first, and in scopes `own` and `below` nothing waits for the layers above. Random numbers are drawn for the
whole batch and each process keeps those of its rows, so a team learns what one process would, up to the order of sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ffseq.compute import choose_device
from ffseq.config import ROLLOUTS, TrainConfig, source_of
from ffseq.errors import FfseqError, UsageError
from ffseq.flat import Flat
from ffseq.learning import Update
from ffseq.leaving import in_team
from ffseq.randomness import RowGenerator, for_rows
from ffseq.shared import SharedRows, opened


class Decision(NamedTuple):
    """What all processes have to do alike before an update. stop: somebody asked to; seconds: the run's clock; save: a
    checkpoint is due after it.
    """

    stop: bool
    seconds: float
    save: bool


@dataclass
class Team:
    """This process among the others. rank: its number from 0; size: how many there are; leader: which of them writes
    the run and reports; one_machine: whether all are on the same one.
    """

    rank: int
    size: int
    leader: int = 0
    one_machine: bool = False
    #: The layers whose changes are being added up: where they are in the row, and the work, where they are sent.
    _waiting: list[tuple[dist.Work | None, slice]] = field(default_factory=list)
    _shared: SharedRows | Literal["no"] | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes the run and reports."""
        return self.rank == self.leader

    def rows(self, batch: int, strings: int | None = None) -> Tensor:
        """This process's rows of a batch, int64; in a causal stack, with so many strings, whole strings."""
        if strings is None:
            return torch.arange(batch).view(self.size, -1)[self.rank]
        return torch.arange(batch).view(-1, self.size, strings // self.size)[:, self.rank].flatten()

    def share_of(
        self, contexts: Tensor, targets: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor, RowGenerator, Tensor]:
        """This process's part of a batch, of n = `size` processes.

        contexts: (B, K) int64, or (T, S, K) of a causal stack, of which a process takes whole strings; targets: (B,)
        int64; random: for the whole batch. Returns contexts (B/n, K) or (T, S/n, K), targets (B/n,), the random numbers
        that one process would have had for these rows, and which rows they are (B/n,) int64.
        """
        rows = self.rows(len(targets), contexts.shape[1] if contexts.ndim == 3 else None)
        shape = (contexts.shape[0], -1) if contexts.ndim == 3 else (-1,)
        own = contexts.flatten(0, -2)[rows].view(*shape, contexts.shape[-1])
        return own, targets[rows], for_rows(random, rows, len(targets)), rows

    def share(self, flat: Flat, width: torch.dtype, number: int) -> None:
        """Begin to add up a layer's change over the team. The caller goes on; `averaged` waits.

        width: the type in which a change travels, that of the products it came out of. The processes of one machine
        show it to each other in that type, and add up in float32.
        """
        if self._shared is None:
            self._shared = self._opened(flat, width)
        part = flat.part(number)
        work = None
        if isinstance(self._shared, SharedRows):
            self._shared.show(self.rank, part, flat.changes[part])
        else:
            work = dist.all_reduce(flat.changes[part], async_op=True)
        self._waiting.append((work, part))

    def _opened(self, flat: Flat, width: torch.dtype) -> SharedRows | Literal["no"]:
        """Memory that the whole team sees, where all of it is on one machine and on the CPU."""
        if not self.one_machine or flat.changes.device.type != "cpu":
            return "no"
        first = self.rank == 0
        with torch.inference_mode(False):  # it stays, and is written to outside as well
            return opened(self.size, flat.biases, width, leads=first, told=self.told, meet=dist.barrier) or "no"

    def averaged(self, update: Update, flat: Flat, width: torch.dtype) -> Update:
        """The update of the whole team: its changes are in the row; bits and goodness are means over all rows,
        scores and the number that is correct those of this process's.
        """
        if not self._waiting:  # the twin's changes come all at once
            for number, (places, changes) in enumerate(zip(flat.places, update.changes, strict=True)):
                for name, change in changes.items():
                    places[name].copy_(change)
                self.share(flat, width, number)
        self._finish(flat)
        figures = self.mean(torch.cat([update.bits[None], update.positive, update.negative]))
        bits, positive, negative = torch.split(figures, [1, len(update.positive), len(update.negative)])
        return replace(update, changes=flat.places, bits=bits[0], positive=positive, negative=negative)

    def _finish(self, flat: Flat) -> None:
        """Wait until every change is the mean over the team."""
        # All have shown their changes when all have come to this sum.
        dist.all_reduce(flat.changes[flat.biases :])
        for work, part in self._waiting:
            if work is not None:
                work.wait()
            elif isinstance(self._shared, SharedRows):
                self._shared.add_up(part, flat.changes[part])
        if isinstance(self._shared, SharedRows):
            self._shared.next()
        self._waiting.clear()
        flat.changes.div_(self.size)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the team, the same for all."""
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def agreed(self, decision: Decision) -> Decision:
        """One decision for all: the clock sets the rate, and who stops alone leaves the others waiting."""
        stop, seconds, save = self.mean(torch.tensor(decision, dtype=torch.float64)).tolist()
        return Decision(stop > 0, seconds, save > 0)

    def part(self) -> None:
        """The team's work is done: when all have come so far, each goes on alone."""
        dist.barrier()
        dist.destroy_process_group()

    def told(self, thing: Any) -> Any:
        """What the first process says, for all."""
        box = [thing]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def team_of_environment(device: str, *, last_leads: bool = False) -> Team | None:
    """The team that torchrun has started this process in, or None where it runs alone. device: as --device has it.

    Raises UsageError where there is no GPU of its own for each process, and FfseqError where another process ends while
    they meet: one that refuses has met the others, which may not have noticed yet.
    """
    if not in_team():
        return None
    if not dist.is_initialized():
        on_gpu = choose_device(device).type == "cuda"
        if on_gpu:
            number, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
            if number >= found:
                raise UsageError(f"process {number} of this machine has no GPU, there are {found}: add --device cpu")
            torch.cuda.set_device(number)
        with together(Team(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])), None):
            # Clock and stop are numbers on the CPU also where the layers are not.
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    size = dist.get_world_size()
    one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    return Team(dist.get_rank(), size, leader=size - 1 if last_leads else 0, one_machine=one_machine)


def check_several(config: TrainConfig) -> None:
    """Refuse what only one process can learn. Raises UsageError."""
    net, run, source = config.network, config.run, source_of(config.learning)
    reasons = {
        "--stream": run.stream,
        "wake and sleep (--phases.kind)": config.phases.kind != "interleaved",
        "a memory (--memory)": net.memory > 0,
        "a literal stack": net.stack == "literal",
        "--hidden random": config.learning.hidden == "random",
        f"negatives '{source}'": source in ("corrupted", *ROLLOUTS),
        "a text from standard input": config.text.corpus == "-",
    }
    for what, asked in reasons.items():
        if asked:
            raise UsageError(f"{what} is for one process: leave torchrun out")


def check_team(config: TrainConfig, size: int) -> None:
    """Refuse what so many processes cannot learn from parts of every batch. Raises UsageError. config: resolved."""
    check_several(config)
    net, run = config.network, config.run
    assert run.batch_size is not None
    rows = run.batch_size // run.string_length if net.stack == "causal" else run.batch_size
    if rows % size:
        what = "strings (--batch_size / --string_length)" if net.stack == "causal" else "windows (--batch_size)"
        raise UsageError(f"{size} processes cannot share {rows} {what} evenly")


@contextmanager
def together(team: Team | None, folder: Path | None) -> Iterator[None]:
    """Turn the loss of another process into a sentence. Raises FfseqError.

    The group is left as it is: taking it apart is for a normal end, and may wait for those who have gone.
    """
    try:
        yield
    except RuntimeError as error:
        if team is None or not _is_lost(error):
            raise
        raise FfseqError(
            f"process {team.rank} of {team.size}: another process of the team has ended. "
            + (
                f"What was saved last is in {folder}; the same command with --resume {folder} goes on from there"
                if folder is not None
                else "Nothing has been learned yet"
            )
        ) from error


def _is_lost(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, dist.DistError) or any(
        word in words for word in ("gloo", "connection closed", "connection reset", "nccl", "timed out")
    )

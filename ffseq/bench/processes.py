"""What a second process is worth: updates a second of one process, and of two that share every batch.

Each process has one thread. All are started once and then measure in turns: a process reads from standard input how
many updates to make, and answers with the seconds they took.

    python -m ffseq.bench.processes         such a process; the first line that it reads says what it learns
"""

from __future__ import annotations

import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from ffseq.bench.updates import Net, causal, net_of, update_of
from ffseq.errors import FfseqError
from ffseq.leaving import leave
from ffseq.parallel import Team

NET = causal(5, 384, 8192)
#: Numbers of processes that are compared.
WORKERS = (1, 2)
#: Seconds after which a team that has not answered is given up; more where it is asked for much.
PATIENCE = 120.0


def of_processes(dtype: torch.dtype, seconds: float, net: Net = NET, *, rounds: int = 7) -> list[dict[str, Any]]:
    """Updates a second of each number of processes in WORKERS; a process of n learns an n-th of every batch.

    Medians of `rounds` turns, `seconds` in all. Scope below: a layer's change is averaged over the processes while the
    next layer computes. Raises FfseqError if a process fails.
    """
    with ExitStack() as stack:
        teams = [stack.enter_context(started(net, dtype, size)) for size in WORKERS]
        counts = []
        for team in teams:
            seconds_of(team, 3)  # the first updates make what later ones use again
            counts.append(max(1, round(seconds / len(teams) / rounds / seconds_of(team, 1))))
        times: list[list[float]] = [[] for _ in teams]
        for _ in range(rounds):
            for team, count, found in zip(teams, counts, times, strict=True):
                found.append(seconds_of(team, count, PATIENCE + 10 * seconds) / count)
    rates = [1 / statistics.median(found) for found in times]
    return [
        {"workers": size, "threads": 1, "updates_per_second": rate, "ratio_to_one": rate / rates[0]}
        for size, rate in zip(WORKERS, rates, strict=True)
    ]


@dataclass(frozen=True)
class Worker:
    """A process that learns with others when it is told to. errors: the file that its standard error goes to."""

    process: subprocess.Popen[bytes]
    name: str
    errors: Path

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # one that has ended is noticed where its answer is awaited
            self.process.stdin.write(line.encode() + b"\n")

    def reason(self) -> str:
        """Why it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {self.process.returncode}, without a word"

    def end(self, patience: float) -> None:
        """Wait so many seconds for it to end by itself, then kill it."""
        assert self.process.stdout is not None
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextmanager
def started(net: Net, dtype: torch.dtype, size: int) -> Iterator[list[Worker]]:
    """So many processes that learn together, until the end of the block."""
    workers: list[Worker] = []
    patience = 0.0
    with tempfile.TemporaryDirectory() as folder:
        try:
            for rank in range(size):
                errors = Path(folder) / f"errors-{rank}"
                with errors.open("wb") as said:
                    process = subprocess.Popen(
                        [sys.executable, "-m", "ffseq.bench.processes"],
                        bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                    )  # fmt: skip
                workers.append(Worker(process, f"process {rank} of {size}", errors))
                job = {"net": asdict(net), "dtype": str(dtype).removeprefix("torch."), "rank": rank, "size": size}
                workers[-1].tell(json.dumps(job | {"meeting": f"file://{folder}/meeting"}))
            yield workers
            patience = 10.0
        finally:
            for worker in workers:  # all of them first: they take leave of each other
                assert worker.process.stdin is not None
                worker.process.stdin.close()
            for worker in workers:
                worker.end(patience)


def seconds_of(workers: list[Worker], updates: int, patience: float = PATIENCE) -> float:
    """Seconds that workers which learn together took for so many updates: those of the slowest.

    Raises FfseqError where one of them has ended, or where no answer has come for `patience` seconds.
    """
    for worker in workers:
        worker.tell(str(updates))
    slowest = 0.0
    with selectors.DefaultSelector() as waiting:
        for worker in workers:
            assert worker.process.stdout is not None
            waiting.register(worker.process.stdout, selectors.EVENT_READ, worker)
        while waiting.get_map():
            ready = waiting.select(patience)
            if not ready:
                raise FfseqError(f"{workers[0].name} and the others have not answered for {patience:.0f} seconds")
            for key, _ in ready:
                line = key.data.process.stdout.readline()
                if not line:
                    raise FfseqError(f"{key.data.name}, which was to be measured, has ended: {key.data.reason()}")
                slowest = max(slowest, float(line))
                waiting.unregister(key.fileobj)
    return slowest


def main() -> NoReturn:
    """A worker."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that has something to say does not say it in between
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    team = None
    if job["size"] > 1:
        dist.init_process_group("gloo", init_method=job["meeting"], rank=job["rank"], world_size=job["size"])
        team = Team(job["rank"], job["size"], one_machine=True)
    update = update_of(net_of(job["net"]), "ff", getattr(torch, job["dtype"]), scope="below", team=team)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            update()
        print(time.perf_counter() - began, file=answers, flush=True)
    if team is not None:
        team.part()
    leave(0, at_once=team is not None)


if __name__ == "__main__":
    main()

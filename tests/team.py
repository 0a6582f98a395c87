"""Teams of processes for tests, as torchrun starts them, but from a server that has loaded torch once.

What only torchrun does (it ends the others when one is killed, and hands on signals) is tested with torchrun.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch.distributed", "ffseq.runs", "ffseq.commands.train"])


def run_team(size: int, words: Sequence[str], folder: Path, script: Path | None = None) -> None:
    """`ffseq WORDS` in so many processes, or a Python file with these words, until all have ended well.

    folder: for what they print to standard error, which is told where one fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    told = [folder / f"errors-{rank}" for rank in range(size)]
    team = [
        _CONTEXT.Process(
            target=_member, args=(rank, size, port, list(words), str(told[rank]), script, dict(os.environ))
        )
        for rank in range(size)
    ]
    for member in team:
        member.start()
    for member in team:
        member.join(120)
    status = [member.exitcode for member in team]
    for member in team:
        member.kill()
    assert status == [0] * size, "\n".join(path.read_text() for path in told)


def _member(
    rank: int, size: int, port: int, words: list[str], told: str, script: Path | None, environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    with open(told, "wb") as errors:
        os.dup2(errors.fileno(), 2)
    sys.argv = ["ffseq", *words]
    if script is not None:
        runpy.run_path(str(script), run_name="__main__")
        return
    from ffseq.cli import command

    command()

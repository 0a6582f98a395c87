"""The memory that an update takes as the operating system counts it, beside the count of torch's allocator.

python -m ffseq.bench.resident JOB         measures one update; its answer is bytes, or null
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from ffseq.bench.memory import BATCH, UNITS
from ffseq.bench.updates import Net, net_of, update_of, window
from ffseq.errors import FfseqError

PROCESS = Path("/proc/self")
#: glibc takes blocks of so many bytes from the system and gives them back when they are freed. Left to itself it keeps
#: freed ones, and what is counted is then also holes between those it has kept: 4 to 10 MiB in these updates.
BLOCK = 1 << 16


def resident_of_depth(layers: int, dtype: torch.dtype) -> dict[str, int | None]:
    """The most resident bytes that one update of the window stack of `memory.of_depth` adds to its process.

    An update comes before it: weights, optimiser, code and what the libraries keep are there, and not counted. So what
    is counted is activities, changes on their way to their row, and scratch space. Each method has a process of its
    own, of one thread. ff: scope below; twin: backpropagation. None where the system does not say (it takes Linux's
    VmHWM and /proc/self/clear_refs). Raises FfseqError if a process fails.
    """
    net = window(layers, UNITS, BATCH)
    running = {method: _started(net, method, dtype) for method in ("ff", "twin")}
    said = {method: (*child.communicate(), child.returncode) for method, child in running.items()}
    return {f"{method}_resident_bytes": _answer(*answer) for method, answer in said.items()}


def _started(net: Net, method: str, dtype: torch.dtype) -> subprocess.Popen[str]:
    job = json.dumps({"net": asdict(net), "method": method, "dtype": str(dtype).removeprefix("torch.")})
    return subprocess.Popen(
        [sys.executable, "-m", "ffseq.bench.resident", job],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(BLOCK)},
    )  # fmt: skip


def _answer(said: str, errors: str, status: int) -> int | None:
    if status:
        reason = errors.strip().splitlines() or [f"status {status}"]
        raise FfseqError(f"a process whose memory was to be measured has ended: {reason[-1]}")
    found: int | None = json.loads(said.splitlines()[-1])
    return found


def added_by_an_update(net: Net, method: Literal["ff", "twin"], dtype: torch.dtype) -> int | None:
    """The most resident bytes that the second of two updates adds to this process; None where Linux does not say."""
    update = update_of(net, method, dtype, scope="below" if method == "ff" else "all")
    update()
    before = resident("VmRSS")
    try:
        (PROCESS / "clear_refs").write_text("5")  # the peak is what is resident now
    except OSError:
        return None
    update()
    most = resident("VmHWM")
    return None if before is None or most is None else most - before


def resident(name: Literal["VmRSS", "VmHWM"]) -> int | None:
    """Bytes of this process that are resident now, or were at most; None where there is no such number."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB$", (PROCESS / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def main() -> None:
    """Measure what the job, JSON on the command line, says."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    print(json.dumps(added_by_an_update(net_of(job["net"]), job["method"], getattr(torch, job["dtype"]))))


if __name__ == "__main__":
    main()

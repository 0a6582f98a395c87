"""Bytes: what one update holds at most, by depth; what a stream holds, by its length."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ffseq.bench.updates import update_of, window
from ffseq.markov import markov_text

DEPTHS = (2, 4, 8, 16, 32)
STREAMS = (10**5, 10**6)
#: Narrow layers and many positions: what is held is activities, not changes of weights.
UNITS, BATCH = 128, 4096
STREAM_NET = ["--layers", "3", "--units", "64", "--block_size", "4", "--string_length", "512", "--alphabet", "text8"]
#: Runs a command and prints the most that it ever held resident, in KiB. A small process in between: the system counts
#: to a process what its parent held when it was started.
WATCH = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def of_depth(layers: int, dtype: torch.dtype) -> dict[str, Any]:
    """The most bytes that one update of a window stack allocates at once: weights, optimiser and the row that the
    changes go to are there before it, and not counted.

    ff: scope below, in one pass; ff_all: scope all, which waits for the summed score; ff_recompute: scope all in two
    passes; twin: backpropagation.
    """
    net = window(layers, UNITS, BATCH)
    return {
        "layers": layers,
        "ff_bytes": peak_bytes(update_of(net, "ff", dtype, scope="below")),
        "ff_all_bytes": peak_bytes(update_of(net, "ff", dtype)),
        "ff_recompute_bytes": peak_bytes(update_of(net, "ff", dtype, recompute=True)),
        "twin_bytes": peak_bytes(update_of(net, "twin", dtype)),
    }


def peak_bytes(update: Callable[[], None]) -> int:
    """The most bytes allocated at once during a call, over what was there before; counted by torch's allocator."""
    update()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        update()
    results = profiled.profiler.kineto_results
    held = most = 0
    for event in sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def of_stream(characters: int) -> dict[str, Any]:
    """One `ffseq train - --stream` on so many generated characters, in a process of its own.

    bytes: the most that it ever held resident, everything included.
    """
    text = markov_text(min(characters, 1_000_000)).encode("ascii")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        train = ["-m", "ffseq", "train", "-", "--stream", *STREAM_NET, "--threads", "1", "--log_interval", "1000"]
        command = [sys.executable, "-c", WATCH, sys.executable, *train, "--out_dir", f"{folder}/run"]
        child = subprocess.Popen([*command, "--json", "--quiet"], stdin=subprocess.PIPE, stdout=said)
        pipe = child.stdin
        assert pipe is not None

        def feed() -> None:
            for first in range(0, characters, len(text)):
                pipe.write(text[: characters - first])
            pipe.close()

        threading.Thread(target=feed, daemon=True).start()
        if child.wait():
            raise RuntimeError(f"ffseq train - --stream failed with status {child.returncode}")
        said.seek(0)
        *_, line, most = said.read().splitlines()
        result = json.loads(line)
    kept = ("prequential_bits_per_character", "characters_per_second", "remembered_bytes")
    return {"characters": characters, "bytes": int(most) * 1024} | {name: result[name] for name in kept}

"""Where the time of an update goes: results/where.json.

    python runners/where.py

The nets of `ffseq bench`, with nothing else running: the time of an update by the clock, and then what torch's profiler
says of its operations, each sorted into one of a few kinds. What is left is Python, calls and views; the profiler makes
these dearer, so their share is an upper bound. Half a minute. It refuses to measure beside other busy processes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ffseq.bench.speed import NETS, in_turns
from ffseq.bench.updates import Net, update_of
from ffseq.crowding import crowded

RESULTS = Path(__file__).parent / "results" / "where.json"
#: What is measured of each net, in seconds of learning.
SECONDS = 3.0
#: kind → how the names of its operations begin, behind aten::
KINDS = {
    "products": ("mm", "addmm", "bmm"),
    "step of the weights": ("_fused_", "_foreach_add_"),
    "copies, roundings": ("copy_", "_foreach_copy_", "clone", "cat", "_to_copy"),
    "context: sort, gather, scatter": ("_embedding_bag", "sort", "searchsorted", "index", "gather", "scatter"),
}
#: What only looks at numbers from another side, or takes memory for them, is a call like those that Python makes.
VIEWS = ("view", "slice", "select", "expand", "as_strided", "t", "transpose", "unbind", "resize", "detach", "to",
         "_unsafe_view", "alias", "reshape", "matmul", "unsqueeze", "flatten", "_reshape_alias")  # fmt: skip
REST, CALLS = "elementwise, sums", "calls"


def main() -> None:
    if (sentence := crowded(torch.get_num_threads(), torch.device("cpu"))) is not None:
        raise SystemExit(sentence.strip())
    found = {f"{net.name}, {net.batch:,}": where(net) for net in NETS}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def where(net: Net) -> dict[str, Any]:
    """Milliseconds of an update, and the share of each kind."""
    update = update_of(net, "ff", torch.bfloat16)
    (seconds,) = in_turns([update], SECONDS)
    updates = max(3, int(SECONDS / 3 / seconds))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        began = time.perf_counter()
        for _ in range(updates):
            update()
        wall = time.perf_counter() - began
    shares: Counter[str] = Counter()
    for event in profiled.key_averages():
        if event.key.startswith("aten::"):
            name = event.key.removeprefix("aten::")
            if name.rstrip("_") not in VIEWS and not name.startswith("empty"):
                shares[kind_of(name)] += event.self_cpu_time_total / 1e6 / wall
    shares[CALLS] = max(0.0, 1 - sum(shares.values()))
    order = [*KINDS, REST, CALLS]
    return {"milliseconds": seconds * 1e3, "shares": {kind: shares[kind] for kind in order}}


def kind_of(operation: str) -> str:
    """The kind of an operation of torch by its name."""
    return next((kind for kind, names in KINDS.items() if operation.startswith(names)), REST)


if __name__ == "__main__":
    main()

"""Seconds: products, updates, sampled symbols, text prepared. Medians; what is compared runs in turns."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ffseq.bench.updates import ALPHABET, Net, causal, update_of, window
from ffseq.config import NetworkConfig
from ffseq.corpus import load_corpus
from ffseq.markov import markov_text
from ffseq.network import SequenceNetwork
from ffseq.randomness import generator
from ffseq.sampling import continue_contexts, prompt_context
from ffseq.work import multiplications

NETS = (window(3, 2000, 256), window(3, 2000, 1024), window(3, 500, 128), causal(5, 384, 2048), causal(5, 384, 8192))
#: Shapes (m, k, n) of the products whose best rate is the peak.
PRODUCTS = ((1024, 2000, 2000), (4096, 4096, 4096))
#: What going up a second time is measured on.
RECOMPUTED = causal(5, 384, 2048)
SAMPLED = causal(5, 384, 2048).network
STRINGS = 64


def in_turns(
    functions: Sequence[Callable[[], object]], seconds: float, *, rounds: int = 7, warm: int = 3
) -> list[float]:
    """Median seconds of one call of each function. They run in turns, `rounds` times, for about `seconds` in all."""
    calls = []
    for function in functions:
        for _ in range(warm):
            function()
        began = time.perf_counter()
        function()
        each = time.perf_counter() - began
        calls.append(max(1, round(seconds / len(functions) / rounds / max(each, 1e-9))))
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, count, found in zip(functions, calls, times, strict=True):
            began = time.perf_counter()
            for _ in range(count):
                function()
            found.append((time.perf_counter() - began) / count)
    return [statistics.median(found) for found in times]


def matrix_peak(dtype: torch.dtype, seconds: float) -> float:
    """GFLOP/s of the fastest of a few square-ish matrix products, a multiplication and an addition counted as two."""
    best = 0.0
    for m, k, n in PRODUCTS:
        left, right = torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype)
        out = torch.empty(m, n, dtype=dtype)
        (once,) = in_turns([lambda a=left, b=right, c=out: torch.mm(a, b, out=c)], seconds / len(PRODUCTS))  # type: ignore[misc]
        best = max(best, 2 * m * k * n / once / 1e9)
    return best


def net_rates(net: Net, dtype: torch.dtype, peak: float, seconds: float) -> dict[str, Any]:
    """Updates of Forward-Forward and of its twin, in turns.

    peak_share counts useful multiplications only: forward, changes of weights, goodness (see `ffseq.work`).
    """
    ff, twin = in_turns([update_of(net, "ff", dtype), update_of(net, "twin", dtype)], seconds)
    useful = 2 * net.batch * multiplications(net.network, len(ALPHABET), "ff")
    return {
        "name": net.name,
        "batch": net.batch,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "ff_per_second": net.batch / ff,
        "twin_per_second": net.batch / twin,
        "ratio_to_twin": ff / twin,
        "peak_share": useful / ff / 1e9 / peak,
    }


def recompute_price(dtype: torch.dtype, seconds: float, net: Net = RECOMPUTED) -> float:
    """Seconds of an update in scope all that goes up twice, over those of one that goes up once; in turns."""
    twice, once = in_turns([update_of(net, "ff", dtype, recompute=True), update_of(net, "ff", dtype)], seconds)
    return twice / once


def sampling_rates(seconds: float, config: NetworkConfig = SAMPLED) -> dict[str, Any]:
    """Symbols a second that an untrained net writes, one string and many at once."""
    network = SequenceNetwork(config, ALPHABET)
    functions = []
    for strings in (1, STRINGS):
        contexts = prompt_context(network, [1, 2, 3])
        contexts = contexts.repeat(1, strings, 1) if network.is_causal else contexts.repeat(strings, 1)
        symbols = continue_contexts(network, contexts, random=generator(0, "bench"))
        functions.append(lambda some=symbols: next(some))
    one, many = in_turns(functions, seconds, warm=20)
    return {"one_string": 1 / one, "many_strings": STRINGS / many, "strings": STRINGS}


def preparation_seconds(size: int) -> float:
    """Seconds to prepare a text of so many bytes: read, checked, split, encoded, written to the cache."""
    text = markov_text(1_000_000).encode("ascii")
    known = os.environ.get("FFSEQ_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        with path.open("wb") as file:
            for first in range(0, size, len(text)):
                file.write(text[: size - first])
        os.environ["FFSEQ_CACHE"] = folder
        try:
            began = time.perf_counter()
            load_corpus(str(path))
            return time.perf_counter() - began
        finally:
            if known is None:
                del os.environ["FFSEQ_CACHE"]
            else:
                os.environ["FFSEQ_CACHE"] = known

"""Where and how to compute: device, number of threads, type of the products. Decided once for a run and recorded."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ffseq.checkpoint import Checkpoint, json_or_none, replace_file
from ffseq.config import TrainConfig
from ffseq.corpus import cache_folder
from ffseq.errors import UsageError

MOST_THREADS = 1024


def decided(config: TrainConfig, checkpoint: Checkpoint | None = None) -> TrainConfig:
    """The settings with dtype and number of threads decided: as recorded by the checkpoint, else here, once.

    Both are recorded, since other ones do not give the same bits. --dtype auto is decided by timing one matrix product
    in both types, --threads 0 means all the cores that this process may run on.
    """
    recorded = checkpoint.config.get("options", {}) if checkpoint is not None else {}
    run = config.run
    dtype, threads = decided_for(run.dtype, run.threads, run.device, recorded)
    return replace(config, run=replace(run, dtype=dtype, threads=threads))  # type: ignore[arg-type]


def decided_for(dtype: str, threads: int, device: str, recorded: Mapping[str, Any]) -> tuple[str, int]:
    """The same for settings of any kind of run: dtype and number of threads. recorded: a checkpoint's options."""
    threads = threads or int(recorded.get("threads", 0)) or cores()
    if dtype == "auto":
        known = recorded.get("dtype", "auto")
        set_threads(threads)
        dtype = known if known != "auto" else _faster_dtype(choose_device(device))
    return dtype, threads


def compute(config: TrainConfig) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of the products of decided settings; sets the number of CPU threads."""
    set_threads(config.run.threads)
    return choose_device(config.run.device), torch.bfloat16 if config.run.dtype == "bfloat16" else torch.float32


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(threads: int) -> None:
    """Use so many CPU threads; 0 means all the cores this process may run on. Raises UsageError."""
    if not 0 <= threads <= MOST_THREADS:
        raise UsageError(f"--threads has to be between 0 (all cores) and {MOST_THREADS}, got {threads}")
    torch.set_num_threads(threads or cores())


def choose_device(name: str) -> torch.device:
    """The device of that name; auto is a GPU if there is one. Raises UsageError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def device_name(device: torch.device) -> str:
    """What a result says it was computed on: cpu, or the GPU by its name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _faster_dtype(device: torch.device) -> str:
    """The faster type for products on this machine: measured once, then remembered in the cache folder.

    Measured anew each time, a busy moment could give the same command other bits.
    """
    known = cache_folder() / "dtype.json"
    what = "|".join([platform.node(), platform.processor(), str(cores()), device.type, torch.__version__])
    try:
        remembered = json_or_none(known.read_bytes())
    except OSError:
        remembered = None
    table = remembered if isinstance(remembered, dict) else {}
    if table.get(what) not in ("float32", "bfloat16"):
        table[what] = _measured_dtype(device)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs the next run a moment
            known.parent.mkdir(parents=True, exist_ok=True)
            replace_file(known, json.dumps(table, indent=1).encode())
    return str(table[what])


def _measured_dtype(device: torch.device) -> str:
    seconds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = (torch.ones(rows, 512, dtype=dtype, device=device) for rows in (256, 512))
        times = []
        for _ in range(9):  # the first one warms up; a processor without bfloat16 takes a tenth of a second for each
            start = time.perf_counter()
            product = left @ right
            float(product[0, 0])  # waits for a GPU
            times.append(time.perf_counter() - start)
        seconds[name] = min(times)
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"

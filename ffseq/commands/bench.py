"""`ffseq bench`: how fast updates, sampling and preparation are on this machine, and how much memory they take."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from ffseq.commands.common import make_parser, make_progress, parse, print_json, print_table
from ffseq.errors import UsageError
from ffseq.interrupt import Interrupt

PARTS = ("nets", "processes", "memory", "sampling", "preparation")


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Measure; prints tables, or with --json one object, and writes bench.json and bench.png."""
    parser = make_parser(
        "bench",
        "Updates of Forward-Forward and of the twin in turns, beside the fastest product of matrices; one process and "
        "two that learn together; memory by depth and by length of stream; sampling; preparation of a text. About four "
        "minutes.",
    )
    parser.add_argument("--only", type=str | None, default=None, help=f"some of {', '.join(PARTS)}, by commas")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each thing that is measured")
    parser.add_argument("--out_dir", type=str | None, default=None, help="where to write; by default runs/bench-DATE")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="type of the products")
    options = parse(parser, arguments)
    only = options["only"].split(",") if options["only"] else list(PARTS)
    for part in only:
        if part not in PARTS:
            raise UsageError(f"--only: there is no {part!r}. Known: {', '.join(PARTS)}")
    if not 0 < options["seconds"] < 3600:
        raise UsageError(f"--seconds has to be above 0 and below 3600, got {options['seconds']:g}")
    folder = Path(options["out_dir"] or f"runs/bench-{datetime.now():%Y%m%d-%H%M%S}")
    with make_progress(options) as progress:
        result = _measured(only, options, progress.status)
    folder.mkdir(parents=True, exist_ok=True)
    if "nets" in only or "memory" in only:
        from ffseq.report import plot_bench

        result["plot"] = str(plot_bench(folder / "bench.png", result))
    (folder / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options["json"]:
        print_json(result)
        return 0
    for title, columns, rows in _tables(result):
        print_table(title, columns, rows)
    print(f"Written to {folder}")
    return 0


def _measured(only: list[str], options: dict[str, Any], say: Any) -> dict[str, Any]:
    # Before torch is there: its profiler, which counts bytes, announces itself on standard error.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    import torch

    from ffseq.bench import memory, processes, resident, speed
    from ffseq.compute import decided
    from ffseq.config import RunConfig, TrainConfig

    if "processes" in only and not torch.distributed.is_available():
        raise UsageError("this torch has no torch.distributed, which processes need: leave them out of --only")
    asked = TrainConfig(run=RunConfig(threads=options["threads"], dtype=options["dtype"], device="cpu"))
    config = decided(asked)
    torch.set_num_threads(config.run.threads)
    dtype = torch.bfloat16 if config.run.dtype == "bfloat16" else torch.float32
    seconds = options["seconds"]
    result: dict[str, Any] = {
        "processor": processor(),
        "threads": config.run.threads,
        "dtype": config.run.dtype,
        "torch": torch.__version__,
    }
    if "nets" in only:
        say(f"products of matrices in {config.run.dtype}")
        peak = speed.matrix_peak(dtype, seconds)
        result["matrix_peak_gflops"] = peak
        result["nets"] = []
        for net in speed.NETS:
            say(f"updates of {net.name}, batch {net.batch:,}")
            result["nets"].append(speed.net_rates(net, dtype, peak, seconds))
    if "processes" in only:
        say("two processes that learn together")
        result["processes"] = processes.of_processes(dtype, seconds)
    if "memory" in only:
        result["memory"] = {"depth": [], "stream": []}
        for layers in memory.DEPTHS:
            say(f"memory of an update of {layers} layers")
            counted = memory.of_depth(layers, dtype) | resident.resident_of_depth(layers, dtype)
            result["memory"]["depth"].append(counted)
        say("what going up twice costs")
        result["memory"]["recompute_price"] = speed.recompute_price(dtype, seconds)
        for characters in memory.STREAMS:
            say(f"memory of a stream of {characters:,} characters")
            result["memory"]["stream"].append(memory.of_stream(characters))
    if "sampling" in only:
        say("sampling")
        result["sampling"] = speed.sampling_rates(seconds)
    if "preparation" in only:
        say("preparing a text of 100 MB")
        result["preparation_seconds_100mb"] = speed.preparation_seconds(100_000_000)
    return result


def processor() -> str:
    """What the processor calls itself."""
    import platform

    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _tables(result: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    tables = []
    where = f"{result['threads']} threads, {result['dtype']}"
    if "nets" in result:
        rows = [
            [
                f"{net['name']}, batch {net['batch']:,}",
                f"{net['ff_per_second']:,.0f}",
                f"{net['twin_per_second']:,.0f}",
                f"{net['ratio_to_twin']:.2f}",
                f"{net['peak_share']:.0%}",
            ]
            for net in result["nets"]
        ]
        title = f"Learning, positions a second ({where}; peak {result['matrix_peak_gflops']:,.0f} GFLOP/s)"
        tables.append((title, ["", "FF", "twin", "seconds FF / twin", "of peak"], rows))
    if "processes" in result:
        rows = [
            [str(one["workers"]), f"{one['updates_per_second']:.2f}", f"{one['ratio_to_one']:.2f}"]
            for one in result["processes"]
        ]
        title = (
            f"Processes of one thread that share every batch of 8,192, causal 384x5, scope below ({result['dtype']})"
        )
        tables.append((title, ["processes", "updates a second", "of one's"], rows))
    if "memory" in result:
        columns = {
            "ff_bytes": "scope below",
            "ff_recompute_bytes": "scope all, twice up",
            "ff_all_bytes": "scope all",
            "twin_bytes": "twin",
            "ff_resident_bytes": "scope below, resident",
            "twin_resident_bytes": "twin, resident",
        }
        rows = [
            [f"{one['layers']} layers", *("" if one[name] is None else f"{one[name] / 2**20:,.1f}" for name in columns)]
            for one in result["memory"]["depth"]
        ]
        tables.append(("Most held at once in an update, MiB", ["", *columns.values()], rows))
        price = [["scope all, causal 384x5, batch 2,048", f"{result['memory']['recompute_price']:.2f}"]]
        tables.append(("Seconds of going up twice (--recompute), of those of going up once", ["", ""], price))
        rows = [
            [
                f"{one['characters']:,} characters",
                f"{one['bytes'] / 2**20:,.0f}",
                f"{one['characters_per_second']:,.0f}",
            ]
            for one in result["memory"]["stream"]
        ]
        tables.append(("Stream, the whole process", ["", "MiB", "characters a second"], rows))
    if "sampling" in result:
        found = result["sampling"]
        rows = [
            ["one string", f"{found['one_string']:,.0f}"],
            [f"{found['strings']} strings at once", f"{found['many_strings']:,.0f}"],
        ]
        tables.append((f"Sampling, causal 384x5, characters a second ({where.split(',')[0]}, float32)", ["", ""], rows))
    if "preparation_seconds_100mb" in result:
        rows = [["100 MB of text", f"{result['preparation_seconds_100mb']:.1f} s"]]
        tables.append(("Preparation", ["", ""], rows))
    return tables

"""Layers spread over processes learn the bits that they would in one; nothing goes down, and none waits for long."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, TEXT, go, same, small_network
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from team import run_team
from test_parallel import begun, steps_of

from ffseq.batches import Batches
from ffseq.config import LearningConfig
from ffseq.errors import Interrupted, UsageError
from ffseq.learning import Entering, learn
from ffseq.options import from_flat
from ffseq.pipeline import AHEAD, check_pipeline, spread
from ffseq.randomness import generator
from ffseq.resume import resumed
from ffseq.runs import train

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")

RUN: dict[str, Any] = {"layers": 3, "max_iters": 30, "scope": "own", "log_interval": 10}


def flags(text: str, folder: Path, options: dict[str, Any]) -> list[str]:
    words = [f"--{name}={str(value).lower()}" for name, value in (SMALL | RUN | options).items()]
    return ["train", text, *words, f"--out_dir={folder}", "--quiet"]


def in_processes(size: int, text: str, folder: Path, script: Path | None = None, **options: Any) -> None:
    """A run by so many processes."""
    run_team(size, flags(text, folder, options), folder.with_suffix(".told"), script)


def assert_same_run(one: Path, two: Path) -> None:
    """The same weights, averages, optimiser's memory, best checkpoint and log, but for the clock."""
    for name in ("last/model", "last/trainer_state", "best/model"):
        assert same(*(load_file(folder / f"{name}.safetensors") for folder in (one, two))), name
    logs = []
    for folder in (one, two):
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        logs.append([{key: value for key, value in line.items() if key != "seconds"} for line in lines])
    assert logs[0] == logs[1]


# --- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["window", "causal"])
@pytest.mark.parametrize("scope", ["own", "below"])
@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("objective", "negatives"), [("contrast", "sampled"), ("likelihood", "expected")])
def test_layers_learn_one_part_after_the_other_what_they_learn_together(
    stack: str, scope: str, products: torch.dtype, objective: str, negatives: str
) -> None:
    between = "quantised" if stack == "window" else "none"
    network = small_network("".join(sorted(set(TEXT))), stack=stack, layers=5, between=between)
    network.products = products
    contexts, targets, _ = Batches(
        network.alphabet.encode(TEXT), 0, len(TEXT), batch_size=32, length=8 if stack == "causal" else None,
        block_size=network.block_size, alphabet_size=len(network.alphabet), seed=0, short_contexts=0.1,
    ).at(0)  # fmt: skip
    learning = LearningConfig(scope=scope, objective=objective, negatives=negatives)  # type: ignore[arg-type]
    given = (network, contexts, targets, learning)
    together = learn(*given, random=generator(0, "learn"), drop=0.3)
    random, entering = generator(0, "learn"), None
    for layers in spread(5, 3):
        part = learn(*given, random=random, drop=0.3, layers=layers, entering=entering)
        assert [bool(change) for change in part.changes] == [number in layers for number in range(5)]
        for number in layers:
            assert same(part.changes[number], together.changes[number])
        if part.units is not None:
            entering = Entering(part.units, part.scores, part.positive, part.negative)
    for name in ("bits", "correct", "positive", "negative", "scores"):
        assert torch.equal(getattr(part, name), getattr(together, name)), name


@pytest.mark.parametrize("options", [{"scope": "all"}, {"negatives": "corrupted", "objective": "threshold"}])
def test_some_layers_do_not_learn_without_the_others_where_they_cannot(options: dict[str, Any]) -> None:
    network, learning = small_network(), LearningConfig(**{"scope": "own"} | options)
    contexts, targets = torch.zeros(6, network.block_size, dtype=torch.int64), torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match="have to learn together"):
        learn(network, contexts, targets, learning, random=generator(0, "learn"), layers=range(1))


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (2, {"scope": "below", "num_negatives": 3, "dtype": "bfloat16", "optimiser": "sgd", "sample_interval": 15}),
        (3, {"stack": "causal", "string_length": 8, "average": 0.9, "weight_decay": 0.1, "objective": "likelihood"}),
    ],
    ids=["window", "causal"],
)
def test_a_pipeline_learns_the_bits_of_one_process(
    size: int, options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    go(text, one, **RUN | options)
    in_processes(size, text, several, pipeline=True, **options)
    assert_same_run(one, several)
    figures = [json.loads((folder / "result.json").read_text()) for folder in (one, several)]
    assert figures[0]["bits_per_character"] == figures[1]["bits_per_character"]
    samples = [sorted((folder / "samples").glob("*")) for folder in (one, several)]
    assert [path.read_text() for path in samples[0]] == [path.read_text() for path in samples[1]]
    assert bool(samples[0]) == ("sample_interval" in options)


def test_interrupted_and_gone_on_with_by_one_process_and_again_by_a_pipeline_a_run_is_the_same(tmp_path: Path) -> None:
    folder, alone = tmp_path / "run", tmp_path / "one"
    options = ["--scope", "below", "--constant_share", "1", "--dropout", "0.3", "--average", "0.9"]
    pipeline = begun(folder, *options, "--pipeline", "true")
    pipeline.send_signal(signal.SIGTERM)
    _, said = pipeline.communicate(timeout=60)
    assert said.count("ffseq: interrupted after") == 1, said
    step = steps_of(folder)
    assert f"interrupted after {step:,} updates" in said
    settings = json.loads((folder / "options.json").read_text())
    assert settings["pipeline"]
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(resumed(folder, pipeline=False), interrupted=lambda: next(calls) >= 7)
    assert steps_of(folder) == step + 7
    more = ["train", "--resume", str(folder), "--max_iters", str(step + 20), "--pipeline", "true", "--quiet"]
    run_team(2, more, tmp_path / "told")
    changes = {"out_dir": str(alone), "resume": None, "pipeline": False, "max_iters": step + 20}
    train(from_flat(settings | changes))
    assert_same_run(alone, folder)


# --- what is sent, and when -----------------------------------------------------------------------------------------

#: ffseq, with everything noted that goes between processes and when each learns; the last one is slow.
WATCHED = """
import json, os, sys, time
from pathlib import Path
import torch.distributed as dist

rank, noted = int(os.environ["RANK"]), {"messages": [], "learned": [], "rates": []}
KINDS = ["send", "isend", "recv", "irecv", "all_reduce", "all_gather", "all_gather_object", "broadcast", "barrier",
         "broadcast_object_list", "reduce", "reduce_scatter", "gather", "gather_object", "scatter", "all_to_all",
         "send_object_list", "recv_object_list", "batch_isend_irecv"]

def watch(kind):
    call = getattr(dist, kind)
    def watched(*given, **more):
        noted["messages"].append({"kind": kind, "to": more.get("dst"), "after": len(noted["learned"])})
        return call(*given, **more)
    setattr(dist, kind, watched)

for kind in KINDS:
    watch(kind)

from ffseq import pipeline, training
learn, rate_at = pipeline.learn, training.rate_at

def learned(*given, **more):
    begin = time.monotonic()
    if rank == int(os.environ["WORLD_SIZE"]) - 1:
        time.sleep(0.03)
    update = learn(*given, **more)
    noted["learned"].append([begin, time.monotonic()])
    return update

def rate(*given):
    noted["rates"].append(rate_at(*given))
    return noted["rates"][-1]

pipeline.learn, training.rate_at = learned, rate
from ffseq.cli import main
from ffseq.leaving import leave
status = main(sys.argv[1:])
Path(os.environ["NOTES"] + str(rank)).write_text(json.dumps(noted))
leave(status, at_once=True)
"""


def watched(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[dict[str, Any]]:
    """What each of two processes notes in a run of some seconds."""
    (folder / "watched.py").write_text(WATCHED)
    monkeypatch.setenv("NOTES", str(folder / "notes"))
    limits = {"max_iters": 10_000, "max_seconds": 2.0, "eval_interval": 20, "checkpoint_seconds": 0.5}
    in_processes(2, text, folder / "run", folder / "watched.py", **limits | options)
    return [json.loads((folder / f"notes{rank}").read_text()) for rank in range(2)]


def test_in_a_pipeline_nothing_goes_down_and_the_first_layers_do_not_wait_for_the_last(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = watched(text, tmp_path, monkeypatch, pipeline=True)
    updates = len(first["learned"])
    assert updates == len(last["learned"]) > 30
    # No message down, evaluation and checkpoints included; before the first update the first process tells the folder,
    # and after the last one they part together.
    on_the_way = [[one for one in each["messages"] if 0 < one["after"] < updates] for each in (first, last)]
    assert {one["kind"] for one in on_the_way[0]} == {"isend", "send"}
    assert {one["to"] for one in on_the_way[0]} == {1}
    assert {one["kind"] for one in on_the_way[1]} == {"recv"}
    # The first goes on while the last is busy with what it sent, but only so far.
    begun_by_first, ended_by_last = [one[0] for one in first["learned"]], [one[1] for one in last["learned"]]
    gathered = {one["after"] - 1 for one in first["messages"] if one["kind"] == "send"}
    waited = {t for t in range(updates - 1) if begun_by_first[t + 1] > ended_by_last[t]}
    assert len(gathered) > 2
    assert len(waited - gathered) < 0.1 * updates
    furthest = AHEAD + 2
    assert all(begun_by_first[t] > ended_by_last[t - furthest] for t in range(furthest, updates))
    # The clock is that of the first.
    assert first["rates"] == last["rates"]
    assert len(set(first["rates"])) > 20


def test_a_team_that_shares_batches_has_one_clock_too(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = watched(text, tmp_path, monkeypatch)
    assert first["rates"] == second["rates"]
    assert len(set(first["rates"])) > 20


# --- what is refused ------------------------------------------------------------------------------------------------


@given(size=st.integers(1, 9), more=st.integers(0, 20))
def test_every_layer_has_one_process_and_none_has_two_more_than_another(size: int, more: int) -> None:
    parts = spread(size + more, size)
    assert [number for part in parts for number in part] == list(range(size + more))
    assert {len(part) for part in parts} <= {len(parts[-1]), len(parts[-1]) + 1}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scope": "all"}, "--scope all"),
        ({"method": "twin"}, "--method twin"),
        ({"layers": 2}, "3 processes cannot share 2 layers"),
        ({"memory": 64}, "--memory"),
        ({"stack": "literal"}, "literal"),
        ({"hidden": "random"}, "--hidden random"),
        ({"objective": "threshold", "negatives": "corrupted"}, "corrupted"),
        ({"stream": True}, "--stream"),
        ({"corpus": "-"}, "standard input"),
    ],
)
def test_what_a_pipeline_cannot_learn_is_refused(options: dict[str, Any], reason: str) -> None:
    base = {"stack": "window", "batch_size": 32, "layers": 3, "units": 16, "block_size": 12, "corpus": "fables"}
    base |= {"scope": "own", "pipeline": True, "device": "cpu"}
    check_pipeline(from_flat(base), 3)
    if "stack" in options:
        options = options | {"objective": "threshold"}
    with pytest.raises(UsageError, match=reason):
        check_pipeline(from_flat(base | options), 3)


def test_a_pipeline_of_one_process_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="torchrun --nproc-per-node N"):
        go(text, tmp_path / "run", scope="own", pipeline=True)
    assert not (tmp_path / "run").exists()

"""`ffseq sleep`: equal work for all, phases as long as they are said to be, nothing computed twice, nothing lost."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import TEXT, refused

from ffseq import deprivation, separation_runs
from ffseq.cells import Cells
from ffseq.cli import main
from ffseq.compute import decided
from ffseq.config import PhasesConfig
from ffseq.corpus import load_corpus
from ffseq.defaults import resolved
from ffseq.drift import drift_of
from ffseq.errors import FfseqError, Interrupted
from ffseq.options import from_flat, to_flat
from ffseq.phases import moments
from ffseq.progress import Progress
from ffseq.resume import alone_in
from ffseq.separation import MECHANISMS, Plan, growing_nights, options_of
from ffseq.separation_runs import Separation

SMALL = [
    "--units", "8", "--block_size", "4", "--batch_size", "16", "--threads", "1", "--dtype", "float32",
    "--updates", "60", "--eval_interval", "30", "--search_share", "0.5", "--recovery_limit", "20", "--quiet",
]  # fmt: skip
WHOLE = [
    "--mechanisms", "nce,targets", "--lengths", "5,1", "--seeds", "1,2", "--rates", "2e-3,2e-2", "--deprivation", "0,6",
]  # fmt: skip


class Measured:
    """What a command found, and its cells: options and result of each, and when that was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = str(folder / "text.txt")
        Path(self.text).write_text(TEXT, encoding="utf-8")
        self.command = ["sleep", self.text, *SMALL, *WHOLE, "--out_dir", str(folder / "s"), "--json"]
        assert main([*self.command, "--results", str(folder / "results.json")]) == 0
        self.result: dict[str, Any] = json.loads((folder / "results.json").read_text())

    @property
    def cells(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        places = sorted((self.folder / "s" / "cells").iterdir())
        options = [json.loads((place / "run" / "last" / "config.json").read_text())["options"] for place in places]
        return list(zip(options, [json.loads((place / "cell.json").read_text()) for place in places], strict=True))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, _private_cache: None) -> Measured:
    return Measured(tmp_path_factory.mktemp("separation"))


def phases_of(options: dict[str, Any]) -> PhasesConfig:
    return from_flat(options).phases


def counted(options: dict[str, Any], iterations: int) -> int:
    """Updates one by one, an interleaved one as two."""
    return sum(2 if one.phase == "interleaved" else 1 for one in islice(moments(phases_of(options)), iterations))


def at_full_length(phases: PhasesConfig, total: int) -> float:
    full = {"wake": phases.wake, "sleep": phases.sleep}
    return sum(one.length == full[one.phase] for one in islice(moments(phases), total)) / total


def test_all_runs_have_the_same_number_of_updates_an_interleaved_one_counting_as_two(measured: Measured) -> None:
    curve = [(options, cell) for options, cell in measured.cells if options["phases.kind"] != "sequence"]
    full = [(options, cell) for options, cell in curve if options["seed"] in (1, 2)]
    search = [(options, cell) for options, cell in curve if options["seed"] == 0]
    assert len(full) == 2 * (1 + 4)
    assert len(search) == 2 * (2 + 4)
    assert {counted(options, cell["iterations"]) for options, cell in full} == {60}
    assert {counted(options, cell["iterations"]) for options, cell in search} == {30}
    assert {cell["iterations"] for options, cell in full if options["phases.kind"] == "interleaved"} == {30}
    assert measured.result["interleaved"]["iterations"] == 30
    assert {row["updates"] for row in [*measured.result["curve"], measured.result["interleaved"]]} == {60}


def test_at_least_half_of_the_updates_lie_in_phases_of_the_full_length(measured: Measured) -> None:
    apart = [(options, cell) for options, cell in measured.cells if options["phases.kind"] in ("sleep", "growing")]
    assert {(options["phases.kind"], options["phases.wake"]) for options, _ in apart} == {("sleep", 1), ("growing", 5)}
    for options, cell in apart:
        assert options["phases.wake"] == options["phases.sleep"]
        assert at_full_length(phases_of(options), cell["iterations"]) >= 0.5
    for row in measured.result["curve"]:
        kind = "growing" if row["growth"] else "sleep"
        phases = PhasesConfig(kind, row["wake"], row["sleep"], row["growth"] or 1.2, row["start"] or 0)
        assert row["share_at_full_length"] == at_full_length(phases, 60)


@pytest.mark.parametrize(
    ("length", "updates"),
    [(2, 8), (10, 40), (50, 1500), (100, 20_000), (1000, 4000), (1000, 80_000), (10_000, 400_000)],
)
def test_nights_stay_short_for_as_long_as_that_allows(length: int, updates: int) -> None:
    nights = growing_nights(length, updates)
    assert at_full_length(nights, updates) >= 0.5
    if nights.start:
        assert at_full_length(replace(nights, start=nights.start + 2), updates) < 0.5
    else:
        slower = replace(nights, growth=1 + (nights.growth - 1) / 2)
        assert at_full_length(slower, updates) < 0.5


def test_nights_that_do_not_grow_are_long_from_the_first_on() -> None:
    options = options_of(MECHANISMS["nce"], 100, 1000, growing=False)
    assert at_full_length(phases_of(options), 1000) == 1.0


def test_the_report_has_what_is_promised(measured: Measured) -> None:
    result = measured.result
    assert [(row["mechanism"], row["wake"], row["offline"]) for row in result["curve"]] == [
        ("nce", 1, True), ("nce", 5, True), ("targets", 1, False), ("targets", 5, False),
    ]  # fmt: skip
    promised = {
        "mechanism", "offline", "wake", "sleep", "seeds", "updates", "share_at_full_length", "learning_rate",
        "bits_per_character", "accuracy", "relative_to_interleaved", "state_bytes",
    }  # fmt: skip
    mean = result["interleaved"]["bits_per_character"]["mean"]
    for row in result["curve"]:
        assert promised <= row.keys()
        bits = [
            cell["bits_per_character"]
            for options, cell in measured.cells
            if options["seed"] in (1, 2)
            and options["phases.wake"] == row["wake"]
            and options["phases.kind"] in ("sleep", "growing")
            and options["phases.asleep"] == MECHANISMS[row["mechanism"]].options["phases.asleep"]
        ]
        assert row["bits_per_character"]["mean"] == pytest.approx(sum(bits) / 2)
        assert row["bits_per_character"]["sd"] > 0
        assert row["relative_to_interleaved"] == pytest.approx(sum(bits) / 2 / mean)
    assert [(row["mechanism"], row["length"]) for row in result["deprivation"]] == [
        ("nce", 0), ("nce-uncapped", 0), ("nce", 6), ("nce-uncapped", 6),
    ]  # fmt: skip
    nothing, _, some, _ = result["deprivation"]
    assert nothing["bits_per_character_before"] == nothing["bits_per_character_after"]
    assert nothing["recovery_updates"] == 0
    assert some["bits_per_character_before"] == nothing["bits_per_character_before"]
    assert some["bits_per_character_before"] != some["bits_per_character_after"]
    assert {(row["mechanism"], row["wake"], row["phase"]) for row in result["drift"]} == {
        (name, length, phase) for name in ("nce", "targets") for length in (1, 5) for phase in ("wake", "sleep")
    }
    assert all(len(row["beginning"]) == len(row["end"]) == 2 for row in result["drift"])
    assert [len(sample["text"]) for sample in result["samples"]] == [200] * 5
    assert (measured.folder / "s" / "samples" / "nce-5.txt").read_text() == result["samples"][2]["text"]
    assert (measured.folder / "s" / "sleep.png").stat().st_size > 5000


def test_rates_and_the_interleaved_objective_are_the_best_on_validation_text(measured: Measured) -> None:
    tried = [
        (cell["validation_bits_per_character"], options)
        for options, cell in measured.cells
        if options["seed"] == 0 and options["phases.kind"] != "sequence"
    ]
    for row in [*measured.result["curve"], measured.result["interleaved"]]:
        wanted = {"phases.kind": "interleaved"}
        if "mechanism" in row:
            wanted = MECHANISMS[row["mechanism"]].options | {"phases.wake": row["wake"], "phases.sleep": row["sleep"]}
        own = [(bits, one) for bits, one in tried if wanted.items() <= one.items()]
        assert len(own) == (2 if "mechanism" in row else 4)
        best = min(own, key=lambda found: found[0])[1]
        assert best["learning_rate"] == row["learning_rate"]
        assert best["objective"] == row.get("objective", best["objective"])


def test_a_finished_cell_is_not_computed_again(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*given: Any, **named: Any) -> Any:
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr(separation_runs, "train", never)
    monkeypatch.setattr(separation_runs, "recovery", never)
    assert main(measured.command) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == measured.result
    with pytest.raises(AssertionError, match="computed again"):  # one that is not there would have been
        main([*measured.command, "--seeds", "3"])


def plan_of(**changes: Any) -> Plan:
    given: dict[str, Any] = {
        "mechanisms": ("plain",), "lengths": (5,), "updates": 40, "seeds": (0,), "rates": (1e-2,), "search_seed": 0,
        "search_share": 0.5, "growing": True, "deprivation": (5,), "recovery_limit": 20, "recovery_interval": 5,
    }  # fmt: skip
    return Plan(**given | changes)


def separation(
    text: str, folder: Path, plan: Plan, interrupted: Callable[[], bool] = lambda: False, **more: Any
) -> Separation:
    net = {"stack": "window", "layers": 2, "units": 8, "block_size": 4, "dropout": 0.2, "batch_size": 16}
    run = {"threads": 1, "dtype": "float32", "max_iters": plan.updates, "eval_interval": 20}
    config = decided(from_flat({"corpus": text} | net | run | more))
    corpus = load_corpus(text, split_rule=config.text.split_rule)
    config = resolved(config, corpus.train.symbols)
    return Separation(config, corpus, folder, plan, progress=Progress(quiet=True), interrupted=interrupted)


def figures_of(found: Separation) -> tuple[Any, ...]:
    """All but seconds."""
    reference = found.reference()
    rows = [reference, *found.curve(reference)]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows], found.deprivation()


def test_interrupted_again_and_again_it_finds_the_same(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deprivation, "TOLERANCE", -0.9)  # out of reach: sleep goes on to its limit
    whole = figures_of(separation(text, tmp_path / "a", plan_of()))
    assert [row["mechanism"] for row in whole[1]] == ["nce", "nce-uncapped"]
    assert whole[1][0]["recovery_updates"] is None
    assert [step for step, _ in whole[1][0]["runs"][0]["asleep"]] == [0, 5, 10, 15, 20]
    sittings, done = 0, None
    while done is None:
        sittings += 1
        calls = iter(range(1000))
        with contextlib.suppress(Interrupted):
            done = figures_of(separation(text, tmp_path / "b", plan_of(), lambda calls=calls: next(calls) >= 23))  # type: ignore[misc]
    assert sittings > 5
    assert done == whole


def test_without_negatives_a_net_gets_worse_and_sleep_brings_it_back(tmp_path: Path) -> None:
    words = Random(0).choices(["the", "cat", "dog", "log", "ran", "sat"], k=1500)
    path = tmp_path / "words.txt"
    path.write_text(" ".join(words), encoding="utf-8")
    more = {"recovery_limit": 80, "recovery_interval": 2}
    plan = plan_of(lengths=(), updates=1200, deprivation=(100,), rates=(2e-2,), **more)
    capped, row = separation(str(path), tmp_path / "s", plan, dropout=0.0).deprivation()
    assert capped["bits_per_character_before"] == row["bits_per_character_before"]
    assert capped["bits_per_character_after"] < row["bits_per_character_after"]
    assert row["bits_per_character_after"] > 1.05 * row["bits_per_character_before"]
    assert 0 < row["recovery_updates"] < 80
    goal = 1.01 * row["bits_per_character_before"]
    asleep = row["runs"][0]["asleep"]
    assert asleep[-1] == [row["recovery_updates"], row["bits_per_character_lowest_asleep"]]
    assert [bits <= goal for _, bits in asleep] == [False] * (len(asleep) - 1) + [True]


def test_a_net_that_sleep_destroys_has_a_row_without_figures(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(*given: Any) -> None:
        raise FfseqError("the loss is not finite after update 7")

    monkeypatch.setattr(deprivation, "_go_on", diverging)
    rows = separation(text, tmp_path / "s", plan_of(lengths=())).deprivation()
    assert [row["bits_per_character_after"] for row in rows] == [None, None]
    assert all(row["recovery_updates"] is None and row["bits_per_character_before"] > 0 for row in rows)


def test_where_hintons_strings_leave_nothing_to_choose_on_the_search_learns_fewer_of_them(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(TEXT * 20, encoding="utf-8")
    plan = plan_of(lengths=(1,), updates=8, rates=(1e-2, 1e-3), deprivation=(2,), recovery_limit=5)
    found = separation(str(path), tmp_path / "s", plan, split_rule="hinton")
    figures_of(found)
    cells = [json.loads(place.read_text()) for place in (tmp_path / "s").glob("cells/*/run/last/config.json")]
    rules = {
        (one["options"]["phases.kind"], one["options"]["max_iters"], one["options"]["split_rule"]) for one in cells
    }
    assert {("sleep", 4, "hinton-tuning"), ("sleep", 8, "hinton"), ("interleaved", 4, "hinton")} <= rules
    assert {rule for kind, _, rule in rules if kind == "sequence"} == {"hinton-tuning"}


def test_drift_is_that_of_the_last_whole_phases(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    phases = PhasesConfig("sleep", 6, 6)  # 25 updates: awake 1-6, asleep 7-12, awake 13-18, asleep 19-24, awake 25
    lines = []
    for step in range(2, 26, 2):
        awake = (step - 1) // 6 % 2 == 0
        goodness = {
            "positive_goodness": [step, 1] if awake else None,
            "negative_goodness": None if awake else [step, 2],
        }
        lines.append({"kind": "train", "step": step} | goodness)
        lines.append({"kind": "validation", "step": step})
    log.write_text("\n".join(map(json.dumps, lines)))
    assert drift_of(log, phases, 25) == [
        {"phase": "wake", "updates": 6, "beginning": [14, 1], "end": [18, 1]},
        {"phase": "sleep", "updates": 6, "beginning": [20, 2], "end": [24, 2]},
    ]


def test_asleep_with_dreams_only_is_called_offline() -> None:
    assert {name: one.offline for name, one in MECHANISMS.items()} == {
        "nce": True, "bank": True, "slow": True, "opponent": True, "consolidated": True, "detectors": True,
        "bounded": True,
        "plain": True, "contexts": False, "contrast": False, "targets": False, "gated": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--mechanisms", "nce,contxts"], "did you mean 'contexts'?"),
        (["--mechanisms", "nce,not_there:f"], "No module named 'not_there'"),
        (["--only", "curv"], "did you mean 'curve'?"),
        (["--updates", "61"], "--updates"),
        (["--lengths", "0"], "--lengths"),
        (["--lengths", "20", "--rates", "1e-3"], "--lengths 20 is too long"),
        (["--lengths", "10"], "--search_share"),
        (["--rates", "fast"], "--rates"),
        (["--rates", "-1"], "--rates"),
        (["--seeds", "0.5"], "--seeds"),
        (["--deprivation", "none"], "--deprivation"),
        (["--recovery_interval", "0"], "--recovery_interval"),
        (["--search_share", "0"], "--search_share"),
        (["--split_rule", "90/0/10", "--lengths", "1"], "validation"),
        (["--stack", "causal", "--lengths", "1", "--batch_size", "64"], "--stack window"),
        (["--learning_rate", "1"], "--learning_rate"),
    ],
)
def test_wrong_requests_are_refused(
    more: list[str], words: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, "sleep", text, *SMALL, "--out_dir", str(tmp_path / "s"), *more, status=2)


def test_a_part_can_be_measured_alone(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--mechanisms", "contexts", "--lengths", "1", "--seeds", "0", "--rates", "0.01", "--deprivation", "0"]
    command = ["sleep", text, *SMALL, *few, "--out_dir", str(tmp_path / "s"), "--json", "--only"]
    for only, other in (("curve", "deprivation"), ("deprivation", "curve")):
        assert main([*command, only]) == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert result[only]
        assert not result[other]
        assert (result["interleaved"] is None) == (only == "deprivation")


def test_two_processes_may_fill_the_same_folder(text: str, tmp_path: Path) -> None:
    """The second waits for the cell that the first is computing, and takes what it has found."""
    corpus = load_corpus(text)
    options = to_flat(from_flat({"corpus": text, "max_iters": 3}))
    begun, computed = threading.Event(), []

    def compute(place: Path, settings: dict[str, Any]) -> dict[str, Any]:
        computed.append(place)
        begun.set()
        time.sleep(0.3)
        return {"figure": len(computed)}

    def fill() -> dict[str, Any]:
        return Cells(corpus, tmp_path, lambda: False).result(options, compute)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(fill)
        assert begun.wait(10)
        second = pool.submit(fill)
        assert first.result() == second.result() == {"figure": 1}
    assert len(computed) == 1
    (computed[0] / "cell.json").unlink()
    with alone_in(computed[0]), pytest.raises(Interrupted, match="another process"):
        Cells(corpus, tmp_path, iter([False, True]).__next__).result(options, compute)

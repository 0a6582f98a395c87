"""What `ffseq bench` measures is what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ffseq.bench import memory, processes, resident, speed
from ffseq.bench.updates import ALPHABET, causal, update_of, window
from ffseq.cli import main
from ffseq.errors import FfseqError
from ffseq.network import SequenceNetwork

needs_teams = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


def test_bytes_are_those_held_at_once() -> None:
    def holds_two_of_three() -> None:
        first = torch.zeros(1000, 250)
        second = first + 1
        del first
        third = torch.cat([second, second[:500]])
        del second, third

    assert memory.peak_bytes(holds_two_of_three) == pytest.approx(2_500_000, abs=1000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_update_holds_no_more_in_a_deep_stack_but_the_twin_does(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times as many layers, by the count of the allocator, of a quarter of the bench's positions."""
    monkeypatch.setattr(memory, "BATCH", memory.BATCH // 4)
    shallow, deep = memory.of_depth(2, dtype), memory.of_depth(8, dtype)
    for name in ("ff_bytes", "ff_recompute_bytes"):
        assert deep[name] <= 1.05 * shallow[name]
    for name in ("ff_all_bytes", "twin_bytes"):
        assert deep[name] >= 2 * shallow[name]


def test_resident_memory_says_what_the_allocator_says() -> None:
    """Four times as many layers, by the count of the operating system: pages instead of tensors."""
    shallow, deep = (resident.resident_of_depth(layers, torch.float32) for layers in (2, 8))
    found = [one[f"{method}_resident_bytes"] for method in ("ff", "twin") for one in (shallow, deep)]
    if None in found:
        pytest.skip("this system does not say how much memory was resident at most")
    ff_shallow, ff_deep, twin_shallow, twin_deep = (one or 0 for one in found)
    assert ff_deep <= 1.1 * ff_shallow
    assert twin_deep >= 2 * twin_shallow
    update = update_of(window(2, memory.UNITS, memory.BATCH), "ff", torch.float32, scope="below")
    assert ff_shallow == pytest.approx(memory.peak_bytes(update), rel=0.25)


def test_where_the_system_does_not_count_there_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "PROCESS", tmp_path / "nothing")
    assert resident.added_by_an_update(window(2, 16, 64), "ff", torch.float32) is None


def test_what_is_compared_runs_in_turns() -> None:
    ran: list[str] = []
    times = speed.in_turns([lambda: ran.append("a"), lambda: ran.append("b")], 1e-9, rounds=3, warm=0)
    assert "".join(ran) == "a" + "b" + "ab" * 3
    assert all(time > 0 for time in times)


def test_an_update_of_the_bench_learns() -> None:
    """Every weight moves, by either method."""
    for net in (window(2, 16, 64), causal(2, 16, 128)):
        for method in ("ff", "twin"):
            network = SequenceNetwork(net.network, ALPHABET)
            update = update_of(net, method, torch.float32, network=network)
            before = [weight.clone() for weight in network.parameters()]
            update()
            assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_rates_add_up() -> None:
    found = speed.net_rates(window(2, 16, 64), torch.float32, 100.0, 0.05)
    assert found["name"] == "300-16-16"
    assert found["ratio_to_twin"] == pytest.approx(found["twin_per_second"] / found["ff_per_second"])
    # By hand: ten characters in the first layer, forward and change; 16×16 below the second, forward and change; three
    # products with the thirty candidates in each layer.
    useful = 2 * (10 * 16) + 2 * (16 * 16) + 2 * 3 * 16 * 30
    assert found["peak_share"] == pytest.approx(2 * useful * found["ff_per_second"] / 100e9)


@needs_teams
def test_one_process_and_two_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = partial(processes.of_processes, net=causal(2, 16, 128), rounds=3)
    monkeypatch.setattr(processes, "of_processes", small)
    arguments = ["bench", "--only", "processes", "--seconds", "0.1", "--dtype", "float32", "--out_dir", str(tmp_path)]
    assert main([*arguments, "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["processes"]
    assert [row["workers"] for row in rows] == [1, 2]
    one, two = (row["updates_per_second"] for row in rows)
    assert one > 0
    assert two > 0
    assert [row["ratio_to_one"] for row in rows] == [1, pytest.approx(two / one)]


@needs_teams
def test_processes_that_do_not_answer_are_given_up_with_a_sentence() -> None:
    with (
        processes.started(causal(2, 16, 128), torch.float32, 1) as workers,
        pytest.raises(FfseqError, match="not answered for 1 seconds"),
    ):
        processes.seconds_of(workers, 10**9, patience=1.0)


@needs_teams
def test_a_process_that_ends_while_it_is_measured_ends_the_measuring_with_a_sentence() -> None:
    with processes.started(causal(2, 16, 128), torch.float32, 2) as workers:
        assert processes.seconds_of(workers, 2) > 0
        workers[1].process.kill()
        with pytest.raises(FfseqError, match="of 2, which was to be measured, has ended"):
            processes.seconds_of(workers, 10**6)
    assert all(worker.process.returncode is not None for worker in workers)


def test_going_up_twice_has_the_price_of_the_way_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by multiplications, which no busy machine can change: the way up comes again, and nothing else."""
    counts: list[int] = []

    def counted(functions: Sequence[Callable[[], object]], seconds: float) -> list[int]:
        for function in functions:
            with FlopCounterMode(display=False) as counter:
                function()
            counts.append(counter.get_total_flops() // 2)
        return counts

    net = window(3, 512, 512)
    monkeypatch.setattr(speed, "in_turns", counted)
    price = speed.recompute_price(torch.float32, 1.0, net)
    twice, once = counts
    assert price == twice / once
    # The first layer looks its characters up; above it are two products, and each layer scores candidates.
    assert twice - once == net.batch * 512 * (2 * 512 + 3 * len(ALPHABET))


def test_the_verb_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "--only", "sampling", "--seconds", "0.05", "--threads", "1", "--dtype", "float32"]
    assert main([*arguments, "--out_dir", str(tmp_path), "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    assert result == json.loads((tmp_path / "bench.json").read_text())
    assert said.err == ""
    assert result["sampling"]["strings"] == 64
    assert result["sampling"]["one_string"] > 0
    assert set(result) == {"processor", "threads", "dtype", "torch", "sampling"}
    assert main([*arguments, "--out_dir", str(tmp_path), "--quiet"]) == 0
    assert "one string" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--only", "nothing"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_what_cannot_be_measured_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_preparing_leaves_the_cache_of_others_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FFSEQ_CACHE", str(tmp_path))
    assert speed.preparation_seconds(5_000) > 0
    assert list(tmp_path.iterdir()) == []

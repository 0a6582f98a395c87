"""Processes that learn together learn what one process would, stop together, and lose nothing when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from team import run_team

from ffseq import shared
from ffseq.cli import main
from ffseq.errors import UsageError
from ffseq.negatives import sampled
from ffseq.options import from_flat
from ffseq.parallel import Team, check_team
from ffseq.randomness import for_rows, generator, keep_mask
from ffseq.shared import SharedRows

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")

NET = ["--layers", "3", "--units", "32", "--block_size", "5", "--dtype", "float32", "--threads", "1", "--floors", "no"]
RUN = ["--max_iters", "30", "--eval_interval", "15", "--log_interval", "10", "--learning_rate", "0.01", "--quiet"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ffseq"]


def learned(size: int, folder: Path, *options: str) -> tuple[dict[str, torch.Tensor], list[dict[str, object]]]:
    """The weights and the log of a run by so many processes."""
    command = ["train", "fables", *NET, *RUN, *options, "--out_dir", str(folder)]
    if size == 1:
        assert main(command) == 0  # the process of the test
    else:
        run_team(size, command, folder.with_suffix(".told"))
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return load_file(folder / "last" / "model.safetensors"), log


@pytest.mark.parametrize(
    "options",
    [
        ["--dropout", "0.4", "--scope", "below", "--num_negatives", "3", "--batch_size", "32"],
        ["--stack", "causal", "--string_length", "16", "--batch_size", "64", "--objective", "likelihood",
         "--dropout", "0.2", "--average", "0.9", "--recompute", "true"],
        ["--method", "twin", "--dropout", "0.3", "--batch_size", "32"],
    ],
    ids=["below", "causal", "twin"],
)  # fmt: skip
def test_two_processes_learn_what_one_does(options: list[str], tmp_path: Path) -> None:
    """Random numbers are the same, so only the order of sums differs: at most 10⁻⁵ of weights of size one."""
    one, log_of_one = learned(1, tmp_path / "one", *options)
    two, log_of_two = learned(2, tmp_path / "two", *options)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5, msg=name)
    assert [line["step"] for line in log_of_one] == [line["step"] for line in log_of_two]
    for first, second in zip(log_of_one, log_of_two, strict=True):
        assert first.keys() == second.keys()
        for name in {"train_bits_per_character", "positive_goodness", "validation_bits_per_character"} & first.keys():
            assert second[name] == pytest.approx(first[name], rel=1e-4)


def test_on_two_machines_they_learn_the_same(tmp_path: Path) -> None:
    """Two launchers that know of each other by address and port, as on two machines: nothing is shared in memory."""
    options = ["--scope", "below", "--batch_size", "32"]
    one, _ = learned(1, tmp_path / "one", *options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    train = ["-m", "ffseq", "train", "fables", *NET, *RUN, *options, "--out_dir", str(tmp_path / "two")]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *where, "--node-rank", str(rank), *train],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for node in nodes:
        _, said = node.communicate(timeout=120)
        assert node.returncode == 0, said
    two = load_file(tmp_path / "two" / "last" / "model.safetensors")
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5, msg=name)


@given(size=st.integers(1, 4), updates=st.integers(1, 4))
@settings(deadline=None, max_examples=15)
def test_what_processes_show_each_other_in_memory_is_added_up(size: int, updates: int) -> None:
    """Against sums; nobody has begun to write the next update where somebody still reads this one."""
    random = generator(0, "rows")
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.fileno(), 2 * size * 10 * 2)
        rows = [SharedRows(Path(file.name), size, 10, torch.bfloat16) for _ in range(size)]
        changes = torch.randint(-9, 9, (updates, size, 10), generator=random).float()
        for rank in range(size):
            rows[rank].show(rank, slice(2, 7), changes[0, rank, 2:7])
        for update in range(updates):
            expected = changes[update, :, 2:7].sum(0)
            for rank in range(size):
                total = torch.zeros(5)
                rows[rank].add_up(slice(2, 7), total)
                assert torch.equal(total, expected)
                rows[rank].next()
                if update + 1 < updates:  # the first to have finished goes on at once
                    rows[rank].show(rank, slice(2, 7), changes[update + 1, rank, 2:7])


def test_where_there_is_no_room_nothing_is_shared_and_nothing_is_left(tmp_path: Path) -> None:
    """Files that no disk holds; the team then sends its changes."""
    assert shared._made(str(tmp_path), 1 << 62) is None
    assert not list(tmp_path.iterdir())
    made = shared._made(str(tmp_path), 1000)
    assert made is not None
    assert made.stat().st_size == 1000


def begun(folder: Path, *options: str) -> subprocess.Popen[str]:
    """A team of two that would learn for minutes, as soon as it has learned something."""
    command = [*TWO, "train", "fables", *NET, "--max_iters", "100000", "--batch_size", "32", "--log_interval", "5"]
    command += ["--sample_interval", "0", "--eval_interval", "100000", "--checkpoint_seconds", "0.5"]
    command += options
    team = subprocess.Popen([*command, "--out_dir", str(folder), "--quiet"], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (folder / "log.jsonl").exists():
        assert time.monotonic() < until, "the team has not begun to learn"
        assert team.poll() is None
        time.sleep(0.1)
    time.sleep(1.5)  # until there is a checkpoint of the middle
    return team


def workers_of(folder: Path) -> dict[str, Path]:
    """The processes that learn into a run folder, as the system knows them, by rank."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            words = (process / "environ").read_bytes().split(b"\0")
            mine = f"--out_dir\0{folder}\0".encode() in (process / "cmdline").read_bytes()
        except OSError:
            continue
        rank = next((word[5:].decode() for word in words if word.startswith(b"RANK=")), None)
        if mine and rank is not None:
            found[rank] = process
    return found


def steps_of(folder: Path) -> int:
    return int(json.loads((folder / "last" / "trainer_state.json").read_text())["step"])


def test_a_team_stops_together_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    team = begun(folder)
    team.send_signal(signal.SIGTERM)
    _, said = team.communicate(timeout=60)
    assert said.count("ffseq: interrupted after") == 1, said
    step = steps_of(folder)
    assert f"interrupted after {step:,} updates" in said
    more = ["train", "--resume", str(folder), "--max_iters", str(step + 10), "--quiet"]
    run_team(2, more, tmp_path / "told")
    assert steps_of(folder) == step + 10
    # and one process alone goes on with what a team has learned
    more[4] = str(step + 15)
    assert main(more) == 0
    assert steps_of(folder) == step + 15


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the workers through /proc")
@pytest.mark.parametrize(
    ("rank", "options"),
    [("0", []), ("1", []), ("1", ["--pipeline", "true", "--scope", "own"])],
    ids=["first", "second", "last of a pipeline"],
)
def test_when_a_process_is_killed_the_others_say_so_and_the_run_can_be_resumed(
    rank: str, options: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    team = begun(folder, *options)
    workers = workers_of(folder)
    assert set(workers) == {"0", "1"}
    # Those that share every batch show each other their changes in memory: a file that both have mapped.
    mapped = ["/ffseq-" in (worker / "maps").read_text() for worker in workers.values()]
    assert mapped == [not options] * 2
    os.kill(int(workers[rank].name), signal.SIGKILL)
    _, said = team.communicate(timeout=60)
    assert team.returncode != 0
    assert "another process of the team has ended" in said, said
    assert f"--resume {folder}" in said, said
    assert "RuntimeError" not in said, said
    step = steps_of(folder)
    assert step > 0
    more = ["train", "--resume", str(folder), "--max_iters", str(step + 3), "--quiet", "--pipeline", "false"]
    assert main(more) == 0
    assert steps_of(folder) == step + 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stream": True}, "--stream"),
        ({"memory": 64}, "--memory"),
        ({"stack": "literal"}, "literal"),
        ({"hidden": "random"}, "--hidden random"),
        ({"objective": "threshold", "negatives": "corrupted"}, "corrupted"),
        ({"batch_size": 33}, "cannot share 33 windows"),
        ({"stack": "causal", "batch_size": 64 * 3}, "cannot share 3 strings"),
        ({"corpus": "-"}, "standard input"),
    ],
)
def test_what_only_one_process_can_learn_is_refused(options: dict[str, object], reason: str) -> None:
    base = {"stack": "window", "batch_size": 32, "layers": 2, "units": 16, "block_size": 12, "corpus": "fables"}
    check_team(from_flat(base), 2)
    with pytest.raises(UsageError, match=reason):
        check_team(from_flat(base | options), 2)


@given(size=st.integers(1, 4), each=st.integers(1, 5), strings=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_team_shares_out_all_rows_and_their_numbers(size: int, each: int, strings: int, seed: int) -> None:
    length = each * size
    for rows_of in (
        [Team(rank, size).rows(length) for rank in range(size)],
        [Team(rank, size).rows(length * strings * size, strings * size) for rank in range(size)],
    ):
        every = torch.cat(rows_of)
        total = len(every)
        assert every.sort()[0].tolist() == list(range(total))
        mask, _ = keep_mask((total, 7), 0.5, generator(seed, "m"), torch.device("cpu"))
        q = torch.softmax(torch.randn(total, 5, generator=generator(seed, "q")), 1)
        drawn = sampled(q, 3, generator(seed, "s"))
        for rows in rows_of:
            own, _ = keep_mask((len(rows), 7), 0.5, for_rows(generator(seed, "m"), rows, total), torch.device("cpu"))
            assert torch.equal(own, mask[rows])
            assert torch.equal(sampled(q[rows], 3, for_rows(generator(seed, "s"), rows, total)), drawn[rows])


def test_whole_strings_stay_together() -> None:
    """Row t·S + s is position t of string s: of four strings of three, the second of two processes has 2 and 3."""
    assert Team(1, 2).rows(12, 4).tolist() == [2, 3, 6, 7, 10, 11]


def test_a_refusal_is_a_sentence_in_a_team_too(tmp_path: Path) -> None:
    """The first process refuses a folder that is not empty while the other waits to be told which one it is."""
    (tmp_path / "mine.txt").write_text("something of mine")
    command = [*TWO, "train", "fables", *NET, *RUN, "--out_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert f"ffseq: the run folder {tmp_path} is not empty" in done.stderr
    assert "RuntimeError" not in done.stderr
    assert "runs.py" not in done.stderr  # no traceback of ours; torchrun adds one of its own
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("reason", "lost"), [("Gloo connectFullMesh failed: Connection closed by peer", True), ("no such device", False)]
)
def test_who_ends_while_the_others_still_meet_is_told_of_too(
    reason: str, lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first has met the second and refuses; the second, slower, loses it before it has met it."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(torch.distributed, "init_process_group", fails)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    command = ["train", "fables", *NET, *RUN, "--out_dir", str(tmp_path / "run")]
    if lost:
        assert main(command) == 1
        assert capsys.readouterr().err == (
            "ffseq: process 1 of 2: another process of the team has ended. Nothing has been learned yet\n"
        )
    else:  # a fault, not a loss: shown whole
        with pytest.raises(RuntimeError, match=reason):
            main(command)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("argument", "status"), [("list", 0), ("lits", 2)])
def test_one_of_a_team_ends_without_taking_the_interpreter_apart(argument: str, status: int) -> None:
    """There a thread of gloo that is still alive would take the process down, after its work was done."""
    code = "import atexit, os; atexit.register(os.abort); from ffseq.cli import command; command()"
    done = subprocess.run(
        [sys.executable, "-c", code, argument], capture_output=True, text=True, env=os.environ | {"WORLD_SIZE": "2"}
    )
    assert done.returncode == status, done.stderr
    assert ("aesop-small" in done.stdout) if status == 0 else ("there is no verb" in done.stderr)

"""`ffseq train` with phases: apart, resumable in the middle of a night, and without a way to the corpus asleep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TEXT

from ffseq import training
from ffseq.checkpoint import load_checkpoint
from ffseq.cli import main
from ffseq.errors import Interrupted, UsageError
from ffseq.options import from_flat
from ffseq.runs import train
from ffseq.training import Trainer

SMALL: dict[str, Any] = {
    "layers": 2, "units": 24, "block_size": 5, "dropout": 0.25, "batch_size": 32, "max_iters": 60,
    "learning_rate": 3e-3, "eval_interval": 20, "log_interval": 5, "sample_interval": 0, "floors": "no", "threads": 1,
    "dtype": "float32", "alphabet": "characters", "stack": "window", "objective": "nce",
    "phases.kind": "sleep", "phases.wake": 7, "phases.sleep": 7, "phases.renew": 1,
}  # fmt: skip
#: The same, and nothing said of phases.
WITHOUT = {name: value for name, value in SMALL.items() if not name.startswith("phases.")}
KINDS: list[dict[str, Any]] = [
    {},
    {"objective": "threshold"},
    {"objective": "threshold", "phases.dreamer": "frozen", "phases.dream_length": 9},
    {"phases.kind": "growing", "average": 0.9, "phases.renew": 10},
    {"objective": "contrast", "phases.asleep": "contexts"},
    {"objective": "threshold", "phases.asleep": "targets", "phases.mechanism": "detectors", "goodness": "opposed"},
    {"objective": "contrast", "goodness": "bounded"},
    {"phases.mechanism": "opponent"},
    {"phases.mechanism": "consolidated"},
    {"phases.bank": 100},
    {"objective": "contrast", "phases.asleep": "targets", "phases.gated": True},
    {"phases.kind": "sequence", "phases.sequence": "interleaved 4, wake 3, sleep 5"},
    {"phases.kind": "deprived", "phases.start": 10, "phases.length": 20},
    {"gains": "1.3,0.6"},
    {"objective": "threshold", "phases.dreamer": "frozen", "calibrate": True, "phases.renew": 10},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_interrupted_in_the_middle_of_a_phase_it_is_the_same_run(
    kind: dict[str, Any], text: str, tmp_path: Path
) -> None:
    options = SMALL | {"corpus": text} | kind
    if kind.get("phases.kind", "sleep") != "sleep":
        options = WITHOUT | {"corpus": text} | kind
    whole = train(from_flat(options | {"out_dir": str(tmp_path / "a")}))
    for stop in (17, 7):
        calls = iter(range(1000))
        with pytest.raises(Interrupted):
            train(
                from_flat(options | {"out_dir": str(tmp_path / "b"), "resume": "auto"}),
                interrupted=lambda calls=calls, stop=stop: next(calls) >= stop,  # type: ignore[misc]
            )
    again = train(from_flat(options | {"out_dir": str(tmp_path / "b"), "resume": "auto"}))
    for name in ("bits_per_character", "characters_seen", "state_bytes", "temperature"):
        assert again[name] == whole[name]
    one, two = (load_checkpoint(tmp_path / name / "last") for name in "ab")
    for left, right in ((one.model, two.model), (one.trainer_tensors or {}, two.trainer_tensors or {})):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


class Unreachable:
    """A text that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the corpus was asked for {name}")

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("the corpus was read")

    def __array__(self, *given: Any, **named: Any) -> Any:
        raise AssertionError("the corpus was read")


@pytest.mark.parametrize("objective", ["nce", "threshold"])
def test_asleep_the_corpus_cannot_be_reached(
    objective: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every update asleep finds in place of the corpus and its batches what raises whatever is asked of it."""
    update = Trainer._update
    asleep = 0

    def guarded(self: Trainer, moment: Any, rate: float) -> Any:
        nonlocal asleep
        if moment.phase != "sleep":
            return update(self, moment, rate)
        asleep += 1
        corpus, batches = self.corpus, self.batches
        self.corpus = self.monitor.corpus = self.batches = Unreachable()  # type: ignore[assignment]
        try:
            return update(self, moment, rate)
        finally:
            self.corpus = self.monitor.corpus = corpus
            self.batches = batches

    monkeypatch.setattr(Trainer, "_update", guarded)
    train(from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "run"), "objective": objective}))
    assert asleep == 28
    more = {"out_dir": str(tmp_path / "b"), "objective": objective, "phases.asleep": "contexts"}
    with pytest.raises(AssertionError, match="the corpus was"):  # contexts are real: there it would have been seen
        train(from_flat(SMALL | {"corpus": text} | more))


def test_dreams_depend_on_weights_and_seed_only(tmp_path: Path) -> None:
    """A night of two nets with the same weights, one of which learns another text by day."""

    def dreamt(words: str, seed: int) -> torch.Tensor:
        path = tmp_path / "text.txt"
        path.write_text(words, encoding="utf-8")
        given = {"corpus": str(path), "out_dir": str(tmp_path / f"{len(list(tmp_path.iterdir()))}"), "seed": seed}
        result = train(from_flat(WITHOUT | given | {"phases.kind": "sequence", "phases.sequence": "sleep 60"}))
        tensors = load_checkpoint(Path(result["run"]) / "last").trainer_tensors
        assert tensors is not None
        return tensors["dreams.contexts"]

    first = dreamt(TEXT, 0)
    assert torch.equal(first, dreamt(TEXT[::-1], 0))
    assert not torch.equal(first, dreamt(TEXT, 1))


def test_a_run_says_where_in_its_night_it_is_and_counts_real_text_only(text: str, tmp_path: Path) -> None:
    result = train(from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "run")}))
    assert result["characters_seen"] == 32 * (7 + 7 + 7 + 7 + 4)  # 60 updates: four nights, and four updates awake
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    train_lines = [line for line in lines if line["kind"] == "train"]
    assert [(line["phase"], line["nights"]) for line in train_lines[:3]] == [("wake", 0), ("sleep", 1), ("wake", 1)]
    assert all(line["train_bits_per_character"] is None or line["positive_goodness"] for line in train_lines)
    # Weights of the frozen net, and of 32 dreams their last five symbols and their ages.
    weights = sum(one.numel() for one in load_checkpoint(tmp_path / "run" / "last").model.values() if one.ndim)
    assert result["state_bytes"] == pytest.approx(4 * weights + 32 * 6 * 8, rel=0.03)
    banked = train(from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "b"), "phases.bank": 100}))
    assert banked["state_bytes"] == result["state_bytes"] + 100 * (5 + 1 + 1) * 4


def test_apart_in_time_it_learns_nearly_as_well(text: str, tmp_path: Path) -> None:
    options = WITHOUT | {"corpus": text, "max_iters": 600, "eval_interval": 300, "dropout": 0.0}
    nights = {"phases.kind": "sleep", "phases.wake": 7, "phases.sleep": 7, "phases.renew": 50}
    apart = train(from_flat(options | nights | {"out_dir": str(tmp_path / "a")}))
    together = train(from_flat(options | {
        "out_dir": str(tmp_path / "b"), "max_iters": 300, "objective": "contrast",
    }))  # fmt: skip
    nothing = train(from_flat(options | {
        "out_dir": str(tmp_path / "c"), "phases.kind": "sequence", "phases.sequence": "wake 600", "max_iters": 300,
    }))  # fmt: skip
    assert apart["bits_per_character"] < together["bits_per_character"] + 0.25
    assert nothing["bits_per_character"] > apart["bits_per_character"] + 0.5


def test_the_cap_of_the_rate_goes_by_the_length_of_the_phase_and_falls_as_the_rate_does(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    def noted(optimisers: Any, layers: Any, changes: Any, rate: float, flat: Any) -> None:
        rates.append(rate)

    monkeypatch.setattr(training, "apply_changes", noted)
    schedule = {"phases.kind": "sequence", "phases.sequence": "wake 4, sleep 2, interleaved 2", "phases.rate_cap": 0.01}
    falling = {"learning_rate": 0.01, "warmup_iters": 0, "constant_share": 0.0, "final_rate": 0.0}
    train(from_flat(WITHOUT | schedule | falling | {"corpus": text, "max_iters": 8, "out_dir": str(tmp_path / "run")}))
    caps = [0.0025] * 4 + [0.005] * 2 + [0.01] * 2
    assert rates == pytest.approx([cap * (1 - step / 8) for step, cap in enumerate(caps)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"phases.wake": 0}, "--phases.wake"),
        ({"phases.sleep": -1}, "--phases.sleep"),
        ({"phases.growth": 1.0}, "--phases.growth"),
        ({"phases.rate_cap": 0.0}, "--phases.rate_cap"),
        ({"phases.kind": "sequence"}, "wake 100, sleep 100"),
        ({"phases.sequence": "wake 1"}, "it goes with sequence"),
        (
            {"phases.kind": "sequence", "phases.sequence": "wake 2, interleaved 3", "phases.mechanism": "consolidated"},
            "does not have both",
        ),
        ({"phases.kind": "interleaved", "phases.wake": 3}, "does nothing with --phases.kind interleaved"),
        ({"phases.growth": 1.5}, "it goes with growing"),
        ({"num_negatives": 9}, "one negative"),
        ({"exclude_truth": True, "objective": "threshold"}, "one negative"),
        ({"objective": "threshold", "phases.asleep": "contexts", "phases.dream_length": 5}, "there are no dreams"),
        ({"stack": "causal", "batch_size": 64}, "are for window stacks"),
        ({"memory": 64, "memory_lengths": "2"}, "does not go with --memory"),
        ({"method": "twin", "objective": "threshold"}, "does not go with --method twin"),
        ({"objective": "contrast"}, "without end raises"),
        ({"objective": "contrast", "phases.asleep": "targets"}, "without end raises"),
        ({"objective": "likelihood"}, "without end raises"),
        ({"phases.dreamer": "live"}, "has to know the probability"),
        ({"phases.asleep": "targets"}, "needs the truth"),
        ({"phases.gated": True}, "add --phases.asleep targets"),
        ({"phases.bank": -1}, "--phases.bank"),
        ({"phases.bank": 9, "phases.asleep": "contexts"}, "there are none"),
        ({"phases.bank": 9, "objective": "threshold"}, "add --phases.dreamer frozen"),
        ({"negatives": "rollout"}, "does not go with --negatives rollout"),
    ],
)
def test_what_cannot_sleep_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_flat(SMALL | options)


def test_the_command_line_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fables", "--phases.kind", "nap"]) == 2
    assert "--phases.kind: expected interleaved or sleep" in capsys.readouterr().err

"""The memory: what it looks up, what it changes, and that a net with one trains, resumes and streams as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.baselines.twin import backpropagate
from ffseq.checkpoint import load_checkpoint
from ffseq.config import LearningConfig
from ffseq.errors import Interrupted, UsageError
from ffseq.layers.memory import MemoryLayer
from ffseq.learning import learn
from ffseq.network import SequenceNetwork
from ffseq.optim import RowAdagrad
from ffseq.options import from_flat
from ffseq.randomness import generator
from ffseq.runs import train
from ffseq.scoring import evaluate

LENGTHS = {"memory": 64, "memory_lengths": "1,3,4"}


def batch(n: int = 20, size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    random = generator(0, "batch")
    contexts = torch.randint(0, size + 1, (n, 4), generator=random)
    return contexts, torch.randint(0, size, (n,), generator=random)


@given(
    bits=st.integers(1, 12),
    lengths=st.sets(st.integers(1, 4), min_size=1),
    contexts=st.lists(st.lists(st.integers(0, 300), min_size=4, max_size=4), min_size=1, max_size=8),
)
@settings(deadline=None)
def test_a_row_depends_on_its_own_length_of_context_and_lies_in_its_own_part(
    bits: int, lengths: set[int], contexts: list[list[int]]
) -> None:
    memory = MemoryLayer(alphabet_size=3, lengths=tuple(sorted(lengths)), rows=1 << bits)
    seen = torch.tensor(contexts)
    rows = memory(seen).rows
    for column, length in enumerate(sorted(lengths)):
        assert ((rows[:, column] >> bits) == column).all()
        changed = seen.clone()
        changed[:, length:] += 1
        assert torch.equal(memory(changed).rows[:, column], rows[:, column])


def test_different_contexts_rarely_share_a_row() -> None:
    memory = MemoryLayer(alphabet_size=3, lengths=(4,), rows=1 << 16)
    contexts = torch.cartesian_prod(*[torch.arange(9)] * 4)
    different = len(memory(contexts).rows.unique())
    expected = 65536 * (1 - np.exp(-len(contexts) / 65536))  # balls into bins
    assert different > 0.98 * expected


@given(seed=st.integers(0, 50), bits=st.integers(1, 6), n=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_what_was_learned_is_on_for_ever_and_nothing_was_at_first(seed: int, bits: int, n: int) -> None:
    memory = MemoryLayer(alphabet_size=3, lengths=(1, 2, 4), rows=1 << bits)
    contexts = torch.randint(0, 4, (n, 4), generator=torch.Generator().manual_seed(seed))
    assert not memory(contexts).keep.any()
    for part in contexts.split(7):
        memory.claim(part)
        assert memory(part).keep.all()
    assert memory(contexts).keep.all()


def test_what_was_never_learned_is_off_though_others_have_its_row() -> None:
    """256 contexts learned and 256 others in 4 rows and 512 places: only those whose place is taken are on."""
    memory = MemoryLayer(alphabet_size=3, lengths=(4,), rows=4)
    learned, others = torch.cartesian_prod(*[torch.arange(5)] * 4)[:512].split(256)
    memory.claim(learned)
    assert set(memory(others).rows.tolist()[0]) <= set(memory(learned).rows.flatten().tolist())
    wrong = float(memory(others).keep.mean())
    assert wrong == pytest.approx(1 - np.exp(-256 / 512), abs=0.12)  # balls into bins
    assert memory(learned, torch.ones(256, 1), 0.5).keep.sum() == 512  # what dropout leaves counts more


def test_a_length_that_was_not_met_stays_off() -> None:
    memory = MemoryLayer(alphabet_size=3, lengths=(1, 3), rows=1 << 12)
    memory.claim(torch.tensor([[1, 2, 0]]))
    assert memory(torch.tensor([[1, 2, 0], [1, 2, 2], [0, 2, 0]])).keep.tolist() == [[1, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize("scope", ["own", "below", "all"])
def test_its_change_is_the_gradient_of_its_own_objective(scope: str) -> None:
    network = small_network(**LENGTHS, memory_dropout=0.5).double()
    network.products = torch.float64
    assert network.memory is not None
    network.memory.candidates.normal_(generator=generator(1, "m"))
    contexts, targets = batch()
    learning = LearningConfig(objective="likelihood", scope=scope)  # type: ignore[arg-type]
    update = learn(network, contexts, targets, learning, random=generator(0, "l"))
    layers = list(network.upward(contexts, random=generator(0, "l")))
    recall = layers[0][2]
    weights = network.memory.candidates.detach().clone().requires_grad_()
    own = (weights[recall.rows] * recall.keep[:, :, None]).sum(1)
    score = own
    if scope == "all":
        score = own + sum(layer.goodness(activity) for layer, _, activity in layers[1:])
    torch.nn.functional.cross_entropy(score, targets).backward()
    change = update.changes[0]["candidates"]
    assert change.is_sparse
    torch.testing.assert_close(change.to_dense().double(), -weights.grad, rtol=1e-5, atol=1e-6)
    assert weights.grad.abs().max() > 0
    twin = backpropagate(network, contexts, targets, learning, random=generator(0, "l"))
    if scope == "all":
        torch.testing.assert_close(twin.changes[0]["candidates"].to_dense(), change.to_dense())


def test_rows_move_as_adagrad_moves_them() -> None:
    random = generator(0, "a")
    mine, reference = torch.zeros(7, 3), torch.nn.Parameter(torch.zeros(7, 3))
    row_adagrad = RowAdagrad([mine], 0.1, 0.2)
    adagrad = torch.optim.Adagrad([reference], lr=0.1, initial_accumulator_value=0.2, eps=0.0, maximize=True)
    for _ in range(5):
        rows = torch.randperm(7, generator=random)[:4]
        values = torch.randn(4, 3, generator=random)
        mine.grad = torch.sparse_coo_tensor(rows[None], values, (7, 3), check_invariants=True)
        reference.grad = mine.grad.to_dense()
        row_adagrad.step()
        adagrad.step()
        torch.testing.assert_close(mine, reference.detach())


@pytest.mark.parametrize("stack", ["window", "causal"])
def test_a_memory_that_knows_nothing_changes_nothing(stack: str) -> None:
    plain, other = small_network(stack=stack), small_network(stack=stack, **LENGTHS)
    text = "abcaabddeabc"
    torch.testing.assert_close(other.score(text), plain.score(text))
    assert other.generate("ab", max_new_tokens=20, seed=3) == plain.generate("ab", max_new_tokens=20, seed=3)


SMALL = {
    "layers": 2, "units": 16, "block_size": 6, "dropout": 0.25, "batch_size": 32, "string_length": 8, "max_iters": 40,
    "learning_rate": 1e-3, "eval_interval": 10, "log_interval": 5, "sample_interval": 20, "floors": "no", "threads": 1,
    "dtype": "float32", "alphabet": "characters", "memory": 256, "memory_lengths": "2,4",
}  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    words = np.random.default_rng(3).choice(["the cat", "a dog", "sat on", "ran to", "mat,", "log."], 500)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("stack", ["window", "causal"])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_interrupted_and_resumed_it_is_the_same_run(stack: str, average: float, text: str, tmp_path: Path) -> None:
    options: dict[str, Any] = SMALL | {"corpus": text, "stack": stack, "average": average}
    whole = train(from_flat(options | {"out_dir": str(tmp_path / "a")}))
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(from_flat(options | {"out_dir": str(tmp_path / "b")}), interrupted=lambda: next(calls) > 17)
    again = train(from_flat(options | {"out_dir": str(tmp_path / "b"), "resume": "auto"}))
    assert again["bits_per_character"] == whole["bits_per_character"]
    one, two = (load_checkpoint(tmp_path / name / "last").model for name in "ab")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert one["memory.candidates"].abs().max() > 0
    assert evaluate(str(tmp_path / "a"))["bits_per_character"] == pytest.approx(whole["bits_per_character"], rel=1e-6)
    network = SequenceNetwork.from_pretrained(tmp_path / "a")
    assert len(network.generate("the ", max_new_tokens=20, seed=1)) == 24


def test_it_learns_long_contexts_that_the_layers_do_not_see_apart(text: str, tmp_path: Path) -> None:
    options = SMALL | {"corpus": text, "max_iters": 150, "stack": "window", "units": 4}
    without = train(from_flat(options | {"memory": 0, "out_dir": str(tmp_path / "a")}))
    having = train(from_flat(options | {"out_dir": str(tmp_path / "b")}))
    assert having["bits_per_character"] < 0.8 * without["bits_per_character"]


def test_a_stream_is_learned_with_a_memory(text: str, tmp_path: Path) -> None:
    options = SMALL | {"corpus": text, "stack": "causal", "stream": True, "dropout": None, "max_iters": None}
    without = train(from_flat(options | {"memory": 0, "out_dir": str(tmp_path / "a")}))
    having = train(from_flat(options | {"out_dir": str(tmp_path / "b")}))
    assert having["prequential_bits_per_character"] < without["prequential_bits_per_character"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": 100}, "power of two"),
        ({"memory_lengths": "2,9"}, "look further back"),
        ({"memory_lengths": "0,3"}, "whole numbers"),
        ({"memory_lengths": "a"}, "whole numbers"),
        ({"memory_dropout": 1.0}, "--memory_dropout"),
        ({"memory_rate": 0.0}, "--memory_rate"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_flat(SMALL | options)

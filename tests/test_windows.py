"""Contexts, targets and the order in which they come."""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.batches import TOGETHER, Batches
from ffseq.corpus import Segment
from ffseq.windows import contexts_at, ordered, training_batches

TEXT = np.arange(100, dtype=np.uint8)


def test_contexts_have_the_most_recent_character_first() -> None:
    contexts = contexts_at(TEXT, np.array([5, 50]), 3, 200)
    assert contexts.tolist() == [[4, 3, 2], [49, 48, 47]]


def test_nothing_before_the_beginning() -> None:
    assert contexts_at(TEXT, np.array([12]), 4, 200, begin=10).tolist() == [[11, 10, 200, 200]]
    assert contexts_at(TEXT, np.array([0]), 2, 200).tolist() == [[200, 200]]


def batches(steps: range, **options: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    base = {"batch_size": 8, "block_size": 4, "alphabet_size": 200, "seed": 3}
    return [training_batches(TEXT, 20, 60, first=step, count=1, **(base | options))[0][:2] for step in steps]  # type: ignore[arg-type]


def test_a_pass_meets_every_training_position_once_and_no_other() -> None:
    targets = torch.cat([target for _, target in batches(range(5))])
    assert sorted(targets.tolist()) == list(range(20, 60))


def test_training_windows_never_overlap_text_outside_the_training_part() -> None:
    for contexts, targets in batches(range(40)):
        assert ((targets >= 20) & (targets < 60)).all()
        assert (((contexts >= 20) & (contexts < 60)) | (contexts == 200)).all()
        for row, target in zip(contexts.tolist(), targets.tolist(), strict=True):
            assert row == [target - d if target - d >= 20 else 200 for d in (1, 2, 3, 4)]


def test_batches_depend_on_seed_and_step_alone() -> None:
    straight = batches(range(12), short_contexts=0.3)
    again = batches(range(6, 12), short_contexts=0.3)
    for (contexts, targets), (contexts2, targets2) in zip(straight[6:], again, strict=True):
        assert torch.equal(contexts, contexts2)
        assert torch.equal(targets, targets2)
    other = batches(range(12), seed=4)
    assert not torch.equal(straight[0][1], other[0][1])


@settings(deadline=None, max_examples=30)
@given(
    steps=st.lists(st.integers(0, 5 * TOGETHER), min_size=1, max_size=12),
    batch_size=st.integers(1, 9),
    short_contexts=st.sampled_from([0.0, 0.3, 1.0]),
    documents=st.sampled_from([None, np.array([20, 21, 44])]),
    together=st.sampled_from([1, 100, 1 << 17]),
)
def test_batches_cut_together_are_those_cut_one_by_one(
    steps: list[int], batch_size: int, short_contexts: float, documents: np.ndarray | None, together: int
) -> None:
    options = {
        "batch_size": batch_size, "block_size": 4, "alphabet_size": 200, "seed": 3,
        "short_contexts": short_contexts, "documents": documents,
    }  # fmt: skip
    with mock.patch("ffseq.batches.SYMBOLS", together):
        batches = Batches(TEXT, 20, 60, length=None, **options)  # type: ignore[arg-type]
    for step in steps:
        ((contexts, targets, positions),) = training_batches(TEXT, 20, 60, first=step, count=1, **options)  # type: ignore[arg-type]
        found = batches.at(step)
        assert torch.equal(found[0], contexts)
        assert torch.equal(found[1], targets)
        assert found[2].tolist() == positions.tolist()


def test_passes_come_in_different_orders() -> None:
    first = torch.cat([t for _, t in batches(range(5))])
    second = torch.cat([t for _, t in batches(range(5, 10))])
    assert sorted(first.tolist()) == sorted(second.tolist())
    assert not torch.equal(first, second)


def test_some_contexts_are_cut_short_and_only_at_their_far_end() -> None:
    contexts = torch.cat([c for c, _ in batches(range(100), short_contexts=0.5, batch_size=20)])
    cut = (contexts == 200).any(1).float().mean().item()
    assert 0.4 < cut < 0.65
    lengths = {int(row.argmax()) for row in (contexts == 200).int() if row.any()}
    assert lengths == {0, 1, 2, 3}  # from nothing at all to all but the furthest character
    padded = contexts == 200
    assert (padded[:, 1:] | ~padded[:, :-1]).all()


@given(
    block_size=st.integers(1, 12), batch_size=st.integers(1, 30), start=st.integers(0, 50), length=st.integers(1, 50)
)
@settings(deadline=None)
def test_every_scored_position_comes_once_in_order(block_size: int, batch_size: int, start: int, length: int) -> None:
    segments = [Segment(0, start, start + length)]
    rows = list(ordered(TEXT, segments, block_size=block_size, alphabet_size=200, batch_size=batch_size))
    targets = torch.cat([t for _, t, _ in rows]).tolist()
    assert targets == list(range(start, start + length))
    assert torch.cat([n for _, _, n in rows]).tolist() == list(range(length))
    contexts = torch.cat([c for c, _, _ in rows])
    for row, target in zip(contexts.tolist(), targets, strict=True):
        assert row == [target - d if target - d >= 0 else 200 for d in range(1, block_size + 1)]


def test_a_segment_hides_what_lies_before_its_beginning() -> None:
    (contexts, _, which), *_ = ordered(TEXT, [Segment(40, 42, 44)], block_size=5, alphabet_size=200)
    assert contexts.tolist() == [[41, 40, 200, 200, 200], [42, 41, 40, 200, 200]]
    assert which.tolist() == [0, 1]

"""A bank of dreams against a queue of Python's."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.bank import Bank
from ffseq.negatives import Said
from ffseq.randomness import generator

CPU = torch.device("cpu")


@given(size=st.integers(1, 12), batches=st.lists(st.integers(1, 30), max_size=6))
@settings(deadline=None)
def test_it_never_exceeds_its_bound_and_forgets_the_oldest(size: int, batches: list[int]) -> None:
    bank, queue, told = Bank(size, 2, CPU), deque[tuple[int, int, int, float]](maxlen=size), 0
    for count in batches:
        numbers = torch.arange(told, told + count)
        told += count
        bank.add(torch.stack([numbers, numbers + 1], 1), Said(numbers + 2, -numbers.float()))
        queue.extend((number, number + 1, number + 2, -float(number)) for number in numbers.tolist())
        assert len(bank) == len(queue) <= size
        contexts, said = bank.draw(400, generator(0, "draw"))
        drawn = {
            (*c, s, q) for c, s, q in zip(contexts.tolist(), said.symbols.tolist(), said.log_q.tolist(), strict=True)
        }
        assert drawn == {(c, d, s, q) for c, d, s, q in queue}
    assert bank.state_bytes == size * (2 + 1 + 1) * 4
    other = Bank(size, 2, CPU)
    other.restore(bank.tensors())
    assert len(other) == len(bank)


def test_an_empty_bank_has_nothing_to_give() -> None:
    with pytest.raises(ValueError, match="empty"):
        Bank(3, 2, CPU).draw(1, generator(0, "draw"))

"""Random numbers depend on seed, purpose and step, and on nothing else."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.randomness import generator, keep_mask, key, permuted


def test_the_same_key_gives_the_same_numbers_and_others_give_others() -> None:
    drawn = {
        torch.rand(3, generator=generator(*who)).sum().item()
        for who in [(0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0)]
    }
    assert len(drawn) == 4
    assert torch.equal(torch.rand(5, generator=generator(3, "x", 7)), torch.rand(5, generator=generator(3, "x", 7)))
    keys = {key(seed, purpose, step) for seed in range(5) for purpose in ("a", "b") for step in range(50)}
    assert len(keys) == 500
    assert all(0 <= one < 2**63 for one in keys)


@given(size=st.integers(1, 5000), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=50)
def test_permuted_is_a_permutation(size: int, seed: int) -> None:
    assert sorted(permuted(np.arange(size), size, seed).tolist()) == list(range(size))


def test_permutations_of_two_seeds_are_unrelated() -> None:
    one, two = permuted(np.arange(10_000), 10_000, 0), permuted(np.arange(10_000), 10_000, 1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.05
    assert abs(np.corrcoef(one, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.05


def test_dropout_leaves_out_the_share_it_is_told() -> None:
    for drop in (0.0, 0.1, 0.5, 0.9):
        mask, exact = keep_mask((1000, 1001), drop, generator(0, "m"), torch.device("cpu"))
        assert mask.shape == (1000, 1001)
        assert abs(exact - drop) <= 1 / 512
        # Four standard errors of a million draws, less than half of a 256th: one value too many would show.
        assert abs((1 - mask).double().mean().item() - exact) < 4 * (exact * (1 - exact) / 1_001_000) ** 0.5 + 1e-9
        assert (mask.double().mean(0) - (1 - drop)).abs().max() < 0.15

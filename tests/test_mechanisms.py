"""What long phases are kept in balance by, against what it says done by hand."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.config import Mechanism, PhasesConfig
from ffseq.flat import Flat
from ffseq.mechanisms import own_balance
from ffseq.phases import moments


def row() -> Flat:
    flat = small_network(layers=2).flat()
    assert flat is not None
    return flat


def applied(mechanism: Mechanism, config: PhasesConfig, changes: list[float], flat: Flat) -> list[torch.Tensor | None]:
    """What is applied of updates whose changes are the same number everywhere."""
    balance = own_balance(mechanism)(flat)
    found: list[torch.Tensor | None] = []
    for moment, number in zip(moments(config), changes, strict=False):
        flat.changes.fill_(number)
        found.append(flat.changes.clone() if balance.change(moment) else None)
    return found


CHANGES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=24)
LENGTHS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(changes=CHANGES, lengths=LENGTHS)
@settings(deadline=None, max_examples=40)
def test_an_opponent_is_the_other_phases_last_average(changes: list[float], lengths: tuple[int, int]) -> None:
    config = PhasesConfig("sleep", *lengths)
    found = applied("opponent", config, changes, row())
    collected: dict[str, list[float]] = {"wake": [], "sleep": []}
    mean = {"wake": 0.0, "sleep": 0.0}
    for moment, number, one in zip(moments(config), changes, found, strict=False):
        collected[moment.phase].append(number)
        other = "sleep" if moment.phase == "wake" else "wake"
        assert one is not None
        torch.testing.assert_close(one, torch.full_like(one, number + mean[other]))
        if moment.since + 1 == moment.length:
            mean[moment.phase] = sum(collected[moment.phase]) / moment.length
            collected[moment.phase] = []


@given(changes=CHANGES, lengths=LENGTHS)
@settings(deadline=None, max_examples=40)
def test_consolidation_applies_the_sum_of_both_averages_once_a_night(
    changes: list[float], lengths: tuple[int, int]
) -> None:
    wake, sleep = lengths
    found = applied("consolidated", PhasesConfig("sleep", wake, sleep), changes, row())
    for number, one in enumerate(found):
        if (number + 1) % (wake + sleep):
            assert one is None
            continue
        night = changes[number + 1 - wake - sleep : number + 1]
        expected = sum(night[:wake]) / wake + sum(night[wake:]) / sleep
        assert one is not None
        torch.testing.assert_close(one, torch.full_like(one, expected))


def test_detectors_and_constraints_share_nothing_but_the_candidates_biases() -> None:
    flat = row()
    awake, asleep = applied("detectors", PhasesConfig("sleep", 1, 1), [1.0, 1.0], flat)
    assert awake is not None
    assert asleep is not None
    for one, two in zip(flat.views(awake), flat.views(asleep), strict=True):
        for name in one:
            both = one[name] + two[name]
            assert (both == (2 if name == "candidate_bias" else 1)).all()
    first = flat.views(awake)[1]["candidates"]  # 12 units
    assert first[:, :6].all()
    assert not first[:, 6:].any()


@pytest.mark.parametrize("mechanism", ["none", "detectors"])
def test_some_remember_nothing(mechanism: Mechanism) -> None:
    assert own_balance(mechanism)(row()).state_bytes == 0


@pytest.mark.parametrize("mechanism", ["opponent", "consolidated"])
def test_in_the_middle_of_a_phase_it_goes_on_from_what_it_had(mechanism: Mechanism) -> None:
    flat, config = row(), PhasesConfig("sleep", 3, 2)
    changes = [1.0, -2.0, 3.0, 0.5, 4.0, -1.0, 2.0, 2.0, 1.0, 1.0]
    whole = applied(mechanism, config, changes, flat)
    first, second = own_balance(mechanism)(flat), own_balance(mechanism)(flat)
    for moment, number in zip(islice(moments(config), 4), changes, strict=False):
        flat.changes.fill_(number)
        first.change(moment)
    assert first.state_bytes == 3 * 4 * len(flat.changes) + 8  # two averages, a total, and how many it is of
    second.restore(first.tensors())
    for moment, number, expected in zip(moments(config, 4), changes[4:], whole[4:], strict=False):
        flat.changes.fill_(number)
        if second.change(moment):
            assert expected is not None
            torch.testing.assert_close(flat.changes, expected)
        else:
            assert expected is None

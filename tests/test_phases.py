"""Schedules give exactly the phases that were asked for, from wherever a run goes on."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.config import PhasesConfig
from ffseq.errors import UsageError
from ffseq.phases import Moment, moments, sequence_of, share_at_full_length, updates_of


def letters(config: PhasesConfig, count: int) -> str:
    return "".join(moment.phase[0] for moment in islice(moments(config), count))


SCHEDULES = st.one_of(
    st.builds(lambda w, s: PhasesConfig("sleep", w, s), st.integers(1, 9), st.integers(1, 9)),
    st.builds(
        lambda w, s, g, a: PhasesConfig("growing", w, s, g, a),
        st.integers(1, 9),
        st.integers(1, 9),
        st.floats(1.01, 3),
        st.integers(0, 9),
    ),
    st.builds(lambda a, b: PhasesConfig("deprived", start=a, length=b), st.integers(0, 9), st.integers(1, 9)),
    st.just(PhasesConfig("sequence", sequence="wake 3, sleep 2, interleaved 1")),
    st.just(PhasesConfig()),
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PhasesConfig(), "iiiiiiiiii"),
        (PhasesConfig("sleep", 3, 2), "wwwsswwwss"),
        (PhasesConfig("growing", 4, 4, 2.0), "wswwsswwwwsssswwwwssss"),
        (PhasesConfig("growing", 4, 1, 2.0), "wswwswwwwswwwws"),
        (PhasesConfig("growing", 4, 4, 2.0, start=4), "wswswswwsswwwwssss"),
        (PhasesConfig("deprived", start=3, length=4), "iiiwwwwiii"),
        (PhasesConfig("deprived", start=0, length=2), "wwiiii"),
        (PhasesConfig("sequence", sequence="wake 2, sleep 1, interleaved 1"), "wwsiwwsiww"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_phases_come_as_asked(config: PhasesConfig, expected: str) -> None:
    assert letters(config, len(expected)) == expected


@given(config=SCHEDULES, done=st.integers(0, 60))
@settings(deadline=None)
def test_a_schedule_goes_on_where_it_was(config: PhasesConfig, done: int) -> None:
    assert list(islice(moments(config, done), 30)) == list(islice(moments(config), done, done + 30))


@given(config=SCHEDULES)
@settings(deadline=None)
def test_a_moment_knows_what_came_before_it(config: PhasesConfig) -> None:
    """Against counting by hand."""
    read = nights = since = 0
    before: Moment | None = None
    for moment in islice(moments(config), 80):
        begins = before is None or before.since + 1 == before.length
        since = 0 if begins else since + 1
        nights += begins and moment.phase == "sleep"
        assert (moment.since, moment.nights, moment.read) == (since, nights, read)
        assert begins or (moment.phase, moment.length) == (before.phase, before.length)  # type: ignore[union-attr]
        read += moment.phase != "sleep"
        before = moment


@given(config=SCHEDULES, total=st.integers(1, 60))
@settings(deadline=None)
def test_equal_work_is_counted_in_halves_of_an_interleaved_update(config: PhasesConfig, total: int) -> None:
    phases = letters(config, total)
    assert updates_of(config, total) == total + phases.count("i")


def test_a_growing_schedule_says_how_much_of_it_was_at_full_length() -> None:
    config = PhasesConfig("growing", 4, 4, 2.0)  # ws, wwss, then wwwwssss
    assert share_at_full_length(config, 6) == 0
    assert share_at_full_length(config, 12) == 0.5
    assert share_at_full_length(PhasesConfig("sleep", 7, 7), 10) == 1


@pytest.mark.parametrize("text", ["", "wake", "wake 0", "nap 10", "wake 10; sleep 10", "wake -3", "wake 10,,sleep 10"])
def test_a_sequence_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="wake 100, sleep 100"):
        sequence_of(text)

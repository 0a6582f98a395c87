"""What is chosen for a text when the user says nothing: whole, consistent, and never against what was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffseq.defaults import MOST_SEEN, resolved
from ffseq.errors import UsageError
from ffseq.options import from_flat, to_flat

OPEN = ("stack", "block_size", "layers", "units", "dropout", "batch_size", "learning_rate", "max_iters")


@given(symbols=st.integers(10, 10**10), stack=st.sampled_from([None, "window", "causal"]))
def test_nothing_stays_open_and_everything_goes_together(symbols: int, stack: str | None) -> None:
    options = to_flat(resolved(from_flat({"stack": stack}), symbols))
    assert all(options[name] is not None for name in OPEN)
    assert stack in (None, options["stack"])
    assert options["max_iters"] * options["batch_size"] <= max(MOST_SEEN, 200 * options["batch_size"]) * 1.01
    if options["stack"] == "causal":
        assert options["batch_size"] % options["string_length"] == 0


@given(
    chosen=st.fixed_dictionaries(
        {},
        optional={
            "stack": st.sampled_from(["window", "causal"]), "layers": st.integers(1, 9), "units": st.integers(1, 99),
            "batch_size": st.sampled_from([64, 640]), "learning_rate": st.floats(1e-5, 1e-1),
            "block_size": st.integers(1, 9), "dropout": st.floats(0, 0.9), "max_iters": st.integers(0, 10),
        },
    ),
    symbols=st.integers(10, 10**9),
)  # fmt: skip
def test_what_was_said_stays(chosen: dict[str, object], symbols: int) -> None:
    options = to_flat(resolved(from_flat(chosen), symbols))
    assert {name: options[name] for name in chosen} == chosen


def test_larger_texts_get_nets_that_look_further_back() -> None:
    assert resolved(from_flat({}), 30_000).network.stack == "window"
    assert resolved(from_flat({}), 1_000_000).network.stack == "causal"


def test_a_string_that_does_not_fit_the_batch_is_refused_when_the_stack_is_known() -> None:
    with pytest.raises(UsageError, match="--string_length"):
        resolved(from_flat({"batch_size": 100}), 1_000_000)

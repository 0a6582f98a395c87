"""Which bracket closes which, against a search that looks at every earlier symbol, and against crossing out pairs."""

from __future__ import annotations

import re
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ffseq.brackets import BRACKETS, partners


def found(text: str) -> list[int]:
    points = np.frombuffer(text.encode(), dtype=np.uint8)
    return partners(points, {ord(one): ord(other) for one, other in BRACKETS.items()}).tolist()


def searched(text: str) -> list[int]:
    """For each closing bracket every earlier symbol is looked at, nearest first."""
    opening = {")": "(", "]": "[", "}": "{"}
    open_still = [symbol in BRACKETS for symbol in text]
    result = [-1] * len(text)
    for position, symbol in enumerate(text):
        for earlier in range(position - 1, -1, -1):
            if open_still[earlier] and text[earlier] == opening.get(symbol):
                result[position] = earlier
                open_still[earlier:position] = [False] * (position - earlier)
                break
    return result


def test_brackets_of_hand_made_texts() -> None:
    assert found("a(b[c]d)e") == [-1, -1, -1, -1, -1, 3, -1, 1, -1]
    assert found("()()") == [-1, 0, -1, 2]
    assert found("1) one, 2) two (three)") == [-1] * 21 + [15]
    assert found("(a[b)]") == [-1, -1, -1, -1, 0, -1]  # the square one was given up when the round one closed
    assert found("([a)(b])") == [-1, -1, -1, 0, -1, -1, -1, 4]
    assert found("") == []


@given(st.text(alphabet="()[]{}a", max_size=40))
def test_brackets_are_those_of_a_search(text: str) -> None:
    assert found(text) == searched(text)


@given(st.recursive(st.just("a"), lambda inner: st.lists(
    st.tuples(st.sampled_from(["()", "[]", "{}"]), inner).map(lambda one: one[0][0] + one[1] + one[0][1]), max_size=3
).map("".join), max_leaves=12))  # fmt: skip
def test_nested_brackets_are_those_that_can_be_crossed_out_from_inside(text: str) -> None:
    crossed, left = [-1] * len(text), text
    while pair := re.search(r"\([^()\[\]{}]*\)|\[[^()\[\]{}]*\]|\{[^()\[\]{}]*\}", left):
        crossed[pair.end() - 1] = pair.start()
        left = left[: pair.start()] + "." * (pair.end() - pair.start()) + left[pair.end() :]
    assert not set(left) & set("()[]{}")
    assert found(text) == crossed


def test_brackets_without_partners_cost_no_search() -> None:
    began = time.monotonic()
    assert set(found("(" * 100_000 + "]" * 100_000)) == {-1}
    assert time.monotonic() - began < 5

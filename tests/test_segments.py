"""No document sees another: in windows, in strings, in a stream, in scoring."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.alphabet import Alphabet
from ffseq.batches import Batches
from ffseq.blocks import blocks_of_symbols
from ffseq.evaluation import evaluate_segments
from ffseq.layers.causal import last_begun
from ffseq.segments import Segment, Segments, begins_at, documents_of, joined, leading, positions_of
from ffseq.windows import contexts_at, ordered, ordered_strings

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=12)
NOTHING = 5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Nets this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CAUSAL = small_network(stack="causal", block_size=3, layers=4)


def documents(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Symbols of documents of these lengths, one behind the other, and where they begin."""
    symbols = np.random.default_rng(sum(lengths)).integers(0, 5, sum(lengths)).astype(np.uint8)
    return symbols, np.cumsum([0, *lengths[:-1]])


def before(symbols: np.ndarray, begins: np.ndarray, position: int, size: int) -> list[int]:
    """The context of a position, found by walking back to where its document begins."""
    context = []
    for back in range(1, size + 1):
        if position - back + 1 in begins or (context and context[-1] == NOTHING):
            context.append(NOTHING)
        else:
            context.append(int(symbols[position - back]))
    return context


@settings(deadline=None, max_examples=40)
@given(lengths=LENGTHS, start=st.integers(0, 60), length=st.integers(1, 60), limit=st.integers(0, 50))
def test_segments_are_cut_and_joined_as_lists_would_be(lengths: list[int], start: int, length: int, limit: int) -> None:
    symbols, begins = documents(lengths)
    start = min(start, len(symbols) - 1)
    stop = min(start + length, len(symbols))
    part = documents_of(begins, start, stop)
    owner = {p: int(begins[begins <= p].max()) for p in range(len(symbols))}
    assert [(p, b) for p, b in zip(*map(np.ndarray.tolist, positions_of(part)), strict=True)] == [
        (p, owner[p]) for p in range(start, stop)
    ]
    assert part == [Segment(one.begin, one.start, one.stop) for one in part] == list(part)
    assert all(one.begin <= one.start < one.stop and owner[one.stop - 1] == one.begin for one in part)
    assert begins_at(begins, np.arange(start, stop)).tolist() == [owner[p] for p in range(start, stop)]
    middle = (start + stop) // 2
    halves = [documents_of(begins, a, b) for a, b in ((start, middle), (middle, stop)) if a < b]
    assert joined(halves) == part
    assert part.within(middle, stop) == halves[-1]
    kept = leading(part, limit)
    assert positions_of(kept)[0].tolist() == list(range(start, min(stop, start + limit)))
    assert leading(list(part), limit) == kept


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS, block_size=st.integers(1, 6), batch=st.sampled_from([1, 3, 7, 100]), whole=st.booleans())
def test_contexts_in_order_end_where_a_document_begins(
    lengths: list[int], block_size: int, batch: int, whole: bool
) -> None:
    symbols, begins = documents(lengths)
    first = 0 if whole else len(symbols) // 2
    part = documents_of(begins, first, len(symbols))
    sizes = {"block_size": block_size, "alphabet_size": NOTHING, "batch_size": batch}
    windows = list(ordered(symbols, part, **sizes))
    strings = list(ordered_strings(symbols, part, reach=4, **sizes))
    expected = [before(symbols, begins, p, block_size) for p in range(first, len(symbols))]
    assert torch.cat([contexts for contexts, _, _ in windows]).tolist() == expected
    assert torch.cat([which for _, _, which in windows]).tolist() == list(range(len(symbols) - first))
    found = {}
    for contexts, targets, which, _ in strings:
        rows = zip(which.tolist(), contexts.flatten(0, 1).tolist(), targets.tolist(), strict=True)
        found.update({number: (context, target) for number, context, target in rows if number >= 0})
    assert [found[n][0] for n in range(len(expected))] == expected
    assert [found[n][1] for n in range(len(expected))] == symbols[first:].tolist()
    assert len(windows) <= 1 + (len(symbols) - first) // batch + (not whole)  # many short documents are few batches


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(1, 9), min_size=3, max_size=12), length=st.sampled_from([None, 4]))
def test_training_windows_and_strings_begin_anew_where_a_document_does(lengths: list[int], length: int | None) -> None:
    symbols, begins = documents([*lengths, 8])
    batches = Batches(
        symbols, 0, len(symbols), batch_size=8, length=length, block_size=4, alphabet_size=NOTHING,
        seed=1, short_contexts=0.0, documents=begins,
    )  # fmt: skip
    for step in range(3):
        contexts, targets, positions = batches.at(step)
        assert targets.tolist() == symbols[positions].tolist()
        assert contexts.view(-1, 4).tolist() == [before(symbols, begins, int(p), 4) for p in positions]


@settings(deadline=None, max_examples=10)
@given(lengths=LENGTHS, batch=st.sampled_from([2, 5, 64]), cut=st.booleans())
def test_a_causal_stack_scores_documents_together_as_each_by_itself(lengths: list[int], batch: int, cut: bool) -> None:
    symbols, begins = documents(lengths)
    alone = [CAUSAL.alphabet.decode(one) for one in np.split(symbols, begins[1:])]
    bits = np.concatenate([CAUSAL.score(one).numpy() for one in alone])
    first = len(symbols) // 2 if cut else 0
    found = evaluate_segments(CAUSAL, symbols, documents_of(begins, first, len(symbols)), batch_size=batch)
    np.testing.assert_allclose(found.bits, bits[first:].sum(), rtol=1e-5)


@settings(deadline=None, max_examples=10)
@given(lengths=LENGTHS, block=st.integers(1, 7))
def test_a_stream_forgets_a_document_when_the_next_begins(lengths: list[int], block: int) -> None:
    symbols, begins = documents(lengths)
    recent, past, scores = np.full(3, NOTHING), {}, []
    for piece in blocks_of_symbols(symbols, CAUSAL.alphabet, block, 0, begins):
        text, seen, recent = piece.behind(recent, NOTHING)
        contexts = contexts_at(text, np.arange(3, len(text)), 3, NOTHING, seen)
        scores.append(CAUSAL.scores(contexts[:, None], past))
    separate = [contexts_at(one, np.arange(len(one)), 3, NOTHING) for one in np.split(symbols, begins[1:])]
    expected = torch.cat([CAUSAL.scores(one[:, None]) for one in separate])
    np.testing.assert_allclose(torch.cat(scores), expected, atol=1e-5)


def test_a_text_of_one_document_needs_no_new_beginnings() -> None:
    contexts = contexts_at(np.arange(4), np.arange(4), 2, 9)[:, None]
    assert last_begun(contexts, 9, False) is None
    assert last_begun(contexts, 9, True).tolist() == [[0]] * 4  # type: ignore[union-attr]
    piece = next(blocks_of_symbols(Alphabet.named("bytes").encode("abc"), Alphabet.named("bytes"), 3, 0))
    assert piece.begins.tolist() == [0]
    assert Segments.of([]) == []

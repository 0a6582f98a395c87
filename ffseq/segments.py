"""Stretches of a text that are scored, and how far back each may look.

A part of a corpus has one for each of its documents (or pieces of one). There may be very many, so they are rows of an
array, and a `Segment` is made when somebody asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segment:
    """Positions start..stop−1 are scored; no context reaches before `begin`."""

    begin: int
    start: int
    stop: int


class Segments(Sequence[Segment]):
    """Segments in order, as an array. rows: (n, 3) int64, begin, start and stop of each."""

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Segments:
        """Any segments as an array."""
        if isinstance(segments, Segments):
            return segments
        rows = [(one.begin, one.start, one.stop) for one in segments]
        return cls(np.array(rows, dtype=np.int64).reshape(-1, 3))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Segment: ...

    @overload
    def __getitem__(self, index: slice) -> Segments: ...

    def __getitem__(self, index: int | slice) -> Segment | Segments:
        if isinstance(index, slice):
            return Segments(self.rows[index])
        return Segment(*self.rows[index].tolist())

    def __iter__(self) -> Iterator[Segment]:
        for first in range(0, len(self.rows), 4096):
            yield from (Segment(*row) for row in self.rows[first : first + 4096].tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return np.array_equal(self.rows, Segments.of(other).rows)

    def __hash__(self) -> int:
        return hash(self.rows.tobytes())

    @property
    def starts(self) -> NDArray[np.int64]:
        """The first scored position of each, (n,) int64, sorted; of whole documents, where they begin."""
        return np.ascontiguousarray(self.rows[:, 1])

    def within(self, start: int, stop: int) -> Segments:
        """What of them lies in start..stop−1. They look back as far as before."""
        rows = self.rows[np.searchsorted(self.rows[:, 2], start, "right") : np.searchsorted(self.rows[:, 1], stop)]
        rows = np.column_stack([rows[:, 0], np.maximum(rows[:, 1], start), np.minimum(rows[:, 2], stop)])
        return Segments(rows[rows[:, 1] < rows[:, 2]])


def joined(several: Sequence[Segments]) -> Segments:
    """Segments that follow each other as one; a document that was cut is whole again."""
    rows = np.concatenate([one.rows for one in several])
    goes_on = (rows[1:, 0] == rows[:-1, 0]) & (rows[1:, 1] == rows[:-1, 2])
    first, last = np.r_[True, ~goes_on], np.r_[~goes_on, True]
    return Segments(np.column_stack([rows[first, :2], rows[last, 2]]))


def documents_of(begins: NDArray[np.int64], start: int, stop: int) -> Segments:
    """The segments of start..stop−1 in a text whose documents begin at `begins` (n,), sorted, the first at 0.

    A document that is cut at `start` may be looked back into.
    """
    first, last = np.searchsorted(begins, start, "right"), np.searchsorted(begins, stop)
    starts = np.r_[start, begins[first:last]]
    return Segments(np.column_stack([np.r_[begins[first - 1], starts[1:]], starts, np.r_[starts[1:], stop]]))


def begins_at(documents: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each position (n,) the beginning of its document, among their beginnings, sorted."""
    begins: NDArray[np.int64] = documents[np.searchsorted(documents, positions, "right") - 1]
    return begins


def leading(segments: Sequence[Segment], limit: int) -> Segments:
    """The segments cut off after `limit` scored positions."""
    rows = Segments.of(segments).rows
    before = np.r_[0, np.cumsum(rows[:, 2] - rows[:, 1])[:-1]] if len(rows) else np.zeros(0, dtype=np.int64)
    rows, before = rows[before < limit], before[before < limit]
    return Segments(np.column_stack([rows[:, :2], np.minimum(rows[:, 2], rows[:, 1] + limit - before)]))


def positions_of(segments: Sequence[Segment]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All scored positions (n,), and for each the earliest symbol that may be seen (n,)."""
    begin, start, stop = Segments.of(segments).rows.T
    length = stop - start
    before = np.cumsum(length) - length
    positions = np.arange(int(length.sum()), dtype=np.int64) + np.repeat(start - before, length)
    return positions, np.repeat(begin, length)


def scored_symbols(symbols: NDArray[np.integer], segments: Sequence[Segment]) -> NDArray[np.int64]:
    """The scored symbols of the segments (n,), in order."""
    return np.take(symbols, positions_of(segments)[0]).astype(np.int64)

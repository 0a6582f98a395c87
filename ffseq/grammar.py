"""A generated text with brackets and agreement at a distance, whose entropy rate is known exactly.

    text     → sentence sentence …
    sentence → subject letters and groups, verb          a subject s asks for the verb S, a subject p for P
    group    → ( sentences )  |  [ sentences ]  |  { sentences }

Letters a to d are a chain of order 1; after d the verb may come, after a verb the closing bracket. *That* it may come
can be seen one symbol back; *which* one it is was decided by a partner that may be hundreds of symbols away, with other
subjects and brackets in between. Groups nest up to DEPTH deep.

The grammar is unambiguous: the text so far says which verbs and brackets are awaited, so the distribution of the next
symbol given the whole past is a row of a table, chosen by the last symbol and the number of open groups. These two are
a Markov chain of their own (which kinds are awaited changes no probability of it), and the entropy rate is
H = Σ π(open, last) H(row), with π its stationary distribution, the solution of one small linear system.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ffseq.brackets import BRACKETS

LETTERS = "abcd"
#: Subjects, each with the verb that it asks for.
AGREEMENT = {"s": "S", "p": "P"}
PAIRS = AGREEMENT | BRACKETS
#: Groups that may be open at once.
DEPTH = 4
#: The kinds of the last symbol, and the chances in per cent of the kinds that may come next, to which the symbols of a
#: kind have equal shares. `partner` is the verb or the closing bracket that is awaited, and no other.
LAST = ("subject", "a", "b", "c", "d", "verb", "opening", "closing")
NEXT = ("a", "b", "c", "d", "subject", "opening", "partner")
CHANCES = np.array([
    # a   b   c   d  subject opening partner
    [50, 25, 20,  0,   0,      5,      0],  # subject
    [10, 50, 20, 12,   0,      8,      0],  # a
    [20, 10, 50, 15,   0,      5,      0],  # b
    [45, 15, 10, 20,   0,     10,      0],  # c
    [15, 10,  5,  0,   0,      0,     70],  # d: the verb
    [ 0,  0,  0,  0,  30,      0,     70],  # verb: the closing bracket, or another sentence
    [ 0,  0,  0,  0, 100,      0,      0],  # opening bracket
    [25, 30, 25, 20,   0,      0,      0],  # closing bracket
])  # fmt: skip
#: The symbols that the columns of `rows` stand for; the last column is the partner.
OUTCOMES = LETTERS + "".join(PAIRS)
PARTNER = len(OUTCOMES)


def rows(depth: int = DEPTH) -> NDArray[np.float64]:
    """P(outcome | groups open, kind of the last symbol), (depth + 1, 8, 10), for groups that nest up to `depth`.

    Where no group may open the others share its chance, and so where there is none to close. Rows sum to one.
    """
    kinds = np.repeat(CHANCES[None], depth + 1, 0).astype(np.float64)
    kinds[0, LAST.index("verb"), NEXT.index("partner")] = 0
    kinds[depth, :, NEXT.index("opening")] = 0
    kinds /= kinds.sum(2, keepdims=True)
    sizes = [1, 1, 1, 1, len(AGREEMENT), len(BRACKETS), 1]
    return np.repeat(kinds / sizes, sizes, axis=2)


def stationary(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The stationary distribution over (groups open, kind of the last symbol), (depth + 1, 8), of `rows(depth)`."""
    depths, kinds, _ = table.shape
    moves = np.zeros((depths, kinds, depths, kinds))
    for depth in range(depths):
        for last in range(kinds):
            for outcome, p in enumerate(table[depth, last]):
                if p > 0:
                    moves[(depth, last, *_after(depth, last, outcome))] += p
    size = depths * kinds
    # π M = π, one equation of which follows from the others and gives way to Σ π = 1.
    equations = moves.reshape(size, size).T - np.eye(size)
    equations[-1] = 1
    return np.linalg.solve(equations, np.eye(size)[-1]).reshape(depths, kinds)


def entropy_rate(depth: int = DEPTH) -> float:
    """Bits per symbol that no predictor can stay below on average."""
    table = rows(depth)
    surprise = -np.log2(table, where=table > 0, out=np.zeros_like(table))
    return float((stationary(table) * (table * surprise).sum(2)).sum())


def grammar_text(symbols: int = 300_000, seed: int = 0, depth: int = DEPTH) -> str:
    """A text of so many symbols that begins with a sentence. Same seed, same text."""
    sums = rows(depth).cumsum(2)
    sums[:, :, -1] = 1.0
    table: list[list[list[float]]] = sums.tolist()
    text: list[str] = []
    awaited: list[str] = []
    opened, last = 0, LAST.index("verb")
    for u in np.random.default_rng([seed, 3]).random(symbols).tolist():
        row = table[opened][last]
        outcome = 0
        while row[outcome] <= u:
            outcome += 1
        symbol = awaited.pop() if outcome == PARTNER else OUTCOMES[outcome]
        if symbol in PAIRS:
            awaited.append(PAIRS[symbol])
        opened, last = _after(opened, last, outcome)
        text.append(symbol)
    return "".join(text)


def symbol_bits(text: str, depth: int = DEPTH) -> NDArray[np.float64]:
    """−log2 P of every symbol given all before it, (n,), of a text that begins with a sentence.

    Raises ValueError for a text that is not of the grammar.
    """
    table = rows(depth)
    p = np.empty(len(text))
    awaited: list[str] = []
    opened, last = 0, LAST.index("verb")
    for position, symbol in enumerate(text):
        outcome = PARTNER if awaited and symbol == awaited[-1] else OUTCOMES.find(symbol)
        p[position] = table[opened, last, outcome] if outcome >= 0 else 0
        if p[position] == 0:
            raise ValueError(f"{symbol!r} cannot come at position {position}")
        if outcome == PARTNER:
            awaited.pop()
        elif symbol in PAIRS:
            awaited.append(PAIRS[symbol])
        opened, last = _after(opened, last, outcome)
    return -np.log2(p)


def _after(opened: int, last: int, outcome: int) -> tuple[int, int]:
    """Groups open and kind of the last symbol once this outcome has come."""
    if outcome < len(LETTERS):
        return opened, LAST.index(OUTCOMES[outcome])
    if outcome < len(LETTERS) + len(AGREEMENT):
        return opened, LAST.index("subject")
    if outcome < PARTNER:
        return opened + 1, LAST.index("opening")
    # A verb follows a letter; what follows a verb is the closing bracket.
    return (opened - 1, LAST.index("closing")) if LAST[last] == "verb" else (opened, LAST.index("verb"))

"""A generated text whose entropy rate is known exactly, so that a net can be held against the limit.

A Markov chain of order 3 over 8 symbols: the next symbol depends on the last three, through rows drawn from a
Dirichlet distribution. No predictor can need fewer bits a symbol, on average, than the entropy rate
H = Σ_c π(c) H(row c), with π the stationary distribution over contexts (Cover & Thomas, section 4.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SYMBOLS = "abcdefgh"
ORDER = 3
V = len(SYMBOLS)
CONTEXTS = V**ORDER
CONCENTRATION = 0.3


def transitions(seed: int = 0) -> NDArray[np.float64]:
    """P(next | context), (512, 8), rows summing to one. Contexts are the last three symbols in base 8, oldest first."""
    return np.random.default_rng([seed, 1]).dirichlet(np.full(V, CONCENTRATION), size=CONTEXTS)


def stationary(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The stationary distribution over contexts (512,), by power iteration to 1e-14."""
    pi = np.full(CONTEXTS, 1 / CONTEXTS)
    # Context (a, b, c) goes to (b, c, next): sum over a of the joint with the next symbol.
    for _ in range(100_000):
        after = (pi[:, None] * rows).reshape(V, -1).sum(0)
        after = 0.5 * (after + pi)  # the lazy chain has the same stationary distribution and cannot oscillate
        if np.abs(after - pi).max() < 1e-15:
            break
        pi = after
    return np.asarray(pi / pi.sum())


def entropy_rate(seed: int = 0) -> float:
    """Bits per symbol that no predictor can stay below on average."""
    rows = transitions(seed)
    surprise = -np.log2(rows, where=rows > 0, out=np.zeros_like(rows))
    return float(stationary(rows) @ (rows * surprise).sum(1))


def markov_text(symbols: int = 1_000_000, seed: int = 0) -> str:
    """A text of so many symbols, begun in the stationary distribution. Same seed, same text."""
    rows = transitions(seed)
    random = np.random.default_rng([seed, 2])
    cumulative = rows.cumsum(1)
    cumulative[:, -1] = 1.0
    sums = cumulative.tolist()
    context = int(random.choice(CONTEXTS, p=stationary(rows)))
    text = bytearray()
    for u in random.random(symbols).tolist():
        row = sums[context]
        symbol = 0
        while row[symbol] <= u:
            symbol += 1
        text.append(ord(SYMBOLS[0]) + symbol)
        context = context % (V * V) * V + symbol
    return text.decode("ascii")


def symbol_bits(text: str, seed: int = 0) -> NDArray[np.float64]:
    """−log2 P of every symbol given all before it, (n,), of a text that begins in the stationary distribution."""
    rows = transitions(seed)
    symbols = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - ord(SYMBOLS[0])
    contexts = np.zeros(len(symbols), dtype=np.int64)
    for back in range(1, ORDER + 1):
        contexts[back:] += symbols[:-back] * V ** (back - 1)
    p = rows[contexts, symbols]
    # The first symbols have shorter contexts: what the stationary distribution says of those that end so.
    joint = stationary(rows)
    for known in range(min(ORDER, len(symbols))):
        p[known] = _share(joint, symbols[: known + 1]) / _share(joint, symbols[:known])
    return -np.log2(p)


def _share(joint: NDArray[np.float64], block: NDArray[np.int64]) -> float:
    """The probability of a block of at most ORDER symbols."""
    return float(joint.reshape((V,) * ORDER)[tuple(block)].sum())

"""Are the derivatives of a goodness function of your own right? Its closed forms against differences of its values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ffseq.errors import FfseqError
from ffseq.goodness import GoodnessFunction

#: Half the distance between the two points of a difference, and how far from the derivative it may be, relative to the
#: largest: in float64 it is good to about nine digits.
STEP, TOLERANCE = 1e-6, 1e-6


def check_goodness(function: GoodnessFunction, *, seed: int = 0) -> None:
    """Compare the closed-form derivatives of a goodness function with central differences of its value, in float64.

    Raises FfseqError that says which is wrong, and by how much.

    >>> check_goodness(GoodnessFunction(lambda u, E: u @ E.t(), lambda u, E, s: s @ E, lambda u, E, s: s.t() @ u))
    """
    random = torch.Generator().manual_seed(seed)
    positions, size, units = 5, 4, 6

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=random, dtype=torch.float64)

    # Units are off, or well on: those that are off do not learn, whatever the derivative there.
    u = normal(positions, units)
    u = torch.where(u > 0, u + 0.1, 0.0)
    candidates, signal = normal(size, units), normal(positions, size)
    _check_shape("value", function.value(u, candidates), (positions, size))
    by_unit = function.activity_change(u, candidates, signal)
    by_weight = function.candidate_change(u, candidates, signal)
    _check_shape("activity_change", by_unit, (positions, units))
    _check_shape("candidate_change", by_weight, (size, units))
    expected = _differences(lambda one: float((signal * function.value(one, candidates)).sum()), u)
    _check_near("activity_change", by_unit[u > 0], expected[u > 0])
    expected = _differences(lambda one: float((signal * function.value(u, one)).sum()), candidates)
    _check_near("candidate_change", by_weight, expected)


def _differences(value: Callable[[Tensor], float], at: Tensor) -> Tensor:
    """The derivative of `value` with respect to each number of `at`, of the same shape."""
    found = torch.zeros_like(at)
    for place in range(at.numel()):
        step = torch.zeros_like(at)
        step.view(-1)[place] = STEP
        found.view(-1)[place] = (value(at + step) - value(at - step)) / (2 * STEP)
    return found


def _check_shape(name: str, found: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(found.shape) != expected:
        raise FfseqError(f"{name} has to return a tensor of shape {expected}, not {tuple(found.shape)}")


def _check_near(name: str, found: Tensor, expected: Tensor) -> None:
    wrong = float((found - expected).abs().max())
    if not wrong <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise FfseqError(
            f"{name} is not the derivative of value: it is up to {wrong:.3g} away from what small steps show"
        )

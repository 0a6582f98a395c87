"""Local receptive fields: the same as a dense layer with a mask; changes against autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ffseq.images.fields import Fields, by_place

CASES = [
    Fields(side=8, channels=2, field=3, step=1, margin=1, units=3, tile=4),
    Fields(side=8, channels=1, field=5, step=1, margin=2, units=2, tile=2),
    Fields(side=10, channels=2, field=4, step=2, margin=0, units=3, tile=2),
    Fields(side=10, channels=1, field=4, step=3, margin=0, units=5),
    Fields(side=4, channels=6, field=2, step=1, margin=0, units=3),
]


def dense(fields: Fields, weight: Tensor) -> Tensor:
    """The same weights as one matrix (I, H): each unit's field cut out of the map by hand, unit by unit."""
    matrix = torch.zeros(fields.side**2 * fields.channels, fields.hidden, dtype=weight.dtype)
    across = fields.places // fields.tile
    for row in range(fields.places):
        for column in range(fields.places):
            tile = (row // fields.tile) * across + column // fields.tile
            inside = (row % fields.tile, column % fields.tile)
            for unit in range(fields.units):
                number = (inside[0] * fields.tile + inside[1]) * fields.units + unit
                own = weight[tile, :, number].view(fields.window, fields.window, fields.channels)
                for i in range(fields.field):
                    for j in range(fields.field):
                        y, x = row * fields.step - fields.margin + i, column * fields.step - fields.margin + j
                        if 0 <= y < fields.side and 0 <= x < fields.side:
                            at = (y * fields.side + x) * fields.channels
                            unit_at = (row * fields.places + column) * fields.units + unit
                            matrix[at : at + fields.channels, unit_at] = own[
                                inside[0] * fields.step + i, inside[1] * fields.step + j
                            ]
    return matrix


@pytest.mark.parametrize("fields", CASES)
def test_is_a_dense_layer_with_a_mask(fields: Fields) -> None:
    random = torch.Generator().manual_seed(0)
    weight = fields.weights(random).double()
    below = torch.randn(5, fields.side**2 * fields.channels, generator=random).double()
    matrix = dense(fields, weight)
    found = fields.product(fields.windows(below), weight)
    assert torch.allclose(found, below @ matrix, rtol=0, atol=1e-12)
    # Nothing that is outside all fields was left in the tiles, and the dense layer is local.
    inside = dense(fields, torch.ones_like(weight) if fields.mask is None else fields.mask.double().expand_as(weight))
    assert (matrix != 0).sum() == inside.count_nonzero()
    assert inside.sum(0).max() == fields.inputs


@pytest.mark.parametrize("fields", CASES)
def test_change_is_the_derivative_inside_the_field_and_nothing_outside(fields: Fields) -> None:
    random = torch.Generator().manual_seed(1)
    weight = fields.weights(random)
    below = torch.randn(2, 4, fields.side**2 * fields.channels, generator=random)
    delta = torch.randn(2, 4, fields.hidden, generator=random)
    variable = weight.clone().requires_grad_(True)
    inside = torch.ones_like(weight) if fields.mask is None else fields.mask.expand_as(weight)
    total = sum(
        (fields.product(fields.windows(x), variable * inside) * d).sum() for x, d in zip(below, delta, strict=True)
    )
    assert isinstance(total, Tensor)
    (expected,) = torch.autograd.grad(total, variable)
    out = torch.full_like(weight, 7.0)
    fields.change([fields.windows(x) for x in below], list(delta), out)
    assert torch.allclose(out, expected, rtol=1e-5, atol=1e-5)
    rounded = torch.empty_like(weight)
    fields.change([fields.windows(x.bfloat16()) for x in below], list(delta.bfloat16()), rounded)
    assert (rounded - expected).abs().max() < 0.05 * expected.abs().max()


@given(tile=st.sampled_from([1, 2, 3, 6]), units=st.integers(1, 3), rows=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_gathering_undoes_spreading(tile: int, units: int, rows: int) -> None:
    fields = Fields(side=6, channels=1, field=3, step=1, margin=1, units=units, tile=tile)
    units_of = torch.arange(rows * fields.hidden).float().view(rows, -1)
    assert torch.equal(fields.spread(fields.gathered(units_of)), units_of)


def test_refuses_fields_that_do_not_cover_the_map() -> None:
    with pytest.raises(ValueError, match="do not cover"):
        Fields(side=10, channels=1, field=4, step=4, margin=0, units=1)
    with pytest.raises(ValueError, match="do not cover"):
        Fields(side=8, channels=1, field=3, step=1, margin=1, units=1, tile=3)


def test_first_pre_activities_have_a_mean_square_of_one() -> None:
    fields = Fields(side=16, channels=3, field=5, step=1, margin=0, units=3, tile=4)
    random = torch.Generator().manual_seed(2)
    below = torch.randn(20, 16 * 16 * 3, generator=random)
    square = fields.product(fields.windows(below), fields.weights(random)).square().mean()
    assert 0.9 < square < 1.1


def test_colours_of_a_pixel_lie_together() -> None:
    planes = torch.arange(2 * 3 * 2 * 2).float().view(2, -1)
    expected = [[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11], [12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23]]
    assert by_place(planes, (3, 2, 2)).tolist() == expected

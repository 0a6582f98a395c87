"""xᵀδ is the same product whichever way its first factor is laid out."""

from __future__ import annotations

import pytest
import torch

from ffseq import products


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("batch", "inputs", "units"), [(1, 1, 1), (37, 61, 45), (128, 500, 30), (512, 384, 384)])
def test_a_product_of_inputs_and_changes(
    tiles: bool, dtype: torch.dtype, batch: int, inputs: int, units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "has_tiles", lambda: tiles)
    random = torch.Generator().manual_seed(0)
    seen = torch.randn(batch, inputs, generator=random).to(dtype)
    delta = torch.randn(batch, units, generator=random).to(dtype)
    expected = torch.einsum("bi,bh->ih", seen.double(), delta.double())
    found = torch.full((inputs, units), torch.nan)
    products.outer(seen, delta, found)
    close = {"rtol": 1e-2, "atol": 1e-2 * batch**0.5} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found.double(), expected, **close)
    turned = products.turned(seen)
    assert torch.equal(turned, seen.t())
    assert turned.is_contiguous() or not (tiles and dtype == torch.bfloat16)


@pytest.mark.parametrize(
    ("told", "tiles"), [("flags : avx512_bf16 amx_bf16 amx_tile", True), ("flags : avx512_bf16", False)]
)
def test_tiles_are_what_the_system_tells_of(told: str, tiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products.Path, "read_text", lambda *_, **__: told)
    assert products.has_tiles.__wrapped__() is tiles


def test_a_system_that_tells_nothing_has_no_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(products.Path, "read_text", unreadable)
    assert products.has_tiles.__wrapped__() is False

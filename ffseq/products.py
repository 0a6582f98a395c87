"""Products of what layers saw and what they are to learn from it, xᵀδ, as the processor likes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor


def turned(rows: Tensor) -> Tensor:
    """xᵀ (I, B) of x (B, I), to be the first factor of a product.

    Where products of bfloat16 are made of tiles (Intel's AMX) a turned factor doubles their time, and is laid out anew
    before; elsewhere that costs more than it saves, a third of the product at 384 units.
    """
    if rows.dtype == torch.bfloat16 and rows.device.type == "cpu" and has_tiles():
        return rows.t().contiguous()
    return rows.t()


def outer(inputs: Tensor, delta: Tensor, out: Tensor) -> None:
    """xᵀδ of x (B, I) and δ (B, H) of one type, into `out` (I, H) float32."""
    if inputs.dtype == out.dtype:
        torch.mm(inputs.t(), delta, out=out)
    else:
        out.copy_(turned(inputs) @ delta)


@cache
def has_tiles() -> bool:
    """Whether this processor multiplies tiles of bfloat16, as far as the operating system says."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False

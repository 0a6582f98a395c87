"""Dreams: text that a net makes from nothing but its weights.

A number of strings run side by side, each from the beginning of a text on, one symbol an update; when one is as long as
a dream may be, the next begins in its place. All that is kept of them is the last K symbols of each.

Shape letters: B dreams side by side, K context length, V alphabet size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dreams:
    """contexts: (B, K) int64, most recent symbol first, V where the dream had not begun; ages: (B,) int64, symbols of
    each dream so far.
    """

    contexts: Tensor
    ages: Tensor


def begun(count: int, *, block_size: int, alphabet_size: int, length: int, device: torch.device) -> Dreams:
    """So many dreams that have said nothing yet. They will end one after the other, not all in one update."""
    ages = torch.arange(count, device=device) * length // count
    return Dreams(torch.full((count, block_size), alphabet_size, device=device), ages)


def onward(dreams: Dreams, symbols: Tensor, *, alphabet_size: int, length: int) -> Dreams:
    """Each dream with its next symbol (B,) int64; those that have reached `length` begin anew."""
    contexts = torch.cat([symbols[:, None], dreams.contexts[:, :-1]], 1)
    ages = dreams.ages + 1
    over = ages >= length
    return Dreams(contexts.masked_fill(over[:, None], alphabet_size), ages.masked_fill(over, 0))

"""What a causal layer sees of the layer below: its activity now and d positions ago.

With d doubling from layer to layer (2, 4, 8, …) the text that a layer can see grows exponentially with depth, all
positions of a string learn in one pass, and a stream of any length needs the last d activities of each layer and
nothing else. A causal layer is a window layer whose input from below is two activities side by side.

Shape letters: S strings, T positions of each, B = S·T, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dilation(layer: int) -> int:
    """How far back layer number `layer` (from 0) looks at the layer below: 2, 4, 8, … and nothing for the first.

    >>> [dilation(layer) for layer in range(4)]
    [0, 2, 4, 8]
    """
    return 2**layer if layer else 0


def with_past(units: Tensor, length: int, distance: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """Each position's activity beside the one `distance` positions earlier in its string.

    units: (S·T, H), T = length; past: (S, distance, H), the activities before the strings, or None: zeros, nothing
    was there. Returns the pairs (S·T, 2H) and the last `distance` activities (S, distance, H), the next call's past.
    """
    now = units.view(-1, length, units.shape[1])
    if past is None:
        past = now.new_zeros(now.shape[0], distance, now.shape[2])
    whole = torch.cat([past, now], 1)
    pairs = torch.cat([now, whole[:, :length]], 2)
    return pairs.view(-1, 2 * units.shape[1]), whole[:, length:].clone()

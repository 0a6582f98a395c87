"""What a causal layer sees of the layer below: its activity now and d positions ago.

With d doubling from layer to layer (2, 4, 8, …) the text that a layer can see grows exponentially with depth, all
positions of a string learn in one pass, and a stream of any length needs the last d activities of each layer and
nothing else. A causal layer is a window layer whose input from below is two activities instead of one. Where a document
begins, nothing was there before.

Rows are ordered by time: position t of string s is row t·S + s. So "d positions earlier" is the same block of rows,
begun d·S rows sooner, and nothing has to be copied beside anything.

Shape letters: S strings, T positions of each, B = T·S, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.layers.window import Below


def dilation(layer: int) -> int:
    """How far back layer number `layer` (from 0) looks at the layer below: 2, 4, 8, … and nothing for the first.

    >>> [dilation(layer) for layer in range(4)]
    [0, 2, 4, 8]
    """
    return 2**layer if layer else 0


def last_begun(contexts: Tensor, nothing: int, goes_on: bool) -> Tensor | None:
    """The position of each (T, S) at which its document began, very small where that was before the strings; None
    where none begins among them.

    contexts: (T, S, K); a document begins where the character before is `nothing`. goes_on: whether the strings go on
    from others; if not, it is no matter whether they begin a document.
    """
    begins = contexts[:, :, 0] == nothing
    if not goes_on:
        begins[0] = False
    if not begins.any():
        return None
    positions = torch.arange(len(contexts), device=contexts.device)[:, None]
    return torch.where(begins, positions, -(1 << 30)).cummax(0).values


def with_past(
    units: Tensor, strings: int, distance: int, past: Tensor | None, begun: Tensor | None = None
) -> tuple[Below, Tensor]:
    """Each position's activity, and the one `distance` positions earlier in its string.

    units: (T·S, H), strings: S; past: (distance, S, H), the activities before the strings, or None: zeros, nothing was
    there; begun: what `last_begun` says, so that no document sees another. Returns both activities and the last
    `distance` ones (distance, S, H), the next call's past.
    """
    earlier = distance * strings
    before = units.new_zeros(earlier, units.shape[1]) if past is None else past.flatten(0, 1)
    whole = torch.cat([before, units])
    remembered = whole[len(units) :].clone().view(distance, strings, units.shape[1])
    if begun is None:
        return Below(whole, (earlier, 0), len(units)), remembered
    times = torch.arange(-distance, len(begun), device=units.device)[:, None]
    seen = (times[: len(begun)] >= begun).view(-1, 1)
    remembered *= (times[len(begun) :] >= begun[-1])[:, :, None]
    return Below(torch.cat([whole[: len(units)] * seen, units]), (len(units), 0), len(units)), remembered

"""A bank of dreams: what was dreamt in this night and in those before, to be dreamt again.

It holds so many pairs of a context and a symbol, with the log probability that the symbol had in the net that said it;
a full bank forgets the oldest pairs first.

Shape letters: N pairs at most, B pairs at a time, K context length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffseq.negatives import Said


class Bank:
    """Up to `size` pairs of contexts of `block_size` symbols."""

    def __init__(self, size: int, block_size: int, device: torch.device) -> None:
        self.contexts = torch.zeros(size, block_size, dtype=torch.int32, device=device)
        self.symbols = torch.zeros(size, dtype=torch.int32, device=device)
        self.log_q = torch.zeros(size, device=device)
        #: Pairs that were ever put in.
        self.count = 0

    def __len__(self) -> int:
        """Pairs that are there."""
        return min(self.count, len(self.symbols))

    def add(self, contexts: Tensor, said: Said) -> None:
        """Put in pairs: contexts (B, K) int64 and what was said there."""
        places = (self.count + torch.arange(len(contexts), device=contexts.device)) % len(self.symbols)
        # More at once than the bank is large: the last ones count, whatever the order in which places are written.
        places = places[-len(self.symbols) :]
        last = slice(len(contexts) - len(places), None)
        self.contexts[places] = contexts[last].to(torch.int32)
        self.symbols[places] = said.symbols[last].to(torch.int32)
        self.log_q[places] = said.log_q[last]
        self.count += len(contexts)

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, Said]:
        """`count` pairs, any of those that are there as likely as any other. Raises ValueError where there is none."""
        if not len(self):
            raise ValueError("the bank of dreams is empty")
        which = torch.randint(0, len(self), (count,), generator=random, device=random.device)
        return self.contexts[which].long(), Said(self.symbols[which].long(), self.log_q[which])

    @property
    def state_bytes(self) -> int:
        """Bytes of a full bank, which has its place from the beginning."""
        return sum(one.numel() * one.element_size() for one in (self.contexts, self.symbols, self.log_q))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs to go on."""
        count = torch.tensor(self.count)
        return {
            "bank.contexts": self.contexts,
            "bank.symbols": self.symbols,
            "bank.log_q": self.log_q,
            "bank.count": count,
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; other names are passed over."""
        for name in ("contexts", "symbols", "log_q"):
            getattr(self, name).copy_(tensors[f"bank.{name}"])
        self.count = int(tensors["bank.count"])

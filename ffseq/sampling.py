"""Text out: draw the next symbol again and again.

Shape letters: B strings at once, K context length, V alphabet size.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ffseq.errors import UsageError
from ffseq.incremental import next_scores
from ffseq.windows import contexts_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffseq.alphabet import Alphabet
    from ffseq.network import SequenceNetwork


#: How much of its text a black box sees while it is continued, in symbols.
REMEMBERED = 1_000


def bits_of(log_p: Tensor, targets: Tensor) -> Tensor:
    """Bits of each target, float64 (B,), from natural log probabilities (B, V)."""
    return log_p.gather(1, targets[:, None])[:, 0].double() / -math.log(2)


def filtered(
    log_p: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Probabilities (B, V) to sample from, given natural log probabilities (B, V); rows sum to one.

    temperature divides the log probabilities; 0 puts everything on the most probable symbol (the first of equals).
    top_k keeps the k most probable; top_p keeps the smallest set of most probable symbols whose mass reaches p
    (Holtzman et al. 2020). Raises UsageError for values out of range.

    >>> filtered(torch.tensor([[0.5, 0.3, 0.2]]).log(), top_p=0.6)
    tensor([[0.6250, 0.3750, 0.0000]])
    """
    if not (temperature >= 0 and temperature < float("inf")):
        raise UsageError(f"--temperature has to be 0 (most probable symbol) or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise UsageError(f"--top_k has to be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise UsageError(f"--top_p has to be above 0 and at most 1, got {top_p}")
    if temperature == 0:
        return torch.zeros_like(log_p).scatter_(1, log_p.argmax(1, keepdim=True), 1.0)
    if temperature == 1 and top_k is None and top_p is None:
        return log_p.exp()
    # Sorting is stable, so that of equally probable symbols the first of the alphabet stays.
    # The most probable symbol at 0 and in float64: no temperature, however low, overflows.
    scaled = ((log_p - log_p.amax(1, keepdim=True)).double() / temperature).to(log_p.dtype)
    if top_k is None and top_p is None:
        return torch.softmax(scaled, 1)
    ranked, order = scaled.sort(dim=1, descending=True, stable=True)
    p = torch.softmax(ranked, 1)
    if top_k is not None:
        p[:, top_k:] = 0
    if top_p is not None:
        p = p / p.sum(1, keepdim=True)
        before = p.cumsum(1) - p
        p[before >= top_p] = 0  # the first symbol has nothing before it, so one always stays
    p = p / p.sum(1, keepdim=True)
    return torch.zeros_like(p).scatter_(1, order, p)


@torch.no_grad()
def continue_contexts(
    network: SequenceNetwork,
    contexts: Tensor,
    *,
    random: torch.Generator,
    prompts: NDArray[np.int64] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Tensor]:
    """Continue B strings for ever: yields the next symbols (B,) int64.

    contexts: (B, K), most recent symbol first, or for a causal stack (T, B, K), those of the prompt's positions: from
    then on only what its layers remember is kept. prompts: (B, M) the text so far, for a net with a black box, which
    sees the last REMEMBERED symbols of it.
    """
    recent = contexts[-1] if network.is_causal else contexts
    scores_of = next_scores(network, len(recent))
    for earlier in contexts[:-1] if network.is_causal else ():
        scores_of(earlier)
    strings = np.zeros((len(recent), 0), dtype=np.int64) if prompts is None else prompts
    while True:
        outside = None
        if network.black_box is not None:
            known = np.full(len(strings), strings.shape[1])
            outside = torch.from_numpy(network.black_box.next(strings, known)).to(contexts.device).float()
        log_p = network.log_probabilities(scores_of(recent), outside)
        p = filtered(log_p, temperature=temperature, top_k=top_k, top_p=top_p)
        symbols = torch.multinomial(p, 1, generator=random)
        yield symbols[:, 0]
        if network.black_box is not None:
            strings = np.concatenate([strings, symbols.cpu().numpy()], 1)[:, -REMEMBERED:]
        recent = torch.cat([symbols, recent[:, :-1]], 1)


def prompt_context(network: SequenceNetwork, prompt: list[int]) -> Tensor:
    """The context (1, K) after a prompt of symbols; before the prompt there is nothing.

    For a causal stack (T, 1, K): the contexts of all positions that the prediction after the prompt depends on.
    """
    first = max(0, len(prompt) - network.reach) if network.is_causal else len(prompt)
    positions = np.arange(first, len(prompt) + 1)
    contexts = contexts_at(np.array([*prompt, 0]), positions, network.block_size, len(network.alphabet))
    contexts = contexts.to(network.prior.device)
    return contexts[:, None] if network.is_causal else contexts


def stream_text(
    network: SequenceNetwork,
    prompt: list[int],
    *,
    max_new_tokens: int,
    random: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
) -> Iterator[str]:
    """The continuation of a prompt, in pieces as they are drawn; it ends before `stop` or after max_new_tokens symbols.

    Text that could turn out to be the beginning of `stop` is held back until it is known not to be.
    """
    symbols = continue_contexts(
        network,
        prompt_context(network, prompt),
        random=random,
        prompts=np.array([prompt], dtype=np.int64),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    held = ""
    for piece in _decoded(network.alphabet, symbols, max_new_tokens):
        held += piece
        if stop and stop in held:
            yield held[: held.index(stop)]
            return
        keep = _overlap(held, stop) if stop else 0
        yield held[: len(held) - keep]
        held = held[len(held) - keep :]
    yield held


def _decoded(alphabet: Alphabet, symbols: Iterator[Tensor], count: int) -> Iterator[str]:
    """Text of the first `count` symbols, one by one. What is a part of a character becomes text when it is complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for _ in range(count):
        symbol = int(next(symbols)[0])
        yield decoder.decode(alphabet.utf8([symbol])) if alphabet.is_bytewise else alphabet.symbols[symbol]
    yield decoder.decode(b"", final=True)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with.

    >>> _overlap("the en", "end")
    2
    """
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)

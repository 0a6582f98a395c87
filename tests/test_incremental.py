"""Symbol after symbol gives the scores of the whole string at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import small_network

from ffseq.incremental import next_scores
from ffseq.network import SequenceNetwork
from ffseq.windows import contexts_at

LENGTH, STRINGS = 40, 3


def net(options: dict[str, object]) -> SequenceNetwork:
    """A net whose every part counts: biases, gains, temperature and memory are not what they began as."""
    network = small_network(block_size=3, layers=4, **options)
    random = torch.Generator().manual_seed(3)
    for weight in network.parameters():
        weight.add_(torch.randn(weight.shape, generator=random) * 0.1)
    network.gains.copy_(torch.rand(network.gains.shape, generator=random) + 0.5)
    return network


@pytest.mark.parametrize(
    "options",
    [
        {"stack": "window"},
        {"stack": "causal"},
        {"stack": "causal", "goodness": "squares"},
        {"stack": "window", "goodness": "squares", "context_to_all": False},
        {"stack": "causal", "context_to_all": False, "recency": 0.0},
        {"stack": "causal", "memory": 64, "memory_lengths": "1,2,3"},
        {"stack": "window", "between": "projected"},
        {"stack": "causal", "between": "stepped"},
        {"stack": "literal", "readout": "both"},
    ],
    ids=str,
)
def test_step_by_step_gives_the_scores_of_whole_strings(options: dict[str, object]) -> None:
    network = net(options)
    symbols = np.random.default_rng(1).integers(0, 5, (STRINGS, LENGTH)).astype(np.uint8)
    contexts = torch.stack([contexts_at(one, np.arange(LENGTH), 3, 5) for one in symbols], 1)  # (T, S, K)
    if network.memory is not None:
        network.memory.claim(contexts[: LENGTH // 2].flatten(0, 1))  # the rest stays unknown
    whole = network.scores(contexts if network.is_causal else contexts.flatten(0, 1)).view(LENGTH, STRINGS, 5)
    scores = next_scores(network, STRINGS)
    for time in range(LENGTH):
        torch.testing.assert_close(scores(contexts[time]), whole[time], rtol=1e-4, atol=1e-4)

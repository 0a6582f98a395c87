"""How many multiplications an update costs: the work by which methods are compared beside characters and seconds."""

from __future__ import annotations

from ffseq.config import NetworkConfig, lengths_of


def multiplications(config: NetworkConfig, alphabet_size: int, method: str) -> int:
    """Multiplications for one position of one update of a net with goodness `agreement`.

    Forward: the inputs of every layer and the goodness of every candidate. Learning: both once more for the changes
    of the weights, and the goodness's derivative to the units; the twin also sends derivatives to the layer below,
    and with random hidden layers only the goodness read-out learns.
    """
    assert config.units is not None
    assert config.block_size is not None
    assert config.layers is not None
    taps = 2 if config.stack == "causal" else 1
    # A memory adds up one row for each length of context, and changes it.
    total = 2 * len(lengths_of(config.memory_lengths)) * alphabet_size if config.memory else 0
    for number in range(config.layers):
        context = config.block_size if number == 0 or config.context_to_all else 0
        below = taps * config.units if number else 0
        learning = alphabet_size
        if method != "random_hidden":
            learning += context + below + alphabet_size
        if method == "twin":
            learning += below
        total += config.units * (context + below + alphabet_size + learning)
    return total


def literal_multiplications(config: NetworkConfig, alphabet_size: int, negatives: int) -> int:
    """The same for a literal net whose negatives come from its first layer, read out from all layers.

    Without a candidate, with the truth and with each negative: the text's part of a layer's input is shared, that of
    the layer below is not. The goodness of every candidate in the first layer comes on top.
    """
    assert config.units is not None
    assert config.block_size is not None
    assert config.layers is not None
    passes = 1 + negatives
    total = (config.block_size + alphabet_size) * config.units
    for number in range(config.layers):
        context = config.block_size if number == 0 or config.context_to_all else 0
        below = config.units if number else 0
        # The text is gathered for the neutral pass and for the others, and learned from once.
        total += config.units * (3 * context + (1 + 2 * passes) * below + 2 * passes + 2 * alphabet_size)
    return total

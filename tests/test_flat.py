"""Weights in one row are the same weights: every operation on the row is the operation on each of them."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from conftest import TEXT, small_network

from ffseq.config import LearningConfig, OptimiserConfig
from ffseq.flat import ALIGNED, Flat
from ffseq.learning import learn, untracked
from ffseq.network import SequenceNetwork
from ffseq.optim import apply_changes, make_optimisers
from ffseq.randomness import generator
from ffseq.windows import contexts_at


def weights(network: SequenceNetwork) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in network.named_parameters()}


def some_updates(network: SequenceNetwork, optimiser: OptimiserConfig, flat: Flat | None) -> None:
    """Five updates on a text, with a memory, weight by weight or in one row."""
    layers = list(network.stack())
    optimisers = make_optimisers(layers, optimiser, 32, flat)
    symbols = network.alphabet.encode(TEXT)
    size = len(network.alphabet)
    for step in range(5):
        positions = torch.arange(step * 32, step * 32 + 32).numpy()
        contexts = contexts_at(symbols, positions, network.block_size, size)
        targets = torch.from_numpy(symbols[positions].astype("int64"))
        places = flat.places if flat is not None else None
        learning = LearningConfig(objective="likelihood")
        update = learn(network, contexts, targets, learning, random=generator(0, "t", step), drop=0.3, places=places)
        apply_changes(optimisers, layers, update.changes, 0.01, flat)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("goodness", ["agreement", "squares"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_learning_in_one_row_is_learning_weight_by_weight(
    kind: str, products: torch.dtype, goodness: str, decay: float
) -> None:
    optimiser = OptimiserConfig(optimiser=kind, learning_rate=0.01, weight_decay=decay)  # type: ignore[arg-type]
    after = []
    for in_one_row in (False, True):
        network = small_network("".join(sorted(set(TEXT))), goodness=goodness, memory=64, memory_lengths="1,3")
        network.products = products
        if not in_one_row:
            network.flat = lambda: None  # type: ignore[method-assign]  # then nothing is rounded in one row either
        some_updates(network, optimiser, network.flat())
        after.append(weights(network))
    for name, weight in after[0].items():
        torch.testing.assert_close(after[1][name], weight, rtol=1e-6, atol=1e-7, msg=name)


def test_the_row_holds_the_weights_and_nothing_else() -> None:
    network = small_network()
    before = weights(network)
    flat = network.flat()
    assert flat is not None
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name])
        assert (weight.data_ptr() - flat.values.data_ptr()) % (4 * ALIGNED) == 0
    flat.values.add_(1.0)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name] + 1.0)
    assert flat.biases == min(
        (weight.data_ptr() - flat.values.data_ptr()) // 4
        for name, weight in network.named_parameters()
        if "bias" in name
    )


def test_neighbouring_layers_are_neighbours_in_the_row() -> None:
    network = small_network()
    flat = network.flat()
    assert flat is not None
    for layers in (range(1), range(1, 3)):
        before = weights(network)
        for part in flat.parts(layers):
            flat.values[part] += 1.0
        for name, weight in network.named_parameters():
            assert torch.equal(weight, before[name] + (1.0 if int(name.split(".")[1]) in layers else 0.0)), name


def test_rounded_weights_are_those_of_now() -> None:
    network = small_network()
    flat = network.flat()
    assert flat is not None
    for change in (0.0, 0.25):
        network.layers[1].below.add_(change)
        rounded = flat.rounded(1, torch.bfloat16)
        assert set(rounded) == {"context", "below", "candidates"}
        for name, weight in rounded.items():
            assert torch.equal(weight, getattr(network.layers[1], name).to(torch.bfloat16))


def test_a_copy_and_a_net_that_was_moved_have_rows_of_their_own() -> None:
    network = small_network()
    first = network.flat()
    assert first is not None
    assert network.flat() is first
    other = copy.deepcopy(network)
    row = other.flat()
    assert row is not None
    row.values.zero_()
    assert not any(weight.any() for weight in other.parameters())
    assert network.layers[0].context.any()
    network.double()
    assert network.flat() is not first
    assert network.flat().values.dtype == torch.float64  # type: ignore[union-attr]


def test_a_literal_stack_learns_weight_by_weight() -> None:
    assert small_network(stack="literal").flat() is None


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("hidden", ["learned", "random"])
def test_what_is_learned_untracked_is_the_same_and_the_weights_can_still_be_differentiated(
    products: torch.dtype, hidden: str
) -> None:
    after = []
    for tracked in (True, False):
        network = small_network()
        network.products = products
        learning = LearningConfig(objective="likelihood", hidden=hidden)  # type: ignore[arg-type]
        layers = list(network.stack())
        flat = network.flat() if hidden == "learned" else None
        optimisers = make_optimisers(layers, OptimiserConfig(learning_rate=0.01), 6, flat)
        contexts = torch.arange(6 * network.block_size).view(6, -1) % len(network.alphabet)
        for step in range(3):
            with nullcontext() if tracked else untracked(network, learning):
                places = flat.places if flat is not None else None
                random = generator(0, "learn", step)
                update = learn(network, contexts, torch.arange(6) % 3, learning, random=random, places=places)
            assert update.bits.is_inference() == (not tracked and hidden == "learned")
            apply_changes(optimisers, layers, update.changes, 0.01, flat)
        assert not any(weight.is_inference() for weight in network.parameters())
        for weight in network.parameters():
            weight.requires_grad_(True)
        network.scores(contexts).sum().backward()
        after.append(weights(network))
    for name, weight in after[0].items():
        assert torch.equal(after[1][name], weight), name


def test_a_row_that_is_made_in_inference_mode_leaves_ordinary_weights() -> None:
    network = small_network()
    network.products = torch.bfloat16
    contexts = torch.zeros(3, network.block_size, dtype=torch.int64)
    with torch.inference_mode():
        inside = network.scores(contexts)  # rounding makes the row
    assert not any(weight.is_inference() for weight in network.parameters())
    assert torch.equal(network.scores(contexts), inside)

"""Nets with top-down connections: the run against a loop written out, changes against autograd, every label tried."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ffseq.errors import UsageError
from ffseq.images.config import from_flat
from ffseq.images.data import ImageData, Split
from ffseq.images.dense import pair_signal
from ffseq.images.experiment import module_of
from ffseq.images.still_video import StillVideo

CLASSES = 3


def small_data(side: int, planes: int = 1) -> ImageData:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, planes * side * side), generator=random, dtype=torch.uint8)
    part = Split(images, torch.arange(12) % CLASSES)
    return ImageData("small", (planes, side, side), ("a", "b", "c"), part, part, part)


def experiment(name: str, **options: Any) -> StillVideo:
    side, planes = (4, 3) if name == "cifar10" else (4, 1)
    options = {"batch_size": 4, "dataset": "small", **options}
    config = from_flat(name, module_of(name).Settings, options)
    made: StillVideo = module_of(name).make(small_data(side, planes), config, torch.device("cpu"), torch.float32)
    return made


CASES: list[tuple[str, dict[str, Any]]] = [
    ("recurrent", {"units": 7, "layers": 2}),
    ("recurrent", {"units": 6, "layers": 4, "order": "alternating", "damping": 0.4}),
    ("recurrent", {"units": 7, "layers": 1, "first_iteration": 1, "last_iteration": 2}),
    ("recurrent", {"units": 6, "layers": 4, "first_iteration": 2, "last_iteration": 4}),
    ("cifar10", {"field": 3, "channels": 2, "layers": 3}),
    ("cifar10", {"field": 3, "channels": 2, "layers": 2, "squares": "down"}),
]


def some_images(name: str) -> Tensor:
    return torch.rand(4, 48 if name == "cifar10" else 16, generator=torch.Generator().manual_seed(5))


def shown(state: Tensor) -> Tensor:
    return state / state.square().mean(1, keepdim=True).sqrt().clamp(min=1e-5)


def written_out(it: StillVideo, images: Tensor, codes: Tensor) -> list[list[tuple[Any, Any, Tensor]]]:
    """One label and one layer at a time: what each layer saw below and above and its u, iteration by iteration."""
    layers, runs = it.net.layers, []
    pixels = it.prepared(images)

    def from_below(number: int, states: list[Tensor]) -> tuple[Tensor, Tensor]:
        layer = layers[number]
        seen = layer.from_below.windows(shown(states[number - 1]) if number else pixels)
        return seen, layer.from_below.product(seen, layer.weight)

    for code in codes:
        states: list[Tensor] = []
        for number, layer in enumerate(layers):
            pre = from_below(number, states)[1] + layer.bias
            if number == len(layers) - 1:
                pre = pre + torch.full((len(images), CLASSES), 1 / CLASSES) @ layer.above
            states.append(torch.relu(pre))
        label = F.one_hot(code, CLASSES).float()
        run = []
        for _ in range(it.own.last_iteration):
            happened: list[Any] = [None] * len(layers)
            turns = [range(len(layers))]
            if it.own.order == "alternating":
                turns = [range(0, len(layers), 2), range(1, len(layers), 2)]
            for turn in turns:
                before = [state.clone() for state in states]
                for number in turn:
                    layer = layers[number]
                    below, pre = from_below(number, before)
                    above: Tensor = label
                    if layer.from_above is None:
                        pre = pre + label @ layer.above
                    else:
                        above = layer.from_above.windows(shown(before[number + 1]))
                        pre = pre + layer.from_above.product(above, layer.above)
                    units = torch.relu(pre + layer.bias)
                    happened[number] = (below, above, units)
                    states[number] = it.own.damping * before[number] + (1 - it.own.damping) * units
            run.append(happened)
        runs.append(run[it.own.first_iteration - 1 :])
    return runs


def written_out_goodness(it: StillVideo, images: Tensor, codes: Tensor) -> Tensor:
    """G (L, m, B), averaged over the iterations that count."""
    runs = written_out(it, images, codes)
    return torch.stack(
        [
            torch.stack([torch.stack([seen[n][2].square().sum(1) for seen in run]).mean(0) for run in runs])
            for n in range(len(it.net.layers))
        ]
    )


@pytest.mark.parametrize(("name", "options"), CASES)
def test_runs_as_a_loop_written_out_and_the_test_tries_every_label(name: str, options: dict[str, Any]) -> None:
    it = experiment(name, **options)
    images = some_images(name)
    every = torch.arange(CLASSES)[:, None].expand(-1, 4)
    expected = written_out_goodness(it, images, every).sum(0).t()
    sign = -1 if options.get("squares") == "down" else 1
    assert torch.allclose(it.scores(images, "every_label"), sign * expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("objective", ["threshold", "difference"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_changes_are_derivatives_of_each_layers_own_loss(name: str, options: dict[str, Any], objective: str) -> None:
    it = experiment(name, objective=objective, temperature=2.0, **options)
    images, labels = some_images(name), torch.tensor([0, 1, 2, 0])
    random = torch.Generator().manual_seed(3)
    before = [{key: value.clone() for key, value in layer.named_parameters()} for layer in it.net.layers]
    learned = it.update(images, labels, random=random, share=0.0, done=0.0)
    codes = torch.stack([labels, _wrong(it, images, labels)])
    runs = written_out(it, images, codes)
    sign = -1 if options.get("squares") == "down" else 1
    for number, layer in enumerate(it.net.layers):
        variables = {key: value.clone().requires_grad_(True) for key, value in before[number].items()}
        sides = []
        for run in runs:
            total = torch.zeros(4)
            for seen in run:
                below, above, units = (one.detach() for one in seen[number])
                pre = layer.from_below.product(below, variables["weight"]) + variables["bias"]
                other = layer.from_above
                pre = pre + (above @ variables["above"] if other is None else other.product(above, variables["above"]))
                again = torch.relu(pre)
                assert torch.allclose(again, units, atol=1e-5)
                total = total + again.square().sum(1) / len(run)
            sides.append(sign * total)
        theta = sign * it.own.threshold * layer.from_below.hidden
        if objective == "threshold":
            loss = F.softplus((theta - sides[0]) / 2) + F.softplus((sides[1] - theta) / 2)
        else:
            loss = F.softplus((sides[1] - sides[0]) / 2)
        expected = torch.autograd.grad(2 * loss.mean(), list(variables.values()))
        for key, value in zip(variables, expected, strict=True):
            mask = getattr(layer.from_above if key == "above" else layer.from_below, "mask", None)
            inside = -value if mask is None or value.dim() < 3 else -value * mask
            found = it.stack.place(number)[key]
            assert torch.allclose(found, inside, rtol=1e-3, atol=1e-5 + 1e-4 * float(inside.abs().max())), key
        assert torch.allclose(sign * torch.stack(sides).mean(1).detach(), torch.stack([
            learned.positive[number], learned.negative[number]  # type: ignore[index]
        ]), rtol=1e-4)  # fmt: skip


def _wrong(it: StillVideo, images: Tensor, labels: Tensor) -> Tensor:
    """The wrong labels that an update with seed 3 draws: the read-out is still at zero, so from all alike."""
    masked = torch.zeros(len(labels), CLASSES).scatter(1, labels[:, None], -torch.inf)
    wrong = torch.multinomial(torch.softmax(masked, 1), 1, generator=torch.Generator().manual_seed(3))[:, 0]
    assert (wrong != labels).all()
    return wrong


def test_a_layer_that_is_not_told_of_others_does_not_hear_of_them() -> None:
    """The change of a layer is the same whatever the goodness of the others: their objective may be anything."""
    images, labels = some_images("recurrent"), torch.tensor([0, 1, 2, 0])
    changes = []
    for threshold in (0.0, 5.0):
        it = experiment("recurrent", units=7, layers=2, objective="threshold")
        one = it._change
        it._change = lambda number, *rest, one=one, it=it, threshold=threshold: (  # type: ignore[method-assign, misc]
            object.__setattr__(it.own, "threshold", threshold if number == 1 else 1.0) or one(number, *rest)
        )
        it.update(images, labels, random=torch.Generator().manual_seed(0), share=0.0, done=0.0)
        changes.append([{k: v.clone() for k, v in it.stack.place(n).items()} for n in range(2)])
    assert all(torch.equal(changes[0][0][key], changes[1][0][key]) for key in changes[0][0])
    assert not torch.equal(changes[0][1]["weight"], changes[1][1]["weight"])


def test_peer_normalisation_follows_the_positives() -> None:
    it = experiment("recurrent", units=7, layers=1, first_iteration=2, last_iteration=2, peer_normalisation=0.5)
    without = experiment("recurrent", units=7, layers=1, first_iteration=2, last_iteration=2)
    images, labels = some_images("recurrent"), torch.tensor([0, 1, 2, 0])
    positive = written_out(it, images, labels[None])[0][0][0][2]
    for one in (it, without):
        one.update(images, labels, random=torch.Generator().manual_seed(0), share=0.0, done=0.0)
    mean = 0.1 * positive.mean(0)
    assert torch.allclose(it.net.layers[0].running_mean, mean, atol=1e-6)
    push = it.stack.place(0)["bias"] - without.stack.place(0)["bias"]
    assert torch.allclose(push, 0.5 * (mean.mean() - mean), atol=1e-5)


def test_difference_has_opposite_signals_and_low_turns_them_round() -> None:
    goodness = torch.tensor([[3.0, 1.0], [1.0, 3.0]])
    up = pair_signal("difference", goodness, threshold=0.0, temperature=2.0)
    assert torch.allclose(up[0], torch.sigmoid(torch.tensor([-1.0, 1.0])) / 2)
    assert torch.equal(up[1], -up[0])
    down = pair_signal("difference", goodness, threshold=0.0, temperature=2.0, low=True)
    assert torch.allclose(down, -up.flip(1))


def test_refusals() -> None:
    for options in ({"first_iteration": 0}, {"last_iteration": 2}, {"damping": 1.0}, {"temperature": 0.0}):
        with pytest.raises(UsageError):
            experiment("recurrent", **options)
    with pytest.raises(UsageError, match="odd number"):
        experiment("cifar10", field=4)

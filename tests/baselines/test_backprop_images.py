"""The perceptron by backpropagation: dropout, noise and batch normalisation, in learning and in tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ffseq.baselines import backprop_images
from ffseq.images.config import from_flat
from ffseq.images.data import as_floats
from ffseq.images.glyphs import glyphs
from ffseq.randomness import generator

CPU = torch.device("cpu")
PIXELS = as_floats(glyphs().train.images[:60], CPU)
LABELS = glyphs().train.labels[:60]


def perceptron(**more: Any) -> backprop_images.Backprop:
    flat = {"net": "regularised", "units": 12, "dropout": 0.0, "optimiser": "adamw", "learning_rate": 0.01} | more
    config = from_flat("backprop", backprop_images.Settings, flat)
    return backprop_images.make(glyphs(), config, CPU, torch.float32)


def learn(net: backprop_images.Backprop, times: int) -> list[float]:
    with torch.no_grad():
        return [
            float(net.update(PIXELS, LABELS, random=generator(0, "learn", time), share=1.0, done=0.0).figures["nats"])
            for time in range(times)
        ]


def test_dropout_keeps_the_mean() -> None:
    random = torch.Generator().manual_seed(0)
    kept = backprop_images._kept(torch.ones(400, 400), 0.25, random)
    assert kept.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert abs(float(kept.mean()) - 1) < 0.01


def test_noise_has_the_deviation_asked_for_and_is_added_in_learning_alone() -> None:
    noise = backprop_images._noise(torch.zeros(400, 400), 0.3, torch.Generator().manual_seed(0))
    assert abs(float(noise.mean())) < 0.003
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)
    clean, noisy = perceptron(), perceptron(noise=0.5)
    assert torch.equal(clean.scores(PIXELS, "output"), noisy.scores(PIXELS, "output"))
    assert learn(clean, 1) != learn(noisy, 1)


def test_batch_normalisation_is_what_its_formula_says() -> None:
    net = perceptron(batch_norm=True, layers=2)
    for stage in net.net:
        torch.nn.init.normal_(stage.get_parameter("bias"), generator=generator(0, "biases"))
    hidden = PIXELS
    weights = [(stage.get_parameter("weight"), stage.get_parameter("bias")) for stage in net.net]
    for weight, bias in weights[:-1]:
        sums = hidden @ weight.t()
        hidden = ((sums - sums.mean(0)) / (sums.var(0, unbiased=False) + 1e-5).sqrt() + bias).relu()
    expected = hidden @ weights[-1][0].t() + weights[-1][1]
    torch.testing.assert_close(net._logits(PIXELS, generator(0, "learn")), expected)


def test_a_test_goes_by_the_running_means_and_not_by_who_is_in_the_batch() -> None:
    net = perceptron(batch_norm=True, noise=0.3, dropout=0.2)
    learned = learn(net, 300)
    assert learned[-1] < 0.5 * learned[0]
    before = {name: value.clone() for name, value in net.modules.state_dict().items()}
    together = net.scores(PIXELS, "output")
    assert (together.argmax(1) == LABELS).float().mean() > 0.9
    for row in range(5):
        torch.testing.assert_close(net.scores(PIXELS[row : row + 1], "output")[0], together[row])
    assert all(torch.equal(value, before[name]) for name, value in net.modules.state_dict().items())


@pytest.mark.parametrize("layers", [1, 3])
def test_the_perceptron_has_the_hidden_layers_asked_for(layers: int) -> None:
    shapes = [tuple(stage.get_parameter("weight").shape) for stage in perceptron(layers=layers).net]
    assert shapes == [(12, 784), *[(12, 12)] * (layers - 1), (10, 12)]

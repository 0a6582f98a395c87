"""The rule of the image layers against autograd and loops written out; the label, the wrong label, hybrid images."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.images import supervised, unsupervised
from ffseq.images.config import ImagesConfig, from_flat, share_at
from ffseq.images.data import ImageData, Split, jittered
from ffseq.images.dense import hidden_delta, pair_signal, weight_change
from ffseq.images.hybrid import hybrids, masks
from ffseq.images.labelled import Images, first_activity, first_change, first_product
from ffseq.images.labels import label_pixels, with_label, wrong_labels
from ffseq.images.readout import Readout, softmax_signal
from ffseq.randomness import generator

CPU = torch.device("cpu")


def tiny(classes: int = 3, count: int = 60) -> ImageData:
    """Images of 4×4 pixels that their class has made brighter in one place."""
    random = generator(0, "tiny")
    labels = torch.arange(count) % classes
    images = torch.randint(0, 100, (count, 16), generator=random)
    images[torch.arange(count), 8 + labels] += 150
    split = Split(images.to(torch.uint8), labels)
    return ImageData("tiny", (1, 4, 4), tuple("abcdefgh"[:classes]), split, split, split)


def config_of(experiment: str, settings: type, **options: object) -> ImagesConfig:
    return from_flat(experiment, settings, {"layers": 3, "units": 12, "batch_size": 20, **options})


def rms(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().mean(1, keepdim=True).sqrt()


@pytest.mark.parametrize("objective", ["threshold", "difference"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_layers_change_is_the_derivative_of_its_own_loss(
    temperature: float, objective: Literal["threshold", "difference"]
) -> None:
    random = generator(1, "layer")
    inputs = rms(torch.randn(8, 10, generator=random)).double()
    weight = (torch.randn(10, 6, generator=random) / 3).double().requires_grad_()
    bias = (torch.randn(6, generator=random) / 3).double().requires_grad_()
    units = (inputs @ weight + bias).relu()
    own, theta = units.square().sum(1).view(2, 4), 3.0
    up = F.softplus((theta - own[0]) / temperature) * temperature
    down = F.softplus((own[1] - theta) / temperature) * temperature
    apart = F.softplus((own[1] - own[0]) / temperature) * temperature
    (up + down if objective == "threshold" else apart).mean().backward()
    signal = pair_signal(objective, own.detach(), threshold=theta, temperature=temperature).flatten()
    delta = hidden_delta(units.detach(), signal, running_mean=torch.zeros(6), peer=0.0, positives=4)
    change = weight_change(inputs, delta)
    torch.testing.assert_close(change["weight"].double(), -weight.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(change["bias"].double(), -bias.grad, rtol=1e-5, atol=1e-6)


def test_peer_normalisation_follows_the_positives_and_pushes_on_and_off_units_alike() -> None:
    random = generator(2, "peer")
    running, by_hand = torch.rand(5, generator=random), torch.empty(5)
    for _ in range(3):
        units = torch.randn(8, 5, generator=random).relu()
        before = running.clone()
        delta = hidden_delta(units, torch.zeros(8), running_mean=running, peer=0.4, positives=4)
        for unit in range(5):  # 0.9 of what it was and 0.1 of the positives' mean
            mean = sum(float(units[row, unit]) for row in range(4)) / 4
            by_hand[unit] = 0.9 * float(before[unit]) + 0.1 * mean
        torch.testing.assert_close(running, by_hand)
        push = 0.4 * (float(by_hand.mean()) - by_hand) / 4
        torch.testing.assert_close(delta[:4], push.expand(4, -1))
        assert not delta[4:].any()


@given(st.integers(0, 4), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_sharing_the_images_product_changes_nothing(seed: int, codes_each: int) -> None:
    """The first layer against each labelled image brought to a mean square of one and multiplied out."""
    random = generator(seed, "labelled")
    images, classes = torch.rand(5, 9, generator=random), 3
    weight = torch.randn(9, 7, generator=random).requires_grad_()
    bias = torch.randn(7, generator=random).requires_grad_()
    codes = torch.randint(0, classes + 1, (codes_each, 5), generator=random)
    every = torch.cat([rms(with_label(images, row, classes)) for row in codes])
    expected = (every @ weight + bias).relu()
    batch = Images.of(images, classes, torch.float32)
    found = first_activity(batch, first_product(batch, weight.detach()), codes, weight.detach(), bias.detach())
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    signal = torch.randn(len(expected), generator=random)
    (signal * expected.square().sum(1)).sum().backward()
    delta = 2 * signal[:, None] * found
    out = {"weight": torch.empty(9, 7), "bias": torch.empty(7)}
    change = first_change(batch, codes, delta, out)
    torch.testing.assert_close(change["weight"], weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(change["bias"], bias.grad, rtol=1e-4, atol=1e-4)


def test_the_readouts_change_is_the_derivative_of_the_cross_entropy() -> None:
    random = generator(3, "readout")
    parts = [torch.randn(6, 4, generator=random), torch.randn(6, 3, generator=random)]
    readout, labels = Readout(7, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    readout.weight.copy_(torch.randn(7, 5, generator=random))
    weight = readout.weight.detach().clone().requires_grad_()
    bias = readout.bias.detach().clone().requires_grad_()
    logits = torch.cat(parts, 1) @ weight + bias
    torch.testing.assert_close(readout.logits(parts), logits.detach())
    F.cross_entropy(logits, labels).backward()
    change = readout.change(parts, softmax_signal(logits.detach(), labels))
    torch.testing.assert_close(change["weight"], -weight.grad)
    torch.testing.assert_close(change["bias"], -bias.grad)


def test_no_change_crosses_a_layer() -> None:
    """What lower layers learn does not depend on the weights above, and no layer's on the read-out's."""
    data = tiny()
    images, labels = data.train.images[:20].float() / 255, data.train.labels[:20]
    for module, name in ((supervised, "supervised"), (unsupervised, "unsupervised")):
        seen = []
        for disturbed in (False, True):
            experiment = module.make(data, config_of(name, module.Settings), CPU, torch.float32)
            before = [layer.weight.clone() for layer in experiment.stack.layers]
            if disturbed:
                experiment.stack.layers[2].weight.mul_(-2.0)
            # Without a read-out that has learned, wrong labels do not depend on the layers.
            experiment.update(images, labels, random=generator(0, "update"), share=1.0, done=0.0)
            after = [layer.weight for layer in experiment.stack.layers]
            seen.append([new - old for new, old in zip(after, before, strict=True)])
        for layer in (0, 1):
            assert torch.equal(seen[0][layer], seen[1][layer])
            assert seen[0][layer].abs().max() > 0


@given(st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_the_wrong_label_is_never_the_right_one(seed: int) -> None:
    random = generator(seed, "wrong")
    labels = torch.randint(0, 10, (64,), generator=random)
    logits = torch.randn(64, 10, generator=random)
    logits[torch.arange(64), labels] += 30.0  # sure of the truth
    assert not (wrong_labels(logits, labels, random) == labels).any()


def test_wrong_labels_are_drawn_as_likely_as_the_net_takes_them_to_be() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.1, 0.1, 0.3]])).expand(20_000, -1)
    drawn = wrong_labels(logits, torch.zeros(20_000, dtype=torch.int64), generator(0, "wrong"))
    shares = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.2, 0.2, 0.6]), atol=0.02, rtol=0)


def test_the_test_by_goodness_is_the_brute_force_over_labels() -> None:
    data = tiny()
    experiment = supervised.make(data, config_of("supervised", supervised.Settings), CPU, torch.float32)
    images = data.test.images[:7].float() / 255
    found = experiment.scores(images, "every_label")
    for label in range(data.classes):
        hidden = rms(with_label(images, torch.full((7,), label), data.classes))
        total = torch.zeros(7)
        for number, layer in enumerate(experiment.stack.layers):
            units = (hidden @ layer.weight + layer.bias).relu()
            total += units.square().sum(1) if number else 0
            hidden = rms(units)
        torch.testing.assert_close(found[:, label], total, rtol=1e-4, atol=1e-4)
    neutral = label_pixels(data.classes)[-1]
    assert neutral.tolist() == pytest.approx([1 / 3] * 3)


def test_greedy_teaches_one_layer_at_a_time() -> None:
    data = tiny()
    images, labels = data.train.images[:20].float() / 255, data.train.labels[:20]
    experiment = supervised.make(
        data, config_of("supervised", supervised.Settings, greedy=True, weight_decay=0.0, momentum=0.0), CPU,
        torch.float32,
    )  # fmt: skip
    for done, turn in ((0.0, 0), (0.5, 1), (0.99, 2)):
        before = [layer.weight.clone() for layer in experiment.stack.layers]
        experiment.update(images, labels, random=generator(0, "update"), share=1.0, done=done)
        moved = [not torch.equal(a, b.weight) for a, b in zip(before, experiment.stack.layers, strict=True)]
        assert moved == [number == turn for number in range(3)]


def test_hybrid_masks_have_half_of_ones_in_large_regions() -> None:
    mask = masks(300, 28, 28, 6, generator(0, "mask"))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0.45 < float(mask.mean()) < 0.55
    assert 0.4 < float(mask[:, 0].mean()) < 0.6  # at the border too
    alike = (mask[:, :, 1:] == mask[:, :, :-1]).float().mean()
    few = masks(300, 28, 28, 1, generator(0, "mask"))
    assert float(alike) > 0.8 > float((few[:, :, 1:] == few[:, :, :-1]).float().mean())


def test_a_hybrid_has_every_pixel_of_one_of_two_images_and_leaves_them_as_they_are() -> None:
    images = torch.rand(10, 3 * 36, generator=generator(0, "images"))
    before = images.clone()
    mixed = hybrids(images, (3, 6, 6), 2, generator(1, "hybrids"))
    assert torch.equal(images, before)
    partners = set()
    for row in range(10):
        fits = [other for other in range(10) if ((mixed[row] == images[row]) | (mixed[row] == images[other])).all()]
        partners |= {(other - row) % 10 for other in fits if other != row}
        assert len(fits) >= 1
        planes = (mixed[row] == images[row]).view(3, 36)
        assert torch.equal(planes[0], planes[1])  # one mask for all planes
    assert partners


def test_a_mask_is_the_blur_written_out() -> None:
    bits = torch.randint(0, 2, (1, 5, 4), generator=generator(7, "mask")).float()[0]
    padded = F.pad(bits[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    kernel = [0.25, 0.5, 0.25]
    blurred = torch.zeros(5, 4)
    for row in range(5):
        for column in range(4):
            for down in range(3):
                for right in range(3):
                    blurred[row, column] += kernel[down] * kernel[right] * padded[row + down, column + right]
    assert torch.equal(masks(1, 5, 4, 1, generator(7, "mask"))[0], (blurred > 0.5).float())


@given(st.integers(0, 30))
@settings(max_examples=15, deadline=None)
def test_a_jittered_image_is_the_image_shifted(seed: int) -> None:
    image = torch.zeros(1, 2, 7, 7, dtype=torch.uint8)
    image[0, 0, 3, 3], image[0, 1, 3, 4] = 200, 100
    moved = jittered(image.flatten(1), (2, 7, 7), 2, generator(seed, "jitter")).view(2, 7, 7)
    (row, column) = (int(one) for one in moved[0].nonzero()[0])
    assert abs(row - 3) <= 2
    assert abs(column - 3) <= 2
    assert moved.long().sum() == 300
    assert moved[1, row, column + 1] == 100


def test_rates_are_constant_and_then_fall_linearly() -> None:
    step = from_flat("supervised", supervised.Settings, {}).step
    assert [share_at(step, done) for done in (0.0, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0]

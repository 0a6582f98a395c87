"""Runs of the experiments with local fields and with top-down connections: figures, exact resume, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import as_json

from ffseq.baselines import cifar10_twin
from ffseq.checkpoint import load_checkpoint
from ffseq.commands.images import settings
from ffseq.errors import Interrupted, UsageError
from ffseq.images import local_fields
from ffseq.images.config import from_flat
from ffseq.images.data import ImageData, Split, batch_of
from ffseq.images.experiment import module_of
from ffseq.images.local_fields import LocalFields
from ffseq.images.runs import run_experiment
from ffseq.images.still_video import StillVideo

COMMON = [
    "--dataset",
    "glyphs",
    "--epochs",
    "2",
    "--batch_size",
    "30",
    "--threads",
    "1",
    "--dtype",
    "float32",
    "--quiet",
]
OWN = {
    "local-fields": ["--channels", "[4, 5]", "--first_field", "4", "--first_step", "2"],
    "recurrent": ["--units", "16"],
    "cifar10": ["--channels", "2", "--field", "3", "--mirror", "true"],
    "cifar10-backprop": ["--channels", "2", "--field", "3", "--dropout", "0.3"],
}


def config(experiment: str, *words: str, **more: Any) -> Any:
    flat = settings(experiment, [*COMMON, *OWN[experiment], *words])
    flat = {key: value for key, value in flat.items() if key not in ("json", "quiet", "preset")}
    return from_flat(experiment, module_of(experiment).Settings, flat | more)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("experiment", OWN)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    if experiment != "local-fields":  # pictures take longer than the rest
        monkeypatch.setattr(StillVideo, "pictures", lambda *_: {})
        monkeypatch.setattr("ffseq.images.runs.curves", lambda _: {})
    result = as_json(capsys, "images", experiment, *COMMON, *OWN[experiment], "--out_dir", str(whole))
    has = {"local-fields": {"one_pass"}, "cifar10-backprop": {"output"}}.get(experiment, {"one_pass", "every_label"})
    assert set(result["validation_errors"]) == has
    assert result["test_error"] == result.get(f"test_error_{result['best_test']}", result["test_error"])
    if experiment == "local-fields":
        assert {path.stem for path in whole.glob("*.png")} == {"curves", "goodness", "hybrids", "receptive_fields"}
        monkeypatch.setattr(LocalFields, "pictures", lambda *_: {})
        monkeypatch.setattr("ffseq.images.runs.curves", lambda _: {})
    asked = iter([False] * 5)
    with pytest.raises(Interrupted, match="--resume"):
        run_experiment(config(experiment, out_dir=str(parts)), interrupted=lambda: next(asked, True))
    run_experiment(config(experiment, out_dir=str(parts), resume="auto"))
    one, two = load_checkpoint(whole / "last"), load_checkpoint(parts / "last")
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    assert one.trainer_tensors is not None
    assert two.trainer_tensors is not None
    assert all(torch.equal(one.trainer_tensors[name], two.trainer_tensors[name]) for name in one.trainer_tensors)
    assert (whole / "log.jsonl").read_text() == (parts / "log.jsonl").read_text()


def small(side: int = 8, planes: int = 1) -> ImageData:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, planes * side * side), generator=random, dtype=torch.uint8)
    part = Split(images, torch.arange(8) % 4)
    return ImageData("small", (planes, side, side), tuple("abcd"), part, part, part)


def test_the_change_of_a_layer_with_local_fields_is_the_derivative_of_its_own_loss() -> None:
    options = config("local-fields", temperature=3.0, peer_normalisation=0.0, batch_size=8)
    it = local_fields.make(small(), options, torch.device("cpu"), torch.float32)
    images, labels = torch.rand(8, 64, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 4
    shown: list[torch.Tensor] = []
    upward = it.upward
    it.upward = lambda images: shown.append(images) or upward(images)  # type: ignore[method-assign, func-returns-value]
    it.update(images, labels, random=torch.Generator().manual_seed(0), share=0.0, done=0.0)
    assert torch.equal(shown[0][:8], images)  # positives stay as they are
    passes = upward(shown[0])
    for number, (fields, layer) in enumerate(zip(it.fields, it.stack.layers, strict=True)):
        weight = layer.get_parameter("weight").clone().requires_grad_(True)
        bias = layer.get_parameter("bias").clone().requires_grad_(True)
        units = torch.relu(fields.product(passes[number][0], weight) + bias)
        own, theta = units.square().sum(1).view(2, 8), fields.hidden
        loss = 3 * (F.softplus((theta - own[0]) / 3) + F.softplus((own[1] - theta) / 3)).mean()
        expected = torch.autograd.grad(loss, [weight, bias])
        for name, value in zip(("weight", "bias"), expected, strict=True):
            torch.testing.assert_close(it.stack.place(number)[name], -value, rtol=1e-4, atol=1e-5)


def test_untrained_layers_stay_as_they_were() -> None:
    options = config("local-fields", hidden="random", batch_size=8)
    it = local_fields.make(small(), options, torch.device("cpu"), torch.float32)
    before = {name: value.clone() for name, value in it.modules.state_dict().items()}
    with torch.no_grad():
        it.update(torch.rand(8, 64), torch.arange(8) % 3, random=torch.Generator(), share=1.0, done=0.0)
    changed = {name for name, value in it.modules.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"readout.weight", "readout.bias"}


def test_the_paper_has_about_two_thousand_units_in_each_layer() -> None:
    flat = settings("local-fields", ["--preset", "paper"])
    own = local_fields.Settings(channels=flat["channels"])
    sizes = [(one.places, one.hidden) for one in local_fields.maps(own, small(28))]
    assert sizes == [(4, 2048), (3, 1980), (2, 2048)]


def test_units_of_the_twin_keep_to_their_fields() -> None:
    options = config("cifar10-backprop", batch_size=8)
    it = cifar10_twin.make(small(planes=3), options, torch.device("cpu"), torch.float32)
    before = [layer.weight.clone() for layer in it.layers]
    with torch.no_grad():
        it.update(torch.rand(8, 192), torch.arange(8) % 4, random=torch.Generator(), share=1.0, done=0.0)
    for layer, weight in zip(it.layers, before, strict=True):
        mask = layer.fields.mask
        assert mask is not None
        assert not torch.equal(layer.weight, weight)
        assert not (layer.weight * (1 - mask)).any()


def test_about_half_of_the_images_are_mirrored() -> None:
    data = small(planes=3)
    found, labels = batch_of(data, 0, 8, seed=1, device=torch.device("cpu"), mirror=True)
    plain, same = batch_of(data, 0, 8, seed=1, device=torch.device("cpu"))
    turned = plain.view(8, 3, 8, 8).flip(3).flatten(1)
    assert torch.equal(labels, same)
    kinds = [(torch.equal(a, b), torch.equal(a, c)) for a, b, c in zip(found, plain, turned, strict=True)]
    assert all(sum(kind) == 1 for kind in kinds)
    assert 0 < sum(kind[1] for kind in kinds) < 8


def test_pixels_are_left_out_and_the_others_brightened() -> None:
    data = small(planes=3)
    plain, labels = batch_of(data, 0, 8, seed=1, device=torch.device("cpu"))
    found, same = batch_of(data, 0, 8, seed=1, device=torch.device("cpu"), drop_pixels=0.25)
    later = batch_of(data, 8 * (len(data.train) // 8), 8, seed=1, device=torch.device("cpu"), drop_pixels=0.25)[0]
    assert torch.equal(labels, same)
    lit = plain > 0
    kept = found > 0
    assert not (kept & ~lit).any()
    assert torch.allclose(found[kept], plain[kept] / 0.75**0.5)
    share, count = float((kept & lit).sum() / lit.sum()), int(lit.sum())
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / count) ** 0.5  # four standard deviations
    assert not torch.equal(kept, later > 0)
    with pytest.raises(UsageError, match="--drop_pixels"):
        config("local-fields", drop_pixels=1.0)


def test_refusals() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(UsageError, match="do not fit images"):
        local_fields.make(small(), config("local-fields", first_field=5), cpu, torch.float32)
    with pytest.raises(UsageError, match="--channels"):
        local_fields.make(small(), config("local-fields", channels=[]), cpu, torch.float32)
    with pytest.raises(UsageError, match="--batch_size"):
        local_fields.make(small(), config("local-fields", batch_size=1), cpu, torch.float32)
    with pytest.raises(UsageError, match="odd number"):
        cifar10_twin.make(small(), config("cifar10-backprop", field=2), cpu, torch.float32)

"""Optimisers move weights along their changes, as the published rules say."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import small_network
from hypothesis import given
from hypothesis import strategies as st

from ffseq.config import OptimiserConfig
from ffseq.optim import apply_changes, make_optimiser, rate_at


def step_twice(config: OptimiserConfig) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Weights before, the constant change, and weights after two steps, of one layer's first weight matrix."""
    network = small_network()
    layers = list(network.layers)
    before = [layer.candidates.clone() for layer in layers]
    random = torch.Generator().manual_seed(1)
    changes = [
        {name: torch.randn(weight.shape, generator=random) for name, weight in layer.named_parameters()}
        for layer in layers
    ]
    optimiser = make_optimiser(layers, config)
    for _ in range(2):
        apply_changes(
            [optimiser], layers, [{k: v.clone() for k, v in change.items()} for change in changes], config.learning_rate
        )
    return before, [change["candidates"] for change in changes], [layer.candidates.clone() for layer in layers]


def test_gradient_ascent_with_momentum() -> None:
    before, change, after = step_twice(OptimiserConfig(optimiser="sgd", learning_rate=0.1, beta1=0.9, weight_decay=0.0))
    for w, d, now in zip(before, change, after, strict=True):
        torch.testing.assert_close(now, w + 0.1 * d + 0.1 * 1.9 * d)


def test_adamw_by_its_formula() -> None:
    config = OptimiserConfig(optimiser="adamw", learning_rate=0.01, beta1=0.9, beta2=0.99, weight_decay=0.1)
    before, change, after = step_twice(config)
    for start, d, now in zip(before, change, after, strict=True):
        w, m, v = start.double(), torch.zeros_like(start).double(), torch.zeros_like(start).double()
        for t in (1, 2):
            m, v = 0.9 * m + 0.1 * d, 0.99 * v + 0.01 * d * d
            w = w * (1 - 0.01 * 0.1)
            w = w + 0.01 * (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8)
        torch.testing.assert_close(now.double(), w, atol=1e-6, rtol=1e-5)


def test_biases_do_not_decay() -> None:
    network = small_network()
    layers = list(network.layers)
    for layer in layers:
        layer.bias.fill_(1.0)
    optimiser = make_optimiser(layers, OptimiserConfig(weight_decay=0.5, learning_rate=0.1))
    still = [{name: torch.zeros_like(weight) for name, weight in layer.named_parameters()} for layer in layers]
    held = [layer.candidates.clone() for layer in layers]
    apply_changes([optimiser], layers, still, 0.1)
    for layer, candidates in zip(layers, held, strict=True):
        assert torch.equal(layer.bias, torch.ones_like(layer.bias))
        torch.testing.assert_close(layer.candidates, candidates * 0.95)


@given(progress=st.floats(0, 1), step=st.integers(0, 10_000))
def test_the_rate_stays_between_nothing_and_its_peak(progress: float, step: int) -> None:
    config = OptimiserConfig(learning_rate=0.5, warmup_iters=50, constant_share=0.3, final_rate=0.02)
    rate = rate_at(config, step, progress)
    assert 0 < rate <= 0.5
    assert rate_at(config, step, 1.0) == pytest.approx(0.01 * min(1, (step + 1) / 50))
    if step >= 50 and progress <= 0.3:
        assert math.isclose(rate, 0.5)


def test_decay_of_weights_is_decoupled_for_both_kinds() -> None:
    """Nothing but decay: w (1 − rate · decay) each step, momentum or not; biases stay."""
    for kind in ("sgd", "adamw"):
        config = OptimiserConfig(optimiser=kind, learning_rate=0.1, beta1=0.9, weight_decay=0.2)
        network = small_network()
        layers = list(network.stack())
        for layer in layers:
            layer.bias.fill_(1.0)
        before = [layer.candidates.clone() for layer in layers]
        optimiser = make_optimiser(layers, config)
        for _ in range(5):
            nothing = [{n: torch.zeros_like(w) for n, w in layer.named_parameters()} for layer in layers]
            apply_changes([optimiser], layers, nothing, 0.1)
        for layer, start in zip(layers, before, strict=True):
            torch.testing.assert_close(layer.candidates, start * (1 - 0.1 * 0.2) ** 5)
            assert (layer.bias == 1).all()


def test_a_run_does_not_wait_for_the_compiler_of_torch(tmp_path: Path) -> None:
    """Nobody asks for it, and to import it takes more than a second."""
    words = ["train", "fables", "--max_iters", "2", "--units", "8", "--quiet", "--out_dir", str(tmp_path / "run")]
    asked = f"import sys; from ffseq.cli import main; main({words}); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"

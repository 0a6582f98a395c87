"""From changes to weights: AdamW or gradient descent with momentum, and the learning rate over a run.

torch's fused optimisers do the arithmetic; `.grad` is set by hand to the change that a layer computed for itself.
Each layer's weights form a group of their own: no quantity is shared between layers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ffseq.config import OptimiserConfig


def make_optimiser(layers: Iterable[nn.Module], config: OptimiserConfig) -> torch.optim.Optimizer:
    """An optimiser that moves weights along their changes. Biases do not decay.

    Decay is decoupled for both kinds (Loshchilov & Hutter 2019); torch's SGD would send it through the momentum, so
    there `apply_changes` does it, by the group's `decoupled_decay`.
    """
    assert config.learning_rate is not None
    groups = []
    for layer in layers:
        weights = dict(layer.named_parameters())
        kinds = sorted({("readout" in name, "bias" in name) for name in weights})
        for is_readout, is_bias in kinds:
            group = [
                weight
                for name, weight in weights.items()
                if ("readout" in name, "bias" in name) == (is_readout, is_bias) and weight.numel()
            ]
            decay = 0.0 if is_bias else config.weight_decay
            own = (
                {"weight_decay": 0.0, "decoupled_decay": decay}
                if config.optimiser == "sgd"
                else {"weight_decay": decay}
            )
            groups.append({"params": group, "share": config.readout_rate if is_readout else 1.0, **own})
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.beta1, maximize=True, fused=True)
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=1e-8, maximize=True, fused=True)


def apply_changes(
    optimiser: torch.optim.Optimizer, layers: Iterable[nn.Module], changes: Iterable[dict[str, Tensor]], rate: float
) -> None:
    """One step along the changes of every layer, at the given learning rate."""
    for layer, change in zip(layers, changes, strict=True):
        for name, weight in layer.named_parameters():
            weight.grad = change.get(name)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]
        if group.get("decoupled_decay"):
            torch._foreach_mul_(group["params"], 1 - group["lr"] * group["decoupled_decay"])
    optimiser.step()


def state_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers, by `optimiser.NUMBER OF THE WEIGHT.NAME`."""
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    return {
        f"optimiser.{index}.{name}": value
        for index, weight in enumerate(weights)
        for name, value in optimiser.state.get(weight, {}).items()
        if isinstance(value, Tensor)
    }


def restore_state(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `state_tensors`; other names are passed over."""
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            weight = weights[int(index)]
            optimiser.state[weight][name] = value.to(weight.device)


def rate_at(config: OptimiserConfig, step: int, progress: float) -> float:
    """Learning rate of an update: warm-up by updates, then constant, then linear by the share of the run done.

    step: updates done before this one; progress: share of the run done, 0 to 1.

    >>> config = OptimiserConfig(learning_rate=1.0, warmup_iters=10, constant_share=0.5, final_rate=0.0)
    >>> [round(rate_at(config, step, step / 100), 2) for step in (0, 4, 9, 50, 75, 100)]
    [0.1, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    assert config.learning_rate is not None
    warm = min(1.0, (step + 1) / config.warmup_iters) if config.warmup_iters else 1.0
    falling = max(0.0, progress - config.constant_share) / max(1e-9, 1 - config.constant_share)
    return config.learning_rate * warm * (1 - (1 - config.final_rate) * min(1.0, falling))

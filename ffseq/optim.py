"""From changes to weights: AdamW or gradient descent with momentum, and the learning rate over a run.

torch's fused optimisers do the arithmetic; `.grad` is set by hand to the change that a layer computed for itself. They
go weight by weight, in one row or one after the other (see ffseq/flat.py): no quantity is shared between layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ffseq.config import OptimiserConfig
from ffseq.flat import Flat
from ffseq.layers.memory import MemoryLayer
from ffseq.layers.window import WindowLayer

#: Where the sums of squares of a memory begin, for changes summed over a batch.
START = 1.0
#: torch's own, which would import torch's compiler to be left alone by it: more than a second at the start of a run.
_add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)


class RowAdagrad(torch.optim.Optimizer):
    """Adagrad (Duchi et al. 2011) for a table of which an update changes a few rows; its `.grad` is a sparse ascent
    direction. What a row adds up is its own, so a rare context takes as large steps as a frequent one took at first.
    The sums begin at `start`: a candidate whose change is much smaller than its root hardly moves.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, start: float) -> None:
        super().__init__(list(weights), {"lr": lr, "start": start})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch."""
        _add_param_group(self, param_group)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows that changed."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                grad = weight.grad.coalesce()
                rows, change = grad.indices()[0], grad.values()
                state = self.state[weight]
                if "sum" not in state:
                    state["sum"] = torch.full_like(weight, group["start"])
                # Rows are gathered and put back in place: three times faster than by assignment.
                total = state["sum"].index_select(0, rows).addcmul_(change, change)
                state["sum"].index_copy_(0, rows, total)
                weight.index_add_(0, rows, change.mul_(group["lr"]).div_(total.sqrt_()))


class RowAdamW(torch.optim.AdamW):
    """torch's fused AdamW (Loshchilov & Hutter 2019) for few, long rows of weights, each with its `.grad`.

    The same arithmetic in the same kernel; what is left out is what torch does around it at every step, which takes
    longer than the arithmetic where nets are small.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch."""
        _add_param_group(self, param_group)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows along their changes."""
        for group in self.param_groups:
            weights = group["params"]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight] = {
                        "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                        "exp_avg": torch.zeros_like(weight),
                        "exp_avg_sq": torch.zeros_like(weight),
                    }
            states = [self.state[weight] for weight in weights]
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            beta1, beta2 = group["betas"]
            torch._fused_adamw_(
                weights,
                [weight.grad for weight in weights],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=group["maximize"],
            )


def make_optimisers(
    layers: Iterable[nn.Module],
    config: OptimiserConfig,
    batch_size: int,
    flat: Flat | None = None,
    learning: range | None = None,
) -> list[torch.optim.Optimizer]:
    """The optimiser of a stack, and that of its memory if it has one.

    Changes are means over `batch_size` positions. flat: the weights of all layers but the memory in one row, to be
    moved together; they must all learn, or those whose numbers are given as `learning`.
    """
    layers = list(layers)
    memories = [weight for layer in layers if isinstance(layer, MemoryLayer) for weight in layer.parameters()]
    if flat is None:
        rest = make_optimiser([layer for layer in layers if not isinstance(layer, MemoryLayer)], config)
    else:
        rest = _optimiser(_flat_groups(flat, config, learning or range(len(flat.places))), config, RowAdamW)
    if not memories:
        return [rest]
    memory = RowAdagrad(memories, config.memory_rate, START / batch_size**2)
    assert config.learning_rate is not None
    memory.param_groups[0]["share"] = config.memory_rate / config.learning_rate
    return [rest, memory]


def make_optimiser(layers: Iterable[nn.Module], config: OptimiserConfig) -> torch.optim.Optimizer:
    """An optimiser that moves weights along their changes. Biases do not decay.

    Decay is decoupled for both kinds (Loshchilov & Hutter 2019); torch's SGD would send it through the momentum, so
    there `apply_changes` does it, by the group's `decoupled_decay`.
    """
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
            groups.append(_group(group, config, is_bias, config.readout_rate if is_readout else 1.0))
    return _optimiser(groups, config)


def _flat_groups(flat: Flat, config: OptimiserConfig, layers: range) -> list[dict[str, Any]]:
    rows = []
    for part in flat.parts(layers):
        rows.append(nn.Parameter(flat.values[part], requires_grad=False))
        rows[-1].grad = flat.changes[part]
    # Weights are number 0 and biases number 1 either way: checkpoints know what they remember by that (`state_of`).
    if config.weight_decay == 0:
        return [_group(rows, config, False)]
    return [_group([row], config, is_bias) for row, is_bias in zip(rows, (False, True), strict=True)]


def _group(weights: Sequence[Tensor], config: OptimiserConfig, is_bias: bool, share: float = 1.0) -> dict[str, Any]:
    decay = 0.0 if is_bias else config.weight_decay
    if config.optimiser == "sgd":
        return {"params": list(weights), "share": share, "weight_decay": 0.0, "decoupled_decay": decay}
    return {"params": list(weights), "share": share, "weight_decay": decay}


def _optimiser(
    groups: list[dict[str, Any]], config: OptimiserConfig, adamw: type[torch.optim.AdamW] = torch.optim.AdamW
) -> torch.optim.Optimizer:
    assert config.learning_rate is not None
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.beta1, maximize=True, fused=True)
    betas = (config.beta1, config.beta2)
    return adamw(groups, lr=config.learning_rate, betas=betas, eps=1e-8, maximize=True, fused=True)


def apply_changes(
    optimisers: list[torch.optim.Optimizer],
    layers: Iterable[nn.Module],
    changes: Iterable[dict[str, Tensor]],
    rate: float,
    flat: Flat | None = None,
) -> None:
    """One step along the changes of every layer, at the given learning rate. flat: as given to `make_optimisers`."""
    places = iter(flat.places if flat is not None else ())
    for layer, change in zip(layers, changes, strict=True):
        if flat is not None and not isinstance(layer, MemoryLayer):
            # A weight without a change (the candidates' bias with goodness `squares`) never had one: its place is zero.
            own = next(places)
            for name, value in change.items():
                if value is not own[name]:
                    own[name].copy_(value)
        else:
            for name, weight in layer.named_parameters():
                weight.grad = change[name].to(weight.dtype) if name in change else None
        if isinstance(layer, WindowLayer):
            layer.rounded = {}
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
            if group.get("decoupled_decay"):
                torch._foreach_mul_(group["params"], 1 - group["lr"] * group["decoupled_decay"])
        optimiser.step()


def state_tensors(optimisers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimisers remember, by `optimiser.NUMBER OF THE WEIGHT.NAME`."""
    return {
        f"optimiser.{index}.{name}": value
        for index, (optimiser, weight) in enumerate(_weights(optimisers))
        for name, value in optimiser.state.get(weight, {}).items()
        if isinstance(value, Tensor)
    }


def restore_state(optimisers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """The inverse of `state_tensors`; other names are passed over."""
    weights = _weights(optimisers)
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            optimiser, weight = weights[int(index)]
            optimiser.state[weight][name] = value.to(weight.device)


def state_of(tensors: dict[str, Tensor], flat: Flat, layers: range) -> dict[str, Tensor]:
    """Of what `state_tensors` gives for all weights of a row, the places of neighbouring layers; what is one number
    for all of them stays as it is.
    """
    weights, biases = flat.parts(layers)
    parts = {"0": weights, "1": slice(biases.start - flat.biases, biases.stop - flat.biases)}
    return {name: value[parts[name.split(".")[1]]] if value.dim() else value for name, value in tensors.items()}


def _weights(optimisers: list[torch.optim.Optimizer]) -> list[tuple[torch.optim.Optimizer, Tensor]]:
    return [(one, weight) for one in optimisers for group in one.param_groups for weight in group["params"]]


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

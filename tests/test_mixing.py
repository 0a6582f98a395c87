"""A net and a black box mixed online: each symbol is predicted before it is learned from."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.cli import main
from ffseq.mixing import KINDS, RATE, Mixer


def rows(seed: int, n: int, size: int, sharp: float) -> torch.Tensor:
    return (sharp * torch.randn(n, size, generator=torch.Generator().manual_seed(seed))).log_softmax(1)


@given(seed=st.integers(0, 1000), n=st.integers(1, 40), size=st.integers(2, 7), sharp=st.floats(0.1, 20))
@settings(deadline=None, max_examples=60)
def test_rows_are_distributions_and_depend_on_no_later_target(seed: int, n: int, size: int, sharp: float) -> None:
    net, box = rows(seed, n, size, sharp), rows(seed + 1, n, size, sharp)
    targets = torch.randint(0, size, (n,), generator=torch.Generator().manual_seed(seed))
    sides = [net, rows(seed + 2, n, size, 1.0), box]
    mixed = Mixer(3).mix(sides, targets)
    torch.testing.assert_close(mixed.exp().sum(1), torch.ones(n))
    low, high = torch.stack(sides).amin(0), torch.stack(sides).amax(0)
    assert ((mixed >= low - 1e-4) & (mixed <= high + 1e-4)).all()
    place = n // 2
    changed = targets.clone()
    changed[place] = (changed[place] + 1) % size
    again = Mixer(3).mix(sides, changed)
    assert torch.equal(again[: place + 1], mixed[: place + 1])


def test_a_weight_takes_the_step_of_its_own_likelihood() -> None:
    net, box = rows(0, 1, 4, 2.0), rows(1, 1, 4, 2.0)
    target = torch.tensor([2])
    sides = [net, rows(2, 1, 4, 2.0), box]
    mixer = Mixer(3)
    mixer.mix(sides, target)
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (torch.softmax(w, 0) @ torch.cat(sides).double().exp()[:, 2]).log().backward()
    kind = int(net.exp().max() * KINDS) * KINDS + int(box.exp().max() * KINDS)
    assert w.grad is not None
    np.testing.assert_allclose(mixer.weights[kind], RATE * w.grad.numpy(), atol=1e-6)
    assert not np.delete(mixer.weights, kind, 0).any()


def test_it_learns_whom_to_trust() -> None:
    """Where one side knows the truth and the other knows nothing, the mixture comes to know it."""
    n = 4000
    targets = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(0))
    knows = torch.full((n, 4), 0.02).scatter(1, targets[:, None], 0.94).log()
    nothing = torch.full((n, 4), 0.25).log()
    for net, box in ((knows, nothing), (nothing, knows)):
        mixed = Mixer(2).mix([net, box], targets)
        late = -mixed[-500:].gather(1, targets[-500:, None]).mean() / math.log(2)
        assert late < 0.12


def test_evaluate_on_a_black_box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, run = tmp_path / "text.txt", str(tmp_path / "run")
    text.write_text("the cat sat on the mat and the dog ran to the log; " * 60, encoding="utf-8")
    small = ["--layers", "2", "--units", "16", "--block_size", "5", "--batch_size", "16", "--max_iters", "60",
             "--threads", "1", "--dtype", "float32", "--quiet"]  # fmt: skip
    assert main(["train", str(text), *small, "--out_dir", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--json", "--quiet"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert main(["evaluate", run, "--json", "--quiet", "--black_box", "online"]) == 0
    mixed = json.loads(capsys.readouterr().out)
    assert mixed["net_alone"]["bits_per_character"] == alone["bits_per_character"]
    assert mixed["black_box"] == "online"
    assert alone["black_box"] is alone["net_alone"] is None
    net, box = (mixed[name]["bits_per_character"] for name in ("net_alone", "black_box_alone"))
    assert min(net, box) < mixed["bits_per_character"] < (net + box) / 2
    assert main(["evaluate", run, "--black_box", "online"]) == 0
    out = capsys.readouterr().out
    assert "this net and the black box" in out
    assert "its black box alone (online)" in out
    other = tmp_path / "other.txt"
    other.write_text(text.read_text(encoding="utf-8").replace("cat", "dog"), encoding="utf-8")
    for words in ([str(other)], ["--split", "train"], ["--split", "all"], ["--split_rule", "60/20/20"]):
        assert main(["evaluate", run, *words, "--black_box", "online"]) == 2
        assert "--black_box" in capsys.readouterr().err
    assert main(["train", str(text), *small, "--out_dir", run + "2", "--black_box", "kneser_ney"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run + "2", "--black_box", "online"]) == 2
    assert "of its own" in capsys.readouterr().err

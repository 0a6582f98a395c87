"""Goodness functions and negative sources of the user's own, by name."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import QUICK, as_json, refused, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq import further_goodness
from ffseq.baselines.twin import backpropagate
from ffseq.config import LearningConfig
from ffseq.derivatives import check_goodness
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.goodness import Activity, GoodnessFunction, goodness, own_goodness
from ffseq.incremental import next_scores
from ffseq.learning import learn
from ffseq.negatives import draw, own_source
from ffseq.network import SequenceNetwork
from ffseq.options import from_flat
from ffseq.runs import train

MODULE = '''
import torch
from ffseq.goodness import GoodnessFunction
from ffseq.mechanisms import Balance

cubes = GoodnessFunction(
    lambda u, E: u @ E.t() ** 3,
    lambda u, E, s: s @ E ** 3,
    lambda u, E, s: 3 * E ** 2 * (s.t() @ u),
)
agreement = GoodnessFunction(lambda u, E: u @ E.t(), lambda u, E, s: s @ E, lambda u, E, s: s.t() @ u)
number = 3


def other(scores, targets):
    """Any symbol but the one after the truth, all alike."""
    return torch.zeros_like(scores).scatter(1, ((targets + 1) % scores.shape[1])[:, None], -torch.inf)


class Fading(Balance):
    """Asleep with half the strength, and no change but every second one; it knows how many there were."""

    def __init__(self, flat):
        super().__init__(flat)
        self.state["seen"] = torch.zeros((), dtype=torch.int64)

    def signal(self, strength, moment):
        return strength / 2 if moment.phase == "sleep" else strength

    def change(self, moment):
        self.state["seen"] += 1
        return int(self.state["seen"]) % 2 == 0


class Silent(Balance):
    """Nothing is learned."""

    def signal(self, strength, moment):
        return 0 * strength


def nothing(scores, targets):
    return torch.full_like(scores, -torch.inf)


def narrow(scores, targets):
    return scores[:, :1]
'''


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_functions.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_functions", raising=False)
    own_goodness.cache_clear()
    own_source.cache_clear()


@pytest.mark.parametrize("stack", ["window", "causal"])
def test_every_change_of_a_layer_with_a_goodness_of_ones_own_is_autograds(stack: str) -> None:
    network = small_network(goodness="my_functions:cubes", stack=stack, layers=1)
    contexts = torch.randint(0, 5, (6, 4), generator=torch.Generator().manual_seed(1))
    targets = contexts.flip(1)[:, 0].clone()
    given = (network, contexts[:, None] if stack == "causal" else contexts, targets, LearningConfig())
    # One layer: what is below it is text, so its own change and the derivative of the whole are the same.
    mine = learn(*given, random=torch.Generator().manual_seed(2), drop=0.25).changes[0]
    exact = backpropagate(*given, random=torch.Generator().manual_seed(2), drop=0.25).changes[0]
    assert mine.keys() == exact.keys() >= {"context", "bias", "candidates", "candidate_bias"}
    for name, change in mine.items():
        torch.testing.assert_close(change, exact[name], msg=name)
        assert change.abs().max() > 0


@pytest.mark.parametrize("kind", ["bounded", "opposed"])
@pytest.mark.parametrize("stack", ["window", "causal"])
def test_every_change_of_a_layer_with_a_further_goodness_is_autograds(kind: str, stack: str) -> None:
    check_goodness(getattr(further_goodness, kind))
    network = small_network(goodness=kind, stack=stack, layers=1)
    contexts = torch.randint(0, 5, (6, 4), generator=torch.Generator().manual_seed(1))
    targets = contexts.flip(1)[:, 0].clone()
    given = (network, contexts[:, None] if stack == "causal" else contexts, targets, LearningConfig())
    mine = learn(*given, random=torch.Generator().manual_seed(2), drop=0.25).changes[0]
    exact = backpropagate(*given, random=torch.Generator().manual_seed(2), drop=0.25).changes[0]
    assert mine.keys() >= {"context", "bias", "candidates"}
    assert ("candidate_bias" in mine) == (kind == "opposed")
    for name, change in mine.items():
        torch.testing.assert_close(change, exact[name], msg=name)
        assert change.abs().max() > 0


@given(seed=st.integers(0, 1000), size=st.floats(0.1, 100))
@settings(deadline=None, max_examples=30)
def test_bounded_goodness_is_agreement_where_it_is_small_and_never_leaves_its_bound(seed: int, size: float) -> None:
    random = torch.Generator().manual_seed(seed)
    units, candidates = torch.rand(5, 7, generator=random), torch.randn(3, 7, generator=random)
    found = further_goodness.bounded.value(units, size * candidates)
    assert found.abs().max() <= further_goodness.BOUND
    small = further_goodness.bounded.value(units, 1e-3 * candidates)
    torch.testing.assert_close(small, 1e-3 * units @ candidates.t(), rtol=1e-3, atol=1e-6)


def test_opposed_goodness_is_that_of_the_detectors_less_that_of_the_constraints() -> None:
    random = torch.Generator().manual_seed(3)
    units, candidates = torch.randn(5, 7, generator=random).relu(), torch.randn(4, 7, generator=random)
    halves = [
        goodness("squares", Activity(units[:, part]), candidates[:, part], torch.zeros(4))
        for part in (slice(0, 3), slice(3, 7))
    ]
    assert all((half >= 0).all() for half in halves)
    torch.testing.assert_close(further_goodness.opposed.value(units, candidates), halves[0] - halves[1])


def test_a_balance_of_ones_own_weighs_signals_and_changes_and_goes_on_where_it_was(text: str, tmp_path: Path) -> None:
    options = {
        "corpus": text, "stack": "window", "layers": 1, "units": 6, "block_size": 4, "batch_size": 8, "max_iters": 24,
        "objective": "nce", "phases.kind": "sleep", "phases.wake": 3, "phases.sleep": 3, "floors": False,
        "learning_rate": 1e-2, "threads": 1, "dtype": "float32", "calibrate": False,
    }  # fmt: skip

    def trained(mechanism: str, name: str, stop: int = 1000) -> SequenceNetwork:
        calls = iter(range(10_000))
        given = options | {"phases.mechanism": mechanism, "out_dir": str(tmp_path / name), "resume": "auto"}
        train(from_flat(given), interrupted=lambda: next(calls) >= stop)
        return SequenceNetwork.from_pretrained(tmp_path / name)

    whole = trained("my_functions:Fading", "whole")
    with pytest.raises(Interrupted):
        trained("my_functions:Fading", "parts", stop=11)
    parts = trained("my_functions:Fading", "parts")
    plain, silent = trained("none", "plain"), trained("my_functions:Silent", "silent")
    start = trained("my_functions:Silent", "again")
    differ = False
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
        assert torch.equal(silent.state_dict()[name], start.state_dict()[name])
        differ |= not torch.equal(value, plain.state_dict()[name])
    assert differ
    biases = [layer.candidate_bias for layer in silent.layers]
    assert not any(bias.any() for bias in biases)  # they begin at zero, and nothing moved them


def test_agreement_written_as_ones_own_is_agreement() -> None:
    contexts = torch.randint(0, 5, (3, 7, 4), generator=torch.Generator().manual_seed(1))  # T, S, K
    own, ours = (small_network(goodness=kind, stack="causal") for kind in ("my_functions:agreement", "agreement"))
    for network in (own, ours):
        network.gains.copy_(torch.tensor([0.5, 1.5, 2.0]))
    torch.testing.assert_close(own.scores(contexts), ours.scores(contexts))
    one, two = next_scores(own, 7), next_scores(ours, 7)
    for now in contexts:
        torch.testing.assert_close(one(now), two(now))


def test_a_wrong_derivative_is_found() -> None:
    right = {"value": lambda u, E: u @ E.t(), "activity_change": lambda u, E, s: s @ E,
             "candidate_change": lambda u, E, s: s.t() @ u}  # fmt: skip
    check_goodness(GoodnessFunction(**right))
    for name, wrong in (("activity_change", lambda u, E, s: s @ E * 1.001), ("candidate_change", lambda u, E, s: E)):
        with pytest.raises(FfseqError, match=f"{name} is not the derivative"):
            check_goodness(GoodnessFunction(**right | {name: wrong}))
    with pytest.raises(FfseqError, match=r"activity_change has to return a tensor of shape \(5, 6\), not \(5, 4\)"):
        check_goodness(GoodnessFunction(**right | {"activity_change": lambda u, E, s: s}))


def test_negatives_are_drawn_as_the_function_says() -> None:
    scores, targets = torch.zeros(1, 4).expand(4000, 4), torch.full((4000,), 3)
    found = draw("my_functions:other", scores, targets, generator=torch.Generator().manual_seed(0))
    drawn = Counter(found.weights.argmax(1).tolist())
    assert drawn.keys() == {1, 2, 3}  # never 0, the one after the truth
    assert all(abs(count / 4000 - 1 / 3) < 0.03 for count in drawn.values())
    assert found.log_q is not None
    assert found.log_q[0, 1:].tolist() == pytest.approx([-math.log(3)] * 3)
    for name, words in (("nothing", "no distribution"), ("narrow", r"shape \(4000, 1\), expected")):
        with pytest.raises(FfseqError, match=words):
            draw(f"my_functions:{name}", scores, targets)


def test_a_net_with_both_is_trained_saved_and_read_only_where_the_module_is(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ["--goodness", "my_functions:cubes", "--objective", "nce", "--negatives", "my_functions:other"]
    trained = as_json(capsys, "train", text, *QUICK, *mine, "--floors", "no", "--out_dir", str(tmp_path / "run"))
    resumed = as_json(capsys, "train", "--resume", str(tmp_path / "run"), "--floors", "no")
    assert resumed["bits_per_character"] == trained["bits_per_character"]
    assert as_json(capsys, "sample", str(tmp_path / "run"), "--max_new_tokens", "9")["samples"]
    own_goodness.cache_clear()
    monkeypatch.delitem(sys.modules, "my_functions")
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(tmp_path)])
    with pytest.raises(UsageError, match=r"No module named 'my_functions' \(it has to be installed"):
        SequenceNetwork.from_pretrained(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--goodness", "agrement"],
            "give agreement, squares, bounded, opposed, or what is yours",
        ),
        (["--goodness", "my_functions:number"], "is a int, not a ffseq.goodness.GoodnessFunction"),
        (["--goodness", "my_functions:none"], "no attribute 'none'"),
        (["--goodness", "my_broken:f"], "SyntaxError"),
        (["--goodness", "not_there:f"], "installed, on PYTHONPATH, or in the folder"),
        (["--phases.mechanism", "my_functions:number"], "no class made of ffseq.mechanisms.Balance"),
        (["--phases.mechanism", "oponent"], "did you mean 'opponent'?"),
        (["--negatives", "samplet"], "did you mean 'sampled'?"),
        (["--negatives", "my_functions:number"], "has to be a function"),
        (["--negatives", "my_functions:other"], "does not go with"),
    ],
)
def test_what_is_no_function_of_that_kind_is_refused_before_anything(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, "train", *options, "--out_dir", str(tmp_path / "run"), status=2)
    assert not (tmp_path / "run").exists()

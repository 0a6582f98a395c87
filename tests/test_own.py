"""Goodness functions and negative sources of the user's own, by name."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import QUICK, as_json, refused, small_network

from ffseq.baselines.twin import backpropagate
from ffseq.config import LearningConfig
from ffseq.derivatives import check_goodness
from ffseq.errors import FfseqError, UsageError
from ffseq.goodness import GoodnessFunction, own_goodness
from ffseq.incremental import next_scores
from ffseq.learning import learn
from ffseq.negatives import draw, own_source
from ffseq.network import SequenceNetwork

MODULE = '''
import torch
from ffseq.goodness import GoodnessFunction

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
        (["--goodness", "agrement"], "did you mean 'agreement'?): give agreement, squares, or what is yours"),
        (["--goodness", "my_functions:number"], "is a int, not a ffseq.goodness.GoodnessFunction"),
        (["--goodness", "my_functions:none"], "no attribute 'none'"),
        (["--goodness", "my_broken:f"], "SyntaxError"),
        (["--goodness", "not_there:f"], "installed, on PYTHONPATH, or in the folder"),
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

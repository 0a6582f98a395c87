"""Black boxes: exact counting, nothing seen before it is scored, and layers that learn what is left over."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.baselines import online
from ffseq.baselines.ngram import KneserNey
from ffseq.baselines.online import Contexts, online_probabilities
from ffseq.baselines.twin import backpropagate
from ffseq.blackbox import FOLDS, MIXED_ORDERS, BlackBox
from ffseq.cli import main
from ffseq.config import LearningConfig
from ffseq.corpus import load_corpus
from ffseq.errors import FfseqError, Interrupted, UsageError
from ffseq.evaluation import evaluate_segments
from ffseq.learning import learn
from ffseq.options import from_flat
from ffseq.randomness import generator
from ffseq.runs import train
from ffseq.scoring import evaluate
from ffseq.segments import Segment

TEXT = np.random.default_rng(1).choice(5, 400, p=[0.4, 0.3, 0.15, 0.1, 0.05]).astype(np.uint8)
TEXT[1::3] = TEXT[::3][: len(TEXT[1::3])]  # some structure to count


@given(
    text=st.lists(st.integers(0, 3), min_size=2, max_size=60),
    order=st.integers(1, 5),
    discount=st.floats(0.1, 0.95),
    share=st.floats(0, 1),
    chunk=st.integers(1, 100),
)
@settings(deadline=None, max_examples=80)
def test_counting_on_equals_counting_anew_before_every_symbol(
    text: list[int], order: int, discount: float, share: float, chunk: int
) -> None:
    symbols = np.array(text, dtype=np.uint8)
    start = int(share * (len(text) - 1))
    wanted = np.arange(len(text)) >= start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(online, "_CHUNK_NUMBERS", chunk)
        p = online_probabilities(symbols, Contexts.of(symbols, 4, order), 4, discount, wanted)
    for row, position in zip(p, range(start, len(text)), strict=True):
        model = KneserNey.fit(symbols[:position], 4, order, discount)
        np.testing.assert_allclose(row, model.probabilities(symbols, np.array([position]), np.array([0]))[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["kneser_ney", "online"])
def test_no_training_symbol_is_known_where_it_is_predicted(kind: str) -> None:
    """Change one symbol: what is predicted there stays the same to the bit."""
    before = BlackBox(kind, 5, TEXT, order=4).of_training()
    for place in (0, 57, 200, 399):
        changed = TEXT.copy()
        changed[place] = (changed[place] + 1) % 5
        after = BlackBox(kind, 5, changed, order=4).of_training()
        assert (after[place] == before[place]).all()
        assert (after != before).any()
        fold = place * FOLDS // len(TEXT)
        first = len(TEXT) * fold // FOLDS
        if kind == "online":  # nor anywhere before it in its own part
            assert (after[first:place] == before[first:place]).all()


def test_kneser_ney_on_new_text_is_the_floor_and_online_is_counting_on() -> None:
    text = np.concatenate([TEXT, TEXT[100:180]])
    positions, begins = np.arange(410, 470), np.full(60, 403)
    static = BlackBox("kneser_ney", 5, TEXT, order=3).of_text(text, positions, begins)
    model = KneserNey.fit(TEXT, 5, 3, 0.9)
    np.testing.assert_allclose(np.exp(static.astype(float)), model.probabilities(text, positions, begins), atol=2e-3)
    growing = BlackBox("online", 5, TEXT, order=1).of_text(text, positions, begins)
    for row, position in zip(growing, positions, strict=True):
        counts = np.bincount(np.concatenate([TEXT, text[410:position]]), minlength=5)
        p = (np.maximum(counts - 0.9, 0) + 0.9 * (counts > 0).sum() / 5) / counts.sum()
        np.testing.assert_allclose(np.exp(row.astype(float)), p, atol=2e-3)


def test_a_mixture_is_given_each_order_of_a_model_that_counts_on() -> None:
    text = np.concatenate([TEXT, TEXT[100:180]])
    positions, begins = np.arange(410, 470), np.full(60, 403)
    tables = BlackBox("online", 5, TEXT, order=5).each_of_text(text, positions, begins)
    for order, table in zip((*MIXED_ORDERS, 5), tables, strict=True):
        assert (table == BlackBox("online", 5, TEXT, order=order).of_text(text, positions, begins)).all()
    (alone,) = BlackBox("kneser_ney", 5, TEXT, order=5).each_of_text(text, positions, begins)
    assert (alone == BlackBox("kneser_ney", 5, TEXT, order=5).of_text(text, positions, begins)).all()


def test_positions_of_the_training_text_are_cross_fitted_wherever_they_are_asked_for() -> None:
    text = np.concatenate([TEXT, TEXT[:50]])
    box = BlackBox("kneser_ney", 5, TEXT, order=3)
    rows = box.of_text(text, np.arange(390, 420), np.zeros(30, dtype=np.int64))
    assert (rows[:10] == box.of_training()[390:]).all()
    assert (rows[10:] == box.of_text(text, np.arange(400, 420), np.zeros(20, dtype=np.int64))).all()


@pytest.mark.parametrize("stack", ["window", "causal"])
@pytest.mark.parametrize("kind", ["kneser_ney", "online"])
def test_probabilities_pass_unchanged_where_all_layers_are_zero(stack: str, kind: str) -> None:
    network = small_network(stack=stack, black_box=kind, black_box_order=3)
    network.attach(BlackBox(kind, 5, TEXT[:300], order=3))
    for layer in network.stack():
        layer.candidates.zero_()
    segments = [Segment(0, 300, 340), Segment(350, 353, 380), Segment(360, 363, 390)]
    found = evaluate_segments(network, TEXT, segments, batch_size=16)
    assert network.black_box is not None
    from ffseq.segments import positions_of

    positions, begins = positions_of(segments)
    rows = network.black_box.of_text(TEXT, positions, begins).astype(float)
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    expected = -rows[np.arange(len(rows)), TEXT[positions]].sum() / math.log(2)
    assert found.bits == pytest.approx(expected, rel=1e-5)


def test_copies_of_a_net_share_what_its_box_has_said(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network(black_box="kneser_ney", black_box_order=3)
    network.attach(BlackBox("kneser_ney", 5, TEXT[:300], order=3))
    segments = [Segment(0, 300, 340)]
    found = evaluate_segments(network, TEXT, segments)
    other = copy.deepcopy(network)
    with monkeypatch.context() as patch:
        patch.delattr(BlackBox, "of_text")  # nothing is left to be asked of it
        assert evaluate_segments(other, TEXT, segments) == found
    other.attach(BlackBox("kneser_ney", 5, TEXT[:200], order=3))  # another box has said nothing yet
    assert evaluate_segments(other, TEXT, segments) != found
    assert evaluate_segments(network, TEXT, segments) == found


@pytest.mark.parametrize("method", [learn, backpropagate])
@pytest.mark.parametrize("scope", ["own", "below", "all"])
def test_layers_learn_from_the_score_that_the_box_is_part_of(method: Any, scope: str) -> None:
    """The signal is that of softmax(S + log q), whoever learns from it."""
    network = small_network(layers=1)
    contexts = torch.randint(0, 5, (7, 4), generator=generator(0, "c"))
    targets = torch.randint(0, 5, (7,), generator=generator(0, "t"))
    outside = torch.randn(7, 5, generator=generator(0, "b")).log_softmax(1)
    learning = LearningConfig(objective="likelihood", scope=scope)  # type: ignore[arg-type]
    update = method(network, contexts, targets, learning, random=generator(0, "l"), black_box=outside)
    p = (network.scores(contexts) + outside).softmax(1)
    signal = torch.nn.functional.one_hot(targets, 5) - p
    torch.testing.assert_close(update.changes[0]["candidate_bias"], signal.mean(0))
    assert float(update.bits) == pytest.approx(float(-p.gather(1, targets[:, None]).log2().mean()), rel=1e-5)


SMALL = {
    "stack": "window", "layers": 2, "units": 24, "block_size": 6, "dropout": 0.1, "batch_size": 32, "max_iters": 150,
    "learning_rate": 3e-3, "eval_interval": 50, "log_interval": 50, "sample_interval": 50, "floors": "yes",
    "threads": 1, "dtype": "float32", "alphabet": "characters",
}  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    words = np.random.default_rng(3).choice(["the cat", "a dog", "sat on", "ran to", "mat,", "log."], 700)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["kneser_ney", "online"])
@pytest.mark.parametrize("stack", ["window", "causal"])
def test_a_net_on_a_box_trains_resumes_saves_and_samples(kind: str, stack: str, text: str, tmp_path: Path) -> None:
    options = SMALL | {"corpus": text, "black_box": kind, "stack": stack, "batch_size": 64}
    whole = train(from_flat(options | {"out_dir": str(tmp_path / "a")}))
    assert whole["black_box"] == kind
    assert whole["bits_per_character"] < whole["floors"]["kneser_ney"]["bits_per_character"] * 1.1
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(from_flat(options | {"out_dir": str(tmp_path / "b")}), interrupted=lambda: next(calls) > 70)
    resumed = train(from_flat(options | {"out_dir": str(tmp_path / "b"), "resume": "auto"}))
    assert resumed["bits_per_character"] == whole["bits_per_character"]
    again = evaluate(str(tmp_path / "a"))
    assert again["bits_per_character"] == pytest.approx(whole["bits_per_character"], rel=1e-6)
    elsewhere = tmp_path / "new.txt"
    elsewhere.write_text("the cat sat on a dog ran to mat, log. " * 20, encoding="utf-8")
    assert evaluate(str(tmp_path / "a"), str(elsewhere))["bits_per_character"] < 4
    from ffseq import SequenceNetwork

    network = SequenceNetwork.from_pretrained(tmp_path / "a")
    assert network.generate("the ", max_new_tokens=30, seed=1) == network.generate("the ", max_new_tokens=30, seed=1)
    bits = network.score("the cat sat on a dog")
    assert float(bits.mean()) < 3


def test_a_function_is_a_box_and_a_wrong_one_is_told_so(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mybox.py").write_text(
        "import numpy as np\n"
        "def flat(symbols, positions, begins):\n    return np.full((len(positions), 17), -np.log(17))\n"
        "def wrong(symbols, positions, begins):\n    return np.zeros((len(positions), 17))\n"
        "def small(symbols, positions, begins):\n    return np.zeros((len(positions), 2))\n"
        "def fails(symbols, positions, begins):\n    raise RuntimeError('no')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    size = len(load_corpus(text, alphabet="characters").alphabet)
    source = (tmp_path / "mybox.py").read_text(encoding="utf-8").replace("17", str(size))
    (tmp_path / "mybox.py").write_text(source, encoding="utf-8")
    sys.modules.pop("mybox", None)
    plain = train(from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "p")}))
    boxed = train(from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / "f"), "black_box": "mybox:flat"}))
    # A box that knows nothing changes nothing.
    assert boxed["bits_per_character"] == pytest.approx(plain["bits_per_character"], rel=1e-3)
    for name, words in [("wrong", "no distribution"), ("small", "shape"), ("fails", "RuntimeError: no")]:
        with pytest.raises(FfseqError, match=words):
            train(from_flat(SMALL | {"corpus": text, "out_dir": str(tmp_path / name), "black_box": f"mybox:{name}"}))
    for kind in ("nothing", "mybox:absent", "no_such_module:f"):
        assert main(["train", text, "--black_box", kind, "--out_dir", str(tmp_path / "x"), "--quiet"]) == 2
        assert "--black_box" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--black_box"):
        from_flat(SMALL | {"corpus": text, "black_box": "online", "stream": True})


@pytest.mark.parametrize("between", ["quantised", "projected", "stepped"])
@pytest.mark.parametrize("stack", ["window", "causal"])
def test_through_a_box_between_layers_no_derivative_comes_down(between: str, stack: str) -> None:
    """FF changes every layer as ever; what backpropagation can still do there is exactly what FF does."""
    network = small_network(stack=stack, between=between).double()
    network.products = torch.float64
    network.boxes = [None if box is None else box.double() for box in network.boxes]
    shape = (5, 4, 4) if stack == "causal" else (20, 4)
    contexts = torch.randint(0, 5, shape, generator=generator(0, "c"))
    targets = torch.randint(0, 5, (20,), generator=generator(0, "t"))
    learning = LearningConfig(objective="likelihood", scope="all")
    forward = learn(network, contexts, targets, learning, random=generator(0, "l"))
    backward = backpropagate(network, contexts, targets, learning, random=generator(0, "l"))
    for mine, its in zip(forward.changes, backward.changes, strict=True):
        for name, change in mine.items():
            torch.testing.assert_close(change, its[name])
            assert change.abs().max() > 0
    plain = small_network(stack=stack).double()
    plain.products = torch.float64
    backward = backpropagate(plain, contexts, targets, learning, random=generator(0, "l"))
    forward = learn(plain, contexts, targets, learning, random=generator(0, "l"))
    assert not torch.allclose(forward.changes[0]["bias"], backward.changes[0]["bias"])


def test_json_names_the_box(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--{key}={value}" for key, value in SMALL.items() if key != "max_iters"]
    code = main(["train", text, *words, "--max_iters", "20", "--black_box", "online", "--between", "quantised",
                 "--out_dir", str(tmp_path / "r"), "--json", "--quiet"])  # fmt: skip
    assert code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["black_box"] == "online"

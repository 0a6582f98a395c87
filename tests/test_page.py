"""The page about a run: what is on it, against the net itself; and that no text can break it."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import as_json, go, refused, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ffseq.alphabet import Alphabet
from ffseq.blackbox import black_box_of
from ffseq.cli import main
from ffseq.config import NetworkConfig
from ffseq.corpus import load_corpus
from ffseq.network import SequenceNetwork
from ffseq.page.charts import Curve, Level, chart
from ffseq.page.gather import gather
from ffseq.page.passage import read_passage
from ffseq.page.reading import EDGES, SHARES, embedded, passage_data, passage_html
from ffseq.page.render import page
from ffseq.page.symbols import by_itself, cells, in_text, names
from ffseq.scoring import alone_of, evaluate, load_network
from ffseq.splits import Segment
from ffseq.windows import contexts_at

#: What would break a careless page: markup, quotes, line breaks of several kinds, emoji, right to left, controls.
HOSTILE = (
    "a <script>alert(\"x\")</script> & 'q' <!-- </style> \u2028\u2029 e\u0301 \U0001f600\u200d "
    "\u05e9\u05dc\u05d5\u05dd \u202e \x07\x00\t ${title} $data end.\n"
)


class Read(HTMLParser):
    """A page taken apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: list[list[str]] = []
        self.data: Any = None
        self.words = self.code = ""
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "input", "br", "path"):
            self._open.append((tag, dict(attrs)))
        if tag == "span" and (dict(attrs).get("class") or "").startswith("c s"):
            self.cells.append([str(dict(attrs)["class"]), ""])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        if attributes.get("id") == "data":
            self.data = json.loads(data)
        elif tag in ("script", "style"):
            self.code += data
        else:
            self.words += data
        if tag == "span" and (attributes.get("class") or "").startswith("c s"):
            self.cells[-1][1] += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a text that would break a careless page; its samples are such text as well."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "text.txt").write_text(HOSTILE * 40, encoding="utf-8")
    go(str(folder / "text.txt"), folder / "run", floors="yes", sample_interval=20)
    (folder / "run" / "samples" / "00000030.txt").write_text(HOSTILE, encoding="utf-8")
    return folder / "run"


def test_a_page_tells_what_the_net_says_whatever_the_text_is(hostile: Path) -> None:
    html = page(gather(hostile, passage=150, start=30, threads=1))
    told = Read(html)
    network, _ = load_network(hostile)
    corpus = load_corpus(str(hostile.parent / "text.txt"))
    text = HOSTILE * 40
    first = corpus.held_out.start + 30
    assert "".join(cell for _, cell in told.cells) == in_text(text[first : first + 150])
    net = told.data["views"][0]
    assert net["bits"] == pytest.approx(100 * network.score(text)[first : first + 150].numpy(), abs=0.51)
    assert [int(kind.removeprefix("c s")) for kind, _ in told.cells] == pytest.approx(
        [sum(bits >= 100 * edge for edge in EDGES) for bits in net["bits"]], abs=0
    )
    contexts = contexts_at(corpus.symbols, np.arange(first, first + 150), network.block_size, len(corpus.alphabet))
    goodness = network.goodness(contexts)
    scores = [goodness.sum(0), *(own / t for own, t in zip(goodness, alone_of(network, corpus), strict=True))]
    real = torch.from_numpy(corpus.symbols[first : first + 150].astype(np.int64))
    called = names(corpus.alphabet, range(len(corpus.alphabet)))
    for view, score in zip(told.data["views"], scores, strict=True):
        p = torch.softmax(score.double(), 1)
        chance = p.gather(1, real[:, None])
        assert view["bits"] == pytest.approx(-100 * torch.log2(chance[:, 0]).numpy(), abs=0.51)
        assert view["rank"] == ((p > chance).sum(1) + 1).tolist()
        shares, top = np.reshape(view["p"], (150, 10)), np.reshape(view["top"], (150, 10))
        assert (shares.sum(1) <= SHARES).all()
        assert shares == pytest.approx(p.topk(10, 1).values.numpy() * SHARES - 0.5, abs=0.51)
        for row, best in zip(top[:20], p.topk(3, 1).indices.tolist(), strict=False):
            assert [told.data["names"][one] for one in row[:3]] == [called[one] for one in best]
    assert [told.data["names"][one] for one in told.data["real"]] == [called[one] for one in real.tolist()]


def test_no_text_becomes_markup_and_nothing_is_asked_for_outside(hostile: Path) -> None:
    html = page(gather(hostile, threads=1))
    told = Read(html)
    assert told.tags.count("script") == 2
    assert told.tags.count("style") == 1
    assert in_text(HOSTILE) in told.words  # the sample, as text
    assert not {"img", "iframe", "object", "form", "base"} & set(told.tags)
    assert [value for name, value in told.attributes if name in ("src", "href", "srcset")] == ["data:,"]
    assert not re.search(r"https?:|url\(|@import|fetch|XMLHttp|import\(", told.code)
    assert not any(name.startswith("on") for name, _ in told.attributes)
    invisible = {c for c in html if unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp")}
    assert invisible <= {"\n"}
    assert len(html.encode()) < 1_000_000


NETS: dict[str, dict[str, Any]] = {
    "window with memory": {"memory": 64, "memory_lengths": "2,3", "block_size": 4},
    "causal": {"stack": "causal"},
    "literal": {"stack": "literal", "readout": "both"},
    "squares": {"goodness": "squares"},
    "black box": {"black_box": "online", "black_box_order": 3, "black_box_discount": 0.7},
}


def reader(name: str) -> tuple[SequenceNetwork, np.ndarray[Any, np.dtype[np.uint8]]]:
    """A net with something to say, and a text for it."""
    symbols = np.random.default_rng(1).integers(0, 5, 400).astype(np.uint8)
    network = small_network(**NETS[name])
    random = torch.Generator().manual_seed(2)
    for layer in network.stack():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random) * 0.5)
    if network.memory is not None:
        network.memory.seen.fill_(True)
    if network.config.black_box != "none":
        network.attach(black_box_of(network.config, symbols[:200], 5))
    return network, symbols


@pytest.mark.parametrize("name", NETS)
def test_a_passage_from_the_middle_is_a_part_of_the_whole(name: str) -> None:
    network, symbols = reader(name)
    segments = [Segment(0, 200, 280), Segment(300, 310, 390)]
    alone = [2.0, 0.5, 1.0, 3.0][: len(list(network.stack()))]
    whole = read_passage(network, symbols, segments, alone, start=0, length=1000)
    assert len(whole.symbols) == whole.of == 160
    assert whole.breaks == (80,)
    if name != "black box":  # that one has counted, of the same text, what it was asked
        bits = SequenceNetwork.score(network, network.alphabet.decode(symbols))
        assert whole.views[0].bits[:80] == pytest.approx(bits[200:280].numpy(), abs=1e-4)
    part = read_passage(network, symbols, segments, alone, start=70, length=30)
    assert part.breaks == (10,)
    assert part.lead.tolist() == symbols[230:270].tolist()
    assert part.symbols.tolist() == whole.symbols[70:100].tolist()
    for view, other in zip(part.views, whole.views, strict=True):
        assert view.bits == pytest.approx(other.bits[70:100], abs=1e-4)
        assert view.p == pytest.approx(other.p[70:100], abs=1e-5)
    expected = {
        "window with memory": ["layer 1 (memory)", "layer 2", "layer 3", "layer 4"],
        "literal": ["layer 2", "layer 3"],
    }
    assert [view.name for view in part.views[1:]] == expected.get(name, ["layer 1", "layer 2", "layer 3"])


def test_symbols_may_be_several_characters() -> None:
    class Pieces(Alphabet):
        def __post_init__(self) -> None:
            pass

    pieces = Pieces("characters", ("the ", "<b>", "&amp;\n", "q"))
    network = SequenceNetwork(NetworkConfig(block_size=3, units=8, layers=2, dropout=0.0), pieces)
    symbols = np.array([0, 1, 2, 3, 0, 2, 1, 3, 0, 0], dtype=np.uint8)
    passage = read_passage(network, symbols, [Segment(0, 3, 10)], [1.0, 1.0], start=0, length=99)
    told = Read(passage_html(passage))
    assert [cell for _, cell in told.cells] == ["q", "the ", "&amp;⏎\n", "<b>", "q", "the ", "the "]
    data = passage_data(passage)
    assert set(data["names"]) == {"the␣", "<b>", "&amp;⏎", "q"}
    assert data["top"] == data["candidates"] == 4


BYTES = Alphabet.named("bytes")


@settings(max_examples=50)
@given(st.text(max_size=12))
def test_bytes_are_shown_as_the_characters_that_they_make(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    data = text.encode()
    shown = cells(BYTES, list(data))
    assert len(shown) == len(data)
    assert "".join(cell for cell, byte in zip(shown, data, strict=True) if byte & 0xC0 != 0x80) == in_text(text)
    assert cells(BYTES, list("é€".encode()[1:4])) == ["‹A9›", "‹E2›", "‹82›"]  # cut in the middle
    assert names(BYTES, [0x20, 0xE2]) == ["␣", "byte E2"]


@given(st.characters())
def test_a_candidate_is_never_invisible(character: str) -> None:
    shown = by_itself(character)
    assert shown.strip() == shown != ""
    assert all(unicodedata.category(one)[0] not in "CZ" for one in shown)


@settings(max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda some: st.lists(some, max_size=4)))
def test_embedded_json_cannot_end_its_element(data: Any) -> None:
    text = embedded(data)
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()


def test_colours_can_be_read_upon_and_are_ordered_by_lightness() -> None:
    style = (Path(__file__).parent.parent / "ffseq" / "page" / "style.css").read_text(encoding="utf-8")
    colours = {name: pair for name, *pair in re.findall(r"--(\w+): light-dark\(#(\w{6}), #(\w{6})\)", style)}

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    steps = len(EDGES) + 1
    for theme in (0, 1):
        for number in range(steps):
            assert contrast(colours[f"t{number}"][theme], colours[f"s{number}"][theme]) >= 4.5
        for name in ("ink", "soft", "accent"):
            for ground in ("paper", "panel"):
                assert contrast(colours[name][theme], colours[ground][theme]) >= 4.5
        light = [luminance(colours[f"s{number}"][theme]) for number in range(steps)]
        assert light == sorted(light, reverse=theme == 0)
        # Far enough apart to be told from each other by lightness alone (CIE L*, of which 2 to 3 are just seen).
        assert np.diff([116 * np.cbrt(one) - 16 for one in light]).__abs__().min() > 2.2


def test_charts_have_their_lines_where_the_numbers_are() -> None:
    points = [(float(x), 4.0 - x / 1000) for x in range(1001)]
    html = chart("T", [Curve("a <b>", "main", points)], [Level("floor", "dashed", 3.5)], across="x", up="y")
    assert "a &lt;b&gt;" in html
    (curve,) = re.findall(r'<path class="main" d="M([^h]*)h0"', html)
    drawn = np.array([[float(one) for one in pair.split()] for pair in curve.split("L")])
    assert len(drawn) <= 240
    assert (np.diff(drawn[:, 0]) > 0).all()  # to the right
    assert (np.diff(drawn[:, 1]) > 0).all()  # and down: bits fall
    (level,) = re.findall(r'<path class="dashed" d="M0 (\S+)H1000"', html)
    assert float(level) == pytest.approx((drawn[0, 1] + drawn[-1, 1]) / 2, abs=3)
    assert chart("T", [Curve("a", "main", [])], across="x", up="y") == ""
    assert "nan" not in chart("T", [Curve("a", "main", [(0.0, 0.0)])], across="x", up="y")


def test_a_page_of_a_run_has_the_runs_figures(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads((hostile / "result.json").read_text())
    told = as_json(capsys, "report", str(hostile), "--passage", "20", "--from", "7", "--threads", "1")
    assert told["page"] == str(hostile / "report.html")
    assert told["bytes"] == (hostile / "report.html").stat().st_size
    assert told["bits_per_character"] == result["bits_per_character"]
    assert told["floors"] == result["floors"]
    assert told["passage"]["from"] == 7
    assert told["passage"]["symbols"] == 20
    assert told["missing"] == []
    words = Read((hostile / "report.html").read_text(encoding="utf-8")).words
    for figure in (result["bits_per_character"], result["floors"]["kneser_ney"]["bits_per_character"]):
        assert f"{figure:.3f}" in words
    assert "validation" in words
    assert "--units" in words  # not what ffseq would have chosen
    assert "--seed" not in words
    # Again into the same place, and measured on another text.
    other = as_json(
        capsys, "report", str(hostile), str(hostile.parent / "text.txt"), "--floors", "no", "--passage", "0"
    )
    assert other["passage"] is None
    assert other["bits_per_character"] == pytest.approx(told["bits_per_character"], rel=1e-5)


def test_what_a_run_does_not_have_is_told(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(run: Path, *words: str) -> tuple[dict[str, Any], str]:
        result = as_json(capsys, "report", str(run), *words, "--threads", "1", "--passage", "30")
        return result, Read(Path(result["page"]).read_text(encoding="utf-8")).words

    # Interrupted: no result, a log whose last line is cut short, validation never reached.
    go(text, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write('{"step": 45, "kind": "tr')
    result, words = told(tmp_path / "run", "--floors", "no")
    assert "has not ended" in words
    assert "--floors yes" in words
    assert result["bits_per_character"] == evaluate(tmp_path / "run", floors="no", threads=1)["bits_per_character"]
    # No validation text.
    go(text, tmp_path / "unchecked", split_rule="90/0/10")
    result, words = told(tmp_path / "unchecked")
    assert "no validation text" in words
    # A net by itself, with nothing about a run.
    load_network(tmp_path / "run")[0].save_pretrained(tmp_path / "net")
    result, words = told(tmp_path / "net")
    assert len(result["missing"]) == 3
    assert "no log" in words
    assert result["passage"] is None
    result, words = told(tmp_path / "net", text)
    assert result["passage"]["symbols"] == 30
    # A text that is gone: what the run has kept is shown.
    go(text, tmp_path / "lost")
    Path(text).rename(tmp_path / "moved.txt")
    result, words = told(tmp_path / "lost")
    assert "text.txt" in words
    assert result["bits_per_character"] is not None
    assert result["passage"] is None


def test_streams_and_sleepers_have_pages_too(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--units", "12", "--layers", "2", "--threads", "1", "--dtype", "float32", "--quiet"]
    stream, sleeper = str(tmp_path / "stream"), str(tmp_path / "sleeper")
    assert (
        main(["train", text, "--stream", *short, "--log_interval", "5", "--max_iters", "20", "--out_dir", stream]) == 0
    )
    result = as_json(capsys, "report", stream)
    assert result["prequential_bits_per_character"] > 0
    assert result["passage"] is None
    assert "of late" in Read(Path(result["page"]).read_text(encoding="utf-8")).words
    sleep = ["--objective", "nce", "--phases.kind", "sleep", "--phases.wake", "5", "--phases.sleep", "5"]
    learning = [
        "--stack",
        "window",
        "--block_size",
        "4",
        "--max_iters",
        "20",
        "--log_interval",
        "5",
        "--batch_size",
        "16",
    ]
    assert main(["train", text, *short, *sleep, *learning, "--out_dir", sleeper]) == 0
    html = Path(as_json(capsys, "report", sleeper)["page"]).read_text(encoding="utf-8")
    assert "updates</p>" in html  # counted in updates: asleep no characters are seen


def test_what_makes_no_sense_is_refused(hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    run, out = str(hostile), str(tmp_path / "page.html")
    for words, expected in (
        (["nowhere"], "nowhere"),
        ([run, "--from", "100000"], "--from"),
        ([run, "--from=-1"], "--from"),
        ([run, "--passage", "1000001"], "--passage"),
        ([run, "--passage", "few"], "--passage"),
        ([run, "no/such/text.txt"], "text.txt"),
        ([run, "--floors", "perhaps"], "floors"),
    ):
        assert expected in refused(capsys, "report", *words, "--out", out)
    for place, expected in (("notes.txt", "no page of ffseq"), ("", "is a folder"), ("no/where.html", "no folder")):
        assert expected in refused(capsys, "report", run, "--out", str(tmp_path / place), status=2)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt"}
    assert (tmp_path / "notes.txt").read_text() == "mine"

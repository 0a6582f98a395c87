"""The page about a run in headless Chromium: it renders without a complaint, and tells what is asked by pointing."""

from __future__ import annotations

import json
from pathlib import Path

import chromium
import pytest
from conftest import go

from ffseq.page.gather import gather
from ffseq.page.reading import SHARES, passage_data
from ffseq.page.render import page

TEXT = 'The <b>cat</b> &amp; "the" dog; \u05e9\u05dc\u05d5\u05dd \U0001f600 \u2028 sat.\n'
ROWS = "[...document.querySelectorAll('#told li')].map(e => [...e.querySelectorAll('span')].map(s => s.textContent))"


@pytest.mark.skipif(chromium.found() is None, reason="there is no chromium, chromium-browser or google-chrome here")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT * 60, encoding="utf-8")
    go(str(tmp_path / "text.txt"), tmp_path / "run", memory=64, memory_lengths="2,3", sample_interval=20)
    content = gather(tmp_path / "run", passage=120, threads=1)
    path = tmp_path / "page.html"
    path.write_text(page(content), encoding="utf-8")
    assert content.passage is not None
    data = passage_data(content.passage)

    def rows(view: int, at: int) -> list[list[str]]:
        """What has to be told of a position: rank, name, share."""
        some, top = data["views"][view], data["top"]
        told = [
            [str(k + 1), data["names"][some["top"][at * top + k]], share(some["p"][at * top + k] / SHARES)]
            for k in range(top)
        ]
        real = data["names"][data["real"][at]]
        if real not in [one[1] for one in told]:
            told.append([str(some["rank"][at]), real, share(2 ** -(some["bits"][at] / 100))])
        return told

    def share(p: float) -> str:
        return "<0.1%" if p < 0.0005 else f"{100 * p:.1f}%"

    def close(found: list[list[str]], expected: list[list[str]]) -> bool:
        return [[one[0], one[1], one[3]] for one in found] == expected

    with chromium.tab(tmp_path / "profile") as tab:
        tab.open(path)
        assert tab.value("document.querySelectorAll('#passage .c').length") == 120
        tab.point("#c30")
        assert tab.value("document.querySelector('.at').id") == "c30"
        assert close(tab.value(ROWS), rows(0, 30))
        assert tab.value("document.querySelectorAll('#told li.real').length") == 1
        bits = data["views"][0]["bits"][30] / 100
        assert tab.value("document.querySelector('#told .said').textContent").startswith(f"{bits:.2f} bits")
        # By the keyboard, once the passage has the focus; and what a screen reader is told.
        tab.value("document.getElementById('passage').focus()")
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            tab.press(key)
        assert tab.value("document.activeElement.getAttribute('aria-activedescendant')") == "c31"
        assert close(tab.value(ROWS), rows(0, 31))
        label = tab.value("document.querySelector('[aria-selected=true]').getAttribute('aria-label')")
        assert label.startswith(f"{data['names'][data['real'][31]]}, {data['views'][0]['bits'][31] / 100:.2f} bits")
        tab.press("ArrowDown")
        line = "Math.round(document.getElementById('%s').getBoundingClientRect().top)"
        assert tab.value(line % tab.value("document.querySelector('.at').id")) > tab.value(line % "c31")
        tab.press("Escape")
        # By one layer alone: its candidates, its colours.
        tab.click("label:has([value='2'])")
        tab.point("#c77")
        assert close(tab.value(ROWS), rows(2, 77))
        colours = tab.value(
            "[...document.querySelectorAll('#passage .c')].map(e => Number(e.className.match(/s(\\d)/)[1]))"
        )
        assert colours == [sum(bits >= 100 * edge for edge in data["edges"]) for bits in data["views"][2]["bits"]]
        # Light and dark, by preference and by the button.
        ground = "getComputedStyle(document.body).backgroundColor"
        light = tab.value(ground)
        tab.open(path, dark=True)
        dark = tab.value(ground)
        assert light != dark
        tab.click("#theme")
        assert tab.value(ground) == light
        tab.click("#theme")
        assert tab.value(ground) == dark
        # On a phone: nothing to scroll sideways, a tap tells, nothing moves where no motion is wanted.
        tab.open(path, width=360, height=740, still=True)
        assert tab.value("document.documentElement.scrollWidth") <= 360
        tab.tap("#c50")
        assert tab.value("document.querySelector('.at').id") == "c50"
        assert close(tab.value(ROWS), rows(0, 50))
        assert tab.value("getComputedStyle(document.querySelector('#told .bar i')).transitionDuration") == "0s"
        assert tab.complaints == []
        assert {url for url in tab.requests if not url.startswith("data:")} == {path.as_uri()}
        assert json.loads(tab.value("JSON.stringify(performance.getEntriesByType('resource'))")) == []

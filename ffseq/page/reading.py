"""A passage as HTML, coloured by surprise, and as the data from which the page tells what was expected."""

from __future__ import annotations

import json
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from ffseq.page.passage import Passage
from ffseq.page.symbols import cells, names

#: Bits at which one colour ends and the next begins.
EDGES = (0.5, 1, 2, 3, 4, 6, 8)
#: Probabilities are told in so many parts, rounded down: told ones never sum to more than 1.
SHARES = 10_000


def passage_html(passage: Passage) -> str:
    """The controls, the legend, the passage itself and the place where the page tells what was expected."""
    views = "".join(
        f'<label><input type="radio" name="view" value="{number}"{" checked" if not number else ""}> '
        f"{escape(view.name)} <b>{view.bits.mean():.2f}</b></label>"
        for number, view in enumerate(passage.views)
    )
    bounds = [
        "< ½",
        "½–1",
        *(f"{low}–{high}" for low, high in pairwise(EDGES[1:])),
        f"{EDGES[-1]} +",
    ]
    scale = "".join(f'<li class="s{number}">{text}</li>' for number, text in enumerate(bounds))
    lead = "".join(cells(passage.alphabet, passage.lead.tolist()))
    shown = cells(passage.alphabet, passage.symbols.tolist())
    colours = np.searchsorted(EDGES, passage.views[0].bits, side="right").tolist()
    text = [
        f'{GAP if number in passage.breaks else ""}<span class="c s{colour}">{escape(cell)}</span>'
        for number, (cell, colour) in enumerate(zip(shown, colours, strict=True))
    ]
    return (
        f'<fieldset class="views" hidden><legend>Predicted by, with its mean bits here</legend>{views}</fieldset>'
        f'<p class="scale-name">Surprise in bits</p><ul class="scale">{scale}</ul>'
        '<div class="reading"><div>'
        f'<div id="passage"><span class="before">{escape(lead)}</span>{"".join(text)}</div>'
        '<p class="help" hidden>Point at a character, tap it, or go along with the arrow keys. A click holds it, '
        "another one lets go.</p></div>"
        '<div id="told" hidden></div></div>'
        "<noscript><p>The candidates at each position are shown by a script, which is off.</p></noscript>"
    )


#: Between two stretches of text that do not follow on each other.
GAP = '<span class="gap" aria-hidden="true">⋯\n</span>'


def passage_data(passage: Passage) -> dict[str, Any]:
    """What the script of the page needs: numbers as integers, symbols numbered anew, as compact as JSON can be.

    names: of the symbols that occur; real: the symbol at each position; of each view bits in hundredths, the rank of
    the real symbol, and `top` candidates for each position in one row, with their probabilities in parts of `shares`.
    """
    every = np.unique(np.concatenate([passage.symbols, *(view.top.ravel() for view in passage.views)]))

    def numbered(symbols: Any) -> list[int]:
        return list(np.searchsorted(every, symbols).ravel().tolist())

    return {
        "names": names(passage.alphabet, every.tolist()),
        "candidates": len(passage.alphabet),
        "real": numbered(passage.symbols),
        "breaks": list(passage.breaks),
        "edges": list(EDGES),
        "top": passage.views[0].top.shape[1],
        "shares": SHARES,
        "views": [
            {
                "name": view.name,
                "bits": np.rint(view.bits * 100).astype(int).tolist(),
                "rank": view.rank.tolist(),
                "top": numbered(view.top),
                "p": np.floor(view.p * SHARES).astype(int).ravel().tolist(),
            }
            for view in passage.views
        ],
    }


def embedded(data: Any) -> str:
    """JSON that may stand inside a script element of a page: nothing in it ends the element."""
    compact = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return compact.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")

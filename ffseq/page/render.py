"""The page about a run as HTML. Whatever comes from a run is escaped here or where it is drawn."""

from __future__ import annotations

import base64
import hashlib
import math
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from ffseq import __version__
from ffseq.page.charts import short
from ffseq.page.curves import bits_chart, goodness_charts
from ffseq.page.gather import Content
from ffseq.page.reading import embedded, passage_data, passage_html
from ffseq.page.symbols import in_text
from ffseq.pieces import BOUND
from ffseq.progress import duration

#: Stands in the first lines of every page, and tells it from other files.
MARK = "<!-- written by ffseq report -->"


def page(content: Content) -> str:
    """The whole page, with style, script and data inside."""
    script = _file("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return Template(_file("page.html")).substitute(
        title=escape(content.title),
        lead=_lead(content),
        highlights=_highlights(content),
        missing=_missing(content.missing),
        sections="\n".join(filter(None, (part(content) for part in _SECTIONS))),
        data=embedded(passage_data(content.passage) if content.passage is not None else None),
        style=_file("style.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        version=escape(__version__),
    )


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _section(title: str, sentence: str, inside: str) -> str:
    """A part of the page, or nothing where there is nothing inside."""
    return f"<section><h2>{title}</h2><p>{sentence}</p>{inside}</section>" if inside else ""


def _lead(content: Content) -> str:
    net, options = content.network, content.options
    text = f"A {net.stack or 'window'} stack of {net.layers} layers of {net.units} units"
    if net.memory:
        text += f" above a memory of contexts of {net.memory_lengths} characters"
    if options.get("method") == "twin":
        text += ", trained by backpropagation (the twin)"
    elif options:
        text += f", learned by Forward-Forward: objective {options.get('objective')}, scope {options.get('scope')}"
    if content.corpus is not None:
        text += f". The text is {content.corpus}"
        text += f", split {content.split_rule}" if content.split_rule else ""
    step = f" after {content.step:,} updates" if content.step is not None else ""
    return escape(f"{text}. What is shown is the checkpoint {content.checkpoint}{step}.")


def _highlights(content: Content) -> str:
    figures = content.figures or {}
    shown: list[tuple[str, str]] = []
    bits, kind = _bits_of(figures)
    if bits is not None:
        shown.append((f"bits per character, {kind}", f"{bits:.3f}"))
    if "accuracy" in figures:
        shown.append(("most probable was right", f"{figures['accuracy']:.1%}"))
    shown.append(("weights", short(content.parameters)))
    if "characters_seen" in figures:
        shown.append(("characters learned from", short(figures["characters_seen"])))
    if "learning_seconds" in figures:
        shown.append(("learning time", duration(figures["learning_seconds"])))
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in shown)
    return f'<dl class="highlights">{items}</dl>'


def _bits_of(figures: dict[str, Any]) -> tuple[float | None, str]:
    """The net's own figure, and of what it is."""
    if "prequential_bits_per_character" in figures:
        return figures["prequential_bits_per_character"], "before each was learned"
    return figures.get("bits_per_character"), "held out"


def _missing(sentences: list[str]) -> str:
    items = "".join(f"<li>{escape(in_text(one))}</li>" for one in sentences)
    return f'<aside class="missing"><h2>What is not here</h2><ul>{items}</ul></aside>' if items else ""


def _figures(content: Content) -> str:
    figures, floors = content.figures or {}, content.floors
    bits, kind = _bits_of(figures)
    rows: list[tuple[str, float | None, float | None]] = []
    if bits is not None:
        rows.append((f"this net, {kind}", bits, figures.get("accuracy")))
    if figures.get("validation_bits_per_character") is not None:
        rows.append(("this net, validation", figures["validation_bits_per_character"], None))
    if (alone := figures.get("black_box_alone")) is not None:
        name = f"its black box alone ({figures.get('black_box')})"
        rows.append((name, alone["bits_per_character"], alone["accuracy"]))
    if floors is not None:
        best = floors["kneser_ney"]
        name = f"Kneser-Ney, order {best['order']}, discount {best['discount']:g}"
        rows.append((name, best["bits_per_character"], best["accuracy"]))
        rows.append(("unigram", floors["unigram"]["bits_per_character"], floors["unigram"]["accuracy"]))
        if (single := floors.get("kneser_ney_characters")) is not None:
            rows.append(("Kneser-Ney by characters", single["bits_per_character"], single["accuracy"]))
    if content.entropy_rate is not None:
        rows.append(("entropy rate of the source", content.entropy_rate, None))
    if not rows:
        return ""
    alike = math.log2(content.symbols) * content.density
    rows.append((f"all {content.symbols} symbols alike", alike, 1 / content.symbols))
    most = max(value for _, value, _ in rows if value is not None)
    body = "".join(
        f'<tr{" class=own" if number == 0 and bits is not None else ""}><th scope="row">{escape(name)}</th>'
        f"<td>{value:.3f}</td><td>{'' if accuracy is None else f'{accuracy:.1%}'}</td>"
        f'<td class="bar"><i style="width:{value / most:.1%}"></i></td></tr>'
        for number, (name, value, accuracy) in enumerate(rows)
        if value is not None
    )
    table = (
        '<table><thead><tr><th></th><th scope="col">bits per character</th><th scope="col">accuracy</th>'
        f'<th class="bar"></th></tr></thead><tbody>{body}</tbody></table>'
    )
    return _section(
        "How well it predicts",
        "Each held-out character is predicted once, from the text before it: the fewer bits it costs, the better. "
        "Kneser-Ney and unigram are counting models of the same training text."
        + (f" {BOUND}" if figures.get("upper_bound") else ""),
        table,
    )


def _passage(content: Content) -> str:
    passage = content.passage
    if passage is None:
        return ""
    last = passage.start + len(passage.symbols)
    return _section(
        "Where it is surprised",
        f"Symbols {passage.start + 1:,} to {last:,} of the {passage.of:,} held-out ones; the stronger its colour, the "
        "less a symbol was expected: it costs −log<sub>2</sub> of the probability that it was given.",
        passage_html(passage),
    )


def _curves(content: Content) -> str:
    return _section(
        "How it learned",
        "Bits per character of the batches it learned from, and of validation text, which it did not learn; the level "
        "lines are what counting reaches on held-out text, and, where that is known, what nobody can go below.",
        bits_chart(content.log, content.floors, content.entropy_rate, content.density * math.log2(content.symbols)),
    )


def _layers(content: Content) -> str:
    charts = goodness_charts(content.log, content.layers)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{layer["alone"]["bits_per_character"]:.3f}</td>'
        f"<td>{layer['alone']['accuracy']:.1%}</td><td>{layer['up_to']['bits_per_character']:.3f}</td>"
        f"<td>{layer['up_to']['accuracy']:.1%}</td><td>{layer['dead_units']:.0%}</td></tr>"
        for name, layer in zip(content.layers, (content.figures or {}).get("per_layer", ()), strict=False)
    )
    table = (
        '<h3 class="apart">On held-out text, by its own goodness alone, and by the goodness summed up to it</h3>'
        '<div class="wide" tabindex="0" role="region" aria-label="Figures of the layers"><table class="layers"><thead>'
        '<tr><th></th><th scope="col">alone, bits</th><th scope="col">accuracy</th><th scope="col">summed, bits</th>'
        '<th scope="col">accuracy</th><th scope="col">dead units</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    return _section(
        "Goodness, layer by layer",
        "A layer learns to raise its goodness of real next characters (positives) and to lower that of negatives; "
        "where these are drawn from what the net itself predicts, the two lines meet as its predictions come true.",
        charts + (table if rows else ""),
    )


def _samples(content: Content) -> str:
    return _section(
        "What it writes",
        "Texts by the net itself: those from while it learned go on from the beginning of the training text.",
        "".join(
            f'<article class="sample"><h3>{escape(when)}</h3><p>{escape(in_text(text))}</p></article>'
            for when, text in content.samples
        ),
    )


def _settings(content: Content) -> str:
    if not content.options:
        return ""
    rows = "".join(
        f"<tr><td><code>--{escape(name)}</code></td><td>{_value(value)}</td><td>{_value(default)}</td></tr>"
        for name, value, default in content.settings
    )
    return _section(
        "Settings",
        "Every option of the run that ffseq would not have chosen by itself for this text."
        if rows
        else "All options of the run are those that ffseq chooses by itself for this text.",
        '<table class="settings"><thead><tr><th scope="col">option</th><th scope="col">here</th><th scope="col">by '
        f"default</th></tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else " ",
    )


def _value(value: Any) -> str:
    if value is None:
        return "open"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else escape(in_text(str(value)))


_SECTIONS = (_figures, _passage, _curves, _layers, _samples, _settings)

"""The card of a network that is shared: README.md, as the Hub shows it, written from what the run knows of itself."""

from __future__ import annotations

import json
from typing import Any

import yaml

from ffseq.catalogue import catalogue
from ffseq.config import NetworkConfig, TrainConfig
from ffseq.hub import PREFIX
from ffseq.options import to_flat
from ffseq.own import is_own
from ffseq.pieces import BOUND

TAGS = ["forward-forward", "local-learning"]
#: Settings that say nothing about the net: where, how fast and how loudly it was trained.
_ASIDE = frozenset({
    "corpus", "split", "out_dir", "resume", "eval_interval", "log_interval", "sample_interval", "checkpoint_seconds",
    "tracker", "floors", "threads", "device", "pipeline",
})  # fmt: skip
_SCOPES = {
    "own": "Each layer learns from its own goodness alone (scope `own`).",
    "below": "Each layer learns from its own goodness and that of the layers below, these held fixed (scope `below`).",
    "all": "Each layer learns from the sum of the goodness of all layers, broadcast to each (scope `all`).",
}
_SPLITS = {
    "hinton": "248 strings of 100 symbols are learned, the next 248 held out, scored from their position 10 on",
    "hinton-tuning": "223 strings of 100 symbols are learned, 25 are for validation, the next 248 held out",
}


_FLOORS = {
    "kneser_ney": "Kneser-Ney, order {order}",
    "kneser_ney_characters": "Kneser-Ney by characters, order {order}",
    "unigram": "unigram",
}


def model_card(
    name: str,
    config: dict[str, Any],
    *,
    symbols: int,
    parameters: int,
    result: dict[str, Any] | None = None,
    sample: str = "",
    license: str | None = None,
) -> str:
    """The card as Markdown with the Hub's YAML header.

    name: what `from_pretrained` is to be given; config: the checkpoint's config.json; symbols: V; result: the run's
    result.json, with the figures of this checkpoint; license: as the Hub spells it, left out where None.
    """
    settings = config.get("options")
    network = NetworkConfig(**config["network"])
    title = str((config.get("corpus") or {}).get("name") or (result or {}).get("corpus") or "a text")
    unit = {None: [], "pieces": ["subword"]}.get((settings or {}).get("alphabet"), ["character-level"])
    parts = [
        _header(license, _data_set(config), unit),
        f"# Forward-Forward, trained on {title}",
        _about(network, symbols, parameters),
    ]
    parts += ["## Figures", _figures(result)]
    parts += ["## Data", _data(config, result, symbols)]
    if settings is not None:
        parts += ["## How it learned", *_learning(settings)]
    parts += ["## How to load it", _loading(name, network)]
    if sample:
        parts += ["## A sample", _indented(sample)]
    return "\n\n".join(parts) + "\n"


def _header(license: str | None, data_set: str | None, tags: list[str]) -> str:
    header: dict[str, Any] = {"library_name": "ffseq", "pipeline_tag": "text-generation", "tags": TAGS + tags}
    if license is not None:
        header["license"] = license
    if data_set is not None:
        header["datasets"] = [data_set]
    return "---\n" + yaml.safe_dump(header, sort_keys=False) + "---"


def _data_set(config: dict[str, Any]) -> str | None:
    """The owner/name of the data set of the Hub that a net was trained on, or None for any other text."""
    source = str((config.get("corpus") or {}).get("source"))
    return source.removeprefix(PREFIX).split(":")[0] if source.startswith(PREFIX) else None


def _about(network: NetworkConfig, symbols: int, parameters: int) -> str:
    more = ", with a memory of hashed contexts" if network.memory else ""
    box = f" Its score contains the black box `{network.black_box}`." if network.black_box != "none" else ""
    return (
        f"Predicts the next of {symbols} symbols from the text before it: a `{network.stack}` stack of "
        f"{network.layers} layers of {network.units} units{more}, {parameters:,} weights, goodness "
        f"`{network.goodness}`.{box}"
    )


def _figures(result: dict[str, Any] | None) -> str:
    if result is None:
        return "No figures were measured for these weights."
    if "prequential_bits_per_character" in result:
        bits = result["prequential_bits_per_character"]
        return (
            f"{result['characters_seen']:,} characters of a stream, each predicted before it was learned, none twice: "
            f"{bits:.3f} bits per character, {result['accuracy']:.1%} predicted as most probable."
            + (f" {BOUND}" if result.get("upper_bound") else "")
        )
    rows = [("this network", result["bits_per_character"], result["accuracy"])]
    if result["black_box_alone"] is not None:
        alone = result["black_box_alone"]
        rows.append((f"its black box alone ({result['black_box']})", alone["bits_per_character"], alone["accuracy"]))
    for kind, floor in sorted((result["floors"] or {}).items()):
        label = _FLOORS[kind].format(**floor)
        rows.append((label, floor["bits_per_character"], floor["accuracy"]))
    lines = ["| held-out text | bits per character | accuracy |", "|---|---|---|"]
    lines += [f"| {label} | {bits:.3f} | {accuracy:.1%} |" for label, bits, accuracy in rows]
    if result["entropy_rate"] is not None:
        lines.append(f"| entropy rate of the source | {result['entropy_rate']:.3f} | |")
    lines += ["", "Every held-out character is predicted once, in order, from the text before it."]
    if result["validation_bits_per_character"] is not None:
        validation = f"{result['validation_bits_per_character']:.3f}"
        lines[-1] += f" The weights were chosen on validation text, where they have {validation} bits per character."
    if result.get("upper_bound"):
        lines[-1] += f" {BOUND}"
    if result["floors"] is None:
        lines[-1] += " Counting models were not fitted to compare with."
    return "\n".join(lines)


def _data(config: dict[str, Any], result: dict[str, Any] | None, symbols: int) -> str:
    recorded = config.get("corpus")
    if recorded is None:
        return f"The checkpoint does not say what it was trained on. Its alphabet has {symbols} symbols."
    lines = [f"- text: {recorded['name']}"]
    card = catalogue().get(recorded["source"])
    if card is not None:
        lines += [f"- source: {card.source}", f"- licence of the text: {card.licence}"]
    if _data_set(config) is not None:
        split = f", split {recorded['split']}" if recorded.get("split") else ""
        lines.append(f"- source: `{recorded['source']}` on the Hub{split}")
    rule = recorded["split_rule"]
    lines.append(f"- split: {_SPLITS.get(rule) or f'{rule} per cent for training, validation and held out, in order'}")
    lines.append(f"- SHA-256 of what was read: `{recorded['content_sha256']}`")
    if result is not None:
        lines.append(f"- {result['characters_seen']:,} characters learned in {result['iterations']:,} updates")
        lost = [f"{result[what]:,} {what}" for what in ("dropped", "replaced") if result[what]]
        if lost:
            lines.append(f"- held-out characters that the alphabet does not have: {', '.join(lost)}")
    return "\n".join(lines)


def _learning(settings: dict[str, Any]) -> list[str]:
    """What each layer learned from, and the settings that differ from the defaults."""
    defaults = to_flat(TrainConfig())
    changed = {key: value for key, value in settings.items() if value != defaults.get(key) and key not in _ASIDE}
    return [
        _locality(defaults | settings),
        "Settings that are not the defaults, as a preset for `ffseq train --preset FILE.yaml`:",
        "```yaml\n" + yaml.safe_dump(changed, sort_keys=False) + "```",
    ]


def _locality(settings: dict[str, Any]) -> str:
    if settings["method"] == "twin":
        return (
            "By **backpropagation**: this is the twin that Forward-Forward networks are compared with, and nothing "
            "about its learning is local."
        )
    if settings["stack"] == "literal":
        scope = "Each layer learns from a threshold on its own goodness."
    else:
        scope = _SCOPES[settings["scope"]]
    drawn = settings["hidden"] == "random"
    hidden = " The hidden layers stayed as they were drawn; the read-out of each learned." if drawn else ""
    return (
        f"By the Forward-Forward algorithm, objective `{settings['objective']}`. {scope} Its changes follow in closed "
        f"form from its input, its activity and that signal; no derivative passes from one layer to another.{hidden}"
    )


def _loading(name: str, network: NetworkConfig) -> str:
    modules = [own.partition(":")[0] for own in (network.goodness, network.black_box) if is_own(own)]
    needed = f" and the Python module {' and '.join(modules)}" if modules else ""
    return (
        f"With ffseq{needed} installed (the checkpoint is JSON and safetensors, and holds no code):\n\n"
        "```python\nfrom ffseq import SequenceNetwork\n\n"
        f"network = SequenceNetwork.from_pretrained({json.dumps(name)})\n"
        "print(network.generate(max_new_tokens=200, temperature=0.7))\n```"
    )


def _indented(text: str) -> str:
    """As a block of code, whatever the text holds."""
    return "\n".join(f"    {line}" for line in text.splitlines())

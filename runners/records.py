"""How good is it on each corpus: FF, its twin, and FF on a black box, over seeds, beside the counting floors.

    python runners/records.py                        all cells that are not in results/records.json yet
    python runners/records.py --corpora aesop-book --methods ff --seeds 0
    python runners/records.py --keep runs/records    keeps the run folders

A cell is one `ffseq train` with a preset, as it is (`ff`) or by backpropagation (`twin`: the same net, start, batches
and dropout; `twin-equal-work`: so many updates that it has the multiplications of `ff`, not its characters); `ff` is
then also scored while it learns on, alone and on a black box that counts on (`ffseq evaluate --learn_on true
--black_box online`). A finished cell is not computed again while its preset stays as it is. Each runs on one thread,
so two runners may work side by side on two cores.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ffseq.checkpoint import replace_file
from ffseq.commands.presets import load_preset
from ffseq.corpus import load_corpus
from ffseq.options import from_flat
from ffseq.work import multiplications

RESULTS = Path(__file__).parent / "results" / "records.json"

#: name of a corpus and size → what follows `ffseq train` on the command line
CORPORA: dict[str, list[str]] = {
    "aesop-small": ["aesop", "--preset", "aesop-small-memory"],
    "aesop-book": ["aesop", "--preset", "aesop-book"],
    "tinyshakespeare": ["tinyshakespeare", "--preset", "tinyshakespeare-memory"],
    "text8-prefix": ["text8-prefix"],
    "enwik8-prefix": ["enwik8-prefix"],
}
#: What was fitted, or searched, for Forward-Forward in a preset: the twin's own, fitted or searched alike.
OWN: dict[tuple[str, str], list[str]] = {
    ("aesop-small", "twin"): ["--temperature", "1.45", "--gains", "0.9,0.89,0.79,0.76,0.75,1.22,1.08"],
    ("aesop-small", "twin-equal-work"): ["--temperature", "1.3", "--gains", "0.91,0.92,0.83,0.8,0.79,1.13,1.03"],
    ("aesop-book", "twin"): ["--learning_rate", "0.002", "--dropout", "0.3"],
    ("tinyshakespeare", "twin"): ["--temperature", "1.053", "--gains", "1.41,1.14,1.06,.68,.72,.77,.98,.96"],
    ("tinyshakespeare", "twin-equal-work"): ["--temperature", "1.053", "--gains", "1.41,1.14,1.06,.68,.72,.77,.98,.96"],
}
METHODS: dict[str, list[str]] = {"ff": [], "twin": ["--method", "twin"], "twin-equal-work": ["--method", "twin"]}
KEPT = (
    "corpus", "bits_per_character", "accuracy", "bits_per_byte", "validation_bits_per_character", "parameters",
    "characters_seen", "iterations", "learning_seconds", "temperature", "seed", "dtype", "floors",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default=",".join(CORPORA), help="which, separated by commas")
    parser.add_argument("--methods", default="ff,twin", help=f"which, separated by commas: {', '.join(METHODS)}")
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--keep", default=None, help="a folder for the run folders, which are thrown away without it")
    options = parser.parse_args()
    for seed in options.seeds.split(","):
        for corpus in options.corpora.split(","):
            for method in options.methods.split(","):
                done = load().get(corpus, {}).get(method, {}).get(seed)
                if done is not None and done["preset"] == load_preset(CORPORA[corpus][-1]):
                    continue
                with tempfile.TemporaryDirectory() as scratch:
                    folder = Path(options.keep or scratch) / f"{corpus}-{method}-{seed}"
                    record(corpus, method, seed, measure(corpus, method, seed, folder))


def load() -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def record(corpus: str, method: str, seed: str, cell: dict[str, Any]) -> None:
    """Add a cell to the results; another runner may be doing the same."""
    with (RESULTS.parent / ".records.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = load()
        results.setdefault(corpus, {}).setdefault(method, {})[seed] = cell
        replace_file(RESULTS, (json.dumps(results, indent=1, sort_keys=True) + "\n").encode())


def measure(corpus: str, method: str, seed: str, folder: Path) -> dict[str, Any]:
    """Train, and for `ff` score on a black box; through the command line, timed as a user would with a watch."""
    own = OWN.get((corpus, method), [])
    arguments = [*CORPORA[corpus], *METHODS[method], *own, "--seed", seed, "--threads", "1"]
    if method == "twin-equal-work":
        arguments += ["--max_iters", str(updates_for_equal_work(CORPORA[corpus]))]
    began = time.monotonic()
    result = said(["train", *arguments, "--sample_interval", "0", "--out_dir", str(folder), "--resume", "auto"])
    cell = {key: result[key] for key in KEPT} | {"preset": load_preset(CORPORA[corpus][-1])}
    cell["command"] = " ".join(["ffseq", "train", *arguments])
    cell["seconds"] = round(time.monotonic() - began, 1)
    if method == "ff":
        began = time.monotonic()
        asked = ["--learn_on", "true", "--black_box", "online", "--floors", "no", "--threads", "1"]
        mixed = said(["evaluate", str(folder), *asked])
        cell["learning_on"] = mixed["net_alone"]
        cell["on_black_box"] = {
            "bits_per_character": mixed["bits_per_character"],
            "accuracy": mixed["accuracy"],
            "black_box_alone": mixed["black_box_alone"],
            "seconds": round(time.monotonic() - began, 1),
        }
    print(
        f"{cell['command']}: {cell['bits_per_character']:.4f} bits per character, {cell['seconds']:.0f} s", flush=True
    )
    return cell


def updates_for_equal_work(words: list[str]) -> int:
    """Updates of the twin that cost as many multiplications as Forward-Forward's run does."""
    config = from_flat(load_preset(words[-1]))
    text = load_corpus(config.text.corpus, alphabet=config.text.alphabet, split_rule=config.text.split_rule)
    assert config.run.max_iters is not None
    ff, twin = (multiplications(config.network, len(text.alphabet), method) for method in ("ff", "twin"))
    return round(config.run.max_iters * ff / twin)


def said(words: list[str]) -> dict[str, Any]:
    """What a command prints with --json."""
    command = [sys.executable, "-m", "ffseq", *words, "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()

"""How the settings of the presets for Aesop in Hinton's size were chosen: four-fold, inside the 248 training strings.

    python runners/choose_aesop.py                 every candidate that is not in results/choose_aesop.json yet
    python runners/choose_aesop.py --only small    those whose name begins so

Each candidate learns from 217 strings and is scored on 31 others, for 4 of 8 such folds (11,160 predictions), in one
run that leaves the held-out strings alone. Bits per character are given for several read-out temperatures: on so small
a text a net that is trained until its accuracy is best has become too sure of itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ffseq.compute import compute, decided
from ffseq.corpus import Corpus, load_corpus
from ffseq.defaults import resolved
from ffseq.evaluation import evaluate_segments
from ffseq.network import SequenceNetwork
from ffseq.options import from_flat
from ffseq.progress import Progress
from ffseq.segments import Segment
from ffseq.splits import SCORED_FROM, STRING, STRINGS, Part
from ffseq.training import Trainer

RESULTS = Path(__file__).parent / "results" / "choose_aesop.json"
FOLDS, USED = 8, (0, 2, 4, 6)
TEMPERATURES = (1.0, 1.1, 1.2, 1.25, 1.3, 1.45)
COMMON: dict[str, Any] = {
    "corpus": "aesop", "split_rule": "hinton", "stack": "window", "block_size": 10, "layers": 3, "units": 500,
    "dropout": 0.5, "objective": "contrast", "scope": "all", "num_negatives": 4, "learning_rate": 1e-3,
    "batch_size": 256, "max_iters": 4000, "sample_interval": 0, "eval_interval": 100_000, "log_interval": 100_000,
}  # fmt: skip
CANDIDATES: dict[str, dict[str, Any]] = {
    "small, upper layers do not see the text": {"context_to_all": False},
    "small": {},
    "small, likelihood": {"objective": "likelihood"},
    "small, 3000 updates": {"max_iters": 3000},
    "small, 6000 updates": {"max_iters": 6000},
    "hinton, 3000 updates": {"units": 2000, "max_iters": 3000},
    "twin": {"method": "twin"},
    "twin, likelihood": {"method": "twin", "objective": "likelihood"},
    "twin, 6000 updates": {"method": "twin", "max_iters": 6000},
    "twin, 3000 updates": {"method": "twin", "max_iters": 3000},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="beginning of the names of the candidates to run")
    only = parser.parse_args().only
    corpus = load_corpus("aesop", split_rule="hinton")
    for name, options in CANDIDATES.items():
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        if name in results or not name.startswith(only):
            continue
        results[name] = measured(corpus, COMMON | options) | {"options": options}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, results[name], flush=True)


def measured(corpus: Corpus, options: dict[str, Any]) -> dict[str, Any]:
    bits = np.zeros(len(TEMPERATURES))
    correct = symbols = 0.0
    for number in USED:
        part = fold(corpus, number)
        config = decided(resolved(from_flat(options), part.train.symbols))
        device, products = compute(config)
        network = SequenceNetwork(config.network, part.alphabet, seed=config.run.seed).to(device)
        network.products = products
        with tempfile.TemporaryDirectory() as folder:
            Trainer(network, part, config, Path(folder), Progress(quiet=True)).run(lambda: False)
        for place, temperature in enumerate(TEMPERATURES):
            network.temperature.fill_(temperature)
            figures = evaluate_segments(network, part.symbols, part.held_out.segments)
            bits[place] += figures.bits
        correct += figures.accuracy * figures.symbols
        symbols += figures.symbols
    by_temperature = {str(t): round(b, 4) for t, b in zip(TEMPERATURES, (bits / symbols).tolist(), strict=True)}
    return {"bits_per_character": by_temperature, "accuracy": round(correct / symbols, 4)}


def fold(corpus: Corpus, number: int) -> Corpus:
    """The training strings as a corpus of their own: an eighth of them put last and scored, the others learned."""
    chosen = [string for string in range(STRINGS) if string * FOLDS // STRINGS == number]
    others = [string for string in range(STRINGS) if string not in chosen]
    symbols = np.concatenate([corpus.symbols[s * STRING : (s + 1) * STRING] for s in others + chosen])
    begins = range(len(others) * STRING, STRINGS * STRING, STRING)
    segments = tuple(Segment(begin, begin + SCORED_FROM, begin + STRING) for begin in begins)
    end = len(others) * STRING
    scored = len(chosen) * (STRING - SCORED_FROM)
    train = Part(0, end, (Segment(0, 0, end),), end, end, end)
    held_out = Part(end, STRINGS * STRING, segments, scored, scored, scored)
    return replace(corpus, symbols=symbols, train=train, validation=None, held_out=held_out)


if __name__ == "__main__":
    main()

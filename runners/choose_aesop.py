"""How the settings of the presets for Aesop in Hinton's size were chosen: four-fold, inside the 248 training strings.

    python runners/choose_aesop.py                 every candidate that is not in results/choose_aesop.json yet
    python runners/choose_aesop.py --only small    those whose name begins so

Each candidate learns from 217 strings and is scored on 31 others, for 4 of 8 such folds (11,160 predictions), in one
run that leaves the held-out strings alone. Bits per character are given for several read-out temperatures: on so small
a text a net that is trained until its accuracy is best has become too sure of itself. For nets with a memory the gains
of its lengths and of the layers are fitted too, on the strings that a fold leaves out, and averaged over the folds:
those are what the preset `aesop-small-memory` has, and what its twin has (runners/records.py).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ffseq.calibration import fit_gains
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
#: Scope `own` counts what its layers agree on once for each of them.
WIDER = (*TEMPERATURES, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
COMMON: dict[str, Any] = {
    "corpus": "aesop", "split_rule": "hinton", "stack": "window", "block_size": 10, "layers": 3, "units": 500,
    "dropout": 0.5, "objective": "contrast", "scope": "all", "num_negatives": 4, "learning_rate": 1e-3,
    "batch_size": 256, "max_iters": 4000, "threads": 1, "sample_interval": 0, "eval_interval": 100_000,
    "log_interval": 100_000,
}  # fmt: skip
MEMORY: dict[str, Any] = {
    "layers": 2, "units": 1000, "objective": "likelihood", "num_negatives": 1, "average": 0.999, "memory": 65536,
    "memory_lengths": "2,3,4,5,6", "memory_dropout": 0.5, "max_iters": 2000,
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
VARIATIONS: dict[str, dict[str, Any]] = {
    "": {},
    ", rate 2e-3": {"learning_rate": 2e-3},
    ", rate 5e-4": {"learning_rate": 5e-4},
    ", dropout 0.6": {"dropout": 0.6},
    ", three layers of 500": {"layers": 3, "units": 500},
}
for name, more in VARIATIONS.items():
    CANDIDATES[f"memory{name}"] = MEMORY | more
    CANDIDATES[f"memory, twin{name}"] = MEMORY | more | {"method": "twin"}
# As many multiplications as the other way of learning has in 2,000 updates.
CANDIDATES["memory, 2900 updates"] = MEMORY | {"max_iters": 2900}
CANDIDATES["memory, twin, 1379 updates"] = MEMORY | {"method": "twin", "max_iters": 1379}
for scope in ("own", "below"):
    CANDIDATES[f"memory, scope {scope}"] = MEMORY | {"scope": scope}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="beginning of the names of the candidates to run")
    only = parser.parse_args().only
    corpus = load_corpus("aesop", split_rule="hinton")
    for name, options in CANDIDATES.items():
        if name in load() or not name.startswith(only):
            continue
        found = measured(corpus, COMMON | options) | {"options": options}
        results = load() | {name: found}  # another candidate may have been measured meanwhile
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, found, flush=True)


def load() -> dict[str, Any]:
    """What has been measured: candidate → figures."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def measured(corpus: Corpus, options: dict[str, Any]) -> dict[str, Any]:
    temperatures = WIDER if "memory" in options else TEMPERATURES
    bits, own = np.zeros(len(temperatures)), np.zeros(len(temperatures))
    correct = symbols = with_gains = 0.0
    gains: list[torch.Tensor] = []
    for number in USED:
        part = fold(corpus, number)
        config = decided(resolved(from_flat(options), part.train.symbols))
        device, products = compute(config)
        network = SequenceNetwork(config.network, part.alphabet, seed=config.run.seed).to(device)
        network.products = products
        with tempfile.TemporaryDirectory() as folder:
            Trainer(network, part, config, Path(folder), Progress(quiet=True)).run(lambda: False)
        for place, temperature in enumerate(temperatures):
            network.temperature.fill_(temperature)
            figures = evaluate_segments(network, part.symbols, part.held_out.segments)
            own[place] = figures.bits
        bits += own
        correct += figures.accuracy * figures.symbols
        symbols += figures.symbols
        if config.network.memory:
            network.temperature.fill_(temperatures[int(own.argmin())])
            gains.append(fit_gains(network, part.symbols, part.held_out.segments))
            network.gains.copy_(gains[-1])
            with_gains += evaluate_segments(network, part.symbols, part.held_out.segments).bits
    by_temperature = {str(t): round(b, 4) for t, b in zip(temperatures, (bits / symbols).tolist(), strict=True)}
    found: dict[str, Any] = {"bits_per_character": by_temperature, "accuracy": round(correct / symbols, 4)}
    if gains:
        found["gains"] = [round(gain, 2) for gain in torch.stack(gains).mean(0).tolist()]
        found["bits_per_character_with_gains"] = round(with_gains / symbols, 4)
    return found


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

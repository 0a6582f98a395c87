"""What do pieces of words cost and gain? The same small net on tiny Shakespeare by characters, by bpe and by unigram.

    python runners/pieces.py                       every cell that is not in results/pieces.json yet
    python runners/pieces.py --seeds 0 --sizes 512

A causal net of 2 layers of 384, float32, one thread, rate 8e-3. Every alphabet sees as many characters of the training
text in an update, and in as many updates. Pieces have several times the weights, and learn a text by heart sooner: so
dropout is chosen for each alphabet on validation text (the last tenth of the 90 %), by whole runs with seed 0, and the
checkpoint that is best there is the one that is scored. (In runs of half a million characters rates of 4e-3, 8e-3 and
1.6e-2 differed by at most 0.06 bits on validation text, 8e-3 and 1.6e-2 by 0.01.) Nothing is chosen by held-out text.
Kneser-Ney is fitted on the same symbols, order and discount chosen on validation text. A cell that was interrupted goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from ffseq.baselines.floors import corpus_floors
from ffseq.cells import Cells, best_of
from ffseq.checkpoint import replace_file
from ffseq.corpus import Corpus, corpus_of
from ffseq.errors import Interrupted
from ffseq.interrupt import Interrupt
from ffseq.options import from_flat
from ffseq.runs import train

RESULTS = Path(__file__).parent / "results" / "pieces.json"
FOLDER = Path("runs/pieces")
NET: dict[str, Any] = {
    "corpus": "tinyshakespeare", "stack": "causal", "layers": 2, "units": 384, "block_size": 8, "learning_rate": 8e-3,
    "objective": "likelihood", "scope": "all", "string_length": 32, "constant_share": 0.5, "dtype": "float32",
    "threads": 1, "split_rule": "81/9/10",
}  # fmt: skip
#: Characters of an update, and of a whole run.
UPDATE, SEEN = 1024, 2_000_000
DROPOUTS = (0.1, 0.4)
KEPT = (
    "validation_bits_per_character", "bits_per_character", "bits_per_byte", "bits_per_symbol", "accuracy", "parameters",
    "characters_seen", "iterations", "learning_seconds", "upper_bound", "seed",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--sizes", default="512,256,1000", help="pieces, separated by commas")
    parser.add_argument("--seen", type=int, default=SEEN, help="characters of a run, for a trial")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that cells are added to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    interrupted = Interrupt()
    interrupted.install()
    experiment = Experiment(options.results, options.seen, interrupted)
    names = ["characters", *(f"{kind} {size}" for size in options.sizes.split(",") for kind in ("bpe", "unigram"))]
    try:
        for seed in map(int, options.seeds.split(",")):
            for name in names:
                experiment.add(name, seed)
    except Interrupted as stop:
        raise SystemExit(f"{stop}: the same command goes on from there") from None


class Experiment:
    def __init__(self, results: Path, seen: int, interrupted: Interrupt) -> None:
        self.results, self.seen, self.interrupted = results, seen, interrupted

    def add(self, name: str, seed: int) -> None:
        """A cell, its dropout and its counting models, if they are not known; written as soon as they are."""
        found = self.load()
        entry = found.get(name, {"runs": {}})
        if str(seed) in entry["runs"]:
            return
        options = self.settings(name)
        corpus = corpus_of(from_flat(options))
        best = best_of(lambda given: self.run(corpus, given), options | {"seed": 0}, "dropout", DROPOUTS)
        assert best is not None
        result = self.run(corpus, options | {"seed": seed, "dropout": best[0]})
        entry["symbols"], entry["dropout"] = len(corpus.alphabet), best[0]
        entry["characters_per_symbol"] = corpus.held_out.characters / corpus.held_out.symbols
        entry["runs"][str(seed)] = {key: result[key] for key in KEPT}
        entry["floors"] = entry.get("floors") or corpus_floors(corpus)
        found = self.load()
        found[name] = entry
        replace_file(self.results, (json.dumps(found, indent=1) + "\n").encode())
        print(
            f"{name}, seed {seed}: dropout {best[0]}, {result['bits_per_character']:.4f} bits per character", flush=True
        )

    def load(self) -> dict[str, Any]:
        return json.loads(self.results.read_text(encoding="utf-8")) if self.results.exists() else {}

    def settings(self, name: str) -> dict[str, Any]:
        """The options of a run, which sees UPDATE characters in an update."""
        given = NET | alphabet(name)
        train = corpus_of(from_flat(given)).train
        strings = max(1, round(UPDATE * train.symbols / train.characters / NET["string_length"]))
        batch_size = strings * NET["string_length"]
        iterations = round(self.seen / train.characters_of(batch_size))
        return given | {"batch_size": batch_size, "max_iters": iterations, "eval_interval": max(1, iterations // 6)}

    def run(self, corpus: Corpus, options: dict[str, Any]) -> dict[str, Any]:
        def compute(place: Path, settings: dict[str, Any]) -> dict[str, Any]:
            where = {"out_dir": str(place / "run"), "resume": "auto"}
            return train(from_flat(settings | where), interrupted=self.interrupted)

        return Cells(corpus, FOLDER, self.interrupted).result(options, compute)


def alphabet(name: str) -> dict[str, Any]:
    """The options of an alphabet: `characters`, or a kind and a size."""
    if name == "characters":
        return {"alphabet": "characters"}
    kind, size = name.split()
    return {"alphabet": "pieces", "pieces.kind": kind, "pieces.size": int(size)}


if __name__ == "__main__":
    main()

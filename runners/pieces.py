"""What do pieces of words cost and gain? The same small net on tiny Shakespeare by characters, by bpe and by unigram.

    python runners/pieces.py                       every cell that is not in results/pieces.json yet
    python runners/pieces.py --seeds 0 --sizes 512

A causal net of 2 layers of 384, float32, one thread. Every alphabet sees as many characters of the training text in an
update, and in as many updates. The rate is chosen for characters, bpe 512 and unigram 512 each, by runs of a sixth of
the length on validation text (the last tenth of the 90 %); other sizes take that of their kind. The held-out tenth is
scored once, at the end. Kneser-Ney is fitted on the same symbols, order and discount chosen on the end of the training
part. A cell that was interrupted goes on where it was.
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
    "corpus": "tinyshakespeare", "stack": "causal", "layers": 2, "units": 384, "block_size": 8, "dropout": 0.0,
    "objective": "likelihood", "scope": "all", "string_length": 32, "constant_share": 0.5, "dtype": "float32",
    "threads": 1, "sample_interval": 0,
}  # fmt: skip
#: Characters of an update, and of a whole run.
UPDATE, SEEN = 1024, 3_000_000
RATES = (4e-3, 8e-3, 1.6e-2)
CHOOSING, FINAL = "81/9/10", "90/0/10"
KEPT = (
    "bits_per_character", "bits_per_byte", "bits_per_symbol", "accuracy", "parameters", "characters_seen", "iterations",
    "learning_seconds", "upper_bound", "seed",
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
        """A cell, its counting models and its rate, if they are not known; written as soon as they are."""
        found = self.load()
        entry = found.get(name, {"runs": {}})
        if str(seed) in entry["runs"]:
            return
        corpus = corpus_of(from_flat(NET | alphabet(name) | {"split_rule": FINAL}))
        entry["symbols"] = len(corpus.alphabet)
        entry["characters_per_symbol"] = corpus.held_out.characters / corpus.held_out.symbols
        entry["learning_rate"] = self.rate(name)
        result = self.run(corpus, self.settings(name, FINAL, self.seen) | {
            "learning_rate": entry["learning_rate"], "seed": seed,
        })  # fmt: skip
        entry["runs"][str(seed)] = {key: result[key] for key in KEPT}
        entry["floors"] = entry.get("floors") or corpus_floors(corpus)
        found = self.load()
        found[name] = entry
        replace_file(self.results, (json.dumps(found, indent=1) + "\n").encode())
        print(f"{name}, seed {seed}: {result['bits_per_character']:.4f} bits per character", flush=True)

    def load(self) -> dict[str, Any]:
        return json.loads(self.results.read_text(encoding="utf-8")) if self.results.exists() else {}

    def rate(self, name: str) -> float:
        """The best of RATES on validation text, of the same kind with 512 pieces."""
        kind = name.split()[0]
        options = self.settings(kind if kind == "characters" else f"{kind} 512", CHOOSING, self.seen // 6)
        corpus = corpus_of(from_flat(options))
        best = best_of(lambda given: self.run(corpus, given), options | {"seed": 1000}, "learning_rate", RATES)
        assert best is not None
        print(f"{name}: rate {best[0]:g}, {best[1]:.4f} on validation text in short runs", flush=True)
        return best[0]

    def settings(self, name: str, split_rule: str, seen: int) -> dict[str, Any]:
        """The options of a run that sees so many characters, UPDATE of them in an update."""
        given = NET | alphabet(name) | {"split_rule": split_rule}
        train = corpus_of(from_flat(given)).train
        strings = max(1, round(UPDATE * train.symbols / train.characters / NET["string_length"]))
        iterations = round(seen / train.characters_of(strings * NET["string_length"]))
        size = {"batch_size": strings * NET["string_length"], "max_iters": iterations, "eval_interval": iterations}
        return given | size

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

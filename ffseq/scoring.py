"""Score a part of a text with a trained network, beside the counting models and, if asked, on a black box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ffseq.alphabet import Unknown
from ffseq.baselines.floors import corpus_floors
from ffseq.blackbox import BlackBox, black_box_of
from ffseq.checkpoint import Checkpoint
from ffseq.compute import choose_device, set_threads
from ffseq.config import NetworkConfig
from ffseq.corpus import Corpus, load_corpus
from ffseq.distance import ByDistance
from ffseq.errors import Interrupted, UsageError
from ffseq.evaluation import Evaluation, alone_temperatures, evaluate_segments, figures
from ffseq.learning_on import predicted
from ffseq.mixing import mixture_on
from ffseq.network import SequenceNetwork
from ffseq.passes import box_alone
from ffseq.pretrained import checkpoint_of
from ffseq.progress import Progress
from ffseq.sampling import bits_of
from ffseq.segments import positions_of
from ffseq.splits import Part, tuning

#: Texts up to this many bytes get their counting floors fitted without being asked.
FLOORS_BYTES = 20_000_000


def evaluate(
    run: Path | str,
    corpus: str | None = None,
    *,
    split: str = "held_out",
    split_rule: str | None = None,
    corpus_split: str | None = None,
    unknown: Unknown | None = None,
    black_box: str = "none",
    learn_on: bool = False,
    by: Literal["distance"] | None = None,
    floors: str = "auto",
    threads: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score one part of a text with a trained network, as `ffseq evaluate` does.

    black_box: mix the net with one (see `ffseq.mixing`); the figures are then those of the mixture, `net_alone` and
    `black_box_alone` tell the rest. learn_on: the layers learn each block of text once they have predicted it (see
    `ffseq.learning_on`); the figures are then prequential, and `at_rest` has those of the net as it was. by: `distance`
    adds the figures where a bracket closes, by the distance to the one that it closes (see `ffseq.distance`).

    corpus: another text than the run's own; corpus_split: which split of a data set it is; unknown: what to do with
    characters that the net does not know, by default what it did in training. Raises UsageError where the text has no
    such part, or no brackets by which to sort, FfseqError for a character that the net does not know.
    """
    progress = progress or Progress(quiet=True)
    set_threads(threads)
    network, checkpoint = load_network(run, dtype=dtype, device=device)
    text = text_of_run(
        run, network, checkpoint, corpus, corpus_split=corpus_split, split_rule=split_rule, unknown=unknown
    )
    recorded, known = checkpoint.config.get("corpus", {}), known_splits(checkpoint)
    if split == "all" and text.split_rule.startswith("hinton"):
        raise UsageError(f"split {text.split_rule} leaves text out: --split all needs shares, such as 80/10/10")
    parts = {"held_out": text.held_out, "validation": text.validation, "train": text.train, "all": text.every}
    part = parts[split]
    if part is None:
        raise UsageError(f"{text.name} split {text.split_rule} has no {split} part")
    if learn_on and network.config.stack == "literal":
        raise UsageError("a literal stack does not learn on: leave --learn_on out")
    by_distance = ByDistance(text, part) if by == "distance" else None
    if black_box != "none":
        _refuse_documents(text)
        if network.black_box is not None:
            raise UsageError(f"{run} was trained on a black box of its own: leave --black_box out")
        as_trained = known.get(text.content_sha256) == text.split_rule
        if not as_trained or split in ("train", "all"):
            raise UsageError(
                "--black_box counts the training part of the run's own text, to predict another part of it: leave the "
                "corpus out, and the split as it was"
            )
    if corpus is None and recorded["content_sha256"] != text.content_sha256:
        progress.say(f"the text of {text.name} is not the one that {run} was trained on")
    if known.get(text.content_sha256, text.split_rule) != text.split_rule:
        progress.say(
            f"warning: {run} was trained on this text split {known[text.content_sha256]}: it may have learned some of "
            f"what split {text.split_rule} holds out"
        )
    evaluation = evaluate_segments(
        network,
        text.symbols,
        part.segments,
        alone=alone_of(network, text),
        tick=lambda done: progress.status(f"scoring: {done / part.symbols:.0%}"),
        note=by_distance,
    )
    box, net_alone = network.black_box, None
    box_by_itself = box_alone_of(network, text, part)
    at_rest = {key: figures(evaluation, part)[key] for key in ("bits_per_character", "accuracy")} if learn_on else None

    hidden = checkpoint.config.get("options", {}).get("hidden", "learned")
    if learn_on and black_box == "none":
        bits, correct, positions = 0.0, 0, 0
        for one, log_p in predicted(network, text.symbols, part.segments, learn_on=True, hidden=hidden):
            bits += float(bits_of(log_p, one.targets).sum())
            correct += int((log_p.argmax(1) == one.targets).sum())
            positions += len(one.targets)
            if by_distance is not None:
                by_distance(one.which, log_p, one.targets)
            progress.status(f"learning on: {positions / part.symbols:.0%}")
        evaluation = replace(evaluation, bits=bits, accuracy=correct / max(positions, 1))
    if black_box != "none":
        progress.step("counting for the black box")
        box = _box_for(network, text, black_box, progress)
        mixed, *both = mixture_on(
            network,
            box,
            text.symbols,
            part.segments,
            learn_on=learn_on,
            hidden=hidden,
            progress=lambda done: progress.status(f"mixing: {done / part.symbols:.0%}"),
            note=by_distance,
        )
        evaluation = replace(evaluation, bits=mixed[0], accuracy=mixed[1])
        net_alone, box_by_itself = ({"bits_per_character": b / part.characters, "accuracy": a} for b, a in both)
    # They are those of the held-out part: beside figures of another part they would mislead.
    counted = floors_if_asked(text, floors, progress) if split == "held_out" else None
    exact = text.exact_bits()
    return {
        "run": str(run),
        "corpus": text.name,
        "split": split,
        **figures(evaluation, part),
        "upper_bound": text.alphabet.is_bounding,
        "characters": part.characters,
        "symbols": evaluation.symbols,
        "dropped": part.dropped,
        "replaced": part.replaced,
        "temperature": float(network.temperature),
        "black_box": None if box is None else box.kind,
        "black_box_alone": box_by_itself,
        "net_alone": net_alone,
        "learned_on": learn_on,
        "at_rest": at_rest,
        "per_layer": figures_by_layer(evaluation, part),
        "floors": counted,
        "entropy_rate": text.entropy_rate,
        "exact_bits_per_character": exact_of(exact, part),
        "by_distance": None if by_distance is None else by_distance.rows(counted, exact),
    }


def text_of_run(
    run: Path | str,
    network: SequenceNetwork,
    checkpoint: Checkpoint,
    corpus: str | None = None,
    *,
    corpus_split: str | None = None,
    split_rule: str | None = None,
    unknown: Unknown | None = None,
) -> Corpus:
    """The text that a run was trained on, or another one, in the symbols of its net and split as it was in training.

    Raises UsageError where the run does not say what its text was, FfseqError for a text that cannot be read.
    """
    recorded = checkpoint.config.get("corpus", {})
    if corpus is None and "source" not in recorded:
        raise UsageError(f"{run} does not say what it was trained on: name a text after it, {run} CORPUS")
    if corpus is None and recorded["source"] == "-":
        raise UsageError(f"{run} was trained on standard input: name a text after it, or pipe it in: {run} -")
    return load_corpus(
        recorded["source"] if corpus is None else corpus,
        alphabet=network.alphabet.with_unknown(unknown) if unknown else network.alphabet,
        split_rule=split_rule or (recorded["split_rule"] if corpus is None else "auto"),
        known_splits=known_splits(checkpoint),
        split=corpus_split or (recorded.get("split") if corpus is None else None),
    )


def known_splits(checkpoint: Checkpoint) -> dict[str, str]:
    """How the text of a run was split, by the text's SHA-256; empty where the checkpoint does not say."""
    recorded = checkpoint.config.get("corpus")
    return {recorded["content_sha256"]: recorded["split_rule"]} if recorded else {}


def load_network(
    path: Path | str, *, dtype: str = "float32", device: str = "auto"
) -> tuple[SequenceNetwork, Checkpoint]:
    """The network of a run folder, a checkpoint folder or hub:owner/name, ready to predict, and its checkpoint."""
    checkpoint = checkpoint_of(path)
    network = SequenceNetwork.from_checkpoint(checkpoint).to(choose_device(device))
    network.products = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    return network, checkpoint


def sample_of(run: Path | str) -> str:
    """A sample of 300 symbols from a run, begun from nothing."""
    network, _ = load_network(run, device="cpu")
    return network.generate("", max_new_tokens=300, temperature=0.7).strip()


def floors_if_asked(
    corpus: Corpus, choice: str, progress: Progress, interrupted: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """The floors of a corpus for --floors yes, or auto and not too large a text; else None.

    Raises Interrupted between two steps of the counting as soon as `interrupted()` is true.
    """
    if choice == "no" or corpus.held_out.symbols == 0 or (choice == "auto" and corpus.bytes > FLOORS_BYTES):
        return None

    def status(text: str) -> None:
        if interrupted():
            raise Interrupted("interrupted while the counting models were fitted")
        progress.status(text)

    return corpus_floors(corpus, progress=status)


def figures_by_layer(evaluation: Evaluation, part: Part) -> list[dict[str, Any]]:
    """Figures of each layer as `--json` gives them: by its own goodness, and by the score summed up to it."""
    density = evaluation.symbols / part.characters
    return [
        {
            "layer": number,
            "alone": {"bits_per_character": layer.alone_bits * density, "accuracy": layer.alone_accuracy},
            "up_to": {"bits_per_character": layer.up_to_bits * density, "accuracy": layer.up_to_accuracy},
            "positive_goodness": layer.positive,
            "dead_units": layer.dead,
        }
        for number, layer in enumerate(evaluation.layers, start=1)
    ]


def exact_of(exact: NDArray[np.float64] | None, part: Part) -> float | None:
    """Bits per character of a part, from the bits of every symbol of the text (N,), or None where unknown."""
    return None if exact is None else float(exact[positions_of(part.segments)[0]].sum()) / part.characters


def counting(
    network: NetworkConfig, corpus: Corpus, progress: Progress, interrupted: Callable[[], bool]
) -> NetworkConfig:
    """Order and discount of a counting black box, where they were left open: the floor's, chosen on validation.

    Raises UsageError for any black box on several documents.
    """
    if network.black_box != "none":
        _refuse_documents(corpus)
    given = network.black_box_order is not None and network.black_box_discount is not None
    if network.black_box not in ("kneser_ney", "online") or given:
        return network
    chosen = floors_if_asked(corpus, "yes", progress, interrupted)
    if chosen is None:
        raise UsageError(f"{corpus.name} has no held-out part: give --black_box_order and --black_box_discount")
    return replace(
        network,
        black_box_order=network.black_box_order or chosen["kneser_ney"]["order"],
        black_box_discount=network.black_box_discount or chosen["kneser_ney"]["discount"],
    )


def _refuse_documents(corpus: Corpus) -> None:
    if corpus.documents > 1:
        raise UsageError(
            f"a black box predicts one text, and {corpus.name} has {corpus.documents:,} documents: leave it out"
        )


def counted_text(corpus: Corpus) -> NDArray[np.integer]:
    """What a black box counts: the training part (n,)."""
    return np.asarray(corpus.symbols[corpus.train.start : corpus.train.stop])


def _box_for(network: SequenceNetwork, corpus: Corpus, kind: str, progress: Progress) -> BlackBox:
    """A black box beside a trained net, on the training part of its corpus."""
    config = counting(replace(network.config, black_box=kind), corpus, progress, lambda: False)
    return black_box_of(config, counted_text(corpus), len(corpus.alphabet))


def alone_of(network: SequenceNetwork, corpus: Corpus) -> list[float]:
    """Read-out temperatures of the layers alone, fitted on validation text, or on the end of the training part."""
    part = corpus.validation
    segments = part.segments if part is not None else tuning(corpus.train, corpus.split_rule)[1]
    return alone_temperatures(network, corpus.symbols, segments)


def box_alone_of(network: SequenceNetwork, corpus: Corpus, part: Part) -> dict[str, float] | None:
    """What the black box of a net predicts of a part by itself."""
    alone = box_alone(network, corpus.symbols, part.segments)
    return None if alone is None else {"bits_per_character": alone[0] / part.characters, "accuracy": alone[1]}

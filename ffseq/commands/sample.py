"""`ffseq sample`: write text with a trained network."""

from __future__ import annotations

import sys
from pathlib import Path

from ffseq.commands.common import add_compute_options, make_parser, parse, print_json
from ffseq.errors import FfseqError, UsageError
from ffseq.interrupt import Interrupt, nothing_to_save
from ffseq.options import LARGEST


def run(verb: str, arguments: list[str], interrupted: Interrupt) -> int:
    """Sample; streams at a terminal, with --json prints `samples`, a list of texts that begin with the prompt."""
    parser = make_parser("sample", "Write text with a trained network.")
    parser.add_argument("run", type=str, help="a run folder or a checkpoint folder")
    parser.add_argument("--start", type=str, default="", help="how the text begins; FILE:path, or - for standard input")
    parser.add_argument("--max_new_tokens", type=int, default=500, help="symbols to write")
    parser.add_argument("--num_samples", type=int, default=1, help="texts to write")
    parser.add_argument("--temperature", type=float, default=0.8, help="below 1 safer, above 1 wilder, 0: no chance")
    parser.add_argument("--top_k", type=int | None, default=None, help="draw from the k most probable symbols")
    parser.add_argument("--top_p", type=float | None, default=None, help="draw from the most probable share p")
    parser.add_argument("--stop", type=str | None, default=None, help="end a text before this")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same text")
    parser.add_argument(
        "--unknown",
        choices=["error", "drop", "replace"],
        default=None,
        help="what to do with characters of --start that the net does not know; by default as in training",
    )
    add_compute_options(parser)
    options = parse(parser, arguments)
    for name, least in (("max_new_tokens", 0), ("num_samples", 1), ("seed", 0), ("threads", 0)):
        if not least <= options[name] <= LARGEST:
            raise UsageError(f"--{name} has to be at least {least} and at most {LARGEST}, got {options[name]}")
    start = _start(options["start"])
    import torch

    from ffseq.compute import set_threads
    from ffseq.randomness import generator
    from ffseq.sampling import filtered, stream_text
    from ffseq.scoring import load_network

    drawing = {name: options[name] for name in ("temperature", "top_k", "top_p")}
    filtered(torch.zeros(1, 2), **drawing)  # refuses bad values before the first sample is drawn
    set_threads(options["threads"])
    network, _ = load_network(options["run"], dtype=options["dtype"], device=options["device"])
    alphabet = network.alphabet.with_unknown(options["unknown"]) if options["unknown"] else network.alphabet
    named = options["start"] if options["start"].startswith("FILE:") else ""
    encoded = alphabet.encode(start, source=f"--start {named}".strip()).tolist()
    start = alphabet.decode(encoded)
    live = sys.stdout.isatty() and not options["json"]
    samples = []
    for number in range(options["num_samples"]):
        random = generator(options["seed"], "sample", number, network.prior.device)
        pieces = stream_text(
            network,
            encoded,
            max_new_tokens=options["max_new_tokens"],
            random=random,
            stop=options["stop"] or None,
            **drawing,
        )
        if number and not options["json"]:
            print("\n---------------")
        text = start
        if not options["json"]:
            sys.stdout.write(start)
        for piece in pieces:
            text += piece
            if not options["json"]:
                sys.stdout.write(piece)
            if live:
                sys.stdout.flush()
            if interrupted():
                break
        samples.append(text)
        if interrupted():
            break
    if options["json"]:
        print_json({"samples": samples})
    else:
        print()
    return 130 if interrupted() else 0


def _start(start: str) -> str:
    """The prompt: the text itself, or that of a file or of standard input."""
    try:
        if start == "-":
            with nothing_to_save():
                return sys.stdin.buffer.read().decode("utf-8-sig")
        if start.startswith("FILE:"):
            return Path(start[5:]).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FfseqError(f"--start {start} is not UTF-8 text: byte {error.start} cannot be read") from error
    except OSError as error:
        raise FfseqError(f"--start {start}: {error.strerror}") from error
    return start

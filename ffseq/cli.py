"""The command `ffseq`: finds the verb, runs it, turns errors into sentences and exit statuses.

0 done, 1 failed, 2 wrong usage, 130 interrupted with the state saved. With --json the last line of standard output
is one JSON object; progress goes to standard error.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ffseq.interrupt import Interrupt
from ffseq.leaving import in_team, leave

VERBS = {
    "train": "train a network on a text",
    "sample": "write text with a trained network",
    "evaluate": "measure a trained network on text it has not seen",
    "report": "one page about a run: curves, figures, and a passage coloured by surprise",
    "share": "give a trained network away: into a folder, or to the Hugging Face Hub",
    "compare": "Forward-Forward, its twin by backpropagation, random layers and counting: one table",
    "sleep": "text awake, dreams asleep: how far apart in time they may be",
    "images": "the image experiments of the Forward-Forward paper",
    "bench": "how fast it is on this machine, and how much memory it takes",
    "floors": "how well counting models predict a text",
    "corpora": "the known corpora: list, show NAME, or prepare NAME",
    "list": "the presets",
    "show": "print a preset",
    "cp": "copy a preset into a file of yours",
}


def command() -> NoReturn:
    """What `ffseq` at the console and `python -m ffseq` start: `main`, and out of the process with its status."""
    # A module of the user's (MODULE:NAME) may lie where the command is started. Last: it hides nothing installed.
    sys.path.append("")
    leave(main(), at_once=in_team())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    # First of all, before anything slow is imported: from here on Ctrl-C means "save and stop".
    interrupted = Interrupt()
    interrupted.install()
    _open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    from ffseq.errors import FfseqError

    try:
        return _dispatch(arguments, interrupted)
    except FfseqError as error:
        print(f"ffseq: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("ffseq: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"ffseq: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _is_lack_of_memory(error)):
            raise
        print("ffseq: there is not enough memory for this: use smaller --units or --batch_size", file=sys.stderr)
        return 1
    finally:
        interrupted.over()


def _open_streams() -> None:
    """Standard streams that are there and take any character: a closed one is the null device, an ASCII one escapes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif name == "stdout" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_lack_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not allocate a tensor; on the CPU it says so in the message only."""
    return any(words in str(error) for words in ("allocate memory", "out of memory", "Storage size calculation"))


def _dispatch(arguments: list[str], interrupted: Interrupt) -> int:
    from ffseq.errors import UsageError, nearest

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        from ffseq import __version__

        print(f"ffseq {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb.startswith("-"):
        raise UsageError(f"options follow the verb: ffseq train {verb}, for example")
    if verb not in VERBS:
        raise UsageError(f"there is no verb {verb!r}{nearest(verb, list(VERBS))}. Verbs: {', '.join(VERBS)}")
    from importlib import import_module

    module = import_module(f"ffseq.commands.{'presets' if verb in ('list', 'show', 'cp') else verb}")
    if verb not in ("train", "sample", "compare", "sleep", "images"):
        if verb in ("evaluate", "floors", "report"):
            import_module("ffseq.runs")  # torch does not take it well to be interrupted while it is imported
        interrupted.end_at_once()
    return int(module.run(verb, rest, interrupted))


def _overview() -> str:
    lines = ["ffseq: character-level sequence models that learn with the Forward-Forward algorithm", ""]
    lines += [f"  ffseq {verb:<10} {what}" for verb, what in VERBS.items()]
    return "\n".join(
        [*lines, "", "ffseq VERB --help lists the options of a verb.", "ffseq train, alone, is a good start."]
    )

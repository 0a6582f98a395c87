"""What a run tells while it learns: lines of the log, the line of progress, figures on validation text, samples.

Nothing is learned here. But the read-out is fitted before it is used, on text that was not learned; and where there is
nothing finite left to tell, the run is refused.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ffseq.board import Board
from ffseq.config import TrainConfig
from ffseq.corpus import Corpus, Segment
from ffseq.errors import FfseqError
from ffseq.evaluation import Evaluation, evaluate_segments
from ffseq.means import Means, all_finite, goodness_in_words
from ffseq.network import SequenceNetwork
from ffseq.phases import Moment
from ffseq.progress import Progress, duration
from ffseq.randomness import generator
from ffseq.readout import fit_readout
from ffseq.sampling import stream_text
from ffseq.segments import Segments, leading
from ffseq.trackers import Told, tell

if TYPE_CHECKING:
    from ffseq.kept import State

#: Validation symbols scored in one evaluation during training, at most.
VALIDATION_SYMBOLS = 200_000
#: Seconds between two drawings of the table at a terminal.
REDRAWN = 0.25
#: Training symbols on which dead units are counted where there is no validation text.
MONITORED_SYMBOLS = 4_096


@dataclass
class Monitor:
    """Tells of one run, in its folder and in its progress.

    network: the net that learns; shown: that net, or the one with the running average of its weights, which evaluation
    and samples show. config: resolved (see `ffseq.defaults`). learned: the training text, without what is held back of
    it; fitting: the text that the read-out is fitted on, none where it is known. leads: whether this process tells
    anything; the others of a team only refuse what is not finite. tracker: who is told the lines of the log as well.
    """

    network: SequenceNetwork
    shown: SequenceNetwork
    corpus: Corpus
    config: TrainConfig
    folder: Path
    progress: Progress
    learned: Segments
    fitting: Sequence[Segment]
    leads: bool
    tracker: Told | None = None
    _warned: bool = field(default=False, init=False)
    #: What the last line of the log said, and when the table was drawn.
    _latest: dict[str, Any] = field(default_factory=dict, init=False)
    _drawn: float = field(default=-math.inf, init=False)

    def log(self, state: State, means: Means, moment: Moment, done: float) -> None:
        """A line of the log and the line of progress. means: of the updates since the last; done: share of the run.
        Raises FfseqError where a mean is not finite.
        """
        bits, positive, negative = (means.mean(name) for name in ("bits", "positive", "negative"))
        self._refuse_unless(all_finite(bits, positive, negative), state)
        if not self.leads:
            return
        if bits is not None:
            bits *= self.corpus.train.symbols / self.corpus.train.characters
        phased = self.config.phases.kind != "interleaved"
        self._write(
            state,
            kind="train",
            train_bits_per_character=bits,
            positive_goodness=positive,
            negative_goodness=negative,
            **({"phase": moment.phase, "nights": moment.nights} if phased else {}),
        )
        self._latest = {"train": bits, "positive": positive, "negative": negative}
        if self.progress.live:
            return
        board = self._board(state, moment, done)
        phase = f"  {board.phase}" if board.phase else ""
        validation = "" if board.validation is None else f"  validation {board.validation:.3f}"
        train = "-" if bits is None else f"{bits:.3f}"
        self.progress.status(
            f"{board.step:>6,} of {board.total:,}{phase}  {board.rate:,.0f} characters/s  "
            f"{duration(board.left)} left  bits per character: train {train}{validation}  "
            f"goodness +/-: {goodness_in_words(positive, negative)}"
        )

    def draw(self, state: State, moment: Moment, done: float) -> None:
        """Renew the table at a terminal, a few times a second, and at the end of the run."""
        now = time.monotonic()
        if self.leads and self.progress.live and (now - self._drawn >= REDRAWN or done >= 1):
            self.progress.table(self._board(state, moment, done).drawn())
            self._drawn = now

    def _board(self, state: State, moment: Moment, done: float) -> Board:
        phased = self.config.phases.kind != "interleaved"
        phase = f"{moment.phase} {moment.since + 1:,} of {moment.length:,}, night {moment.nights:,}" if phased else ""
        names = ["memory"] if self.network.memory is not None else []
        latest: dict[str, Any] = {"train": None, "positive": None, "negative": None} | self._latest
        return Board(
            step=state.step,
            total=self.config.run.max_iters or 0,
            done=done,
            left=state.seconds / done - state.seconds if done else 0.0,
            rate=self._seen(state) / max(state.seconds, 1e-9),
            phase=phase,
            validation=state.validation_bits,
            best=state.best_bits,
            layers=[*names, *(f"layer {number + 1}" for number in range(len(self.network.layers)))],
            **latest,
        )

    def evaluate(self, state: State) -> bool:
        """Fit the read-out and evaluate; whether that was the best so far. Changes the nets' temperature and gains, and
        the bits in `state`. Raises FfseqError where the bits are not finite.
        """
        if not self.leads:
            return False
        part = self.corpus.validation
        if self.fitting:
            fit_readout(self.shown, self.corpus.symbols, self.fitting, calibrate=self.config.learning.calibrate)
            self.network.temperature.copy_(self.shown.temperature)
            self.network.gains.copy_(self.shown.gains)
        if part is None:
            # Nothing to choose by, but units that have died show on training text as well.
            dead = _dead(self._evaluated(leading(self.learned, MONITORED_SYMBOLS)))
            self._write(state, kind="units", dead_units=dead)
            self._warn_of(dead)
            return False
        result = self._evaluated(leading(part.segments, VALIDATION_SYMBOLS))
        bits = result.bits_per_symbol * part.symbols / part.characters
        self._refuse_unless(math.isfinite(bits), state)
        state.validation_bits = bits
        dead = _dead(result)
        self._write(
            state,
            kind="validation",
            validation_bits_per_character=bits,
            accuracy=result.accuracy,
            dead_units=dead,
            temperature=float(self.shown.temperature),
        )
        self._warn_of(dead)
        if state.best_bits is not None and bits >= state.best_bits:
            return False
        state.best_bits = bits
        return True

    def sample(self, state: State, means: Means) -> None:
        """A continuation of the beginning of the training text. Raises FfseqError as `check` does."""
        if not self.leads:
            return
        self.check(state, means)
        random = generator(self.config.run.seed, "sample", state.step)
        shown = copy.deepcopy(self.shown).to("cpu") if self.shown.prior.is_cuda else self.shown
        first = leading(self.learned, self.network.block_size)[0]
        prompt = np.asarray(self.corpus.symbols[first.start : first.stop]).tolist()
        text = "".join(stream_text(shown, prompt, max_new_tokens=200, random=random, temperature=0.8))
        samples = self.folder / "samples"
        samples.mkdir(exist_ok=True)
        (samples / f"{state.step:08}.txt").write_text(text, encoding="utf-8")
        self.progress.say(f"  sample after {state.step:,} updates: {text!r}")

    def check(self, state: State, means: Means) -> None:
        """Raises FfseqError where weights, or means of what updates computed with them, are not finite."""
        finite = means.is_finite() and all(bool(one.isfinite().all()) for one in self.network.parameters())
        self._refuse_unless(finite, state)

    def _refuse_unless(self, finite: bool, state: State) -> None:
        if not finite:
            raise FfseqError(
                f"the loss is not finite after update {state.step:,}: learning diverged. The last good state is "
                f"kept in {self.folder / 'last'}. Lower --learning_rate (it is "
                f"{self.config.optimiser.learning_rate:g}) or raise --warmup_iters."
            )

    def _evaluated(self, segments: Sequence[Segment]) -> Evaluation:
        return evaluate_segments(self.shown, self.corpus.symbols, segments)

    def _warn_of(self, dead: list[float]) -> None:
        """Say once that many units of a layer are dead; dead: their share in each layer."""
        if max(dead) <= 0.5 or self._warned:
            return
        self._warned = True
        worst = dead.index(max(dead)) + 1
        self.progress.say(
            f"  {max(dead):.0%} of the units of layer {worst} are dead (no text switches them on): "
            "try a lower --learning_rate"
        )

    def _seen(self, state: State) -> int:
        assert self.config.run.batch_size is not None
        return self.corpus.train.characters_of(state.symbols_seen(self.config.run.batch_size))

    def _write(self, state: State, *, kind: str, **figures: Any) -> None:
        line = {"step": state.step, "seconds": round(state.seconds, 3), "kind": kind}
        line |= {"characters_seen": self._seen(state)} | figures
        tell(self.folder, line, self.tracker)


def _dead(result: Evaluation) -> list[float]:
    """The share of dead units in each layer."""
    return [layer.dead for layer in result.layers]

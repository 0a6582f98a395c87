"""The loop: windows in, changes applied, the best and the last state kept. What it tells is in `ffseq.monitor`.

`Trainer.run` reads from top to bottom. Nothing in it depends on wall-clock time except when to save and, for runs
limited by `--max_seconds`, the learning rate; so the same seed gives the same bits, interrupted or not.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffseq.baselines.twin import backpropagate
from ffseq.batches import Batches
from ffseq.checkpoint import Checkpoint
from ffseq.config import ROLLOUTS, TrainConfig, source_of
from ffseq.corpus import Corpus
from ffseq.kept import State, restore_run, save_run
from ffseq.learning import Update, learn, untracked
from ffseq.literal import learn_literal
from ffseq.means import Means
from ffseq.monitor import Monitor
from ffseq.network import SequenceNetwork
from ffseq.nights import Nights
from ffseq.optim import apply_changes, make_optimisers, rate_at
from ffseq.parallel import Decision, Team
from ffseq.phases import Moment, moments
from ffseq.pipeline import Pipeline, weights_of
from ffseq.progress import Progress
from ffseq.randomness import generator
from ffseq.readout import frequencies, known_temperature, set_readout
from ffseq.rollouts import Rollouts
from ffseq.segments import Segment, Segments


class Trainer:
    """Trains a network on a corpus into a run folder. `config` has to be resolved (see `ffseq.defaults`)."""

    def __init__(
        self,
        network: SequenceNetwork,
        corpus: Corpus,
        config: TrainConfig,
        folder: Path,
        progress: Progress,
        team: Team | None = None,
    ) -> None:
        self.network, self.corpus, self.config = network, corpus, config
        self.folder, self.progress, self.team = folder, progress, team
        #: Whether this process writes and reports: the only one, or one of a team.
        self.leads = team is None or team.leads
        self.state = State()
        self.means = Means()
        self.layers = list(network.stack())
        assert config.run.batch_size is not None
        self.flat = network.flat() if config.learning.hidden == "learned" else None
        self.pipeline: Pipeline | None = None
        if team is not None and config.run.pipeline:
            self.pipeline = Pipeline(team, network, config.run.batch_size)
        #: The numbers of the layers that this process learns.
        self.mine = self.pipeline.layers if self.pipeline is not None else range(len(network.layers))
        self.optimisers = make_optimisers(self.layers, config.optimiser, config.run.batch_size, self.flat, self.mine)
        # What evaluation, sampling and the checkpoints show: the weights, or their running average.
        self.shown = copy.deepcopy(network) if config.optimiser.average else network
        self.shown.memory = network.memory  # the memory is not averaged: most of its rows rest anyway
        self.batch_size = config.run.batch_size
        self.start, self.stop = corpus.train.start, corpus.train.stop
        self.segments = Segments.of(corpus.train.segments)
        #: Where the documents of the training text begin, where there are several.
        self.documents = self.segments.starts if len(self.segments) > 1 else None
        #: The black box's log probabilities of every training position, cross-fitted: (n, V) float16.
        self.black_box = None if network.black_box is None else network.black_box.of_training(progress.status)
        self.nights = Nights(network, config) if config.phases.kind != "interleaved" else None
        self.rollouts = Rollouts(network, config) if source_of(config.learning) in ROLLOUTS else None
        self.moments = moments(config.phases)
        self.unigram: Tensor | None = None
        if source_of(config.learning) == "unigram":
            self.unigram = frequencies(corpus.symbols, self.start, self.stop, len(corpus.alphabet)).to(network.prior)
        fitting = self._prepare_readout()
        self.batches = Batches(
            corpus.symbols,
            self.start,
            self.stop,
            batch_size=self.batch_size,
            length=config.run.string_length if network.is_causal else None,
            block_size=network.block_size,
            alphabet_size=len(corpus.alphabet),
            seed=config.run.seed,
            short_contexts=config.run.short_contexts,
            documents=self.documents,
        )
        self.monitor = Monitor(
            network,
            self.shown,
            corpus,
            config,
            folder,
            progress,
            learned=self.segments.within(self.start, self.stop),
            fitting=fitting,
            leads=self.leads,
        )

    def run(self, interrupted: Callable[[], bool]) -> bool:
        """Learn until the end or until interrupted. Returns whether the run is finished. Raises FfseqError when the
        loss is not finite.
        """
        run, opt, state = self.config.run, self.config.optimiser, self.state
        assert run.max_iters is not None
        assert run.eval_interval is not None
        assert run.sample_interval is not None
        assert opt.learning_rate is not None
        team = self.pipeline or self.team
        began, saved = time.monotonic() - state.seconds, time.monotonic()
        while self._share_done() < 1:
            now = time.monotonic()
            decision = Decision(interrupted(), now - began, now - saved > run.checkpoint_seconds)
            if team is not None:
                decision = team.agreed(decision)
                state.seconds = decision.seconds
            if decision.stop:
                self._gather()
                self.save("last")
                return False
            moment = next(self.moments)
            rate = rate_at(opt, state.step, self._share_done())
            if self.config.phases.rate_cap is not None and moment.phase != "interleaved":
                rate *= min(1.0, self.config.phases.rate_cap / (moment.length * opt.learning_rate))
            update = self._update(moment, rate)
            state.step += 1
            state.read += moment.phase != "sleep"
            self.means.add(update, moment)
            if team is None:  # several processes have the clock that they agreed on
                state.seconds = time.monotonic() - began
            if state.step % run.log_interval == 0:
                self.monitor.log(state, self.means, moment, self._share_done())
                self.means = Means()
            sample = run.sample_interval > 0 and state.step % run.sample_interval == 0
            evaluate = state.step % run.eval_interval == 0 or self._share_done() >= 1
            if sample or evaluate or decision.save:
                self._gather()
            if sample:
                self.monitor.sample(state, self.means)
            if evaluate and self.monitor.evaluate(state):
                self.save("best")
            if evaluate or decision.save:
                self.save("last")
                saved = time.monotonic()
            self.monitor.draw(state, moment, self._share_done())
        return True

    def _gather(self) -> None:
        """In a pipeline, bring what all processes have learned to the one that evaluates and saves."""
        if self.pipeline is not None:
            averaged = [] if self.shown is self.network else [self.shown]
            self.pipeline.gather([self.network, *averaged], self.optimisers)

    def save(self, name: str) -> None:
        """Write the checkpoint `best` (weights only) or `last` (with all that is needed to go on)."""
        if self.leads:
            self.monitor.check(self.state, self.means)
            save_run(self, name)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint written by `save("last")`."""
        restore_run(self, checkpoint)

    def _update(self, moment: Moment, rate: float) -> Update:
        if self.nights is None or moment.phase == "interleaved":
            update = self._interleaved(moment.read)
        elif moment.phase == "wake":
            contexts, targets, _ = self._batch(moment.read)
            update = self.nights.wake(moment, self.state.step, contexts, targets)
        elif self.config.phases.asleep == "dreams":
            update = self.nights.sleep(moment, self.state.step)
        else:
            update = self.nights.sleep(moment, self.state.step, self._batch(self.state.step - moment.read)[:2])
        if self.nights is None or moment.phase == "interleaved" or self.nights.balance.change(moment):
            apply_changes(self.optimisers, self.layers, update.changes, rate, self.flat)
        if self.shown is not self.network:
            # A short memory at first, so that the average does not drag the random start along.
            keep = min(self.config.optimiser.average, (1 + self.state.step) / (10 + self.state.step))
            shown, learned = (weights_of(network, self.mine) for network in (self.shown, self.network))
            torch._foreach_lerp_(shown, learned, 1 - keep)
        return update

    def _batch(self, number: int) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        """Contexts and targets of the training text's batch of that number, on the net's device; their positions."""
        device = self.network.prior.device
        contexts, targets, positions = self.batches.at(number)
        return contexts.to(device), targets.to(device), positions

    def _interleaved(self, number: int) -> Update:
        """What one batch has to teach, positives and negatives."""
        run, state, team = self.config.run, self.state, self.team if self.pipeline is None else None
        device = self.network.prior.device
        contexts, targets, positions = self._batch(number)
        random, drop = generator(run.seed, "learn", state.step, device), self.config.network.dropout or 0.0
        if team is not None:
            contexts, targets, random, rows = team.share_of(contexts, targets, random)
            positions = positions[rows.numpy()]
        given = (self.network, contexts, targets, self.config.learning)
        # Changes travel in the type that they have; derivatives from autograd, and with squares, are float32.
        agreement = self.config.network.goodness == "agreement"
        width = self.network.products if self.config.learning.method == "ff" and agreement else torch.float32
        if self.config.network.stack == "literal":
            return learn_literal(*given, random=random, drop=drop, done=self._share_done())
        places = self.flat.places if self.flat is not None else None
        if self.rollouts is not None:
            return self.rollouts.learn(self.network, contexts, targets, random=random, places=places)
        outside = None
        if self.black_box is not None:
            outside = torch.from_numpy(self.black_box[positions - self.corpus.train.start]).to(device).float()
        more: dict[str, Any] = {"random": random, "drop": drop, "unigram": self.unigram, "black_box": outside}
        more["documents"] = self.documents is not None
        if self.pipeline is not None:
            with untracked(self.network, self.config.learning):
                update = self.pipeline.learn(*given, **more, places=places)
        elif self.config.learning.method == "ff":
            share = partial(team.share, self.flat, width) if team is not None and self.flat is not None else None
            with untracked(self.network, self.config.learning):
                update = learn(*given, **more, places=places, learned=share)
        else:
            update = backpropagate(*given, **more)
        if team is not None:
            assert self.flat is not None
            update = team.averaged(update, self.flat, width)
        return update

    def _share_done(self) -> float:
        run = self.config.run
        assert run.max_iters is not None
        done = self.state.step / run.max_iters if run.max_iters else 1.0
        return max(done, self.state.seconds / run.max_seconds) if run.max_seconds else done

    @property
    def characters_seen(self) -> int:
        """Characters of real text that were learned, each as often as it was."""
        return self.corpus.train.characters_of(self.state.symbols_seen(self.batch_size))

    def _prepare_readout(self) -> Sequence[Segment]:
        """Set what the prediction is read out with. Returns the text to fit it on, none where it is known."""
        known = known_temperature(self.config)
        set_readout((self.network, self.shown), self.config, known, self.unigram)
        if known is not None:
            return []
        if self.corpus.validation is not None:
            return self.corpus.validation.segments
        held_back = max(1, (self.stop - self.start) // 10)
        self.stop -= held_back
        self.progress.say(f"  the last {held_back:,} training symbols are held back to fit the temperature")
        return self.segments.within(self.stop, self.stop + held_back)

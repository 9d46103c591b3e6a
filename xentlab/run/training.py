"""Training an order and writing down everything as it happens: opening, epochs, checkpoints, ends."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from xentlab.data import Dataset
from xentlab.data.turns import Turns
from xentlab.disk import cannot_go_on, written_together
from xentlab.errors import StoppedError, UserError
from xentlab.journal import EndEvent, EpochEvent, Event, Journal, MemberEvent, TrialEvent
from xentlab.run.artifacts import write_artifacts
from xentlab.run.checkpoint import Checkpoint
from xentlab.run.order import Order, PartsError, TrainingError, failures
from xentlab.secrets import redacted
from xentlab.train import Epoch, Fit, Trial, in_words
from xentlab.train.memory import is_out_of_memory
from xentlab.train.plan import model_found
from xentlab.train.together import units

EpochCallback = Callable[[Sequence[Trial], Epoch], None]
Say = Callable[[str], None]
"""Tells the user, in a sentence, what was decided without being asked."""

_HOLD_S = 1.0  # an interruption costs no more than about this, between checkpoints
say_aloud: Say = logging.getLogger("xentlab").warning


class Interruption(KeyboardInterrupt):
    """The user has interrupted what trains at once; one sentence that is true of all of it.

    Args:
        met: of each stack the epoch that it was in, the one with which the same command goes on, and how many it has.
    """

    def __init__(self, *met: tuple[int, int, int]) -> None:
        at, on, last = (sorted({*numbers}) for numbers in zip(*met, strict=True))
        goes_on = "begins again" if on == [1] else f"goes on with {_epochs(on)}"
        of = f"{'up to ' * (len(last) > 1)}{last[-1]}"
        super().__init__(f"interrupted in {_epochs(at)} of {of}; the same command {goes_on}.")
        self.met = met


def _epochs(numbers: Sequence[int]) -> str:
    return f"epoch {numbers[0]}" if len(numbers) == 1 else f"epochs {numbers[0]} to {numbers[-1]}"


def heed_ends(ends: Sequence[BaseException | None]) -> None:
    """Raise what ends more than the stack that it comes from, of what stacks that trained at once have raised."""
    if met := [one for end in ends if isinstance(end, Interruption) for one in end.met]:
        raise Interruption(*met)
    for end in ends:
        if end is not None and not isinstance(end, Exception):
            raise end


def train_order(
    order: Order,
    stack: Sequence[Trial],
    dataset: Dataset,
    journal: Journal,
    environment: Mapping[str, Any],
    on_epoch: EpochCallback,
    say: Say = say_aloud,
) -> None:
    """Train one stack; where memory runs out, its halves one after the other; the units of a group in turns."""
    parts = units(stack, dataset)
    if len(parts) > 1:
        _in_turns(order, stack, parts, lambda o, s: train_order(o, s, dataset, journal, environment, on_epoch, say))
        return
    try:
        _Training(order, stack, dataset, journal, environment, say).train(on_epoch)
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(stack) == 1:
            raise UserError(
                f"{stack[0].label} needs more memory than there is: a smaller trainer.batch_size needs less."
            ) from error
    gc.collect()  # the failed stack's tensors lie in cycles of its traceback
    half = (len(stack) + 1) // 2
    say(f"A stack of {len(stack)} trials needs more memory than there is: going on with stacks of {half}.")
    for rows in (range(half), range(half, len(stack))):
        part = [stack[row] for row in rows]
        train_order(_rows(order, rows), part, dataset, journal, environment, on_epoch, say)


def _in_turns(
    order: Order,
    stack: Sequence[Trial],
    parts: Sequence[list[int]],
    train: Callable[[Order, Sequence[Trial]], None],
) -> None:
    """Train the units of a group side by side; each one's failure is its own, but for what would stop all."""
    work = [functools.partial(train, _rows(order, rows), [stack[row] for row in rows]) for rows in parts]
    with _deterministic(stack[0].trainer.deterministic):
        ends = Turns(work).run()
    heed_ends(ends)
    failed: dict[str, Exception] = {}
    for rows, error in zip(parts, ends, strict=True):
        if isinstance(error, StoppedError) and not isinstance(error, TrainingError):
            raise error
        if isinstance(error, Exception):
            failed |= failures(_rows(order, rows), error)
    if failed:
        raise PartsError(failed)


class _Training:
    """One stack from its first epoch, or from the checkpoint of a session that was interrupted, to its end.

    `order` and `fit` are of the trials that still train: they shrink where some of them diverge, or lose patience.
    """

    def __init__(
        self,
        order: Order,
        stack: Sequence[Trial],
        dataset: Dataset,
        journal: Journal,
        environment: Mapping[str, Any],
        say: Say,
    ) -> None:
        self.order, self.dataset, self.journal, self.environment = order, dataset, journal, environment
        self.root = Path(order.root)
        self.fit, self._openings = Fit(stack, dataset), dict[str, bytes]()
        self.checkpoint = Checkpoint(self.root, order.signatures)
        ids, snapshot = self.checkpoint.load(say) if order.resumable else ([], None)
        if snapshot is not None and ids == order.ids:
            self.fit.restore(snapshot)
        self._written = (
            self.fit.history.done
        )  # epochs in the journal; the fit's own count is one ahead while it measures
        self._kept, self._held, self._looked = self._written, dict[str, Any](), time.perf_counter()

    def train(self, on_epoch: EpochCallback) -> None:
        try:
            self._train(on_epoch)
        except SystemExit as error:  # of a loss or a model: this stack has failed, and nothing else ends
            message = f"its own code asked to end the process with code {error.code}"
            self._close("failed", f"SystemExit: {message}")
            raise TrainingError(f"{self.order.label}: {message}.") from error

    def _train(self, on_epoch: EpochCallback) -> None:
        self._open()
        trainer = self.fit.rig.trials[0].trainer
        try:
            with _deterministic(trainer.deterministic):
                while True:
                    self._epochs(on_epoch)
                    gone = [row for row, over in enumerate(self.fit.history.over) if over]
                    if not gone or len(gone) == len(self.order.trials) or self.fit.history.done == trainer.epochs:
                        break
                    self._end_rows(gone)
                self._end(self.fit, self.order)
        except KeyboardInterrupt as error:
            if self._held:
                self.checkpoint.save(self.order.ids, self._held)
            self._close("interrupted", "interrupted by the user")
            at = min(self._written + 1, trainer.epochs)
            raise Interruption((at, self._kept + 1, trainer.epochs)) from error
        except Exception as error:
            said = in_words(self.fit.rig.trials[0], error)
            self._close("failed", f"{type(said).__name__}: {said}")
            if said is error:
                raise
            raise said from error
        self.checkpoint.remove()

    def _epochs(self, on_epoch: EpochCallback) -> None:
        """Train to the last epoch, or to the first in which a trial diverges or loses patience."""
        trainer = self.fit.rig.trials[0].trainer
        for epoch in self.fit.epochs():
            self._written = epoch.number
            self.journal.append(EpochEvent(self.order.ids, epoch.number, epoch.metrics))
            on_epoch(self.fit.rig.trials, epoch)
            if any(self.fit.history.over):
                return
            every = trainer.checkpoint_every
            if every and epoch.number % every == 0 and epoch.number < trainer.epochs:
                self.checkpoint.save(self.order.ids, self.fit.snapshot())
                self._kept, self._held = epoch.number, {}
            elif every and time.perf_counter() - self._looked > _HOLD_S:
                self._kept, self._held, self._looked = epoch.number, self.fit.snapshot(), time.perf_counter()

    def _end_rows(self, gone: Sequence[int]) -> None:
        """End the rows of a stack that are over, and go on with the others alone.

        The others' checkpoint comes first: killed in between, they go on from here, as they do when nothing happens.
        """
        left = [row for row in range(len(self.order.trials)) if row not in gone]
        rest, order = self.fit.take(left), _rows(self.order, left)
        checkpoint = Checkpoint(self.root, order.signatures)
        checkpoint.save(order.ids, rest.snapshot())
        self._end(self.fit.take(gone), _rows(self.order, gone))
        self.checkpoint.remove()
        self.fit, self.order, self.checkpoint = rest, order, checkpoint
        self._kept, self._held = self.fit.history.done, {}

    def _open(self) -> None:
        """Write down that the trials begin, or go on."""
        events: list[Event] = []
        for entry, trial in zip(self.order.trials, self.fit.rig.trials, strict=True):
            at = len(events)
            facts = self._facts(trial, entry["signature"]) | dict(self.order.tags)
            key, config = entry["signature"], dict(trial.config)
            done, attempt = self.fit.history.done, entry.get("attempt", 0)
            events.append(TrialEvent(entry["id"], key, trial.label, config, facts, resumed=done, attempt=attempt))
            if entry["group"] is not None:
                events.append(MemberEvent(entry["group"], entry["id"]))
            self._openings[entry["id"]] = self.journal.lines(events[at:])
        self.journal.append(*events)

    def _facts(self, trial: Trial, signature: str) -> dict[str, str]:
        names, git = trial.names, self.environment["git"]
        return {
            "task": trial.task.name,
            "loss": names["loss"],
            "link": trial.loss.link,
            "model": names["model"],
            "dataset": self.dataset.name,
            "optimizer": names["optimizer"],
            "seed": str(trial.seed),
            "signature": signature,
            "fingerprint": self.dataset.fingerprint,
            "host": str(self.environment["host"]),
            "device": trial.device.type,
            "git_commit": git["commit"] if git else "none",
            **({"data": "; ".join(notes)} if (notes := [*self.dataset.remarks, *self._contents()]) else {}),
            **({"loss_found": "; ".join(trial.loss.findings)} if trial.loss.findings else {}),
            **({"model_found": found} if (found := model_found(trial, self.dataset)) else {}),
        }

    def _contents(self) -> list[str]:
        """What is known by now of files that are read while they are trained on."""
        return [] if self.dataset.stream is None else [self.dataset.stream.source.contents()]

    def _end(self, fit: Fit, order: Order) -> None:
        """Evaluate trained trials on test data where they may, and write down how they ended."""
        events, outcomes = [], fit.finish()
        facts = {**self.environment, **({"contents": read[0]} if (read := self._contents()) else {})}
        environment = json.dumps(redacted(facts), indent=2)
        folder = self.root / "trials"
        try:
            with written_together() as scratch:
                for row, (name, outcome) in enumerate(zip(order.ids, outcomes, strict=True)):
                    folder = self.root / "trials" / name
                    write_artifacts(
                        folder, fit, row, environment, self._openings[name], scratch if order.weights else None
                    )
                    events.append(EndEvent(name, "finished", "", outcome.to_json(), str(folder.relative_to(self.root))))
        except OSError as error:
            raise cannot_go_on(folder, error) from error
        self.journal.append(*events)

    def _close(self, status: Literal["failed", "interrupted"], reason: str) -> None:
        self.journal.append(*(EndEvent(name, status, reason, {}, None) for name in self.order.ids))


def _rows(order: Order, rows: Sequence[int]) -> Order:
    """The order for some of its trials alone."""
    return replace(order, trials=tuple(order.trials[row] for row in rows))


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Only algorithms that give the same bits every time; one that cannot raises, and says which."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it; read when CUDA starts
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)

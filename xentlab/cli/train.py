"""`xentlab train`: one training, or with `-m` a sweep of them under one parent."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from xentlab.cli.console import console
from xentlab.cli.progress import progress_bar
from xentlab.cli.session import opened
from xentlab.config.compose import run_composed
from xentlab.config.promise import Deferred
from xentlab.errors import UserError
from xentlab.journal import GroupEndEvent, GroupEvent, TrialRecord, new_id
from xentlab.journal.events import Ended
from xentlab.metrics import LABELS
from xentlab.run.order import TrainingError
from xentlab.run.session import Session
from xentlab.train import Trial, prepare

_MULTIRUN = {"-m", "--multirun"}


def train(overrides: Sequence[str]) -> int:
    """Train what the overrides describe; returns the exit code."""
    sweep = bool(_MULTIRUN & set(overrides))
    overrides = sorted(overrides, key=lambda o: o not in _MULTIRUN)  # Hydra wants its flags first
    with contextlib.ExitStack() as stack:
        jobs = _Sweep(list(overrides), stack) if sweep else _Single(stack)
        run_composed("train", overrides, jobs)
        return jobs.end()


class _Single:
    """One job: a mistake in it is the command's own."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def __call__(self, config: dict[str, Any], overrides: list[str]) -> None:
        trial = prepare(config)
        session = self._stack.enter_context(opened(config, shlex.join(["xentlab", "train", *overrides])))
        known = session.recorded(trial)
        if known is not None:
            print_trial(known)
            print("Already trained: this is its record. output.fresh=true trains it again.")
            return
        print_trial(run_one(session, trial))

    def end(self) -> int:
        return 0


class _Sweep:
    """The jobs of one multirun, filed under one parent. A failing job does not stop the others.

    Each job is checked when Hydra calls it; all are trained together when the launcher has called the last one, or one
    by one under a launcher that does not wait.
    """

    def __init__(self, overrides: list[str], stack: contextlib.ExitStack) -> None:
        given = [o for o in overrides if o not in _MULTIRUN]
        self._name = " ".join(given)
        self._command = shlex.join(["xentlab", "train", "-m", *given])
        self._stack = stack
        self._session: Session | None = None
        self._group = new_id()
        self._opened = False
        self._pending: list[tuple[str, Trial]] = []
        self._values: dict[Trial, float | None] = {}
        self._count = 0
        self._failures: list[tuple[str, str, bool]] = []

    def __call__(self, config: dict[str, Any], overrides: list[str]) -> Deferred | None:
        line = " ".join(overrides)
        try:
            trial = prepare(config)
            if self._session is None:
                self._session = self._stack.enter_context(opened(config, self._command))
            self._session.signature(trial)  # reads the data, so that a mistake there is this job's
        except Exception as error:
            self._fail(line, error)
            return None
        self._pending.append((line, trial))
        return Deferred(lambda: self._values.get(trial), self)

    def run(self) -> None:
        """Train the jobs that wait, in stacks."""
        pending, self._pending = self._pending, []
        if not pending or self._session is None:
            return
        session, trials = self._session, [trial for _, trial in pending]
        if not self._opened:
            tags = {"overrides": self._name}
            session.journal.append(GroupEvent(self._group, "sweep", f"sweep {self._name}", None, {}, tags))
            self._opened = True
        missing = session.missing(trials)
        with progress_bar(f"{len(trials)} trials", sum(t.trainer.epochs for t in missing)) as on_epoch:
            outcomes = session.attempt(trials, groups=dict.fromkeys(trials, self._group), on_epoch=on_epoch)
        for (line, trial), outcome in zip(pending, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._fail(line, outcome)
            else:
                self._count += 1
                self._values[trial] = outcome.outcome.best
                print(f"{self._count:>4}  {line}: {headline(outcome)}")

    def _fail(self, line: str, error: Exception) -> None:
        if isinstance(error, UserError):
            self._failures.append((line, str(error), True))
        elif isinstance(error, TrainingError):
            self._failures.append((line, str(error), False))
        else:
            self._failures.append((line, f"{type(error).__name__}: {error}", False))

    def end(self) -> int:
        if self._session is not None and self._opened:
            status: Ended = "failed" if self._failures else "finished"
            failed = f", {len(self._failures)} failed" if self._failures else ""
            note = f"{self._count} trainings{failed}\n\nAgain: `{self._command}`"
            tags = {"mlflow.note.content": note}
            self._session.journal.append(GroupEndEvent(self._group, status, tags, {"trials": self._count}, None))
        for line, message, _ in self._failures:
            print(f"xentlab: failed: {line}: {message}", file=sys.stderr)
        if not self._failures:
            return 0
        only_mistakes = not self._count and all(mistake for _, _, mistake in self._failures)
        return 2 if only_mistakes else 1


def run_one(session: Session, trial: Trial) -> TrialRecord:
    """Run one trial with a progress bar."""
    with progress_bar(trial.label, trial.trainer.epochs) as on_epoch:
        return session.run([trial], on_epoch=on_epoch)[0]


def headline(record: TrialRecord) -> str:
    """A trial's end in a few words."""
    end = record.outcome
    if end.diverged:
        return f"diverged in epoch {end.epochs}"
    words = f"test {end.monitor} {end.test[end.monitor]:.4f}, {end.seconds:.1f} s"
    return words + (" (stuck)" if end.stuck else "")


def print_trial(record: TrialRecord) -> None:
    """The metrics of one trial as a table: validation and test at the final and at the best epoch."""
    page, end = console(), record.outcome
    title = f"{record.label} · {record.tags['model']} on {record.tags['dataset']}"
    if end.diverged:
        page.print(f"{title}: diverged in epoch {end.epochs}; its last finite numbers are in the journal.")
    table = Table(title=title, title_justify="left")
    for column in ("metric", "validation", "test", f"test at best epoch ({end.best_epoch})"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    validation = {k.removeprefix("val/"): points[-1][2] for k, points in record.curves.items() if k.startswith("val/")}
    for name in dict.fromkeys(
        (*validation, *end.test)
    ):  # what is known of the truth alone is measured on test data only
        cells = (validation.get(name), end.test.get(name), end.test_at_best.get(name))
        table.add_row(LABELS[name], *("–" if c is None else f"{c:.4f}" for c in cells))
    page.print(table)
    marks = [f"{end.epochs} epochs in {end.seconds:.1f} s"]
    if end.epochs_to_target is not None:
        marks.append(f"target reached in epoch {end.epochs_to_target}")
    if end.stuck:
        marks.append("stuck: never clearly better than a constant answer")
    page.print(" · ".join(marks) + f" · trial {record.id}")

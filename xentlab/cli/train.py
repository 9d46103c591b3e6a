"""`xentlab train`: one training, or with `-m` a sweep of them under one parent."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from xentlab.cli.console import console, titled
from xentlab.comparison.sweep import RATE, Sweep, summarise_sweep
from xentlab.config.compose import run_composed
from xentlab.config.opening import opened
from xentlab.config.promise import Promise
from xentlab.errors import StoppedError, UserError
from xentlab.journal import TrialRecord
from xentlab.metrics import Metric
from xentlab.plain import visible
from xentlab.run.order import TrainingError
from xentlab.run.progress import progress_bar
from xentlab.tasks import find
from xentlab.train import Trial, prepare, rehearse

_MULTIRUN = {"-m", "--multirun"}
_WHERE = ("output.", "tracking", "executor", "hydra.")  # where and by whom: not what a sweep varies


def train(overrides: Sequence[str]) -> int:
    """Train what the overrides describe; returns the exit code."""
    sweep = bool(_MULTIRUN & set(overrides))
    overrides = sorted(overrides, key=lambda o: o not in _MULTIRUN)  # Hydra wants its flags first
    with contextlib.ExitStack() as stack:
        jobs = _Jobs(list(overrides), stack) if sweep else _Single(stack)
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
            file = session.records.imported(known)
            whose = "" if file is None else visible(f", imported from {file}")
            print(f"Already trained: this is its record{whose}. output.fresh=true trains it again.")
            return
        rehearse([trial], session.dataset)
        with progress_bar(trial.label, trial.trainer.epochs) as on_epoch:
            record = session.run([trial], on_epoch=on_epoch)[0]
        print_trial(record)
        if record.artifacts:
            print(f"files: {session.root / record.artifacts}")

    def end(self) -> int:
        return 0


class _Jobs:
    """The jobs of one multirun, as one sweep: each is checked when Hydra calls it, and `run` trains those that wait."""

    def __init__(self, overrides: list[str], stack: contextlib.ExitStack) -> None:
        self._given = [o for o in overrides if o not in _MULTIRUN]
        self._stack = stack
        self._sweep: Sweep | None = None
        self._pending: list[tuple[str, Trial]] = []
        self._values: dict[Trial, float | None] = {}
        self._failures: list[tuple[str, Exception]] = []
        self._stopped: Exception | None = None
        self._seen: list[tuple[str, Metric, float | None]] = []

    def __call__(self, config: dict[str, Any], overrides: list[str]) -> Promise | None:
        line = " ".join(overrides)
        try:
            trial = prepare(config)
            if self._sweep is None:
                command = shlex.join(["xentlab", "train", "-m", *self._given])
                session = self._stack.enter_context(opened(config, command))
                varied = " ".join(o for o in self._given if not o.lstrip("+").startswith(_WHERE))
                self._sweep = Sweep(session, progress_bar, varied, command)
            self._sweep.session.signature(trial)  # reads the data, so that a mistake there is this job's
        except Exception as error:
            self._failures.append((line, error))
            return None
        self._pending.append((line, trial))
        return Promise(lambda: self._values.get(trial), self)

    def run(self) -> None:
        """Train the jobs that wait, in stacks."""
        pending, self._pending = self._pending, []
        if not pending or self._sweep is None:
            return
        number = self._sweep.finished
        try:
            outcomes = self._sweep.run([trial for _, trial in pending])
        except (StoppedError, OSError) as error:  # Hydra would print a line of its own for each job: `end` raises it
            self._stopped = error
            return
        for (line, trial), outcome in zip(pending, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._failures.append((line, outcome))
            else:
                number += 1
                self._values[trial] = outcome.outcome.best
                self._seen.append((line, *on_validation(outcome)))
                print(f"{number:>4}  {varied(line, self._given)}: {headline(outcome)}")

    def end(self) -> int:
        if self._stopped is not None:
            raise self._stopped
        if self._sweep is not None:
            self._sweep.close(len(self._failures))
        self._conclude()
        for line, error in self._failures:
            said = str(error) if isinstance(error, (UserError, TrainingError)) else f"{type(error).__name__}: {error}"
            print(f"xentlab: failed: {line}: {said}", file=sys.stderr)
        if not self._failures:
            return 0
        mistakes = all(isinstance(error, UserError) for _, error in self._failures)
        return 2 if mistakes and not (self._sweep and self._sweep.finished) else 1

    def _conclude(self) -> None:
        """What varies over its seeds, on validation, as a table, and the command that compares it properly."""
        if len(self._seen) < 2 or len({metric.name for _, metric, _ in self._seen}) > 1:
            return
        metric = self._seen[0][1]
        lines = [(line, value) for line, _, value in self._seen] + [(line, None) for line, _ in self._failures]
        ended = [(_pairs(varied(line, self._given)), value) for line, value in lines]
        rows = summarise_sweep(ended, larger=metric.direction == "max")
        keys = list(dict.fromkeys(key for row in rows for key in row.setting))
        seeds, rates = len({given.get("seed") for given, _ in ended}), any(row.rate for row in rows)
        factor, unit = (100, " %") if metric.is_share else (1, "")
        heads = (*keys, *(["best rate"] if rates else []), f"{metric.short}{unit}", "sd", "n", "failed")
        title = f"on validation at the last epoch, over {seeds} seed{'' if seeds == 1 else 's'}"
        table = titled(title, heads, left=keys)
        for row in rows:
            numbers = ["–" if x is None else f"{factor * x:.4g}" for x in (row.mean, row.sd)]
            own = [row.setting.get(key, "") for key in keys] + ([row.rate or "–"] if rates else [])
            table.add_row(*own, *numbers, str(row.n), str(row.failed))
        page = console()
        page.print(table)
        losses = list(dict.fromkeys(row.setting["loss"] for row in rows if "loss" in row.setting))
        if len(losses) > 1:
            tried = list(dict.fromkeys(given[RATE] for given, value in ended if RATE in given and value is not None))
            fixed = [w for w in self._given if w.partition("=")[0].lstrip("+") not in ("loss", "seed", RATE, *keys)]
            words = [f"comparison.losses=[{','.join(losses)}]"]
            words += [f"comparison.baseline={losses[0]}"] if "ce" not in losses else []
            words += [f"comparison.tune.optimizer.lr=[{','.join(tried)}]"] if tried else []
            print(f"compare them properly: {shlex.join(['xentlab', 'compare', *words, *fixed])}")


def _pairs(line: str) -> dict[str, str]:
    """Key -> value of the words of a line."""
    return {key: value for key, _, value in (word.partition("=") for word in shlex.split(line))}


def varied(line: str, given: Sequence[str]) -> str:
    """What a line says beside the words that the command gave to all of its trainings."""
    same = {word.replace("\\", "").lstrip("+") for word in given}  # Hydra writes a colon with a backslash before it
    words = [word.lstrip("+") for word in line.split(" ")]
    return " ".join(word for word in words if word.replace("\\", "") not in same) or line


def on_validation(record: TrialRecord) -> tuple[Metric, float | None]:
    """What a training is chosen by, and its final value on validation; None where it diverged."""
    end = record.outcome
    value = None if end.diverged else record.final(f"val/{end.monitor}")
    return find(record.tags["task"]).metric(end.monitor), value


def headline(record: TrialRecord) -> str:
    """A trial's end in a few words."""
    end = record.outcome
    if end.diverged:
        return f"diverged in epoch {end.epochs}"
    value = on_validation(record)[1]
    words = f"validation {end.monitor} {'–' if value is None else f'{value:.4f}'}, {end.seconds:.1f} s"
    return words + (" (stuck)" if end.stuck else "")


def print_trial(record: TrialRecord) -> None:
    """The metrics of one trial as a table: validation and test at the final and at the best epoch."""
    page, end, task = console(), record.outcome, find(record.tags["task"])
    title = f"{record.label} · {record.tags['model']} on {record.tags['dataset']}"
    if end.diverged:
        page.print(f"{title}: diverged in epoch {end.epochs}; its last finite numbers are in the journal.")
    heads = ("metric", "validation", "test", f"test at best epoch ({end.best_epoch})")
    table = titled(title, heads, left=["metric"])
    validation = {k.removeprefix("val/"): record.final(k) for k in record.curves if k.startswith("val/")}
    # What is known of the truth alone is measured on test data only.
    for name in dict.fromkeys((*validation, *end.test)):
        cells = (validation.get(name), end.test.get(name), end.test_at_best.get(name))
        table.add_row(task.metric(name).label, *("–" if c is None else f"{c:.4f}" for c in cells))
    page.print(table)
    marks = [f"{end.epochs} epochs in {end.seconds:.1f} s"]
    if end.epochs_to_target is not None:
        marks.append(f"target reached in epoch {end.epochs_to_target}")
    if end.stuck:
        marks.append("stuck: never clearly better than a constant answer")
    page.print(" · ".join(marks) + f" · trial {record.id}")

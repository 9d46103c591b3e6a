"""A sweep: what one command trains, filed under one group as it comes; one that fails does not stop the others."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xentlab.comparison.arms import Arms, Progress, open_arms
from xentlab.journal import GroupEndEvent, TrialRecord
from xentlab.journal.events import Ended
from xentlab.run.session import Session
from xentlab.tasks import find
from xentlab.train import Trial


@dataclass(frozen=True)
class SweepRow:
    """One setting of a sweep over its seeds: validation at the rate that is best for it.

    Attributes:
        setting: key -> value of what varies, without seed and learning rate.
        rate: the best learning rate, as it was given; empty where none was.
        mean, sd: of the final validation metric over the seeds that finished, None where there are none (too few).
        n: how many finished there.
        failed: how many of all its trainings failed or diverged.
    """

    setting: dict[str, str]
    rate: str
    mean: float | None
    sd: float | None
    n: int
    failed: int


RATE = "optimizer.lr"


def summarise_sweep(ended: Sequence[tuple[Mapping[str, str], float | None]], *, larger: bool) -> list[SweepRow]:
    """One row for each setting, the best first.

    Args:
        ended: what varies of each training, and its final validation metric; None where it failed.
        larger: whether a larger metric is better.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, list[float | None]]] = {}
    for given, value in ended:
        setting = tuple((k, v) for k, v in given.items() if k not in ("seed", RATE))
        groups.setdefault(setting, {}).setdefault(given.get(RATE, ""), []).append(value)
    rows, sign = [], -1 if larger else 1
    for setting, rates in groups.items():
        means = {rate: statistics.fmean(v) for rate, v in ((r, _ended(v)) for r, v in rates.items()) if v}
        failed = sum(v is None for values in rates.values() for v in values)
        ranked = sorted((None in rates[rate], sign * mean, rate) for rate, mean in means.items())
        best = ranked[0][2] if ranked else ""
        values = _ended(rates[best]) if means else []
        sd = statistics.stdev(values) if len(values) > 1 else None
        rows.append(SweepRow(dict(setting), best, means.get(best), sd, len(values), failed))
    return sorted(rows, key=lambda row: (row.mean is None, sign * (row.mean or 0.0)))


def _ended(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


class Sweep:
    """What one command trains, in as many batches as it comes in; nothing is written before the first.

    Args:
        session: where trials are looked up, trained and recorded.
        progress: opens the progress of each batch.
        overrides: what the command varies, in words.
        command: what runs it again.
    """

    def __init__(self, session: Session, progress: Progress, overrides: str, command: str) -> None:
        self.session, self.progress, self.overrides, self.command = session, progress, overrides, command
        self.finished = 0
        self._best: tuple[float, str] | None = None
        self._arms: Arms | None = None

    def run(self, trials: Sequence[Trial]) -> list[TrialRecord | Exception]:
        """Train a batch; the exception in the place of a trial that failed."""
        if self._arms is None:
            name, tags = f"sweep {self.overrides}", {"overrides": self.overrides}
            whole = {"kind": "sweep", "name": name, "parent": None, "params": {}, "tags": tags}
            self._arms = open_arms(self.session, self.progress, whole, {}, {})
        outcomes = self._arms.attempt(f"{len(trials)} trials", {"": trials}, {})[""]
        for outcome in outcomes:
            if not isinstance(outcome, Exception):
                self.finished += 1
                self._see(outcome)
        return outcomes

    def _see(self, trial: TrialRecord) -> None:
        end = trial.outcome
        if end.best is not None and not end.diverged:
            sign = -1 if find(trial.tags["task"]).metric(end.monitor).direction == "max" else 1
            said = f"best {trial.label}: validation {end.monitor} {end.best:.4g}"
            self._best = min(filter(None, (self._best, (sign * end.best, said))))

    def close(self, failed: int) -> None:
        """Write down how the whole ended, `failed` trainings left out; nothing where no batch came."""
        if self._arms is None:
            return
        note = f"{self.finished} trainings{f', {failed} failed' if failed else ''}\n\nAgain: `{self.command}`"
        status: Ended = "failed" if failed else "finished"
        tags = {"mlflow.note.content": note} | ({"verdict": self._best[1]} if self._best is not None else {})
        self.session.journal.append(GroupEndEvent(self._arms.group, status, tags, {"trials": self.finished}, None))

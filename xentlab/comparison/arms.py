"""Arms: label -> trials, filed in the journal under a group of their own, run together, given back by label.

Whatever trains more than one thing does it here: a comparison has an arm for each loss, a published experiment one for
each of its rows, a sweep a single one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from xentlab.errors import StoppedError, UserError
from xentlab.journal import TrialRecord
from xentlab.plain import one_line
from xentlab.run.order import TrainingError
from xentlab.run.session import Session
from xentlab.run.training import EpochCallback
from xentlab.train import Trial

Progress = Callable[[str, int], AbstractContextManager[EpochCallback]]
"""Opens the progress of what is about to train: (title, trial-epochs in all) -> a context that gives the callback."""


class ArmsFailedError(StoppedError):
    """Arms of which a trial raised, each with its own sentence."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = dict(errors)
        self.sentences = {label: sentence_of(error) for label, error in errors.items()}
        super().__init__("; ".join(f"{label} failed: {sentence}" for label, sentence in self.sentences.items()))


def ends_all(error: Exception) -> bool:
    """Whether it is of the disk or the like, so that nothing else could be trained either."""
    return isinstance(error, StoppedError) and not isinstance(error, (TrainingError, ArmsFailedError))


def sentence_of(error: Exception) -> str:
    """Why an arm or a cell failed."""
    own = isinstance(error, (UserError, TrainingError))
    return one_line(str(error) if own else f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Arms:
    """Arms that are open in the journal.

    Attributes:
        session: where trials are looked up, trained and recorded.
        progress: opens the progress of each run.
        group: the journal's group of them all.
        groups: label -> the group of that arm; an arm without one is filed under `group`.
        tags: what each new trial is tagged with beside what it is.
    """

    session: Session
    progress: Progress
    group: str
    groups: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, title: str, arms: Mapping[str, Sequence[Trial]], tags: Mapping[str, str], *, candidates: bool = False
    ) -> dict[str, list[TrialRecord]]:
        """Bring every trial of every arm to its end, reusing what is recorded; returns their records by arm.

        `tags` are of each new trial beside the tags of all; candidates keep their weights until they are dropped.

        Raises:
            ArmsFailedError: some could not be trained; the others were, and are recorded.
        """
        records: dict[str, list[TrialRecord]] = {}
        errors: dict[str, Exception] = {}
        for label, outcomes in self.attempt(title, arms, tags, candidates=candidates).items():
            records[label] = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
            if failed := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
                errors[label] = failed[0]
        if errors:
            raise ArmsFailedError(errors)
        return records

    def attempt(
        self, title: str, arms: Mapping[str, Sequence[Trial]], tags: Mapping[str, str], *, candidates: bool = False
    ) -> dict[str, list[TrialRecord | Exception]]:
        """As `run`, with the exception in the place of a trial that failed; the others go on."""
        trials = [trial for arm in arms.values() for trial in arm]
        groups = {trial: self.groups.get(label, self.group) for label, arm in arms.items() for trial in arm}
        tags = {**self.tags, **tags}
        with self.progress(title, sum(trial.trainer.epochs for trial in self.session.missing(trials))) as on_epoch:
            ended = iter(
                self.session.attempt(trials, groups=groups, tags=tags, on_epoch=on_epoch, candidates=candidates)
            )
        return {label: [next(ended) for _ in arm] for label, arm in arms.items()}


def open_arms(
    session: Session,
    progress: Progress,
    whole: Mapping[str, Any],
    arms: Mapping[str, tuple[Mapping[str, Any], Mapping[str, str]]],
    trial_tags: Mapping[str, str],
) -> Arms:
    """Open the groups of arms in the journal, or take up those that a killed session has left with just these facts.

    Args:
        whole: `kind`, `name`, `parent`, `params` and `tags` of the group of them all.
        arms: label -> params of its group, and tags beside those of the whole.
    """
    below = [
        {"kind": "loss", "name": label, "parent": 0, "params": params, "tags": {**whole["tags"], **tags}}
        for label, (params, tags) in arms.items()
    ]
    group, *groups = session.open_groups([whole, *below])
    return Arms(session, progress, group, dict(zip(arms, groups, strict=True)), trial_tags)

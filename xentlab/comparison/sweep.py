"""A sweep: what one command trains, filed under one group as it comes; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence

from xentlab.comparison.arms import Arms, Progress, open_arms
from xentlab.journal import GroupEndEvent, TrialRecord
from xentlab.journal.events import Ended
from xentlab.run.session import Session
from xentlab.train import Trial


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
        self._arms: Arms | None = None

    def run(self, trials: Sequence[Trial]) -> list[TrialRecord | Exception]:
        """Train a batch; the exception in the place of a trial that failed."""
        if self._arms is None:
            name, tags = f"sweep {self.overrides}", {"overrides": self.overrides}
            whole = {"kind": "sweep", "name": name, "parent": None, "params": {}, "tags": tags}
            self._arms = open_arms(self.session, self.progress, whole, {}, {})
        outcomes = self._arms.attempt(f"{len(trials)} trials", {"": trials})[""]
        self.finished += sum(not isinstance(outcome, Exception) for outcome in outcomes)
        return outcomes

    def close(self, failed: int) -> None:
        """Write down how the whole ended, `failed` trainings left out; nothing where no batch came."""
        if self._arms is None:
            return
        note = f"{self.finished} trainings{f', {failed} failed' if failed else ''}\n\nAgain: `{self.command}`"
        status: Ended = "failed" if failed else "finished"
        tags = {"mlflow.note.content": note}
        self.session.journal.append(GroupEndEvent(self._arms.group, status, tags, {"trials": self.finished}, None))

"""A recorded trial or comparison, trained again from its record and judged against it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xentlab import dotted
from xentlab.comparison import folder as folders
from xentlab.comparison.arms import Progress
from xentlab.comparison.cells import StudyPlan, read_study
from xentlab.comparison.execute import Executed
from xentlab.comparison.folder import Composed, find_comparison, load_protocol, phase, read_cells
from xentlab.comparison.recording import judged_today
from xentlab.errors import UserError, unknown
from xentlab.journal import Records, TrialEvent, TrialRecord
from xentlab.reproduce import again
from xentlab.reproduce.again import Difference
from xentlab.reproduce.judge import NumberAgain, VerdictAgain, judge_comparison, judge_trial, peers_of
from xentlab.run.session import Session

RunStudy = Callable[[StudyPlan, Session, str, Mapping[str, Any], Composed], Executed]
"""`comparison.execute.run_study` with its callbacks bound."""


@dataclass(frozen=True)
class TrialAgain:
    """A trial of a record, the same trial trained here, and every number judged."""

    record: TrialRecord
    here: TrialRecord
    judged: list[NumberAgain]


@dataclass(frozen=True)
class ComparisonAgain:
    """A comparison of a record by its folder, the folder of the one run here, and every verdict judged.

    `rejudged`: the record's own verdicts are of an earlier rule, so that its values were judged again by today's.
    """

    recorded: Path
    here: Path
    cells: int
    verdicts: list[VerdictAgain]
    rejudged: bool


def find_record(records: Records, name: str) -> Path | TrialRecord:
    """The comparison's folder or the trial that `name` means: names and ids first, then the beginning of a trial's id.

    Raises:
        UserError: none, or several trials.
    """
    here = [trial for trial in records.trials.values() if name and not trial.removed]
    matches = [t.id for t in here if t.marks.get("name") == name] or [t.id for t in here if t.id.startswith(name)]
    if name in records.trials and not records.trials[name].removed:
        return records.trials[name]
    try:
        return find_comparison(records.root, name)
    except UserError as error:
        if not matches:
            known = folders.comparison_folders(records.root)
            if not records.trials or not known:
                raise
            names = {folder.name.rpartition("-")[0] for folder in known}
            raise unknown("trial or comparison", name, names) from error
    if len(matches) > 1:
        shown = ", ".join(matches[:3])
        raise UserError(f"'{name}' must be the beginning of one trial's id, got {len(matches)}: {shown}, ...")
    return records.trials[matches[0]]


@dataclass(frozen=True)
class Rerun:
    """How records are trained again here.

    Attributes:
        own: the local `output`, `tracking` and `executor`.
        trust: run any code that a record names, not only `again.ALLOWED`.
        open_session: opens one as a config asks for it, for a command in words.
        on_differences: hears what differs from the record, before anything is trained.
    """

    records: Records
    own: Mapping[str, Any]
    trust: bool
    open_session: Callable[[Mapping[str, Any], str], AbstractContextManager[Session]]
    on_differences: Callable[[Sequence[Difference]], None]

    def trial(self, record: TrialRecord, progress: Progress) -> TrialAgain:
        """Train a trial again, with the stack that it was trained in."""
        stack = again.stack_of(self.records, record)
        environment = self.records.sessions[record.session].environment
        with self._session([mate.config for mate in stack], environment, self.own) as session:
            trials = [again.trial_of(mate, self.own) for mate in stack]
            size = Difference("trials in its stack", str(record.outcome.stack), str(len(stack)))
            self.on_differences([*again.differences(session, [record], environment, self.own), size])
            originals = {session.signature(trial): mate.id for trial, mate in zip(trials, stack, strict=True)}
            session.journal.tags = lambda event: (
                {"reproduces": originals[event.signature]} if isinstance(event, TrialEvent) else {}
            )
            with progress(record.label, sum(t.trainer.epochs for t in trials)) as on_epoch:
                here = session.run(trials, on_epoch=on_epoch)[stack.index(record)]
        return TrialAgain(record, here, judge_trial(record, here, peers_of(self.records, record)))

    def comparison(self, folder: Path, run_study: RunStudy) -> ComparisonAgain:
        """Run a comparison again, and keep beside its report how the two compare."""
        group = folders.folder_group(folder)
        recorded = read_cells(folder)
        if not (folder / "protocol.yaml").is_file() or group not in self.records.groups:
            raise UserError(f"{folder} must hold protocol.yaml, and the journal of --root its trials, to run it again.")
        whole = load_protocol((folder / "protocol.yaml").read_text(encoding="utf-8"))
        examples = _examples(self.records, group)
        own = {**self.own, "executor": again.local_executor(whole, self.own["executor"])}
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        with self._session([whole, *(record.config for record in examples)], environment, own) as session:
            composed: Composed = {}
            config, group_node = folders.recorded_config(whole)
            config = again.localised(config, own, examples[0].tags["device"] if examples else "auto")
            study = read_study(config, folders.remember(group_node, composed))
            session.journal.tags = lambda event: {"reproduces": group}  # noqa: ARG005
            self.on_differences(again.differences(session, examples, environment, own))
            new = run_study(study, session, shlex.join(["xentlab", "reproduce", group]), config, composed).folder
        here = read_cells(new)
        # An earlier version judged by another rule: what is compared is the numbers that both rest on.
        today = {cell: judged_today(old) for cell, old in recorded.items()}
        verdicts = [v for cell, old in today.items() for v in judge_comparison(old, here.get(cell), cell)]
        good = all(v.stands and v.mean.level != "differs" for v in verdicts)
        facts = {"reproduces": group, "reproduced": good, "verdicts": list(map(dataclasses.asdict, verdicts))}
        folders.write_text(new / "reproduction.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        return ComparisonAgain(folder, new, len(recorded), verdicts, rejudged=today != recorded)

    @contextlib.contextmanager
    def _session(
        self, configs: Sequence[Any], environment: Mapping[str, Any], own: Mapping[str, Any]
    ) -> Iterator[Session]:
        """A session that trains afresh, on as many threads as recorded, and names no code that is not allowed."""
        with contextlib.ExitStack() as stack:
            if not self.trust:
                for config in configs:
                    again.check_targets(config)
                stack.enter_context(dotted.only(again.ALLOWED))
            stack.enter_context(again.threads(environment))
            yield stack.enter_context(self.open_session(own, "reproduce"))


def _examples(records: Records, group: str) -> list[TrialRecord]:
    """One final trial of each loss of a comparison, for what all of its trials share."""
    chosen: dict[tuple[str, str, str], TrialRecord] = {}
    for name in folders.groups_below(records, group):
        for trial in (records.trials[member] for member in records.groups[name].members):
            if trial.status == "finished" and phase(trial.tags) == "final":
                key = (records.groups[name].name, trial.tags["dataset"], trial.tags["model"])
                chosen.setdefault(key, trial)
    return list(chosen.values())

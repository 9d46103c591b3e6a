"""A study from its protocols to its report: every cell run, judged and filed, and the report of the whole written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xentlab.comparison.arms import Progress, ends_all, sentence_of
from xentlab.comparison.cells import StudyPlan
from xentlab.comparison.folder import Composed, list_trials, write_folder
from xentlab.comparison.overview import make_overview
from xentlab.comparison.recording import make_record
from xentlab.comparison.runner import first_trial, rehearse_losses, run_comparison
from xentlab.journal import GroupEndEvent, Journal
from xentlab.report import Record, Study, StudyCell, headlines, sentences_by_result, write_report
from xentlab.report.headline import answer_of, in_one_word
from xentlab.report.runs import dashboard_tag, loss_run, place_by_loss
from xentlab.run.session import Session
from xentlab.secrets import redacted


@dataclass(frozen=True)
class Executed:
    """What a study brought.

    Attributes:
        study: every cell's record, under an empty label where there is one only.
        folder: of its report.
        trials: how many it took, reused ones included.
        failed: cells that could not be read or trained, each with its own sentence.
    """

    study: Study
    folder: Path
    trials: int
    failed: dict[str, str]


def run_study(
    plan: StudyPlan,
    session: Session,
    command: str,
    config: Mapping[str, Any],
    composed: Composed,
    progress: Progress,
    on_verdict: Callable[[str, Record], None],
) -> Executed:
    """Run every cell, reusing what is recorded; file each verdict, and write the report of the whole.

    Args:
        config: that the plan was read from, and `composed` what it names: kept beside the report.
        composed: see `config`.
        on_verdict: called with each cell's label and record as soon as it is judged.
    """
    command = redacted(command)
    parent: str | None = None
    cells: list[StudyCell] = []
    errors: dict[str, Exception] = {}
    trials = 0
    if len(plan.cells) > 1:
        _find_sound(plan, session)  # a mistake in all data is found here
        facts = {"kind": "comparison", "name": plan.name, "parent": None, "params": {"cells": len(plan.cells)}}
        (parent,) = session.open_groups([{**facts, "tags": {"comparison": plan.name}}])
    for number, (label, setting) in enumerate(plan.cells.items(), start=1):
        try:
            result = run_comparison(setting.protocol, session, progress, parent=parent, cell=label)
        except Exception as error:  # of its loss, its model or its data: the other cells are judged
            if parent is None or ends_all(error):
                raise
            errors[label] = error
            _end_failed(session, parent, sentence_of(error))
            continue
        trials += result.trials
        record = make_record(result, session, command, setting.axes)
        cells.append(StudyCell(label, record))
        on_verdict(label, record)
        group = parent or result.group
        folder = Path("comparisons") / f"{plan.name}-{group}"
        if parent is None:
            write_report(record, session.root / folder)
            _keep(session, folder, config, composed, group)
        own = None if parent else str(folder)
        for loss, sentence in result.failed.items():
            session.journal.append(GroupEndEvent(result.loss_groups[loss], "failed", {"reason": sentence}, {}, None))
        groups = {loss: name for loss, name in result.loss_groups.items() if loss not in result.failed}
        _file_comparison(session.journal, record, result.group, groups, own, number)
    if not cells:
        raise next(iter(errors.values()))
    failed = {label: sentence_of(error) for label, error in errors.items()}
    seen = make_overview(cells)
    notes = [*seen.notes, *(f"{label} failed: {sentence}" for label, sentence in failed.items())]
    study = Study(plan.name, plan.question, command, cells, dataclasses.replace(seen, notes=notes))
    if parent is not None:
        write_report(study, session.root / folder)
        _keep(session, folder, config, composed, parent)
        _file_study(session.journal, study, parent, str(folder))
    return Executed(study, session.root / folder, trials, failed)


def _file_comparison(
    journal: Journal, record: Record, group: str, loss_groups: Mapping[str, str], folder: str | None, cell: int
) -> None:
    """End the group of a comparison, or of one cell, and those of its losses.

    Args:
        folder: of its report, relative to the root; None for a cell, whose study has one.
        cell: its number among the cells, from 1.
    """
    place = place_by_loss(record, cell)
    ends = []
    for label, child in loss_groups.items():
        tags, metrics, curves = loss_run(record, label, place=place[label])
        ends.append(GroupEndEvent(child, "finished", tags, metrics, None, curves))
    journal.append(*ends, _verdict(group, [("", record)], [answer_of(record), *sentences_by_result(record)], folder))


def _file_study(journal: Journal, study: Study, group: str, folder: str) -> None:
    """End the group of a study of several cells, with the verdicts of all."""
    records = [(cell.label, cell.record) for cell in study.cells]
    lines = [f"{label}: {sentence}" for label, record in records for sentence in sentences_by_result(record)]
    journal.append(_verdict(group, records, [*headlines(study), study.question, *lines], folder))


def _verdict(
    group: str, records: Sequence[tuple[str, Record]], lines: Sequence[str], folder: str | None
) -> GroupEndEvent:
    note = "\n\n".join([*lines, f"`{records[0][1].command}`"])
    tags = {"mlflow.note.content": note, "verdict": in_one_word(records), **dashboard_tag(records)}
    return GroupEndEvent(group, "finished", tags, {}, folder)


def _end_failed(session: Session, parent: str, sentence: str) -> None:
    """Write down that what is open below a group has failed."""
    session.records.update()
    running = {g.id: g.parent for g in session.records.groups.values() if g.status == "running"}
    cells = [name for name, above in running.items() if above == parent]
    arms = [name for name, above in running.items() if above in cells]
    ends = [GroupEndEvent(name, "failed", {"reason": sentence}, {}, None) for name in [*arms, *cells]]
    session.journal.append(*ends)


def _find_sound(plan: StudyPlan, session: Session) -> None:
    """Read the data of the first cell whose data can be read and on whose data own code runs."""
    errors: list[Exception] = []
    for setting in plan.settings:
        try:
            session.signature(first_trial(setting.protocol))
            return rehearse_losses(setting.protocol, session)
        except Exception as error:
            errors.append(error)
    raise errors[0]


def _keep(session: Session, folder: Path, config: Mapping[str, Any], composed: Composed, group: str) -> None:
    """Keep beside the report what runs the study again."""
    write_folder(session.root / folder, config, composed, session.environment, list_trials(session.records, group))

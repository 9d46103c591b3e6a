"""What a comparison's runs say in MLflow when it is over: notes, verdicts and curves, written into the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xentlab.journal import GroupEndEvent, Journal
from xentlab.report import Record, Study, headlines, sentences_by_result
from xentlab.report.headline import answer_of, in_one_word
from xentlab.report.runs import dashboard_tag, loss_run, place_by_loss


def file_comparison(
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
        shown = loss_run(record, label, place=place[label])
        curves = {name: [list(point) for point in points] for name, points in shown.curves.items()}
        ends.append(GroupEndEvent(child, "finished", shown.tags, shown.metrics, None, curves))
    journal.append(*ends, _verdict(group, [("", record)], [answer_of(record), *sentences_by_result(record)], folder))


def file_study(journal: Journal, study: Study, group: str, folder: str) -> None:
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

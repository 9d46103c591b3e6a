"""The record of a study: the same losses compared in several cells, and what the cells say together.

A cell is one comparison: one dataset, model and setting under one fairness mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xentlab.analysis import Friedman, Profile
from xentlab.errors import UserError, unknown
from xentlab.report.record import Record, check_record
from xentlab.report.upgrade import present_study
from xentlab.typed import from_json, to_json


@dataclass(frozen=True)
class Overview:
    """What several cells say together; every part may be missing.

    Attributes:
        ranks: of the losses over blocks of cells by the primary metric.
        groups: runs of losses that pairwise tests do not tell apart; None where the blocks are too few to test.
        critical_difference: of older records, which told losses apart by their mean ranks: Nemenyi's at 5 %.
        profiles: how often each loss comes within a factor of the best.
        notes: what must be said beside.
    """

    ranks: Friedman | None = None
    groups: list[list[str]] | None = None
    critical_difference: float | None = None
    profiles: list[Profile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StudyCell:
    """One comparison of a study, and what it is called there."""

    label: str
    record: Record


@dataclass(frozen=True)
class Study:
    """Cells in the order in which they are shown, and their overview."""

    name: str
    question: str
    command: str
    cells: list[StudyCell]
    overview: Overview = field(default_factory=Overview)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Study:
        """The study that `data` describes, every record checked as `Record.from_json` does.

        Raises:
            UserError: a field is missing, unknown or of the wrong type, or the parts do not belong together.
        """
        study: Study = from_json(cls, present_study(data), "study")
        if not study.cells or len({cell.label for cell in study.cells}) < len(study.cells):
            raise UserError("study.cells must be at least one, with different labels.")
        for cell in study.cells:
            check_record(cell.record)
        seen = study.overview
        named = [*(seen.ranks.ranks if seen.ranks else ()), *(loss for group in seen.groups or () for loss in group)]
        for loss in [*named, *(profile.loss for profile in seen.profiles)]:
            if loss not in study.losses:
                raise unknown("loss in the study", loss, study.losses)
        return study

    def to_json(self) -> dict[str, Any]:
        """The study as plain JSON values."""
        return dict(to_json(self))

    @property
    def losses(self) -> dict[str, str]:
        """Name -> label of every loss of any cell, in order of first appearance."""
        found: dict[str, str] = {}
        for cell in self.cells:
            found |= {name: label for name, label in cell.record.labels.items() if name not in found}
        return found

    @property
    def one_metric(self) -> bool:
        """Whether all cells decide on the same metric."""
        return len({cell.record.primary.key for cell in self.cells}) == 1

    @property
    def axis(self) -> tuple[str, list[float]] | None:
        """The one axis in which the cells differ and their values there, where these are ascending numbers."""
        axes = [cell.record.setup.axes for cell in self.cells]
        keys = [key for key in axes[0] if len({repr(point.get(key)) for point in axes}) > 1]
        modes = {cell.record.setup.mode for cell in self.cells}
        values = [point.get(keys[0]) for point in axes] if len(keys) == 1 and len(modes) == 1 else []
        numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        return (keys[0], numbers) if len(numbers) == len(axes) and numbers == sorted(set(numbers)) else None

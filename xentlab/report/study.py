"""The record of a study: the same losses compared in several cells, and what the cells say together.

A cell is one comparison: one dataset, model and setting under one fairness mode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xentlab.errors import UserError, unknown
from xentlab.report.record import Record
from xentlab.typed import load


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over `n` blocks by the primary metric, 1 the best: the fields of `xentlab.analysis.Friedman`.

    `groups` are runs of losses that pairwise tests do not tell apart; below five blocks nothing is tested, and `p` is
    null. `critical_difference` is that of records before this rule: Nemenyi's at 5 %.
    """

    ranks: dict[str, float]
    n: int
    p: float | None
    groups: list[list[str]]
    critical_difference: float | None = None


@dataclass(frozen=True)
class Profile:
    """The finite ratios of one loss to the best of each of `n` problems, ascending."""

    loss: str
    n: int
    ratios: list[float]

    def at(self, factor: float) -> float:
        """The share of problems within `factor` of the best."""
        return sum(ratio <= factor for ratio in self.ratios) / self.n


@dataclass(frozen=True)
class Overview:
    """What several cells say together; both parts may be missing."""

    ranks: Ranks | None = None
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
        study: Study = load(cls, data, "study")
        if not study.cells or len({cell.label for cell in study.cells}) < len(study.cells):
            raise UserError("study.cells must be at least one, with different labels.")
        for cell in study.cells:
            Record.from_json(cell.record.to_json())
        ranks = study.overview.ranks
        named = [*(ranks.ranks if ranks else ()), *(x for group in (ranks.groups if ranks else ()) for x in group)]
        for loss in [*named, *(p.loss for p in study.overview.profiles)]:
            if loss not in study.losses:
                raise unknown("loss in the study", loss, study.losses)
        return study

    def to_json(self) -> dict[str, Any]:
        """The study as plain JSON values."""
        return dataclasses.asdict(self)

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

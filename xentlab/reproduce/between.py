"""Two records beside each other: in what they differ, and which verdicts moved, from typed values alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xentlab.analysis import Judgement
from xentlab.catalogue.best import flat
from xentlab.comparison.folder import OWN, find_comparison, groups_below, load_protocol, read_cells
from xentlab.errors import UserError
from xentlab.journal import GroupRecord, Records, TrialRecord
from xentlab.report import Record
from xentlab.report.record import JudgedMetric
from xentlab.reproduce.again import Difference, facts_of

ABSENT = "–"


@dataclass(frozen=True)
class VerdictPair:
    """One loss on one metric of one cell, in both records."""

    cell: str
    metric: JudgedMetric
    loss: str
    a: Judgement
    b: Judgement

    @property
    def moved(self) -> bool:
        """Whether the verdict is another."""
        return self.a.verdict != self.b.verdict


@dataclass(frozen=True)
class Between:
    """What lies between two records.

    Attributes:
        differences: of protocol, data, versions and outcome, without what is the same, by their part.
        shared: how many trials are the same ones.
        code: how many trials of equal config and data have equal signatures, and how many have not: then the code that
            trained them, torch or the lift is another.
        verdicts: of comparisons.
    """

    differences: dict[str, list[Difference]]
    shared: int
    code: tuple[int, int]
    verdicts: list[VerdictPair]


def between(records: Records, a: TrialRecord | GroupRecord, b: TrialRecord | GroupRecord) -> Between:
    """Compare two comparisons, or two trials; others are refused."""
    if isinstance(a, TrialRecord) and isinstance(b, TrialRecord):
        return _between_trials(records, a, b)
    if isinstance(a, TrialRecord) or isinstance(b, TrialRecord) or "sweep" in (a.kind, b.kind):
        raise UserError("A diff is of two comparisons or of two trials.")
    folders = [find_comparison(records.root, group.id) for group in (a, b)]
    protocols = [_protocol(folder) for folder in folders]
    environments = [facts_of(json.loads((f / "environment.json").read_text(encoding="utf-8"))) for f in folders]
    cells = [read_cells(folder) for folder in folders]
    trials = [_trials(records, group) for group in (a, b)]
    parts = {"protocol": protocols, "data": [_data(found) for found in cells], "versions": environments}
    found = {part: _differences(*pair) for part, pair in parts.items()}
    pairs = [pair for cell in cells[0] if cell in cells[1] for pair in _verdicts(cell, *(c[cell] for c in cells))]
    return Between(found, len(trials[0].keys() & trials[1].keys()), _code(*trials), pairs)


def _between_trials(records: Records, a: TrialRecord, b: TrialRecord) -> Between:
    configs = [_as_text(flat({k: v for k, v in trial.config.items() if k not in OWN})) for trial in (a, b)]
    data = [{key: trial.tags.get(key, ABSENT) for key in ("dataset", "fingerprint", "device")} for trial in (a, b)]
    sessions = [records.sessions.get(trial.session) for trial in (a, b)]
    versions = [facts_of(session.environment if session is not None else {}) for session in sessions]
    ends = [_as_text(list(trial.ended.to_json().items())) if trial.ended is not None else {} for trial in (a, b)]
    ends = [{key: value for key, value in end.items() if key != "reliability"} for end in ends]
    parts = {"config": configs, "data": data, "versions": versions, "outcome": ends}
    found = {part: _differences(*pair) for part, pair in parts.items()}
    return Between(found, int(a.id == b.id), _code({a.id: a}, {b.id: b}), [])


def _protocol(folder: Path) -> dict[str, str]:
    whole = load_protocol((folder / "protocol.yaml").read_text(encoding="utf-8"))
    return _as_text(flat({key: value for key, value in whole.items() if key not in OWN}))


def _as_text(pairs: list[tuple[str, Any]]) -> dict[str, str]:
    return {key: json.dumps(value, default=str) if not isinstance(value, str) else value for key, value in pairs}


def _data(cells: Mapping[str, Record]) -> dict[str, str]:
    found = {}
    for label, record in cells.items():
        found[f"{label or 'data'} fingerprint"] = record.fingerprint[:16]
        found |= {f"{label or 'data'} {part} examples": str(size) for part, size in record.setup.sizes.items()}
    return found


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[Difference]:
    keys = dict.fromkeys([*a, *b])
    keys = dict.fromkeys(key for key in keys if not key.startswith("composed.") or (key in a and key in b))
    found = (Difference(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys)
    return [difference for difference in found if not difference.same]


def _trials(records: Records, group: GroupRecord) -> dict[str, TrialRecord]:
    names = (name for below in groups_below(records, group.id) for name in records.groups[below].members)
    return {name: records.trials[name] for name in names}


def _code(a: Mapping[str, TrialRecord], b: Mapping[str, TrialRecord]) -> tuple[int, int]:
    first = {_asked(trial): trial.signature for trial in a.values()}
    equal = [first[key] == trial.signature for trial in b.values() if (key := _asked(trial)) in first]
    return sum(equal), len(equal) - sum(equal)


def _asked(trial: TrialRecord) -> str:
    config = {key: value for key, value in trial.config.items() if key not in OWN}
    return json.dumps([config, trial.tags.get("fingerprint")], sort_keys=True, default=str)


def _verdicts(cell: str, a: Record, b: Record) -> list[VerdictPair]:
    """Every loss of both on every metric of both, but for baselines."""
    theirs = {(metric.key, row.loss): row for metric in b.metrics for row in metric.rows}
    return [
        VerdictPair(cell, metric, row.loss, row, theirs[metric.key, row.loss])
        for metric in a.metrics
        for row in metric.rows
        if (metric.key, row.loss) in theirs and row.loss not in (a.baseline, b.baseline)
    ]

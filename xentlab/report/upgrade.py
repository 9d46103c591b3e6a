"""Records of earlier versions, brought to the fields of today.

Nothing is read out of a text: what version 1 said in texts stays as it was written, under its label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What follows from a record's metrics, and once stood beside them.
_DERIVED = ("curve_labels", "percent_curves", "selection", "selection_percent")


def present_study(data: Any) -> Any:
    """A study as those of today: its cells' records are brought up, and of version 1 its overview."""
    cells = data.get("cells") if isinstance(data, Mapping) else None
    if not isinstance(cells, list):
        return data
    cells = [c | {"record": present_record(c["record"])} if isinstance(c, dict) and "record" in c else c for c in cells]
    seen = data.get("overview")
    ranks = seen.get("ranks") if isinstance(seen, dict) else None
    if not isinstance(ranks, dict) or "k" in ranks:
        return {**data, "cells": cells}
    kept = {key: ranks.get(key) for key in ("ranks", "n", "p")}
    count = len(ranks["ranks"]) if isinstance(ranks.get("ranks"), dict) else 0
    more = {key: ranks.get(key) for key in ("groups", "critical_difference")}
    return {**data, "cells": cells, "overview": {**seen, "ranks": {**kept, "k": count, "statistic": None}, **more}}


def present_record(data: Any) -> Any:
    """A record, as verdicts.json has it, with the fields of today; what is no sound record stays unsound."""
    if not isinstance(data, Mapping):
        return data
    record: dict[str, Any] = {key: value for key, value in data.items() if key not in _DERIVED}
    if record.get("version") == 1:
        record |= {"version": 2, "rule": 1}
        protocol, environment = record.pop("protocol", {}), record.pop("environment", {})
        if isinstance(protocol, dict):
            named = {key: protocol[key] for key in ("dataset", "model", "optimizer") if key in protocol}
            record["setup"] = {**named, "more": {key: text for key, text in protocol.items() if key not in named}}
        if isinstance(environment, dict):
            record["environment"] = {"more": environment}
    metrics = record.get("metrics")
    if isinstance(metrics, list) and all(isinstance(metric, dict) for metric in metrics):
        record["metrics"] = [_metric(metric, old=data.get("version") == 1) for metric in metrics]
    return record


def _metric(metric: dict[str, Any], *, old: bool) -> dict[str, Any]:
    """With its short name; in version 1 failures were tested by themselves."""
    found = {"short": str(metric.get("label")).removeprefix("test "), **metric}
    if old and isinstance(rows := found.get("rows"), list):
        found["rows"] = [
            {k: v for k, v in row.items() if k != "p_failed"} if isinstance(row, dict) else row for row in rows
        ]
    return found

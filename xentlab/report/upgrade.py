"""Records of version 1, in which protocol and environment were texts, brought to the fields of today.

This is the one place that reads a number out of a text. What does not have the form that version 1 wrote stays as it
is, under its label.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_MODES, _SEARCHES = ("tuned", "shared", "matched"), ("grid", "halving", "sobol", "optuna")
_FIELDS = ("python", "platform", "processor", "devices", "commit")


def is_old(record: Any) -> bool:
    """Whether it says of itself that it is of version 1."""
    return isinstance(record, Mapping) and record.get("version") == 1


def study_from_1(data: Any) -> Any:
    """A study as those of today: cells that are records of version 1 are brought up, and so is its overview."""
    cells = data.get("cells") if isinstance(data, Mapping) else None
    known = [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []
    if not known or not any(is_old(cell.get("record")) for cell in known):
        return data
    study = {**data, "cells": [_cell(cell) if is_old(cell.get("record")) else cell for cell in known]}
    seen = study.get("overview")
    if isinstance(seen, dict) and isinstance(ranks := seen.get("ranks"), dict):
        kept = {key: ranks.get(key) for key in ("ranks", "n", "p")}
        count = len(ranks["ranks"]) if isinstance(ranks.get("ranks"), dict) else 0
        study["overview"] = {
            **seen,
            "ranks": {**kept, "k": count, "statistic": None},
            "groups": ranks.get("groups"),
            "critical_difference": ranks.get("critical_difference"),
        }
    return study


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {**cell, "record": record_from_1(cell["record"], str(cell.get("label", "")))}


def record_from_1(data: Mapping[str, Any], cell: str = "") -> dict[str, Any]:
    """A record of version 1 as one of version 2; what is no sound record stays unsound.

    Args:
        data: as verdicts.json has it.
        cell: its label in its study.
    """
    record = {**data, "version": 2, "rule": 1}
    losses = record.get("losses")
    labels = [str(loss.get("label")) for loss in losses if isinstance(loss, dict)] if isinstance(losses, list) else []
    protocol, environment = record.pop("protocol", {}), record.pop("environment", {})
    if isinstance(protocol, dict):
        setup, per_loss = _setup(protocol, labels, cell)
        record["setup"] = setup
        if isinstance(losses, list) and len(labels) == len(losses):
            record["losses"] = [loss | more for loss, more in zip(losses, per_loss, strict=True)]
    if isinstance(environment, dict):
        record["environment"] = _environment(environment)
    if isinstance(metrics := record.get("metrics"), list):
        record["metrics"] = [_metric(metric) for metric in metrics]
    return record


def _metric(metric: Any) -> Any:
    """Failures were tested by themselves then."""
    if not isinstance(metric, dict) or not isinstance(metric.get("rows"), list):
        return metric
    rows = [{k: v for k, v in r.items() if k != "p_failed"} if isinstance(r, dict) else r for r in metric["rows"]]
    return {**metric, "rows": rows}


def _setup(texts: Mapping[str, Any], labels: Sequence[str], cell: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The setup, and what is known of each loss."""
    more = dict(texts)
    setup: dict[str, Any] = {name: more.pop(name) for name in ("dataset", "model", "optimizer") if name in more}
    losses: list[dict[str, Any]] = [{} for _ in labels]
    if (epochs := _whole(texts.get("epochs"))) is not None and ("batch size" in texts):
        size = _whole(texts["batch size"])
        if size is not None or texts["batch size"] == "by task":
            setup |= {"epochs": epochs, "batch_size": size}
            del more["epochs"], more["batch size"]
    if (mode := str(texts.get("fairness", "")).partition(":")[0]) in _MODES:
        setup["mode"] = mode
        del more["fairness"]
    setup["axes"] = _axes(cell, mode)
    known = _search(texts)
    counts = {
        name: _counts(texts.get(label), labels)
        for label, name in (
            ("tuning trials", "tuning_trials"), ("tuning trial-epochs", "tuning_epochs"), ("stuck", "stuck"),
            ("diverged", "diverged"),
        )
    }  # fmt: skip
    spaces = _spaces(texts.get("tuning"), labels)
    seeds = {name: _numbers(texts.get(name.replace("_", " "))) for name in ("tuning_seeds", "final_seeds")}
    if known is None or spaces is None or None in counts.values() or None in seeds.values():
        return {**setup, "more": more}, losses
    setup |= known | {name: list(map(int, values or ())) for name, values in seeds.items()}
    for place, loss in enumerate(losses):
        loss |= {name: column[place] for name, column in counts.items() if column is not None}
        loss["space"] = spaces[place]
    said = ("search", "tuning", "tuning trials", "tuning trial-epochs", "selected by", "tuning seeds", "final seeds")
    for label in (*said, "stuck", "diverged", "equivalence margin"):
        more.pop(label, None)
    return {**setup, "more": more}, losses


def _axes(cell: str, mode: str) -> dict[str, Any]:
    """The axes by the words of a cell's label: `digits · label noise 0.2 · tuned`."""
    axes: dict[str, Any] = {}
    for place, part in enumerate(word for word in cell.split(" · ") if word and word != mode):
        name, _, last = part.rpartition(" ")
        number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", last)
        axes[f"axis.{name}" if name and number else f"axis {place}"] = float(last) if name and number else part
    return axes


def _search(texts: Mapping[str, Any]) -> dict[str, Any] | None:
    text = str(texts.get("search", ""))
    kind, _, rest = text.partition(", ")
    if kind not in _SEARCHES:
        return None
    if kind == "halving":
        pairs = re.findall(r"(\d+)(?: points)? for (\d+)", rest)
        return {"search": kind, "rungs": [{"points": int(p), "epochs": int(e)} for p, e in pairs]} if pairs else None
    points = re.fullmatch(r"(\d+) points", rest)
    return {"search": kind, "points": int(points[1]) if points else None}


def _counts(text: Any, labels: Sequence[str]) -> list[int] | None:
    """`ce 10, mse 10`: one number for each label, in their order."""
    found = re.fullmatch(", ".join(rf"{re.escape(label)} (\d+)" for label in labels), str(text))
    return list(map(int, found.groups())) if found else None


def _spaces(text: Any, labels: Sequence[str]) -> list[dict[str, list[float]]] | None:
    """`optimizer.lr in 0.1, 1; loss.gamma in 1, 2`: of all losses, or ` | ` between them, each after its label."""
    parts = str(text).split(" | ")
    if len(parts) == 1:
        parts *= len(labels)
    elif len(parts) == len(labels) and all(p.startswith(f"{x}: ") for p, x in zip(parts, labels, strict=True)):
        parts = [part[len(label) + 2 :] for part, label in zip(parts, labels, strict=True)]
    else:
        return None
    spaces = []
    for part in parts:
        pairs = [piece.partition(" in ") for piece in part.split("; ")]
        values = [_numbers(listed) for _, _, listed in pairs]
        if any(v is None for v in values):
            return None
        spaces.append({key: value or [] for (key, _, _), value in zip(pairs, values, strict=True)})
    return spaces


def _numbers(text: Any) -> list[float] | None:
    try:
        return [float(part) for part in str(text).split(", ")]
    except ValueError:
        return None


def _whole(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isdecimal() else None


def _environment(texts: Mapping[str, Any]) -> dict[str, Any]:
    packages = {k: v for k, v in texts.items() if k not in _FIELDS and re.match(r"\d", str(v))}
    more = {k: v for k, v in texts.items() if k not in _FIELDS and k not in packages}
    name, _, last = str(texts.get("processor", "")).rpartition(", ")
    cores = re.fullmatch(r"(\d+) cores", last)
    commit = str(texts.get("commit", ""))
    return {
        "python": texts.get("python", ""),
        "packages": packages,
        "platform": texts.get("platform", ""),
        "processor": name if cores else texts.get("processor", ""),
        "cores": int(cores[1]) if cores else None,
        "devices": str(texts["devices"]).split(", ") if "devices" in texts else [],
        "commit": commit.removesuffix(" with changes"),
        "changed": commit.endswith(" with changes"),
        "more": more,
    }

"""What the journal's records look like in MLflow: names, params, tags, points. Pure; nothing here imports mlflow."""

from __future__ import annotations

import datetime
import json
import math
import posixpath
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from xentlab.journal import GroupRecord, Records, SessionEvent, TrialRecord
from xentlab.tracking.keys import Key

PARAM_LIMIT, TAG_LIMIT, KEY_LIMIT, DIGEST_LIMIT = 6000, 8000, 250, 36  # characters, MLflow's own
CURVE_LIMIT = 200  # points of one curve
STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "killed": "KILLED",
}

MetricPoint = tuple[str, float, int, int]
"""Name, finite value, milliseconds since the epoch, step."""


def params(config: Mapping[str, Any]) -> dict[str, str]:
    """A nested config as MLflow params: dotted keys, a component by its short name, long values cut with a mark.

    Who trained it is no part of it.
    """
    chosen = {key: value for key, value in config.items() if key != "executor"}
    return {key_name(key): clipped(text, PARAM_LIMIT) for key, text in _leaves(chosen, "")}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield key or "_target_", _short(str(value["_target_"]))
        for name, inner in value.items():
            if name not in ("_target_", "_partial_"):
                yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}.{index}")
    else:
        yield key, value if isinstance(value, str) else json.dumps(value, default=str)


def _short(target: str) -> str:
    """`ce` for `xentlab.losses.ce`; a component from elsewhere keeps its full path."""
    return target.rpartition(".")[2] if target.startswith("xentlab.") else target


@cache
def key_name(name: str) -> str:
    """The name with what MLflow refuses in it replaced by underscores."""
    clean = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name[:KEY_LIMIT]))
    return clean.lstrip("./") or "_"


def clipped(text: str, limit: int) -> str:
    """The text, shortened to the limit with a mark that says so."""
    mark = f" ... [cut, {len(text)} characters in all]"
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def label_of(record: TrialRecord | GroupRecord) -> str:
    """The name of its run; of a comparison what tells it from others: its own name, data, model and day."""
    if record.marks.get("name"):
        return record.marks["name"]
    if isinstance(record, TrialRecord):
        return record.label
    if record.kind != "comparison" or "alias" not in record.tags:
        return record.name
    day = f"{datetime.datetime.fromtimestamp(record.start / 1000, datetime.UTC):%Y-%m-%d}"
    return " · ".join([*(record.tags[tag] for tag in ("alias", "dataset", "model") if tag in record.tags), day])


def config_of(record: TrialRecord | GroupRecord) -> Mapping[str, Any]:
    return record.config if isinstance(record, TrialRecord) else record.params


# Of a segment whose first line is damaged.
_LOST = SessionEvent("00000000", "unknown", 0, "unknown", {})


def opening_tags(record: TrialRecord | GroupRecord, key: Key, records: Records) -> dict[str, str]:
    """The tags that a run gets when it is created, its identity among them."""
    session = records.sessions.get(record.session, _LOST)
    facts = session.environment
    tags = {
        **record.tags,
        **filing_tags(key, records),
        "host": session.host,
        "status": record.status,
        **writer_tags(record),
    }
    if facts.get("git"):
        commit = facts["git"]["commit"]
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
    driver = records.sessions.get(session.driver or "", session)  # a worker was called by no one else
    tags |= {"mlflow.source.name": driver.command, "mlflow.source.type": "JOB"}  # of LOCAL, what follows the last "/"
    if facts.get("user"):
        tags["mlflow.user"] = facts["user"]
    if isinstance(record, TrialRecord):
        tags["signature"] = record.signature
    else:
        tags["xentlab.kind"] = record.kind
    trial, group = key
    tags |= {name: value for name, value in (("xentlab.trial", trial), ("xentlab.group", group)) if value is not None}
    return clean_tags(tags)


def filing_tags(key: Key, records: Records) -> dict[str, str]:
    """The tags that say where a run is filed; a reused trial stands under each comparison as if it were its own.

    `xentlab.root` is the sweep or comparison at the top, `arm` of a trial the loss by the name that it has there;
    `xentlab.top` marks what lies in nothing else.
    """
    trial, name = key
    if name is None:
        return {"xentlab.top": "true"}
    group = records.groups[name]
    tags = {"xentlab.root": outermost(records, name)}
    tags |= {"xentlab.top": "true"} if key == (None, tags["xentlab.root"]) else {}
    if trial is not None:
        tags |= {tag: group.tags[tag] for tag in ("comparison", "cell") if tag in group.tags}
        tags |= {"arm": group.name} if group.kind == "loss" else {}
    return tags


def outermost(records: Records, group: str) -> str:
    """The group at the top of those that a group lies in."""
    seen = {group}
    while (parent := records.groups[group].parent) is not None and parent in records.groups and parent not in seen:
        seen.add(parent)
        group = parent
    return group


def closing_tags(record: TrialRecord | GroupRecord, key: Key, records: Records) -> dict[str, str]:
    """The tags that say how a trial or a group ended."""
    tags = {**record.tags, **filing_tags(key, records), "status": record.status, **writer_tags(record)}
    if isinstance(record, TrialRecord):
        tags["mlflow.note.content"] = description(record)
        if record.ended is not None:
            marks = record.ended.to_json()
            tags |= {name: value for name, value in marks.items() if isinstance(value, str)}
            tags |= {name: json.dumps(value) for name, value in marks.items() if isinstance(value, bool)}
        tags["epochs"] = str(record.epochs)
        if record.reason:
            tags["reason"] = record.reason
    if record.marks.get("name"):
        tags["mlflow.runName"] = record.marks["name"]
    if record.marks.get("note"):  # second, since a page that is folded shows the first line: what came out
        first, gap, rest = tags.get("mlflow.note.content", "").partition("\n\n")
        tags["mlflow.note.content"] = f"{first}\n\nNote: {record.marks['note']}{gap}{rest}".lstrip()
    return clean_tags(tags)


def description(trial: TrialRecord) -> str:
    """How a trial ended and the command that runs it again, as Markdown; collapsed, a page shows the first line."""
    end = trial.ended
    words = [] if trial.status == "finished" else [f"{trial.status} after {trial.epochs} epochs"]
    if end is not None and end.diverged:
        words.append(f"diverged in epoch {end.epochs}")
    elif end is not None and end.best is not None:
        tested = end.test.get(end.monitor)
        words += [f"test {end.monitor} {tested:.4g}"] if tested is not None else []
        words.append(f"best validation {end.monitor} {end.best:.4g} in epoch {end.best_epoch} of {trial.epochs}")
    if end is not None and end.stuck:
        words.append("stuck: no better than a constant answer")
    return f"{', '.join(words) or trial.label}\n\nAgain: `xentlab reproduce {trial.id}`"


def clean_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key_name(key): clipped(str(value), TAG_LIMIT) for key, value in tags.items()}


def points(trial: TrialRecord, after: int) -> list[MetricPoint]:
    """The finite points of the epochs later than `after`, by epoch.

    Of a long training that is every k-th epoch (see `stride`) and, once it is over, the last one.
    """
    step = stride(planned_epochs(trial))
    last = trial.epochs if trial.status != "running" else None
    found = []
    for name, curve in trial.curves.items():
        key = key_name(name)
        begin = bisect_right(curve, after, key=lambda point: point[0])
        if last is not None and step > 1:
            begin = min(begin, len(curve) - 1)  # that it is the last one was not known when it passed
        for epoch, time, value in curve[begin:]:
            if value is not None and math.isfinite(value) and (epoch % step == 0 or epoch == last):
                found.append((key, float(value), time, epoch))
    return sorted(found, key=lambda point: point[3])


def planned_epochs(trial: TrialRecord) -> int:
    """How many epochs the trial was to be trained, >= 1; 1 where it does not say so, and nothing is left out."""
    return int(trial.config["trainer"]["epochs"]) if "trainer" in trial.config else 1


def stride(length: int) -> int:
    """Every how many steps of a curve a point is sent: of up to 200 steps all, of more about 200.

    MLflow draws at most 320 points of a curve, and its pages get slow with what is stored; the journal keeps all.
    """
    return math.ceil(length / CURVE_LIMIT)


def final_points(record: TrialRecord | GroupRecord, end: int) -> list[MetricPoint]:
    """The summary's numbers as points at step 0, which MLflow draws as bars; a name that has a curve keeps it."""
    if isinstance(record, TrialRecord):
        told = record.ended.to_json() if record.ended is not None else {}
        values: Mapping[str, Any] = {k: v for k, v in told.items() if k not in record.curves}
    else:
        values = record.metrics
    found = [(key_name(k), float(v), end, 0) for k, v in values.items() if _is_number(v)]
    return found if isinstance(record, TrialRecord) else found + _group_points(record, end)


def _group_points(group: GroupRecord, end: int) -> list[MetricPoint]:
    """The curves of a group, thinned as those of a trial."""
    found = []
    for name, curve in group.curves.items():
        step = stride(len(curve))
        kept = [p for i, p in enumerate(curve) if i % step == 0 or i == len(curve) - 1]
        found += [(key_name(name), float(value), end, at) for at, value in kept if math.isfinite(value)]
    return sorted(found, key=lambda point: point[3])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def end_time(record: TrialRecord | GroupRecord, records: Records) -> int:
    """Milliseconds at which it ended; a killed group ended with the last of its members."""
    end = record.end if record.end is not None else record.start
    if isinstance(record, GroupRecord) and record.status == "killed":
        return max([end, *(end_time(records.trials[name], records) for name in record.members)])
    return end


def writer_tags(record: TrialRecord | GroupRecord) -> dict[str, str]:
    """Which session wrote it, and in which attempt where it was begun more than once."""
    again = {"xentlab.attempt": str(record.attempt)} if record.attempt else {}
    return {"xentlab.session": record.session, **again}


def state(record: TrialRecord | GroupRecord) -> str:
    """What a complete run was complete for; what is taken up again, chosen, named or annotated since gets another."""
    said = {kind: text for kind, text in record.marks.items() if kind != "place" and text}
    marked = f" {zlib.crc32(json.dumps(said, sort_keys=True).encode()):08x}" if said else ""
    if not isinstance(record, TrialRecord):
        return f"{record.session} {record.status} 0{marked}"
    tested = " tested" if record.ended is not None and record.tags.get("role") == "chosen" else ""
    return f"{record.session} {record.status} {record.epochs}{tested}{marked}"


def dataset_facts(trial: TrialRecord) -> tuple[str, str] | None:
    """Name and digest of the trial's dataset."""
    if "dataset" not in trial.tags or "fingerprint" not in trial.tags:
        return None
    return trial.tags["dataset"], trial.tags["fingerprint"].removeprefix("sha256:")[:DIGEST_LIMIT]

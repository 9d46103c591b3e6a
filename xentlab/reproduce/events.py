"""Journal events on their way out and in: which belong to a comparison, and which a journal may take from elsewhere.

A journal that holds one event it cannot read is a journal that cannot be read. So every event of an archive is held to
the shape that `xentlab.journal` and its readers rely on, before the first is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.train import COMPONENTS

_ID = re.compile(r"[0-9a-f]{8,40}")
Event = dict[str, Any]


@dataclass
class Session:
    """The opening event of one session, and the events of it that an archive holds."""

    opening: Event
    events: list[Event] = field(default_factory=list)


def is_id(value: Any) -> bool:
    """Whether the value is an identifier, which may name a file."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def select(root: Path, groups: set[str], trials: set[str]) -> bytes:
    """The events of these groups and trials as JSON lines, session by session, as they were written."""
    lines: list[str] = []
    for path in sorted((root / "journal").glob("*.jsonl")):
        opening, chosen = None, []
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # still being written, or torn by a kill
            event = json.loads(line)
            if event["event"] == "session":
                opening = event
            elif (kept := _concerns(event, groups, trials)) is not None:
                chosen.append(kept)
        if opening is not None and chosen:
            lines += [json.dumps(event, allow_nan=False) for event in (opening, *chosen)]
    return "".join(line + "\n" for line in lines).encode()


def _concerns(event: Event, groups: set[str], trials: set[str]) -> Event | None:
    """The event, an epoch cut to the rows that are concerned; None where it is about others."""
    match event["event"]:
        case "group" | "group_end":
            return event if event["group"] in groups else None
        case "member":
            return event if event["group"] in groups and event["trial"] in trials else None
        case "epoch":
            rows = [row for row, trial in enumerate(event["trials"]) if trial in trials]
            if not rows:
                return None
            metrics = {name: [values[row] for row in rows] for name, values in event["metrics"].items()}
            return {**event, "trials": [event["trials"][row] for row in rows], "metrics": metrics}
        case _:
            return event if event["trial"] in trials else None


Rule = Callable[[Any], bool]


def _is(*kinds: type) -> Rule:
    return lambda value: isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _words(*needed: str) -> Rule:
    """A mapping of words to words that has the `needed` ones."""

    def rule(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values()) and value.keys() >= {*needed}

    return rule


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(_is(int, float)(v) for v in value.values())


def _environment(value: Any) -> bool:
    git = value.get("git") if isinstance(value, dict) else None
    return isinstance(git, dict) and (not git or isinstance(git.get("commit"), str))


def _or_none(rule: Rule) -> Rule:
    return lambda value: value is None or rule(value)


def _curves(value: Any) -> bool:
    """Whether this is name -> [[step, number] ...]."""
    step, number = _is(int), _is(int, float)
    return isinstance(value, dict) and all(
        isinstance(curve, list)
        and all(isinstance(p, list) and len(p) == 2 and step(p[0]) and number(p[1]) for p in curve)
        for curve in value.values()
    )


def _config(value: Any) -> bool:
    nodes = (*COMPONENTS, "trainer")
    return isinstance(value, dict) and "seed" in value and all(isinstance(value.get(key), dict) for key in nodes)


_STATUS = ("finished", "failed", "interrupted")
_TAGS = _words("task", "loss", "link", "model", "dataset", "optimizer", "seed", "fingerprint", "device")
_SHAPES: dict[str, dict[str, Rule]] = {
    "session": {"session": is_id, "host": _is(str), "pid": _is(int), "command": _is(str), "environment": _environment},
    "group": {
        "group": is_id, "kind": _is(str), "name": _is(str), "parent": _or_none(is_id), "params": _is(dict),
        "tags": _words(),
    },
    "trial": {
        "trial": is_id, "signature": _is(str), "label": _is(str), "config": _config, "tags": _TAGS, "resumed": _is(int),
    },
    "member": {"group": is_id, "trial": is_id},
    "epoch": {
        "trials": lambda value: isinstance(value, list) and all(map(is_id, value)), "epoch": _is(int),
        "metrics": _is(dict),
    },
    "end": {
        "trial": is_id, "status": lambda value: value in _STATUS, "reason": _is(str), "summary": _is(dict),
        "artifacts": _or_none(_is(str)),
    },
    "group_end": {
        "group": is_id, "status": lambda value: value in _STATUS, "tags": _words(), "metrics": _numbers,
        "artifacts": _or_none(_is(str)),
    },
}  # fmt: skip
# What every reader of a finished trial's summary asks for.
_SUMMARY: dict[str, Rule] = {
    "diverged": _is(bool), "stuck": _is(bool), "epochs": _is(int), "best_epoch": _is(int), "seconds": _is(int, float),
    "epochs_to_target": _or_none(_is(int)),
}  # fmt: skip


def read(text: str) -> list[Session]:
    """The sessions of a journal from elsewhere.

    Raises:
        UserError: an event that this version does not know or could not read, or that speaks of what was not opened.
    """
    sessions: dict[str, Session] = {}
    current: Session | None = None
    opened: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            event = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UserError(f"Line {number} of journal.jsonl must be JSON: {error}.") from error
        _check(event, number)
        if event["event"] == "session":
            current = sessions.setdefault(event["session"], Session(event))
            continue
        if current is None:
            raise UserError(f"Line {number} of journal.jsonl must follow the opening of its session.")
        _check_names(event, opened, number)
        current.events.append(event)
    return [sessions[name] for name in sorted(sessions)]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _check(event: Any, number: int) -> None:
    where = f"Line {number} of journal.jsonl"
    shape = _SHAPES.get(str(event.get("event"))) if isinstance(event, dict) else None
    if shape is None:
        raise UserError(f"{where} must be an event of {', '.join(_SHAPES)}.")
    for key, rule in {"time": _is(int), **shape}.items():
        if key not in event or not rule(event[key]):
            raise UserError(f"{where} must be a {event['event']} with a sound {key}, got {event.get(key)!r:.80}.")
    if event["event"] == "epoch":
        for name, values in event["metrics"].items():
            sound = isinstance(values, list) and all(v is None or _is(int, float)(v) for v in values)
            if not sound or len(values) != len(event["trials"]):
                raise UserError(f"{where} must hold one number or null for each trial in {name:.80}.")
    if event["event"] == "group_end" and not _curves(event.get("curves", {})):
        raise UserError(f"{where} must hold curves of [step, number], got {event['curves']!r:.80}.")
    if event["event"] == "end" and event["status"] == "finished":
        for key, rule in _SUMMARY.items():
            if key not in event["summary"] or not rule(event["summary"][key]):
                raise UserError(f"{where} must have a summary with a sound {key}.")


def _check_names(event: Event, opened: set[str], number: int) -> None:
    """Refuse an event that speaks of a trial or group which no earlier event opened."""
    if event["event"] in ("group", "trial"):
        opened.add(event[event["event"]])
    named = event["trials"] if event["event"] == "epoch" else [event[k] for k in ("group", "trial") if k in event]
    # a session may file a trial that a later segment opens; the journal waits for it
    for name in named if event["event"] != "member" else ():
        if name not in opened:
            raise UserError(f"Line {number} of journal.jsonl speaks of {name}, which was not opened before.")


def write(sessions: list[Session], records: Records, digest: str, folders: Mapping[str, str]) -> int:
    """Add to a journal what it does not have, one closed segment for each session; returns how many trials are new.

    Args:
        sessions: checked by `read`.
        records: of the root that is written to, up to date.
        digest: sha256 of where the events came from; a part of the segments' names.
        folders: group -> artifact folder relative to the root; other paths in the events are dropped.
    """
    done = {name for name, trial in records.trials.items() if trial.status == "finished"}
    added: set[str] = set()
    for session in sessions:
        kept = [new for event in session.events if (new := _new(event, records, done, folders)) is not None]
        added |= {event["trial"] for event in kept if event["event"] == "trial"}
        path = records.root / "journal" / f"{session.opening['session']}-{digest[:12]}.jsonl"
        if not kept or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        opening = {**session.opening, "imported": digest}
        scratch.write_text("".join(json.dumps(e, allow_nan=False) + "\n" for e in (opening, *kept)), encoding="utf-8")
        scratch.replace(path)
    return len(added)


def _new(event: Event, records: Records, done: set[str], folders: Mapping[str, str]) -> Event | None:
    """The event as it enters the journal, None where the journal has it."""
    match event["event"]:
        case "group":
            return None if event["group"] in records.groups else event
        case "group_end":
            known = event["group"] in records.groups
            return None if known else {**event, "artifacts": folders.get(event["group"])}
        case "member":
            group = records.groups.get(event["group"])
            return None if group is not None and event["trial"] in group.members else event
        case "epoch":
            rows = [row for row, trial in enumerate(event["trials"]) if trial not in done]
            metrics = {name: [values[row] for row in rows] for name, values in event["metrics"].items()}
            return {**event, "trials": [event["trials"][row] for row in rows], "metrics": metrics} if rows else None
        case "end":
            return None if event["trial"] in done else {**event, "artifacts": None}
        case _:
            return None if event["trial"] in done else event

"""Journal events on their way out and in: which belong to a comparison, and which a journal may take from elsewhere.

A journal that holds one event it cannot read is a journal that cannot be read. So every event of an archive is held to
its shape in `xentlab.journal.events`, and to what its readers ask for, before the first is written.
"""

from __future__ import annotations

import graphlib
import hashlib
import itertools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from xentlab import journal
from xentlab.disk import written_whole
from xentlab.errors import UserError
from xentlab.journal import MarkEvent, Records, SessionEvent, TrialEvent, fresh_name, names_of, read_lines
from xentlab.journal.events import EPOCHS, ID, load_event
from xentlab.journal.lines import seal
from xentlab.reproduce.contents import refuse_constant
from xentlab.train import ALWAYS_NAMED
from xentlab.typed import from_json

RawEvent = dict[str, Any]


@dataclass
class ArchivedSession:
    """The opening event of one session, and the events of it that an archive holds."""

    opening: RawEvent
    events: list[RawEvent] = field(default_factory=list)


def is_id(value: Any) -> bool:
    """Whether the value is an identifier, which may name a file."""
    return isinstance(value, str) and re.fullmatch(ID.regex, value) is not None


def select(root: Path, names: Mapping[str, str], trials: Collection[str], *, diff: bool = False) -> bytes:
    """The events of groups and trials as JSON lines, session by session, as they were written.

    Args:
        names: id of a group -> the name of its own that it is to have elsewhere; empty where it has none.
        diff: leave the uncommitted difference in, where it was recorded.
    """
    lines: list[str] = []
    for _, segment in itertools.groupby(read_lines(root), key=lambda read: read[0]):
        opening, chosen = None, []
        for _, event in segment:
            if event["event"] == "session":
                opening = {**event, "filed": None}  # where its runs went is the exporter's own affair
                if not diff:
                    opening["environment"] = without_diff(event["environment"])
            elif (kept := _concerns(event, names, trials)) is not None:
                chosen.append(kept)
        if opening is not None and chosen:
            lines += [json.dumps(event, allow_nan=False) for event in (opening, *chosen)]
    return "".join(line + "\n" for line in lines).encode()


def without_diff(environment: dict[str, Any]) -> dict[str, Any]:
    """An environment that says that there were uncommitted changes, but not which."""
    git = environment.get("git") or {}
    if "diff" not in git:
        return environment
    text = git["diff"] or ""
    changed = git.get("changed") or (
        {"sha256": hashlib.sha256(text.encode()).hexdigest(), "files": []} if text else None
    )
    kept = {key: value for key, value in git.items() if key != "diff"}
    return {**environment, "git": {**kept, "changed": changed}}


def _concerns(event: RawEvent, groups: Mapping[str, str], trials: Collection[str]) -> RawEvent | None:
    """The event, an epoch cut to the rows that are concerned; None where it is about others."""
    match event["event"]:
        case "group" if groups.get(event["group"]):
            return {**event, "tags": {**event["tags"], "alias": groups[event["group"]]}}
        case "group" | "group_end":
            return event if event["group"] in groups else None
        case "mark":  # what it is called and whether it was removed is the exporter's own affair
            said = {kind: text for kind, text in event["marks"].items() if kind == "note"}
            return {**event, "marks": said} if said and event["about"] in {*groups, *trials} else None
        case "member":
            return event if event["group"] in groups and event["trial"] in trials else None
        case "epoch":
            return _cut(event, [row for row, trial in enumerate(event["trials"]) if trial in trials])
        case _:
            return event if event["trial"] in trials else None


def _cut(epoch: RawEvent, rows: Sequence[int]) -> RawEvent | None:
    """An epoch of these rows alone; None where there is none."""
    metrics = {name: [values[row] for row in rows] for name, values in epoch["metrics"].items()}
    return {**epoch, "trials": [epoch["trials"][row] for row in rows], "metrics": metrics} if rows else None


# What a trial's tags must say to be filed and judged here.
_TAGS = ("task", "loss", "link", "model", "dataset", "optimizer", "seed", "fingerprint", "device")


def read_sessions(text: str) -> list[ArchivedSession]:
    """The sessions of a journal from elsewhere.

    Raises:
        UserError: an event that this version does not know or could not read, or that speaks of what was not opened.
    """
    sessions: dict[str, ArchivedSession] = {}
    current: ArchivedSession | None = None
    opened: dict[str, str | None] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        where = f"Line {number} of journal.jsonl"
        try:
            event = json.loads(line, parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} must be JSON: {error}.") from error
        _check_use(load_event(event, where), where)
        if event["event"] == "session":
            current = sessions.setdefault(event["session"], ArchivedSession(event))
            continue
        if current is None:
            raise UserError(f"{where} must follow the opening of its session.")
        _check_names(event, opened, where)
        current.events.append(event)
    check_circles(opened)
    return [sessions[name] for name in sorted(sessions)]


def _check_use(event: journal.Event, where: str) -> None:
    """Refuse what has a sound shape, but lacks what its readers here ask for."""
    if isinstance(event, TrialEvent):
        config = event.config
        from_json(dict[str, Any], config, f"{where}: config")
        if "seed" not in config or not all(isinstance(config.get(key), dict) for key in (*ALWAYS_NAMED, "trainer")):
            raise UserError(f"{where} must be a trial with a sound config, got {config!r:.80}.")
        from_json(Annotated[int, EPOCHS], config["trainer"].get("epochs"), f"{where}: config.trainer.epochs")
        missing = [tag for tag in _TAGS if tag not in event.tags]
        if missing:
            raise UserError(f"{where} must be a trial with the tag {missing[0]}.")
    if isinstance(event, MarkEvent) and event.marks.keys() != {"note"}:
        raise UserError(f"{where} must be a note, got {', '.join(event.marks)}.")
    if isinstance(event, SessionEvent):
        git = event.environment.get("git")
        if not isinstance(git, dict) or (git and not isinstance(git.get("commit"), str)):
            raise UserError(f"{where} must be a session with a sound environment, got {event.environment!r:.80}.")


def check_circles(parents: Mapping[str, str | None]) -> None:
    """Refuse groups that lie in themselves, at whatever distance: whoever walks up from one would never arrive."""
    try:
        graphlib.TopologicalSorter({group: [above] for group, above in parents.items() if above}).prepare()
    except graphlib.CycleError as error:
        raise UserError(
            f"journal.jsonl must hold no group that lies in itself, but {error.args[1][0]} does."
        ) from error


def _check_names(event: RawEvent, opened: dict[str, str | None], where: str) -> None:
    """Refuse an event that speaks of a trial or group which no earlier event opened."""
    if event["event"] in ("group", "trial"):
        name, parent = event[event["event"]], event.get("parent")
        if opened.setdefault(name, parent) != parent:
            raise UserError(f"{where} must leave {name} in {opened[name]}, got {parent}.")
    named = event["trials"] if event["event"] == "epoch" else [event[k] for k in ("group", "trial") if k in event]
    # a session may file, or speak of, a trial that a later segment opens; the journal waits for it
    for name in named if event["event"] not in ("member", "mark") else ():
        if name not in opened:
            raise UserError(f"{where} speaks of {name}, which was not opened before.")


def write_sessions(
    sessions: list[ArchivedSession], records: Records, digest: str, source: str, folders: Mapping[str, str]
) -> int:
    """Add to a journal what it does not have, one closed segment for each session; returns how many trials are new.

    Args:
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
        opening = {**session.opening, "imported": digest, "source": source, "filed": None}
        with written_whole(path) as scratch:
            scratch.write_bytes(b"".join(map(seal, (opening, *kept))))
    return len(added)


def _new(event: RawEvent, records: Records, done: set[str], folders: Mapping[str, str]) -> RawEvent | None:
    """The event as it enters the journal, None where the journal has it."""
    match event["event"]:
        case "group":
            return None if event["group"] in records.groups else _named_here(event, records)
        case "mark":
            return None if event["about"] in {*records.groups, *records.trials} else event
        case "group_end":
            known = event["group"] in records.groups
            return None if known else {**event, "artifacts": folders.get(event["group"])}
        case "member":
            group = records.groups.get(event["group"])
            return None if group is not None and event["trial"] in group.members else event
        case "epoch":
            return _cut(event, [row for row, trial in enumerate(event["trials"]) if trial not in done])
        case "end":
            return None if event["trial"] in done else {**event, "artifacts": None}
        case _:
            return None if event["trial"] in done else event


def _named_here(event: RawEvent, records: Records) -> RawEvent:
    """The opening of a group with the name that it has elsewhere, where that is free here, or another of its own."""
    if event["parent"] is not None:
        return event
    taken = {name for own in names_of(records.groups).values() for name in own}
    taken |= {group.name for group in records.groups.values()}
    wanted = event["tags"].get("alias", "")
    free = re.fullmatch(r"\w[\w.+-]{0,63}", wanted) and wanted not in taken
    alias = wanted if free else fresh_name(records.groups, event["kind"], event["name"])
    return {**event, "tags": {**event["tags"], "alias": alias}}

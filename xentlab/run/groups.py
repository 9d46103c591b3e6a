"""Groups of the journal as they begin: each gets a name of its own, and one that a kill has left is taken up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xentlab.journal import GroupEvent, GroupRecord, Journal, Records, alone, fresh_name, new_id
from xentlab.run.artifacts import keep_openings


def open_groups(groups: Sequence[Mapping[str, Any]], journal: Journal, records: Records, *, fresh: bool) -> list[str]:
    """Begin groups, see `Session.open_groups`; `fresh`: none that was left is taken up."""
    ids: list[str] = []
    events: list[GroupEvent] = []
    journal.open()
    with alone(journal.path.parent):  # of two that begin at once, each gets its own name
        records.update()
        for facts in groups:
            parent = ids[facts["parent"]] if isinstance(facts["parent"], int) else facts["parent"]
            left = None if fresh else _killed(records, {**facts, "parent": parent})
            own = left is None and parent is None
            alias = {"alias": fresh_name(records.groups, facts["kind"], facts["name"])} if own else {}
            new = {"parent": parent, "tags": {**facts["tags"], **alias}, "attempt": left.attempt + 1 if left else 0}
            ids.append(left.id if left else new_id())
            events.append(GroupEvent(**{**facts, **new, "group": ids[-1]}))
        journal.append(*events)
        keep_openings(journal.path.parent.parent, journal.lines(events))
    return ids


def _killed(records: Records, facts: Mapping[str, Any]) -> GroupRecord | None:
    for group in records.groups.values():
        same = all(getattr(group, key) == facts[key] for key in ("kind", "name", "parent", "params"))
        if group.status == "killed" and not group.removed and same and facts["tags"].items() <= group.tags.items():
            return group
    return None

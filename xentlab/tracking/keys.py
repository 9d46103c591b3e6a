"""Which runs the journal asks for, and how they are nested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xentlab.journal import GroupRecord, Records, TrialRecord

Key = tuple[str | None, str | None]
"""Identity of a run: (trial, group), (trial, None) for a trial by itself, (None, group) for a group."""


def record_of(records: Records, key: Key) -> TrialRecord | GroupRecord:
    """The record behind a run."""
    trial, group = key
    if trial is not None:
        return records.trials[trial]
    assert group is not None
    return records.groups[group]


def parent_of(records: Records, key: Key) -> Key | None:
    """The run under which a run is nested: a trial under its group, a group under its parent."""
    trial, group = key
    if group is None:
        return None
    if trial is not None:
        return (None, group)
    parent = records.groups[group].parent
    return (None, parent) if parent is not None and parent in records.groups else None


def filed_for(records: Records, key: Key, destination: Sequence[str]) -> bool:
    """Whether a run was filed for this store and experiment; where no session says anything, it was for any.

    A reused trial is filed where its group is.
    """
    trial, group = key
    owner = records.groups[group].session if group is not None else records.trials[trial or ""].session
    said = (found.filed for name in drivers(records, owner) if (found := records.sessions.get(name)) is not None)
    return next((filed == list(destination) for filed in said if filed is not None), True)


def drivers(records: Records, session: str) -> Iterator[str]:
    """A session, the one that drives it, and so on upwards."""
    seen: set[str] = set()
    name: str | None = session
    while name is not None and name not in seen:
        yield name
        seen.add(name)
        found = records.sessions.get(name)
        name = found.driver if found is not None else None


def place_of(records: Records, key: Key) -> str:
    """Where a run lies by what was said of its trial and of the groups above it: empty here, else `trash` or `gone`.

    A trial has no run of its own while a group has it.
    """
    trial, group = key
    places = [records.trials[trial].marks.get("place", "")] if trial is not None else []
    if group is None and trial is not None and any(trial in g.members for g in _moved(records) if not g.removed):
        places.append("trash")
    seen: set[str] = set()
    while group is not None and group in records.groups and group not in seen:
        seen.add(group)
        places.append(records.groups[group].marks.get("place", ""))
        group = records.groups[group].parent
    return "gone" if "gone" in places else "trash" if "trash" in places else ""


def _moved(records: Records) -> list[GroupRecord]:
    """The groups that were ever moved to the trash."""
    return [group for group in records.groups.values() if "place" in group.marks]


def all_keys(records: Records) -> Iterator[Key]:
    """The runs that the journal asks for, parents first, and those of what is in the trash.

    A trial without a group gets a run of its own once it has an epoch or an end: by then it would have been filed.
    """
    filed: set[str] = set()
    for name in groups_in_order(records):
        yield (None, name)
        for trial in records.groups[name].members:
            if "place" not in records.groups[name].marks:
                filed.add(trial)
            yield (trial, name)
    for trial, record in records.trials.items():
        if trial not in filed and (record.epochs > 0 or record.status != "running"):
            yield (trial, None)


def groups_in_order(records: Records) -> list[str]:
    """Group ids, each after its parent."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        parent = records.groups[name].parent
        if parent is not None and parent in records.groups and parent not in ordered:
            visit(parent)
        ordered[name] = None

    for name in records.groups:
        visit(name)
    return list(ordered)

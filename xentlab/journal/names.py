"""How comparisons and sweeps are called: each has a short name of its own, such as `quickstart-2` or `sweep-1`.

It is decided when the group begins, stands in its tag `alias`, and is never another's, not even when its group is gone.
Whoever gives it another name adds one. Groups of before have none written down: the oldest gets the lowest free number.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from xentlab.journal.entries import GroupRecord


def names_of(groups: Mapping[str, GroupRecord]) -> dict[str, list[str]]:
    """The names of every group that lies in nothing else, by its id: what it was renamed to, if it was, and its alias.

    Of two groups with one name, which began on two machines at once or were merged by hand, the older keeps it.
    """
    top = [group for _, group in sorted(groups.items()) if group.parent is None]
    given = {group.id: [group.marks.get("name", ""), group.tags.get("alias", "")] for group in top}
    taken: dict[str, str] = {}
    for group in top:
        for name in filter(None, given[group.id]):
            taken.setdefault(name, group.id)
    found: dict[str, list[str]] = {}
    for group in top:
        found[group.id] = [name for name in dict.fromkeys(given[group.id]) if taken.get(name) == group.id]
        if not found[group.id]:
            found[group.id] = [_numbered(group.kind, group.name, taken)]
            taken[found[group.id][0]] = group.id
    return found


def fresh_name(groups: Mapping[str, GroupRecord], kind: str, name: str) -> str:
    """An alias for a group that begins."""
    taken = {known: group for group, names in names_of(groups).items() for known in names}
    return _numbered(kind, name, taken | {group.name: group.id for group in groups.values()})


def _numbered(kind: str, name: str, taken: Mapping[str, str]) -> str:
    base, number = "sweep" if kind == "sweep" else name, 1
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, alone among all processes that ask for it, where the disk has such locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems lock no folders: two of one name are told apart anyhow
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

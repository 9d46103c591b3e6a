"""One line for each sweep, comparison and training: what it is of, how it stands, what came out, what disk it takes."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xentlab.errors import UserError, unknown
from xentlab.journal import GroupRecord, Records, TrialRecord, names_of

RecordKind = Literal["comparison", "published", "sweep", "trial"]
KINDS: tuple[RecordKind, ...] = ("comparison", "published", "sweep", "trial")


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        id: in the journal.
        name: its own, see `xentlab.journal.names`; of a training its id, or what it was renamed to.
        losses: in the order in which they were given.
        began: milliseconds since the epoch.
        state: running, finished, failed, interrupted, killed, or `trash`.
        answer: the verdict in a few words; of a training its best value on validation.
        trials: how many lie in it.
        bytes: of its folder and those of its trials, whoever else needs them.
    """

    kind: RecordKind
    id: str
    name: str
    dataset: list[str]
    model: list[str]
    losses: list[str]
    began: int
    state: str
    answer: str
    trials: int
    bytes: int
    note: str

    @property
    def when(self) -> str:
        """When it began, to the minute, in local time."""
        return f"{datetime.datetime.fromtimestamp(self.began / 1000):%Y-%m-%d %H:%M}"


COLUMNS: dict[str, Callable[[Entry], object]] = {
    "when": lambda e: -e.began,
    "kind": lambda e: KINDS.index(e.kind),
    "name": lambda e: e.name,
    "dataset": lambda e: e.dataset,
    "model": lambda e: e.model,
    "state": lambda e: e.state,
    "trials": lambda e: -e.trials,
    "disk": lambda e: -e.bytes,
}
"""What can be sorted by; of each what is shown first."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which lines; None and empty are all. `since` is a date, or a number of days or hours such as `7d` or `12h`."""

    kind: str | None = None
    name: str | None = None
    dataset: str | None = None
    model: str | None = None
    loss: str | None = None
    state: str | None = None
    since: str | None = None
    sort: str = "when"

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise unknown("kind", self.kind, KINDS)
        if self.sort not in COLUMNS:
            raise unknown("column to sort by", self.sort, COLUMNS)

    def takes(self, entry: Entry) -> bool:
        """Whether a line is one of them."""
        texts = ((self.name, [entry.name]), (self.dataset, entry.dataset), (self.model, entry.model))
        more = ((self.loss, entry.losses), (self.state, [entry.state]))
        return all(wanted is None or wanted in have for wanted, have in (*texts, *more))


def read(root: Path) -> Records:
    """The records of a root without their epochs, with what was killed marked as such."""
    records = Records(root, without=("epoch",))
    records.update()
    records.mark_killed()
    return records


def entries(records: Records, wanted: Wanted) -> list[Entry]:
    """The lines, sorted; what is in the trash only where that state is wanted, what is gone never; see `with_sizes`."""
    began, sizes, names = _moment(wanted.since), Sizes(records), names_of(records.groups)
    found = []
    for record in _listed(records, every=wanted.kind == "trial"):
        place = record.marks.get("place", "")
        if place == "gone" or (place == "trash") != (wanted.state == "trash") or record.start < began:
            continue
        if wanted.kind is not None and kind_of(record) != wanted.kind:
            continue
        entry = entry_of(record, records, names, sizes)
        if wanted.takes(entry):
            found.append(entry)
    found = with_sizes(records, found) if wanted.sort == "disk" else found
    return sorted(found, key=lambda e: (COLUMNS[wanted.sort](e), -e.began, e.id))


def with_sizes(records: Records, lines: Sequence[Entry]) -> list[Entry]:
    """The lines with what they take on disk, which takes longer than all else."""
    sizes, known = Sizes(records), {record.id: record for record in records.everything()}
    return [dataclasses.replace(entry, bytes=sizes.of(known[entry.id])) for entry in lines]


def _moment(since: str | None) -> float:
    """Milliseconds since the epoch."""
    if since is None:
        return 0
    now = datetime.datetime.now()
    if (spoken := re.fullmatch(r"(\d{1,6})([dh])", since)) is not None:
        hours = int(spoken[1]) * (24 if spoken[2] == "d" else 1)
        return now.timestamp() * 1000 - hours * 3_600_000
    try:
        return datetime.datetime.fromisoformat(since).timestamp() * 1000
    except ValueError as error:
        raise UserError(
            f"--since must be a date such as 2026-11-20, or days or hours such as 7d or 12h, got {since}."
        ) from error


def _listed(records: Records, *, every: bool) -> Iterator[TrialRecord | GroupRecord]:
    inside = {t for g in records.groups.values() for t in g.members if not g.removed or records.trials[t].removed}
    yield from (group for group in records.groups.values() if group.parent is None)
    yield from (trial for trial in records.trials.values() if every or trial.id not in inside)


def kind_of(record: TrialRecord | GroupRecord) -> RecordKind:
    """What a person calls it."""
    if isinstance(record, TrialRecord):
        return "trial"
    if record.kind == "sweep":
        return "sweep"
    return "published" if "published" in record.tags else "comparison"


def entry_of(
    record: TrialRecord | GroupRecord, records: Records, names: Mapping[str, list[str]], sizes: Sizes
) -> Entry:
    """The line of one record, before anybody has looked at the disk."""
    state = "trash" if record.removed else record.status
    note = record.marks.get("note", "")
    if isinstance(record, TrialRecord):
        tags, name = record.tags, record.marks.get("name") or record.id
        data, model, loss = ([tags[key]] if key in tags else [] for key in ("dataset", "model", "loss"))
        return Entry("trial", record.id, name, data, model, loss, record.start, state, _in_short(record), 1, 0, note)
    groups = sizes.below(record)
    trials = [records.trials[name] for group in groups for name in group.members]
    losses = [group.name for group in groups if group.kind == "loss"] or _each("loss", trials)
    answer = record.tags.get("verdict", "")
    return Entry(
        kind_of(record), record.id, names[record.id][0], _each("dataset", trials or groups),
        _each("model", trials or groups), list(dict.fromkeys(losses)), record.start, state, answer, len(trials),
        0, note,
    )  # fmt: skip


def _each(tag: str, records: Sequence[TrialRecord | GroupRecord]) -> list[str]:
    return list(dict.fromkeys(record.tags[tag] for record in records if tag in record.tags))


def _in_short(trial: TrialRecord) -> str:
    """Its best value on validation, and what went wrong."""
    end = trial.ended
    if end is None:
        return trial.reason
    if end.diverged or end.best is None:
        return f"diverged in epoch {end.epochs}"
    return f"validation {end.monitor} {end.best:.4g}" + (" (stuck)" if end.stuck else "")


class Sizes:
    """Bytes on disk of records, each file looked at once; and what lies in a group."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[Path, int] = {}
        self._children: dict[str, list[GroupRecord]] = {}
        for group in records.groups.values():
            if group.parent is not None:
                self._children.setdefault(group.parent, []).append(group)

    def below(self, record: TrialRecord | GroupRecord) -> list[GroupRecord]:
        """A group and all groups in it; of a training none."""
        found = [record] if isinstance(record, GroupRecord) else []
        for group in found:
            found += self._children.get(group.id, [])
        return found

    def of(self, record: TrialRecord | GroupRecord) -> int:
        """Of its own folder and of the trials in it."""
        trials = {name for group in self.below(record) for name in group.members}
        parts = [record, *(self._records.trials[name] for name in trials)]
        return sum(self.size(self._records.root / file) for part in parts for file in files_of(part))

    def size(self, path: Path) -> int:
        """Of a file, or of all in a folder, here or in the trash."""
        if path not in self._known:
            moved = self._records.root / "trash" / path.relative_to(self._records.root)
            self._known[path] = size_of(path) or size_of(moved)
        return self._known[path]


def files_of(record: TrialRecord | GroupRecord) -> list[Path]:
    """The folder and files that are a record's own, relative to the root, there or not."""
    if isinstance(record, TrialRecord):
        return [Path("trials") / record.id, Path("cross") / f"{record.id}.json"]
    return [Path(record.artifacts)] if record.artifacts and record.parent is None else []


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder, of one under two names once; 0 where there is none."""
    try:
        if not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as found:
            entries = list(found)
        inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        files = [entry.stat(follow_symlinks=False) for entry in entries if entry not in inner]
        return sum(size_of(Path(e.path)) for e in inner) + sum({s.st_ino: s.st_size for s in files}.values())
    except (FileNotFoundError, NotADirectoryError):
        return 0


def find_entry(records: Records, name: str) -> TrialRecord | GroupRecord:
    """The sweep, comparison or training that a name, an id or the beginning of one means; gone ones are not found.

    Of comparisons that share a name it is the newest, as everywhere.

    Raises:
        UserError: none, or several.
    """
    top = (r for r in records.everything() if isinstance(r, TrialRecord) or r.parent is None)
    there = {record.id: record for record in top if record.marks.get("place") != "gone"}
    names = names_of(records.groups)
    called = {known: group for group, own in names.items() for known in own if group in there}
    called |= {t.marks["name"]: t.id for t in records.trials.values() if t.marks.get("name") and t.id in there}
    mine = [record for record in there.values() if isinstance(record, GroupRecord) and record.name == name]
    newest = [r.id for r in sorted(mine, key=lambda r: ("reproduces" not in r.tags, r.status == "finished", r.id))]
    begun = [key for key in there if name and key.startswith(name)]
    found = [key for key in (called.get(name), name if name in there else None, *newest[::-1][:1]) if key] or begun
    if not found:
        raise unknown("sweep, comparison or trial", name, called)
    if len(set(found)) > 1 and found == begun:
        raise UserError(f"'{name}' must be the beginning of one id, got {len(begun)}: {', '.join(begun[:3])}, ...")
    return there[found[0]]

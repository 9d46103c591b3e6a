"""What is taken away, brought back, and freed for ever. The journal says it first; then files follow, one rename each.

    trash/trials/ID ...      what lay in the root under the same path
    trash/freed/FLAG/...     what `prune --FLAG` took

`follow_journal` brings the disk to what the journal says. Killed half-way, the next command that calls it goes on.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xentlab.catalogue.marks import mark
from xentlab.catalogue.rows import Sizes, files_of
from xentlab.disk import sync_folder
from xentlab.errors import UserError
from xentlab.journal import GroupRecord, Records, TrialRecord, names_of
from xentlab.tracking.content import outermost
from xentlab.tracking.keys import drivers

_WRITING_S = 3600.0  # how long a file may be in writing


@dataclass(frozen=True)
class Bin:
    """What goes to the trash together.

    Attributes:
        ids: trials and groups.
        trials: how many of them are trials.
        bytes: that they take.
        stays: who needs how many of the trials that it has too, by name.
    """

    ids: list[str]
    trials: int
    bytes: int
    stays: dict[str, int] = field(default_factory=dict)


def put_away(records: Records, chosen: Sequence[TrialRecord | GroupRecord]) -> Bin:
    """What would go with records; nothing is moved yet.

    Raises:
        UserError: one is running, or a comparison needs it.
    """
    sizes, names = Sizes(records), names_of(records.groups)
    groups = {group.id for one in chosen for group in sizes.below(one)}
    own = [records.groups[group] for group in sorted(groups)]
    single = {one.id for one in chosen if isinstance(one, TrialRecord)}
    trials = [records.trials[name] for name in dict.fromkeys([*single, *(t for g in own for t in g.members)])]
    going: list[TrialRecord | GroupRecord] = [*own]
    for part in [*going, *trials]:
        if part.status == "running":
            raise UserError(f"{part.id} must have ended to be removed, but it is running.")
    owners: dict[str, dict[str, None]] = {}
    for group in records.groups.values():
        if group.id not in groups and not group.removed:
            for member in group.members:
                owners.setdefault(member, {})[outermost(records, group.id)] = None
    stays = Counter[str]()
    for trial in trials:
        needed = [
            top for top in owners.get(trial.id, ()) if records.groups[top].kind != "sweep" or trial.id not in single
        ]
        if needed and trial.id in single:
            raise UserError(f"Trial {trial.id} is needed by {names[needed[0]][0]}: remove that first.")
        if trial.id not in single and not needed and _by_itself(records, trial):
            stays["themselves, trained alone"] += 1
        elif needed:
            stays.update(names[top][0] for top in needed)
        elif not trial.removed:
            going.append(trial)
    size = sum(sizes.size(records.root / file) for part in going for file in _own_files(records, part))
    return Bin([part.id for part in going], len(going) - len(own), size, dict(stays))


def _by_itself(records: Records, trial: TrialRecord) -> bool:
    """Whether a single command trained it, and groups took it over as they found it."""
    sessions = set(drivers(records, trial.session))
    sweeps = (g for g in records.groups.values() if g.kind == "sweep" and trial.id in g.members)
    return "phase" not in trial.tags and not any(sweep.session in sessions for sweep in sweeps)


def move(records: Records, ids: Sequence[str], place: str) -> None:
    """Say of trials and groups that they are here (empty), in the `trash`, or `gone`; then have the disk follow."""
    mark(records, {name: {"place": place} for name in ids})
    follow_journal(records)


def ids_back(records: Records, record: TrialRecord | GroupRecord) -> list[str]:
    """The ids of what comes back with a record: its groups, and all of their trials."""
    groups = Sizes(records).below(record)
    inside = {record.id, *(group.id for group in groups), *(trial for group in groups for trial in group.members)}
    return [part.id for part in in_trash(records) if part.id in inside]


def in_trash(records: Records) -> list[TrialRecord | GroupRecord]:
    """What the trash holds."""
    return [record for record in records.everything() if record.marks.get("place") == "trash"]


def follow_journal(records: Records) -> None:
    """Have the files lie where the journal says; what does already stays."""
    trash = records.root / "trash"
    for record in records.everything():
        place = record.marks.get("place")
        if place is None:
            continue  # never moved
        for file in _own_files(records, record):
            here, there = records.root / file, trash / file
            _rename(*((here, there) if place else (there, here)))
            if place == "gone":
                _delete(there)


def _own_files(records: Records, record: TrialRecord | GroupRecord) -> list[Path]:
    """Its files without those of another that is not removed: a published experiment is laid out in one folder."""
    if isinstance(record, TrialRecord):
        return files_of(record)
    others = {g.artifacts for g in records.groups.values() if g.id != record.id and not g.removed}
    return [file for file in files_of(record) if str(file) not in others]


def _rename(source: Path, target: Path) -> None:
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        sync_folder(target.parent)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def freeable(records: Records, flag: str) -> list[Path]:
    """The files that a flag of `prune` takes.

    Raises:
        UserError: the journal is damaged, and what it does not name may be what it has lost.
    """
    return list(FREED[flag](records))


def free(records: Records, flag: str) -> None:
    """Move them to the trash."""
    for path in freeable(records, flag):
        _rename(path, _freed(records, flag) / path.relative_to(records.root))


def unfree(records: Records, flag: str) -> int:
    """Bring back what a flag took; returns how many files and folders."""
    kept = _freed(records, flag)
    files = [path for path in kept.rglob("*") if path.is_file()]
    for path in files:
        _rename(path, records.root / path.relative_to(kept))
    _delete(kept)
    return len(files)


def empty(records: Records) -> None:
    """Delete what the trash holds, for ever."""
    move(records, [record.id for record in in_trash(records)], "gone")
    _delete(records.root / "trash")


def _freed(records: Records, flag: str) -> Path:
    return records.root / "trash" / "freed" / flag


def _checkpoints(records: Records) -> Iterator[Path]:
    """Of stacks whose trials have all finished, or are removed."""
    if paths := sorted((records.root / "checkpoints").glob("*.pt")):
        from xentlab.run.checkpoint import trials_in

        for path in paths:
            trials = [records.trials.get(name) for name in trials_in(path)]
            if trials and all(t is not None and (t.status == "finished" or t.removed) for t in trials):
                yield path


def _candidates(records: Records) -> Iterator[Path]:
    """Weights of trials that were tried and not chosen, where every comparison that tried them has ended."""
    going = {
        t for g in records.groups.values() if g.status in ("running", "killed") and not g.removed for t in g.members
    }
    for trial in records.trials.values():
        untested = trial.ended is not None and trial.ended.untested
        if untested and trial.tags.get("phase") == "tune" and not trial.removed and trial.id not in going:
            yield from sorted((records.root / "trials" / trial.id).glob("*.pt"))


def _orphans(records: Records) -> Iterator[Path]:
    """Folders of trials and comparisons that the journal does not know, and what a kill has left half-written."""
    if (loss := records.loss()) is not None:
        raise UserError(loss)
    known: dict[str, Collection[str]] = {"trials": records.trials, "cross": records.trials}
    known["comparisons"] = records.groups
    found = [(path, folder) for folder in known for path in sorted((records.root / folder).glob("*"))]
    records.update()  # what began in between is known by now
    for path, folder in found:
        name = path.stem if folder == "cross" else path.name.rpartition("-")[2]
        if name not in known[folder] and name not in records.lost:
            yield path
    for pattern in ("trials/*/*.part", "comparisons/*/*.part", "checkpoints/*.part", "cross/*.part"):
        begun = sorted(records.root.glob(pattern))
        yield from (path for path in begun if time.time() - path.stat().st_mtime > _WRITING_S)


def _caches(records: Records) -> Iterator[Path]:
    """What one loss says of the models of another, which a comparison computes again where it needs it."""
    yield from sorted((records.root / "cross").glob("*.json"))


FREED = {"checkpoints": _checkpoints, "candidates": _candidates, "orphans": _orphans, "caches": _caches}
"""What `prune` frees beside the trash, by the flag that names it."""

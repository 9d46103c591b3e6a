"""What a sender knows of the runs that MLflow has, and which of them lie in its trash."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xentlab.journal import Records
from xentlab.tracking.backend import Backend
from xentlab.tracking.files import local_folder
from xentlab.tracking.keys import Key, place_of


@dataclass
class SendReport:
    """What a pass did: points sent, runs made, completed, and passed over as complete; and one sentence per trouble.

    `elsewhere` counts the runs that were filed for another store or experiment, or for none.
    """

    points: int = 0
    created: int = 0
    completed: int = 0
    skipped: int = 0
    elsewhere: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass
class SentRun:
    """A run as MLflow has it. `sent` is the last epoch that this process has sent."""

    id: str
    artifacts: str = ""
    status: str = "RUNNING"
    writer: tuple[int, str] = (0, "")  # attempt and session that it is of
    state: str = ""  # what it is complete for; empty while it is not
    closed: bool = False  # deleted by a user, or refused by the store: left alone
    away: bool = False  # deleted with its record, which is in the trash
    params: frozenset[str] = frozenset()  # those it has already; a param cannot change
    described: bool = False
    sent: int = 0


def shelved(store: Backend, records: Records, runs: Mapping[Key, SentRun], wanted: Sequence[Key]) -> list[Key]:
    """Have MLflow's trash hold what the journal's does; returns the wanted runs that are not in it."""
    here, moved = list[Key](), dict[bool, list[SentRun]]()
    for key in wanted:
        place, run = place_of(records, key), runs.get(key)
        if run is None:
            continue
        if run.away != bool(place) and not run.closed:
            moved.setdefault(bool(place), []).append(run)
        if not place:
            here.append(key)
        elif place == "gone" and (folder := local_folder(run.artifacts)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
    for away, found in moved.items():
        store.shelve([run.id for run in found], away=away)
        for run in found:
            run.away = away
    return here

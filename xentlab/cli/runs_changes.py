"""`xentlab runs note`, `rename`, `rm`, `restore` and `prune`: what changes the records, here and in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from xentlab import catalogue, tracking
from xentlab.catalogue import trash
from xentlab.cli.runs_list import megabytes
from xentlab.disk import private
from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.plain import visible
from xentlab.tracking.keys import all_keys, filed_for


def note(name: str, text: str, root: str, uri: str | None, experiment: str | None) -> int:
    """Write a note beside a record."""
    records = catalogue.read(Path(root))
    record = catalogue.find_entry(records, name)
    with private():
        catalogue.annotate(records, record, text)
    _send(root, uri, experiment)
    return 0


def rename(name: str, new: str, root: str, uri: str | None, experiment: str | None) -> int:
    """Give a record another name."""
    records = catalogue.read(Path(root))
    record = catalogue.find_entry(records, name)
    with private():
        catalogue.give_name(records, record, new)
    _send(root, uri, experiment)
    return 0


def rm(names: Sequence[str], root: str, uri: str | None, experiment: str | None, *, yes: bool) -> int:
    """Move records to the trash, once the user has agreed."""
    records = catalogue.read(Path(root))
    with private():
        trash.follow_journal(records)  # what a kill has left half-way
        found = trash.put_away(records, [catalogue.find_entry(records, name) for name in names])
        print(visible(f"{', '.join(names)}: {_trials(found.trials)}, {megabytes(found.bytes)} to the trash"))
        for owner, count in found.stays.items():
            print(visible(f"  kept for {owner}: {_trials(count)}"))
        if not _agreed("Remove?", yes=yes):
            return 1
        trash.move(records, found.ids, "trash")
    _send(root, uri, experiment)
    print(visible(f"back: xentlab runs restore {' '.join(names)}"))
    return 0


def restore(names: Sequence[str], root: str, uri: str | None, experiment: str | None) -> int:
    """Bring records, or what a flag of `prune` took, back from the trash."""
    records = catalogue.read(Path(root))
    with private():
        for name in names:
            if name in trash.FREED:
                print(f"{name}: {trash.unfree(records, name)} files are back")
                continue
            back = trash.ids_back(records, catalogue.find_entry(records, name))
            trash.move(records, back, "")
            trials = sum(part in records.trials for part in back)
            print(visible(f"{name}: back with {_trials(trials)}" if back else f"{name} is not in the trash"))
    _send(root, uri, experiment)
    return 0


def prune(root: str, uri: str | None, experiment: str | None, *, forever: bool, yes: bool, **flags: bool) -> int:
    """Say what takes disk, and free what flags name."""
    records = catalogue.read(Path(root))
    chosen = [flag for flag in trash.FREED if flags[flag]]
    with private():
        trash.follow_journal(records)
        for flag in chosen if chosen or forever else trash.FREED:
            try:
                found = trash.freeable(records, flag)
                print(f"--{flag}: {len(found)} files, {megabytes(sum(map(catalogue.size_of, found)))}")
            except UserError as error:  # of a damaged journal
                if flag in chosen:
                    raise
                print(visible(f"--{flag}: {error}"))
        held = trash.in_trash(records)
        print(f"--forever: {len(held)} records in the trash, {megabytes(catalogue.size_of(records.root / 'trash'))}")
        if not chosen and not forever:
            return 0
        if not _agreed("Delete for ever?" if forever else "Move to the trash?", yes=yes):
            return 1
        for flag in chosen:
            trash.free(records, flag)
        if forever:
            trash.empty(records)
        elif chosen:
            print(f"back: xentlab runs restore {' '.join(chosen)}; freed for good: xentlab runs prune --forever")
    if forever:
        _send(root, uri, experiment)
    return 0


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _agreed(question: str, *, yes: bool) -> bool:
    """Whether the user agrees; a mistake where there is nobody to ask."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserError("Say --yes: there is nobody to ask.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _send(root: str, uri: str | None, experiment: str | None) -> None:
    """Have MLflow follow, where its store has runs of this root; the journal keeps what it does not take now."""
    from xentlab.cli.service import render

    destination = tracking.resolve_destination(uri, experiment, Path(root))
    records = Records(destination.root)
    records.update()
    records.mark_killed()
    if any(filed_for(records, key, destination.filed) for key in all_keys(records)):
        try:
            tracking.sync(destination, records=records, render=render)
        except UserError as error:
            print(visible(f"xentlab: warning: {error}"), file=sys.stderr)

"""What of an output directory is not as it was written, and what of that can be made again.

`examine` reads and writes nothing. `repair` rebuilds what another part of the directory still says: the journal's
segments from their whole lines, the line that opened a trial from the trial's folder, that of a group from the root's
`opening.jsonl`, MLflow from the journal. It removes nothing: what it replaces stays beside it as `NAME.damaged`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xentlab import tracking
from xentlab.disk import written_whole
from xentlab.errors import UserError
from xentlab.journal import Records, SessionEvent, new_id, now_ms, writer_lives
from xentlab.journal.events import line_from_event
from xentlab.journal.lines import seal, whole_lines
from xentlab.reproduce.archive import read_archive
from xentlab.run.artifacts import read_opening, read_openings
from xentlab.run.checkpoint import check_tensors


def examine(destination: tracking.Destination, archives: Sequence[Path] = ()) -> list[str]:
    """What is damaged of journal, checkpoints, weights, database and archives, a line each."""
    root = destination.root
    records = Records(root)
    records.update()
    found = [str(damage) for damage in records.damage]
    found += [f"the line that opened {name} is lost" for name in sorted(records.lost)]
    found += [f"{path}: {reason}" for path, reason in _bad_tensors(root)]
    if (reason := tracking.database_damage(destination.database)) is not None:
        found.append(f"{destination.database}: {reason}")
    for file in (*sorted(root.glob("*.zip")), *archives):
        try:
            read_archive(file)
        except UserError as error:
            found.append(str(error))
    return found


def repair(destination: tracking.Destination, send: Callable[[], tracking.SendReport]) -> Iterator[str]:
    """Rebuild what can be, and say so, a line each.

    Args:
        destination: the output directory and its store.
        send: brings the store to what the journal says.
    """
    root = destination.root
    yield from _repair_segments(root)
    yield from _repair_openings(root)
    for path, _ in list(_bad_tensors(root)):
        instead = "the checkpoint before it, or the start" if path.parent.name == "checkpoints" else "training again"
        yield f"{path} cannot be made again and is set aside as {_aside(path).name}: {instead} takes its place."
    store = destination.database
    if (reason := tracking.database_damage(destination.database)) is not None and store is not None:
        for path in (store.with_name(f"{store.name}-wal"), store.with_name(f"{store.name}-shm")):
            if path.exists():
                _aside(path)
        yield f"{store} is set aside as {_aside(store).name}: {reason}."
    if (root / "journal").is_dir() and (store is None or (root / "mlflow.lock").exists()):
        sent = send()
        yield f"{destination.open_uri} is as the journal says: {sent.points} points sent, {sent.created} runs made."


def _bad_tensors(root: Path) -> Iterator[tuple[Path, str]]:
    for path in [*(root / "checkpoints").glob("*.pt"), *(root / "trials").glob("*/*.pt")]:
        try:
            check_tensors(path)
        except (OSError, zipfile.BadZipFile) as error:
            yield path, str(error)


def _repair_segments(root: Path) -> Iterator[str]:
    """Write segments anew without their damaged lines; one that is being written is left alone."""
    records = Records(root)
    records.update()
    bad: dict[Path, set[int]] = {}
    for damage in records.damage:
        if damage.line and not writer_lives(damage.path):
            bad.setdefault(damage.path, set()).add(damage.line)
    for path, numbers in bad.items():
        whole = [line for number, line in enumerate(whole_lines(path), 1) if number not in numbers]
        kept = shutil.copyfile(path, _free_name(path))
        with written_whole(path) as scratch:
            scratch.write_bytes(b"".join(whole))
        yield f"{path} holds its {len(whole)} whole lines; as it was, with {len(numbers)} damaged, it is {kept.name}."


def _repair_openings(root: Path) -> Iterator[str]:
    """Write the lines that opened trials and groups again, in a segment of their own, where they are kept elsewhere."""
    records = Records(root)
    records.update()
    groups = read_openings(root)
    lost = sorted(records.lost | (records.unknown_groups & groups.keys()))
    found = {name: groups.get(name) or read_opening(root / "trials" / name) for name in lost}
    openings = {name: line for name, line in found.items() if line is not None}
    if openings:
        session = new_id()
        event = SessionEvent(session, os.uname().nodename, os.getpid(), "xentlab doctor --repair", {})
        path = root / "journal" / f"{session}.jsonl"
        with written_whole(path) as scratch:
            scratch.write_bytes(seal(line_from_event(event, now_ms())) + b"".join(openings.values()))
        yield f"{path} holds the lines that opened {', '.join(openings)}, from where they are kept."
    for name in lost:
        if name not in openings:
            yield f"The line that opened {name} cannot be made again: no folder of it has one."


def _aside(path: Path) -> Path:
    """Give a file another name, and return that."""
    return path.rename(_free_name(path))


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())

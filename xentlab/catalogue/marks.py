"""What a person says of a record, written into a segment of the journal that holds nothing else."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping

from xentlab.errors import UserError
from xentlab.journal import GroupRecord, Journal, MarkEvent, Records, TrialRecord, alone, names_of

_NAME = re.compile(r"\w[\w.+-]{0,63}")


def mark(records: Records, marks: Mapping[str, dict[str, str]]) -> None:
    """Write down what is said of each trial and group, see `MarkEvent`, all at once, and read it again."""
    events = [MarkEvent(about, said, records.next_mark(about)) for about, said in marks.items()]
    if events:
        journal = Journal(records.root, {"git": {}}, shlex.join(["xentlab", *sys.argv[1:]]))
        journal.append(*events)
        journal.close()
        records.update()


def annotate(records: Records, record: TrialRecord | GroupRecord, text: str) -> None:
    """Note something beside a record; an empty text takes the note back."""
    mark(records, {record.id: {"note": " ".join(text.split())}})


def give_name(records: Records, record: TrialRecord | GroupRecord, name: str) -> None:
    """Give a record another name; the one that it had finds it too.

    Raises:
        UserError: it is no name, or another record has it.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"A name must be at most 64 letters, digits, or any of . _ + -, got '{name}'.")
    with alone(records.root / "journal"):
        records.update()
        owner = {known: group for group, own in names_of(records.groups).items() for known in own}
        owner |= {t.marks["name"]: t.id for t in records.trials.values() if t.marks.get("name")}
        owner |= {group.name: "others too" for group in records.groups.values() if group.parent is None}
        if owner.get(name, record.id) != record.id:
            raise UserError(f"'{name}' is the name of {owner[name]} already: choose another.")
        mark(records, {record.id: {"name": name}})

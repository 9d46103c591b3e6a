"""`xentlab runs`: what is recorded as a list, on one screen, at its best, and beside another."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from xentlab import catalogue
from xentlab.catalogue import Entry, Wanted
from xentlab.cli.console import console
from xentlab.plain import one_line

_SCREEN = 30
_NARROW = 100  # characters below which a list leaves out what is least missed


def megabytes(size: int) -> str:
    """Bytes as people read them."""
    for unit, power in (("kB", 10), ("MB", 20), ("GB", 30)):
        if size < 1000 * 2**power:
            return f"{size / 2**power:.{0 if unit == 'kB' else 1}f} {unit}"
    return f"{size / 2**40:.1f} TB"


def ls(
    root: str, sort: str, limit: int | None, *, as_json: bool = False, as_csv: bool = False, **wanted: str | None
) -> int:
    """List what is recorded."""
    records = catalogue.read(Path(root))
    found = catalogue.entries(records, Wanted(sort=sort, **wanted))
    if limit is None and sys.stdout.isatty() and not (as_json or as_csv):
        limit = _SCREEN
    shown = catalogue.with_sizes(records, found[: limit or None])
    if as_json:
        print(json.dumps([_plain(entry) for entry in shown], indent=1, ensure_ascii=False))
    elif as_csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow([field.name for field in dataclasses.fields(Entry)])
        rows.writerows([", ".join(v) if isinstance(v, list) else v for v in _plain(e).values()] for e in shown)
    elif not found:
        print(f"Nothing like that is recorded in {root}.")
    else:
        _print_entries(shown, _enough(records.trials))
        if len(shown) < len(found):
            print(f"... and {len(found) - len(shown)} more: --limit {len(found)} lists all")
    return 0


def _plain(entry: Entry) -> dict[str, Any]:
    began = datetime.datetime.fromtimestamp(entry.began / 1000, datetime.UTC).isoformat(timespec="seconds")
    return {**dataclasses.asdict(entry), "began": began}


def _enough(names: Collection[str]) -> int:
    """How many characters tell all ids apart."""
    return next((n for n in range(12, 20) if len({name[:n] for name in names}) == len(names)), 40)


def _print_entries(shown: Sequence[Entry], enough: int) -> None:
    page = console()
    wide, year = page.width >= _NARROW, f"{datetime.datetime.now():%Y-}"
    table = plain_table(2 if wide else 1)
    heads = ("kind", "name", "dataset", *(("model",) if wide else ()), "losses", "when", "state", "answer", "disk")
    for head in heads:
        right, whole = head == "disk", head in ("kind", "name", "when", "state", "disk")
        table.add_column(head, justify="right" if right else "left", no_wrap=whole, overflow="fold")
    for entry in shown:
        name = entry.name[:enough] if entry.name == entry.id else entry.name
        model = [", ".join(entry.model)] if wide else []
        when = entry.when.removeprefix(year) if wide else entry.when[:10].removeprefix(year)
        state = entry.state if wide or entry.state != "finished" else "ok"
        answer = "\n".join(filter(None, (one_line(entry.answer), f"“{one_line(entry.note)}”" if entry.note else "")))
        cells = [entry.kind, name, ", ".join(entry.dataset), *model, ", ".join(entry.losses), when, state, answer]
        table.add_row(*cells, megabytes(entry.bytes))
    page.print(table)


def plain_table(gap: int = 2) -> Table:
    """A table without lines, which reads the same on a screen and in a file."""
    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))

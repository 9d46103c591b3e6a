"""Reports: a record in, pages out. Nothing is computed here but layout, and matplotlib is imported only when drawing.

`Record` says what a report needs; `html`, `markdown`, `latex` and `print_verdict` lay it out, `write` puts all of them
in a folder. `save_curves` and `masks` draw single trials. To add a format: a function that takes the record, and its
line in `write`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from xentlab.report.figures import masks, save_curves, training_curves
from xentlab.report.page import html
from xentlab.report.plain import latex, markdown
from xentlab.report.record import Record
from xentlab.report.tables import terminal
from xentlab.report.words import sentences

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Record",
    "html",
    "latex",
    "markdown",
    "masks",
    "print_verdict",
    "save_curves",
    "sentences",
    "training_curves",
    "verdict_rows",
    "write",
]


def write(record: Record, folder: Path | str) -> dict[str, Path]:
    """The report in every format, in `folder`, which is made where it is missing.

    Returns:
        Format -> path: `html` report.html, `markdown` report.md, `latex` report.tex, `json` verdicts.json (the record).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = dataclasses.replace(record, sentences=sentences(record))
    texts = {
        "html": ("report.html", html(whole)),
        "markdown": ("report.md", markdown(whole)),
        "latex": ("report.tex", latex(whole)),
        "json": ("verdicts.json", json.dumps(whole.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"),
    }
    paths = {}
    for kind, (name, text) in texts.items():
        paths[kind] = folder / name
        paths[kind].write_text(text, encoding="utf-8")
    return paths


def verdict_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Header and text rows of the primary metric's verdicts, for a terminal."""
    return terminal(record)


def print_verdict(record: Record, console: Console) -> None:
    """Print the verdict sentences and the primary table to a rich console."""
    from rich.table import Table
    from rich.text import Text

    header, rows = verdict_rows(record)
    table = Table(title=Text(record.primary.label), title_justify="left")
    for name in header:
        table.add_column(Text(name))
    styles = {"better": "green", "worse": "red", "equivalent": "blue"}
    for row in rows:
        style = styles.get(row[-1].split(" ")[-1], "")
        table.add_row(*(Text(cell) for cell in row[:-1]), Text(row[-1], style=style))
    console.print(table)
    for line in sentences(record):
        console.print(Text(line))

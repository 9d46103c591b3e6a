"""Reports: a record in, pages out. Nothing is computed here but layout, and matplotlib is imported only when drawing.

`Record` says what a report needs; `html`, `markdown`, `latex` and `print_verdict` lay it out, `write` puts all of them
in a folder. A `Study` holds several records as cells; `write_study` does the same for it. `save_curves` and `masks`
draw single trials. To add a format: a function that takes the record, one that takes the study, and their lines in
`write` and `write_study`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xentlab.report import several
from xentlab.report.border import load
from xentlab.report.figures import masks, save_curves, training_curves
from xentlab.report.page import html
from xentlab.report.plain import latex, markdown
from xentlab.report.record import Record
from xentlab.report.study import Cell, Overview, Study
from xentlab.report.study import sentences as study_sentences
from xentlab.report.tables import terminal
from xentlab.report.words import sentences

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Record",
    "Study",
    "headlines",
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
    "write_study",
]


def write(record: Record, folder: Path | str) -> dict[str, Path]:
    """The report in every format, in `folder`, which is made where it is missing.

    Returns:
        Format -> path: `html` report.html, `markdown` report.md, `latex` report.tex, `json` verdicts.json (the record).
    """
    whole = dataclasses.replace(record, sentences=sentences(record))
    return _write(Path(folder), html(whole), markdown(whole), latex(whole), whole.to_json())


def write_study(
    name: str,
    question: str,
    command: str,
    cells: Sequence[tuple[str, Record]],
    folder: Path | str,
    overview: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """The report of several comparisons in every format, in `folder`, which is made where it is missing.

    Args:
        name: of the study.
        question: what it asks, one sentence.
        command: what runs it again.
        cells: label and record of each comparison; labels differ.
        folder: where the files go.
        overview: ranks and profiles over the cells, as `xentlab.comparison.make_overview` gives them.

    Returns:
        Format -> path, by the same names as `write`; the JSON is what `Study.from_json` reads.
    """
    shown = [Cell(label, dataclasses.replace(record, sentences=sentences(record))) for label, record in cells]
    seen: Overview = load(Overview, overview or {}, "overview")
    study = Study(name, question, command, shown, seen)
    texts = (several.html(study), several.markdown(study), several.latex(study))
    return _write(Path(folder), *texts, study.to_json())


def _write(folder: Path, page: str, text: str, tex: str, data: dict[str, Any]) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "html": ("report.html", page),
        "markdown": ("report.md", text),
        "latex": ("report.tex", tex),
        "json": ("verdicts.json", json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"),
    }
    paths = {}
    for kind, (name, content) in texts.items():
        paths[kind] = folder / name
        paths[kind].write_text(content, encoding="utf-8")
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


def headlines(records: Sequence[tuple[str, Record]]) -> list[str]:
    """For every loss that is compared with a baseline its verdicts over all cells, one sentence each.

    Args:
        records: (label, record) of each cell of a study; a record alone has the sentences of `sentences`.
    """
    study = Study("", "", "", [Cell(label, record) for label, record in records])
    return [sentence for sentence, _ in study_sentences(study).values()]

"""Reports: a record in, pages out. Nothing is computed here but layout, and matplotlib is imported only when drawing.

`Record` says what a report needs, and a `Study` holds several records as cells. `outline` says what stands in a report
and in which order, `record_tables` and `charts` make its parts, and `render` turns them into text; `write_report` puts
every format into a folder. `save_curves` and `masks` draw single trials. To add a format: a module in `render`, its
line in `write_report`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from xentlab.report import outline, record_tables
from xentlab.report.blocks import Document
from xentlab.report.conclusions import sentences, sentences_by_result, study_sentences
from xentlab.report.headline import answer_of, answer_of_study
from xentlab.report.record import Record
from xentlab.report.render import latex as to_latex
from xentlab.report.render import markdown as to_markdown
from xentlab.report.render import page as to_page
from xentlab.report.render import spreadsheet, terminal
from xentlab.report.study import Study, StudyCell
from xentlab.report.trial_pictures import masks, save_curves, training_curves
from xentlab.secrets import redacted

if TYPE_CHECKING:
    from rich.console import Console


def write_report(record: Record | Study, folder: Path | str) -> dict[str, Path]:
    """The report in every format, in `folder`, which is made where it is missing.

    Returns:
        Format -> path: `html` report.html, `markdown` report.md, `latex` report.tex, `json` verdicts.json (what
        `from_json` reads), `csv` report.csv.
    """
    if isinstance(record, Study):
        cells = [StudyCell(cell.label, _said(cell.record)) for cell in record.cells]
        found: Record | Study = dataclasses.replace(record, cells=cells)
    else:
        found = _said(record)
    plain = found.to_json()
    if (clean := redacted(plain)) != plain:
        found = type(found).from_json(clean)
    texts = {
        "html": ("report.html", html(found)),
        "markdown": ("report.md", markdown(found)),
        "latex": ("report.tex", latex(found)),
        "csv": ("report.csv", spreadsheet.rows_of(found)),
        "json": ("verdicts.json", json.dumps(clean, indent=1, ensure_ascii=False, allow_nan=False) + "\n"),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for kind, (name, content) in texts.items():
        paths[kind] = folder / name
        paths[kind].write_text(content, encoding="utf-8")
    return paths


def _said(record: Record) -> Record:
    """The record with its sentences, so that they stay as they were said."""
    return dataclasses.replace(record, sentences=sentences(record))


def html(record: Record | Study) -> str:
    """The whole page, from `<!doctype html>` on."""
    return to_page.document(_document(record))


def markdown(record: Record | Study) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    return to_markdown.document(_document(record))


def latex(record: Record | Study) -> str:
    """All metrics of a comparison as one LaTeX table (booktabs); of a study the verdicts of all cells before."""
    return to_latex.tables_of_study(record) if isinstance(record, Study) else to_latex.table_of_record(record)


def _document(found: Record | Study) -> Document:
    return outline.of_study(found) if isinstance(found, Study) else outline.of_record(found)


def print_verdict(record: Record | Study, console: Console) -> None:
    """Print the answer, the primary table and a sentence for each loss to a rich console, of a study for every cell."""
    if isinstance(record, Study):
        terminal.print_lines(headlines(record), console)
        for cell in record.cells:
            terminal.print_lines([cell.label], console)
            print_verdict(cell.record, console)
    else:
        terminal.print_lines([answer_of(record)], console)
        terminal.print_table(record_tables.deciding(record), console)
        terminal.print_lines(sentences_by_result(record), console)


def headlines(study: Study) -> list[str]:
    """The answer over all cells, and for every loss that is compared with a baseline a sentence."""
    return [answer_of_study(study), *(sentence for sentence, _ in study_sentences(study).values())]

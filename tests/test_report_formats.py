"""Markdown, LaTeX, JSON and the terminal: the same tables as the page."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys

import pytest
from report_lab import LOSSES, example

from xentlab import report
from xentlab.report import record_tables
from xentlab.report.record import Record


@pytest.fixture(scope="module")
def record():
    return Record.from_json(example())


def test_write_makes_five_files_that_agree(record, tmp_path):
    paths = report.write_report(record, tmp_path / "new" / "folder")
    assert {kind: path.name for kind, path in paths.items()} == {
        "html": "report.html", "markdown": "report.md", "latex": "report.tex", "json": "verdicts.json",
        "csv": "report.csv",
    }  # fmt: skip
    again = Record.from_json(json.loads(paths["json"].read_text()))
    assert again == dataclasses.replace(record, sentences=report.sentences(record))
    first = {kind: path.read_bytes() for kind, path in paths.items()}
    report.write_report(record, tmp_path)
    assert {kind: (tmp_path / path.name).read_bytes() for kind, path in paths.items()} == first


def test_markdown_tables_are_tables(record):
    text = report.markdown(record)
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        lines = block.strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert set(lines[1]) == set("| -")
    assert text.count("\n## ") >= 12
    for sentence in report.sentences(record):
        assert f"- {sentence}".replace("[", "\\[").replace("]", "\\]") in text


def test_latex_is_balanced_and_marks_the_best(record):
    text = report.latex(record)
    bare = text.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")
    assert text.count(" \\\\\n") == 1 + len(LOSSES)
    assert text.count(r"\textbf") == sum(row.best for metric in record.metrics for row in metric.rows)
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert all(line.count(" & ") == len(record.metrics) for line in body.splitlines() if line.endswith("\\\\"))
    assert "test error \\%" in text
    assert text.isascii()


def test_the_terminal_shows_table_and_sentences(record):
    from rich.console import Console

    table = record_tables.deciding(record)
    assert len(table.rows) == len(LOSSES)
    assert {len(row) for row in table.rows} == {len(table.header)}
    console = Console(file=io.StringIO(), width=200, color_system=None)
    report.print_verdict(record, console)
    shown = console.file.getvalue()
    assert all(sentence[:150] in shown for sentence in report.sentences(record))
    assert "▼ worse" in shown


def test_a_record_is_laid_out_without_matplotlib_until_something_is_drawn():
    code = (
        "import sys, xentlab.report as r, xentlab.analysis\n"
        "names = ('matplotlib', 'jinja2', 'rich', 'torch', 'pandas', 'scipy.stats', 'mlflow')\n"
        "heavy = [m for m in names if m in sys.modules]\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")

"""LaTeX: one table (booktabs) for each comparison, every text harmless."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xentlab.plain import one_line
from xentlab.report import record_tables, study_tables
from xentlab.report.numbers import SYMBOLS, by_result, row_of, scale_of
from xentlab.report.record import Record
from xentlab.report.study import Study

_SPELLED = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--",
    "▲": r"$\uparrow$", "▼": r"$\downarrow$", "≈": r"$\approx$", "·": r"$\cdot$", "↓": r"$\downarrow$",
    "↑": r"$\uparrow$", "±": r"$\pm$", "→": r"$\to$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "`": r"\textasciigrave{}", **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def table_of_record(record: Record, label: str = "") -> str:
    """All metrics as one table: mean with its 95 % interval, the best in bold, the verdict's sign."""
    overview = record_tables.overview(record)
    rows = []
    for loss in by_result(record):
        row = [escape(loss.label)]
        for metric in record.metrics:
            found, unit = row_of(metric, loss.name), scale_of(metric)
            mean = escape(unit.value(found.mean))
            span = escape(unit.interval(found.low, found.high))
            sign = escape(SYMBOLS[found.verdict])
            row.append(f"{_bold(mean) if found.best else mean} {{\\footnotesize {span}}} {sign}")
        rows.append(row)
    return _floating(overview.header, rows, f"{_of(record)} With 95 % intervals. {overview.note}", label or record.name)


def tables_of_study(study: Study) -> str:
    """The verdicts of all cells as one table, then every cell's own."""
    table = study_tables.verdict_table(study)
    named = [(f"{study.name}-{k}", cell) for k, cell in enumerate(study.cells, start=1)]
    own = [f"% {escape(cell.label)}\n{table_of_record(cell.record, name)}" for name, cell in named]
    rows = [[_bold(escape(cell.line)) if cell.best else escape(cell.line) for cell in row] for row in table.rows]
    return "\n".join([_floating(table.header, rows, f"{study.question} {table.note}", study.name), *own])


def _of(record: Record) -> str:
    """The question, and on what it was asked: data, model and number of seeds."""
    where = filter(None, [record.setup.dataset, record.setup.model])
    row = row_of(record.primary, record.baseline)
    return f"{record.question} {', '.join([*where, f'n = {row.n + row.failed}'])}."


def _bold(escaped: str) -> str:
    return rf"\textbf{{{escaped}}}"


def _floating(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """Rows of escaped texts as a floating table."""
    return "\n".join(
        [
            "% needs: \\usepackage{booktabs}",
            r"\begin{table}",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{tab:{re.sub('[^A-Za-z0-9:.-]+', '-', label)}}}",
            rf"  \begin{{tabular}}{{{'l' * len(header)}}}",
            r"  \toprule",
            f"  {' & '.join(map(escape, header))} \\\\",
            r"  \midrule",
            # A bracket or a star right after the last row's end would be read as its option.
            *(f"  {'{}' if row[0][:1] in ('[', '*') else ''}{' & '.join(row)} \\\\" for row in rows),
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """The text with everything that LaTeX would act on made harmless, on one line."""
    return "".join(_SPELLED.get(letter, letter) for letter in one_line(text))

"""The report as Markdown, and its primary table as LaTeX: the same tables as the page, without the pictures."""

from __future__ import annotations

import re

from xentlab.report import tables
from xentlab.report.record import Record
from xentlab.report.tables import Table
from xentlab.report.words import sentences


def markdown(record: Record) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    parts = [f"# {_text(record.name)}", _text(record.question)]
    parts.append("\n".join(f"- {_text(line)}" for line in sentences(record)))
    parts += [_table(tables.verdicts(record, record.primary)), _table(tables.overview(record))]
    parts += [_table(tables.verdicts(record, metric)) for metric in record.metrics if not metric.primary]
    parts += [_table(tables.curve(record, key)) for key in record.curves]
    parts += [_table(tables.tuning(record, loss)) for loss in record.losses if loss.tuning]
    parts += [_table(tables.target(record, entry)) for entry in record.time_to_target]
    parts += [_table(tables.cost(record))] if record.cost else []
    parts.append(_table(tables.chosen(record)))
    parts += [_table(tables.seeds(record, metric)) for metric in record.metrics]
    parts += [_table(tables.facts("Protocol", record.protocol))] if record.protocol else []
    parts += [_table(tables.facts("Environment", record.environment))] if record.environment else []
    parts += ["## Run it again", _fence(record.command), _table(tables.facts("Identity", tables.identity(record)))]
    return "\n\n".join(parts) + "\n"


def latex(record: Record) -> str:
    """All metrics as one LaTeX table (booktabs): mean with its 95 % interval, the best in bold, the verdict's sign."""
    columns = "l" + "l" * len(record.metrics)
    overview = tables.overview(record)
    head = " & ".join(_tex(name) for name in overview.header)
    lines = []
    for i, row in enumerate(overview.rows):
        cells = [_tex(row[0])]
        for j, cell in enumerate(row[1:], start=1):
            metric = record.metrics[j - 1]
            entry = next(r for r in metric.rows if r.loss == overview.losses[i])
            value, symbol = cell.rsplit(" ", 1)
            span = tables.scale_of(metric).interval(entry.low, entry.high)
            value = rf"\textbf{{{_tex(value)}}}" if (i, j) in overview.best else _tex(value)
            cells.append(f"{value} {{\\footnotesize {_tex(span)}}} {_tex(symbol)}")
        lines.append("  " + " & ".join(cells) + r" \\")
    caption = _tex(f"{record.question} Mean over the final seeds with 95 % intervals. {overview.note}")
    return "\n".join(
        [
            "% needs: \\usepackage{booktabs}",
            r"\begin{table}",
            rf"  \caption{{{caption}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"  \toprule",
            f"  {head} \\\\",
            r"  \midrule",
            *lines,
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _table(table: Table) -> str:
    lines = [f"## {_text(table.title)}", "", _row([_text(name) for name in table.header])]
    lines.append("|" + " --- |" * len(table.header))
    for i, row in enumerate(table.rows):
        cells = (f"**{_text(c)}**" if (i, j) in table.best else _text(c) for j, c in enumerate(row))
        lines.append(_row(list(cells)))
    for remark in [*table.remarks, table.note]:
        lines += ["", _text(remark)] if remark else []
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _fence(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def _text(text: str) -> str:
    """The text with everything that Markdown or HTML would act on made harmless, on one line."""
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--",
    "▲": r"$\uparrow$", "▼": r"$\downarrow$", "≈": r"$\approx$", "·": r"$\cdot$", "↓": r"$\downarrow$",
    "↑": r"$\uparrow$", "±": r"$\pm$", **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in " ".join(text.split()))

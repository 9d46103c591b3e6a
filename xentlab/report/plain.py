"""The report as Markdown, and its primary table as LaTeX: the same tables as the page, without the pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xentlab.report import exhibits, tables
from xentlab.report.record import Record
from xentlab.report.tables import Table
from xentlab.report.words import sentences


def markdown(record: Record) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    parts = [f"# {as_text(record.name)}", as_text(record.question)]
    parts.append("\n".join(f"- {as_text(line)}" for line in sentences(record)))
    parts += [markdown_table(tables.verdicts(record, record.primary)), markdown_table(tables.overview(record))]
    parts += [markdown_table(tables.verdicts(record, metric)) for metric in record.metrics if not metric.primary]
    parts += [markdown_table(tables.curve(record, key)) for key in record.curves]
    parts += [markdown_table(tables.tuning(record, loss)) for loss in record.losses if loss.tuning]
    parts += [markdown_table(tables.target(record, entry)) for entry in record.time_to_target]
    parts += [markdown_table(exhibits.reliability_table(record))] if record.reliability else []
    parts += [markdown_table(exhibits.cross_table(record))] if record.cross else []
    parts += [markdown_table(tables.cost(record))] if record.cost else []
    parts.append(markdown_table(tables.chosen(record)))
    parts += [markdown_table(tables.seeds(record, metric)) for metric in record.metrics]
    parts += [markdown_table(tables.facts("Protocol", record.protocol))] if record.protocol else []
    parts += [markdown_table(tables.facts("Environment", record.environment))] if record.environment else []
    parts += [
        "## Run it again",
        fence(record.command),
        markdown_table(tables.facts("Identity", tables.identity(record))),
    ]
    return "\n\n".join(parts) + "\n"


def latex(record: Record) -> str:
    """All metrics as one LaTeX table (booktabs): mean with its 95 % interval, the best in bold, the verdict's sign."""
    overview = tables.overview(record)
    lines = []
    for i, row in enumerate(overview.rows):
        cells = [as_tex(row[0])]
        for j, cell in enumerate(row[1:], start=1):
            metric = record.metrics[j - 1]
            entry = next(r for r in metric.rows if r.loss == overview.losses[i])
            value, symbol = cell.rsplit(" ", 1)
            span = tables.scale_of(metric).interval(entry.low, entry.high)
            value = rf"\textbf{{{as_tex(value)}}}" if (i, j) in overview.best else as_tex(value)
            cells.append(f"{value} {{\\footnotesize {as_tex(span)}}} {as_tex(symbol)}")
        lines.append("  " + " & ".join(cells) + r" \\")
    caption = f"{record.question} Mean over the final seeds with 95 % intervals. {overview.note}"
    return _floating(overview.header, lines, caption)


def latex_table(table: Table, caption: str) -> str:
    """Any table as a LaTeX table (booktabs), the best in bold."""
    lines = []
    for i, row in enumerate(table.rows):
        cells = (rf"\textbf{{{as_tex(c)}}}" if (i, j) in table.best else as_tex(c) for j, c in enumerate(row))
        lines.append("  " + " & ".join(cells) + r" \\")
    return _floating(table.header, lines, caption)


def _floating(header: Sequence[str], lines: Sequence[str], caption: str) -> str:
    return "\n".join(
        [
            "% needs: \\usepackage{booktabs}",
            r"\begin{table}",
            rf"  \caption{{{as_tex(caption)}}}",
            rf"  \begin{{tabular}}{{{'l' * len(header)}}}",
            r"  \toprule",
            f"  {' & '.join(as_tex(name) for name in header)} \\\\",
            r"  \midrule",
            *lines,
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def markdown_table(table: Table) -> str:
    """The table under a heading, the best in bold."""
    lines = [f"## {as_text(table.title)}", "", _row([as_text(name) for name in table.header])]
    lines.append("|" + " --- |" * len(table.header))
    for i, row in enumerate(table.rows):
        cells = (f"**{as_text(c)}**" if (i, j) in table.best else as_text(c) for j, c in enumerate(row))
        lines.append(_row(list(cells)))
    for remark in [*table.remarks, table.note]:
        lines += ["", as_text(remark)] if remark else []
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def fence(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def as_text(text: str) -> str:
    """The text with everything that Markdown or HTML would act on made harmless, on one line."""
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--",
    "▲": r"$\uparrow$", "▼": r"$\downarrow$", "≈": r"$\approx$", "·": r"$\cdot$", "↓": r"$\downarrow$",
    "↑": r"$\uparrow$", "±": r"$\pm$", "→": r"$\to$", **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def as_tex(text: str) -> str:
    """The text with everything that LaTeX would act on made harmless, on one line."""
    return "".join(_TEX.get(letter, letter) for letter in " ".join(text.split()))

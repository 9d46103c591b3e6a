"""Tables on a terminal: no text is markup, and none reaches the terminal's own commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xentlab.plain import one_line
from xentlab.report.blocks import Table

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"better": "green", "worse": "red", "equivalent": "blue"}


def print_table(table: Table, console: Console) -> None:
    """Print a table to a rich console, verdicts in their colours."""
    from rich.table import Table as Rows
    from rich.text import Text

    shown = Rows(title=Text(one_line(table.title)), title_justify="left")
    for place, name in enumerate(table.header):
        # What a row is and what came of it stay whole where the screen is narrow.
        widest = max((len(one_line(row[place].line)) for row in table.rows), default=0)
        shown.add_column(Text(one_line(name)), overflow="fold", no_wrap=place < 2 and widest <= 24)
    for row in table.rows:
        shown.add_row(*(Text(one_line(cell.line), style=_STYLES.get(cell.verdict or "", "")) for cell in row))
    console.print(shown)


def print_lines(lines: Iterable[str], console: Console) -> None:
    """Print sentences to a rich console."""
    from rich.text import Text

    for line in lines:
        console.print(Text(one_line(line)))

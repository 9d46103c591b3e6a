"""Where the commands print: as wide as the terminal, and wide enough for the tables where there is none."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from xentlab.plain import visible

# Characters; what the verdict table needs.
_WIDTH = 120


class _Plain(Console):
    """A console to which no text is a command: names come from users and from archives."""

    def render_str(self, text: str, **style: Any) -> Text:
        return super().render_str(visible(text), **style)

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich does; a table that a narrow terminal would break inside its words becomes a block for each row."""
        super().print(*(self._fitting(found) if isinstance(found, Table) else found for found in objects), **how)

    def _fitting(self, table: Table) -> Table | Text:
        if self.is_terminal and Measurement.get(self, self.options.update(max_width=1000), table).minimum > self.width:
            heads = [_cell_text(column.header) for column in table.columns]
            rows = zip(*(map(_cell_text, column.cells) for column in table.columns), strict=True)
            blocks = ["\n  ".join([first, *(f"{h}: {c}" for h, c in zip(heads[1:], rest, strict=True) if c)])
                      for first, *rest in rows]  # fmt: skip
            return Text("\n".join([*([_cell_text(table.title)] if table.title else []), *blocks]))
        return table


def _cell_text(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def console() -> Console:
    """A console on stdout."""
    found = _Plain(markup=False, emoji=False, highlight=False)
    return found if found.is_terminal else _Plain(markup=False, emoji=False, highlight=False, width=_WIDTH)


def titled(title: str, heads: Iterable[str], *, left: Collection[str]) -> Table:
    """A table with a title; `left` names the columns of words, numbers stand to the right."""
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right")
    return table

"""Where the commands print: as wide as the terminal, and wide enough for the tables where there is none."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from xentlab.plain import visible

# Characters; what the verdict table needs.
_WIDTH = 120


class _Plain(Console):
    """A console to which no text is a command: names come from users and from archives."""

    def render_str(self, text: str, **style: Any) -> Text:
        return super().render_str(visible(text), **style)


def console() -> Console:
    """A console on stdout."""
    found = _Plain(markup=False, emoji=False)
    return found if found.is_terminal else _Plain(markup=False, emoji=False, width=_WIDTH)

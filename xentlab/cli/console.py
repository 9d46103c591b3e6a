"""Where the commands print: as wide as the terminal, and wide enough for the tables where there is none."""

from __future__ import annotations

from rich.console import Console

# Characters; what the verdict table needs.
_WIDTH = 120


def console() -> Console:
    """A console on stdout."""
    found = Console()
    return found if found.is_terminal else Console(width=_WIDTH)

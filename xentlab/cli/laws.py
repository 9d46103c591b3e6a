"""`xentlab check-loss` and `xentlab plot-loss`: what a loss keeps, and what it looks like."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from xentlab.cli.console import console


def _see_own_losses() -> None:
    """A user's own loss lives beside where the command is called."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def check_loss(target: str, task: str | None) -> int:
    """Print law by law what `target` keeps; returns 0, or 1 where a law is broken."""
    from xentlab.losses.laws import LAWS, check

    _see_own_losses()
    report = check(target, task)
    page = console()
    table = Table(title=Text(f"{report.loss} on {', '.join(report.tasks)}"), title_justify="left")
    table.add_column("law", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("smallest counterexample, or why it was skipped", overflow="fold")
    styles = {"held": "green", "broken": "bold red", "skipped": "dim"}
    for row in report.rows:
        style = styles[row.verdict]
        table.add_row(row.law, Text(row.verdict, style=style), Text(row.detail, style="dim" if style == "dim" else ""))
    if report.probed:
        page.print(Text(f"{report.loss}: {report.probed}."))
    page.print(table)
    page.print(Text(str(report).splitlines()[0].rstrip(":") + ("." if report.broken else "")))
    statements = {law.name: law.statement for law in LAWS}
    for row in report.broken:
        page.print(Text(f"  {row.law}: {statements[row.law]}"))
    return 1 if report.broken else 0


def plot_loss(names: Sequence[str], out: str, classes: int) -> int:
    """Draw the losses `names` in one picture at `out`; returns 0."""
    from xentlab.losses.laws.curves import curve
    from xentlab.losses.laws.suite import resolve_loss
    from xentlab.report.loss_curves import loss_curves

    _see_own_losses()
    path = loss_curves([curve(resolve_loss(name), classes=classes) for name in names], classes, out)
    print(f"Wrote {path}.")
    return 0

"""`xentlab check-loss` and `xentlab plot-loss`: what a loss keeps, and what it looks like."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table
from rich.text import Text

from xentlab.cli.console import console
from xentlab.dotted import see_working_directory
from xentlab.errors import UserError, unknown
from xentlab.schema import check_knob
from xentlab.schema import knobs as knobs_of


def check_loss(target: str, task: str | None) -> int:
    """Print law by law what `target` keeps; returns 0, or 1 where a law is broken."""
    from xentlab.losses.laws import LAWS, check

    see_working_directory()
    loss, given = _given(target)
    report = check(functools.partial(loss, **given) if given else loss, task)
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
    from xentlab.losses.contract import spec_of
    from xentlab.losses.laws.curves import curve
    from xentlab.report.loss_curves import loss_curves
    from xentlab.tasks import find

    see_working_directory()
    losses = [pair for name in names for pair in _family(name)]
    numbers = any(find(spec_of(loss).tasks[0]).numeric for _, loss in losses)  # what takes both is drawn beside them
    curves = [curve(loss, classes=classes, name=said, numbers=numbers) for said, loss in losses]
    known = Path(out).exists()
    path = loss_curves(curves, classes, out)
    print(f"{'Replaced' if known else 'Wrote'} {path}.")
    return 0


def _family(text: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """A loss under its name, or for `custom_ce:{gamma:[0,1]}` one for each value of its knobs."""
    name, (loss, given) = text.partition(":")[0], _given(text)
    schema = knobs_of(loss)
    lists = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
    for key, values in lists.items():
        if key not in schema:
            raise unknown(f"knob of {name}", key, schema)
        lists[key] = [check_knob(name, schema[key], value) for value in values]
    for point in itertools.product(*lists.values()):
        chosen = dict(zip(lists, point, strict=True))
        words = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in chosen.items())
        yield f"{name} {words}".strip(), functools.partial(loss, **chosen) if chosen else loss


def _given(text: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A loss by its name, and the knobs that stand behind it."""
    from xentlab.losses.laws.suite import resolve_loss

    name, _, knobs = text.partition(":")
    given = yaml.safe_load(re.sub(r":(?=\S)", ": ", knobs)) if knobs else {}
    if not isinstance(given, dict):
        raise UserError(f"The knobs of {name} must be written as '{name}:{{gamma:[0,1,2]}}', got '{knobs}'.")
    return resolve_loss(name), given

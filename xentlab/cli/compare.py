"""`xentlab compare`: run a comparison, print its verdict, write its report."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xentlab.cli.compose import compose_group, run_composed
from xentlab.cli.console import console
from xentlab.cli.progress import progress_bar
from xentlab.cli.session import session
from xentlab.comparison import make_record, read_protocol, run_comparison
from xentlab.report import Record, print_verdict, sentences, write
from xentlab.run import Lab


def compare(overrides: Sequence[str]) -> int:
    """Run the comparison that the overrides describe; returns the exit code."""
    with contextlib.ExitStack() as stack:

        def job(config: dict[str, Any], given: list[str]) -> None:
            began = time.monotonic()
            protocol = read_protocol(config, lambda name: compose_group("loss", name))
            lab = stack.enter_context(session(config, "compare"))
            result = run_comparison(protocol, lab, progress_bar)
            command = shlex.join(["xentlab", "compare", *given])
            record = Record.from_json(make_record(result, lab.environment, command))
            folder = Path("comparisons") / f"{protocol.name}-{result.group}"
            paths = write(record, lab.root / folder)
            _file(lab, record, result.group, result.loss_groups, str(folder))
            print_verdict(record, console())
            trials = sum(result.tuning_trials.values()) + sum(map(len, result.finals.values()))
            print(f"{trials} trials, {lab.trained} of them trained now, in {time.monotonic() - began:.0f} s")
            print(f"report: {paths['html']}")
            print(f"runs:   {own_command()} ui --root {shlex.quote(str(lab.root))}")

        run_composed("compare", overrides, job)
    return 0


def own_command() -> str:
    """How to call xentlab from the user's shell: its name where it is on the path, else where it lies."""
    if shutil.which("xentlab"):
        return "xentlab"
    return shlex.quote(str(Path(sys.executable).with_name("xentlab")))


def _file(lab: Lab, record: Record, group: str, loss_groups: dict[str, str], folder: str) -> None:
    """Write the verdicts into the journal, for the comparison and for each of its losses."""
    for label, child in loss_groups.items():
        metrics: dict[str, float] = {}
        for metric in record.metrics:
            row = next(r for r in metric.rows if r.loss == label)
            numbers = {
                "mean": row.mean,
                "ci_low": row.low,
                "ci_high": row.high,
                "difference": row.difference,
                "n": row.n,
            }
            metrics |= {f"{metric.key}_{name}": float(v) for name, v in numbers.items() if v is not None}
        verdict = next(r for r in record.primary.rows if r.loss == label).verdict
        lab.journal.append(
            "group_end", group=child, status="finished", tags={"verdict": verdict}, metrics=metrics, artifacts=None
        )
    note = "\n\n".join([*sentences(record), f"`{record.command}`"])
    tags = {"mlflow.note.content": note, "verdict": sentences(record)[0]}
    lab.journal.append("group_end", group=group, status="finished", tags=tags, metrics={}, artifacts=folder)

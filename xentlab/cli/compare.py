"""`xentlab compare`: run a comparison, print its verdict, write its report."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xentlab.cli.console import console
from xentlab.cli.estimate import print_estimate
from xentlab.cli.progress import progress_bar
from xentlab.cli.session import opened
from xentlab.comparison import Study, first_trial, make_overview, make_record, read_study, run_comparison
from xentlab.comparison.folder import Composed, list_trials, remember, write_folder
from xentlab.config.compose import compose_group, run_composed
from xentlab.journal import GroupEndEvent
from xentlab.report import Record, headlines, print_verdict, sentences, write, write_study
from xentlab.report.conclusions import in_one_line
from xentlab.report.runs import loss_run, places, shown_tag
from xentlab.run.session import Session


def compare(arguments: Sequence[str]) -> int:
    """Run the comparison that the overrides describe; returns the exit code."""
    dry_run = "--dry-run" in arguments
    overrides = [a for a in arguments if a not in ("--dry-run", "--fresh")]
    if "--fresh" in arguments:
        overrides.append("output.fresh=true")
    with contextlib.ExitStack() as stack:

        def job(config: dict[str, Any], given: list[str]) -> None:
            if "published" in config:
                from xentlab.cli.published import compare_published

                compare_published(config, given, dry_run=dry_run)
                return
            composed: Composed = {}
            study = read_study(config, remember(compose_group, composed))
            if dry_run:
                print_estimate(study, config)
                return
            command = shlex.join(["xentlab", "compare", *given])
            session = stack.enter_context(opened(config, command))
            run_study(study, session, command, config, composed)

        run_composed("compare", overrides, job)
    return 0


def run_study(study: Study, session: Session, command: str, config: Mapping[str, Any], composed: Composed) -> Path:
    """Run every cell, print and file each verdict, and write the report of the whole; returns its folder."""
    began = time.monotonic()
    parent: str | None = None
    records: list[tuple[str, Record]] = []
    trials = 0
    for label, protocol in study.cells.items():
        if len(study.cells) > 1 and parent is None:
            session.signature(first_trial(protocol))  # a mistake in the data is found before anything is written
            facts = {"kind": "comparison", "name": study.name, "parent": None, "params": {"cells": len(study.cells)}}
            (parent,) = session.open_groups([{**facts, "tags": {"comparison": study.name}}])
        result = run_comparison(protocol, session, progress_bar, parent=parent, cell=label)
        trials += sum(result.tuning_trials.values()) + sum(map(len, result.finals.values()))
        record = Record.from_json(make_record(result, session, command))
        records.append((label, record))
        if label:
            print(label)
        print_verdict(record, console())
        folder = Path("comparisons") / f"{study.name}-{parent or result.group}"
        if parent is None:
            paths = write(record, session.root / folder)
            write_folder(
                session.root / folder, config, composed, session.environment, list_trials(session.records, result.group)
            )
        _file(session, record, result.group, result.loss_groups, None if parent else str(folder), len(records))
    if parent is not None:
        overview = make_overview([(label, record.to_json()) for label, record in records])
        print("\n".join(headlines(records)))
        paths = write_study(study.name, study.question, command, records, session.root / folder, overview)
        write_folder(session.root / folder, config, composed, session.environment, list_trials(session.records, parent))
        _file_study(session, study, records, parent, str(folder))
    print(f"{trials} trials, {session.trained} of them trained now, in {time.monotonic() - began:.0f} s")
    print(f"report: {paths['html']}")
    print(f"runs:   {own_command()} ui --root {shlex.quote(str(session.root))}")
    return session.root / folder


def _file_study(session: Session, study: Study, records: list[tuple[str, Record]], group: str, folder: str) -> None:
    """Write the verdicts of all cells into the journal."""
    heads = headlines(records)
    lines = [f"{label}: {sentence}" for label, record in records for sentence in sentences(record)]
    verdict = in_one_line(records)
    note = "\n\n".join([verdict, *heads, study.question, *lines, f"`{records[0][1].command}`"])
    tags = {"mlflow.note.content": note, "verdict": verdict, **shown_tag(records)}
    session.journal.append(GroupEndEvent(group, "finished", tags, {}, folder))


def own_command() -> str:
    """How to call xentlab from the user's shell: its name where it is on the path, else where it lies."""
    if shutil.which("xentlab"):
        return "xentlab"
    return shlex.quote(str(Path(sys.executable).with_name("xentlab")))


def _file(
    session: Session, record: Record, group: str, loss_groups: dict[str, str], folder: str | None, cell: int
) -> None:
    """Write the verdicts into the journal, for the comparison and for each of its losses."""
    place = places(record, cell)
    ends = []
    for label, child in loss_groups.items():
        shown = loss_run(record, label, place=place[label])
        curves = {name: [list(point) for point in points] for name, points in shown.curves.items()}
        ends.append(GroupEndEvent(child, "finished", shown.tags, shown.metrics, None, curves))
    verdict = in_one_line([("", record)])
    note = "\n\n".join([verdict, *sentences(record), f"`{record.command}`"])
    tags = {"mlflow.note.content": note, "verdict": verdict, **shown_tag([("", record)])}
    ends.append(GroupEndEvent(group, "finished", tags, {}, folder))
    session.journal.append(*ends)

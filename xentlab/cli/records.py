"""`xentlab report`, `export`, `import` and `reproduce`: what can be done with a record."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from xentlab import reproduce as again
from xentlab import schema
from xentlab.cli.compare import run_and_print
from xentlab.cli.console import console
from xentlab.cli.progress import progress_bar
from xentlab.cli.session import opened
from xentlab.comparison import read_study
from xentlab.comparison.folder import (
    Composed,
    comparison_folders,
    find_comparison,
    folder_group,
    groups_below,
    load_protocol,
    phase,
    read_protocol,
    remember,
)
from xentlab.config.compose import config_dir
from xentlab.errors import UserError, unknown
from xentlab.journal import Records, TrialEvent, TrialRecord
from xentlab.report import Record, Study, html, latex, markdown, print_verdict
from xentlab.reproduce.archive import Imported, export_comparison, import_archive, read_archive
from xentlab.run.session import Session


def load(folder: Path) -> Record | Study:
    """What a comparison's verdicts.json holds: one record, or a study of several.

    Raises:
        UserError: the file cannot be read, or is no such record.
    """
    path = folder / "verdicts.json"
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} must be JSON that can be read: {error}.") from error
    return Study.from_json(whole) if isinstance(whole, dict) and "cells" in whole else Record.from_json(whole)


def report(name: str, kind: str, root: str) -> int:
    """Lay out a comparison again from its verdicts: a page whose path is printed, or text on stdout.

    `published/NAME` is a published experiment.
    """
    if name.startswith("published/"):
        from xentlab.cli.published import lay_out

        return lay_out(name.removeprefix("published/"), kind, Path(root))
    folder = find_comparison(Path(root), name)
    found = load(folder)
    if kind == "html":
        _write(folder / "report.html", html(found))
        print((folder / "report.html").absolute())
    elif kind == "md":
        print(markdown(found), end="")
    elif kind == "tex":
        print(latex(found), end="")
    elif kind == "json":
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        print_verdict(found, console())
    return 0


def _cells(found: Record | Study) -> dict[str, Record]:
    """The records by their cells; the empty name where there is one only."""
    return {cell.label: cell.record for cell in found.cells} if isinstance(found, Study) else {"": found}


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} must be a file that can be written: {error.strerror}.") from error


def export(name: str, out: str | None, root: str) -> int:
    """Write a comparison as one archive."""
    folder = find_comparison(Path(root), name)
    path = Path(out or f"{folder.name}.zip")
    trials, size = export_comparison(Path(root), folder, path)
    print(f"{path}: {trials} trials, {size / 2**20:.1f} MiB")
    return 0


def import_(file: str, root: str) -> int:
    """Bring the comparison of an archive into an output directory."""
    _tell_import(import_archive(read_archive(Path(file)), Path(root).absolute()))
    return 0


def _tell_import(brought: Imported) -> None:
    new = "nothing that was not here" if not brought.trials + brought.files else f"{brought.trials} new trials"
    print(f"imported {new}: {brought.folder}")


def reproduce(
    name: str | None, source: str | None, root: str, *, trust: bool, tracking: bool, uri: str | None, experiment: str
) -> int:
    """Train a record again and judge it; 0 only if every number and every verdict stands."""
    if name is None and source is None:
        raise UserError("Say what to reproduce: a trial, a comparison, or --from FILE.")
    place = Path(root).absolute()
    archive = read_archive(Path(source)) if source is not None else None
    if archive is not None and not trust:
        for config in archive.configs:
            again.check_targets(config)
    if archive is not None:
        _tell_import(import_archive(archive, place))
    own = {
        "output": {"root": str(place), "fresh": True, "weights": True},
        "executor": yaml.safe_load((config_dir() / "executor" / "inline.yaml").read_text()),
        "tracking": yaml.safe_load((config_dir() / "tracking" / "mlflow.yaml").read_text())
        | {"enabled": tracking, "uri": uri, "experiment": experiment},
    }
    records = Records(place)
    records.update()
    records.mark_killed()
    found = _find(records, name or (archive.group if archive is not None else ""))
    if trust and "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own loss lives beside where the command is called
    with contextlib.nullcontext() if trust else schema.only(again.ALLOWED):
        if isinstance(found, TrialRecord):
            return _reproduce_trial(found, records, own, trust=trust)
        return _reproduce_comparison(found, records, own, trust=trust)


def _find(records: Records, name: str) -> Path | TrialRecord:
    """The comparison's folder or the trial that `name` means: names and ids first, then the beginning of a trial's id.

    Raises:
        UserError: none, or several trials.
    """
    matches = [trial for trial in records.trials if trial.startswith(name)] if name else []
    if name in records.trials:
        return records.trials[name]
    try:
        return find_comparison(records.root, name)
    except UserError as error:
        if not matches:
            folders = comparison_folders(records.root)
            if not records.trials or not folders:
                raise
            names = {folder.name.rpartition("-")[0] for folder in folders}
            raise unknown("trial or comparison", name, names) from error
    if len(matches) > 1:
        shown = ", ".join(matches[:3])
        raise UserError(f"'{name}' must be the beginning of one trial's id, got {len(matches)}: {shown}, ...")
    return records.trials[matches[0]]


@contextlib.contextmanager
def _opened(own: Mapping[str, Any], environment: Mapping[str, Any]) -> Iterator[Session]:
    """A session that trains afresh, on as many threads as recorded."""
    with again.threads(environment), opened(own, "reproduce") as session:
        yield session


def _reproduce_trial(record: TrialRecord, records: Records, own: Mapping[str, Any], *, trust: bool) -> int:
    stack = again.stack_of(records, record)
    if not trust:
        for mate in stack:
            again.check_targets(mate.config)
    environment = records.sessions[record.session].environment
    trials = [again.trial_of(mate, own) for mate in stack]
    with _opened(own, environment) as session:
        found = again.differences(session, [record], environment, own)
        found.append(again.Difference("trials in its stack", str(record.outcome.stack), str(len(stack))))
        _print_differences(found)
        originals = {session.signature(trial): mate.id for trial, mate in zip(trials, stack, strict=True)}
        session.journal.tags = lambda event: (
            {"reproduces": originals[event.signature]} if isinstance(event, TrialEvent) else {}
        )
        with progress_bar(record.label, sum(t.trainer.epochs for t in trials)) as on_epoch:
            here = session.run(trials, on_epoch=on_epoch)[stack.index(record)]
    judged = again.judge_trial(record, here, again.peers_of(records, record))
    table = Table(title=f"trial {record.id} ({record.label}), again as {here.id}", title_justify="left")
    for column in ("number", "recorded", "here", "judgement"):
        table.add_column(column, justify="right" if column in ("recorded", "here") else "left")
    for row in judged:
        table.add_row(row.what, _number(row.recorded), _number(row.here), row.level, style=_style(row.level))
    console().print(table)
    return _conclude([row.level for row in judged], [])


def _reproduce_comparison(folder: Path, records: Records, own: Mapping[str, Any], *, trust: bool) -> int:
    group = folder_group(folder)
    recorded = _cells(load(folder))
    if not (folder / "protocol.yaml").is_file() or group not in records.groups:
        raise UserError(f"{folder} must hold protocol.yaml, and the journal of --root its trials, to run it again.")
    text = (folder / "protocol.yaml").read_text(encoding="utf-8")
    whole, examples = load_protocol(text), _examples(records, group)
    own = {**own, "executor": again.local_executor(whole, own["executor"])}
    if not trust:
        for untrusted in (whole, *(record.config for record in examples)):
            again.check_targets(untrusted)
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    device = examples[0].tags["device"] if examples else "auto"
    composed: Composed = {}
    config, group_node = read_protocol(whole)
    config = again.localised(config, own, device)
    study = read_study(config, remember(group_node, composed))
    command = shlex.join(["xentlab", "reproduce", group])
    with _opened(own, environment) as session:
        session.journal.tags = lambda event: {"reproduces": group}  # noqa: ARG005
        _print_differences(again.differences(session, examples, environment, own))
        new = run_and_print(study, session, command, config, composed).folder
        here = _cells(load(new))
        verdicts = []
        for cell, old in recorded.items():
            verdicts += again.judge_comparison(old, here.get(cell), cell)
    good = all(v.stands and v.mean.level != "differs" for v in verdicts)
    facts = {"reproduces": group, "reproduced": good, "verdicts": [dataclasses.asdict(v) for v in verdicts]}
    _write(new / "reproduction.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    table = Table(title=f"{folder.name}, again as {new.name}", title_justify="left")
    for column in ("cell", "metric", "loss", "recorded mean", "here", "judgement", "verdict", "stands"):
        if column != "cell" or len(recorded) > 1:
            table.add_column(column, justify="right" if column in ("recorded mean", "here") else "left")
    for v in verdicts:
        words = v.recorded if v.stands else f"{v.recorded}, here {v.here}"
        cells = [v.metric, v.loss, _number(v.mean.recorded), _number(v.mean.here), v.mean.level, words]
        cells += ["yes" if v.stands else "no"]
        table.add_row(*([v.cell] if len(recorded) > 1 else []), *cells, style=_style(v.mean.level, v.stands))
    console().print(table)
    return _conclude([v.mean.level for v in verdicts], [v.stands for v in verdicts])


def _examples(records: Records, group: str) -> list[TrialRecord]:
    """One final trial of each loss of a comparison, for what all of its trials share."""
    chosen: dict[tuple[str, str, str], TrialRecord] = {}
    for name in groups_below(records, group):
        for trial in (records.trials[member] for member in records.groups[name].members):
            if trial.status == "finished" and phase(trial.tags) == "final":
                key = (records.groups[name].name, trial.tags["dataset"], trial.tags["model"])
                chosen.setdefault(key, trial)
    return list(chosen.values())


def _print_differences(found: Sequence[again.Difference]) -> None:
    table = Table(title="what differs from the record", title_justify="left")
    for column in ("what", "recorded", "here"):
        table.add_column(column)
    for row in found:
        if not row.same:
            table.add_row(row.what, row.recorded, row.here)
    page = console()
    if table.row_count:
        page.print(table)
    same = [row.what for row in found if row.same]
    page.print(f"the same as recorded: {', '.join(same) or 'nothing'}", highlight=False)


def _conclude(levels: Sequence[again.Level], stands: Sequence[bool]) -> int:
    """Say it in one line; returns the exit code."""
    counts = ", ".join(f"{levels.count(level)} {level}" for level in again.LEVELS if level in levels)
    good = "differs" not in levels and all(stands)
    words = "reproduced" if good else "NOT reproduced"
    verdicts = f"; {sum(stands)} of {len(stands)} verdicts stand" if stands else ""
    print(f"{words}: {counts or 'no numbers'}{verdicts}")
    return 0 if good else 1


def _number(value: Any) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else f"{value:.6g}"


def _style(level: again.Level, stands: bool = True) -> str | None:
    return "red" if level == "differs" or not stands else None

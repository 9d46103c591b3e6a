"""`xentlab runs show`, `best` and `diff`: one record, the best of many, and two beside each other."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from xentlab import catalogue
from xentlab.catalogue import Wanted, find_entry
from xentlab.catalogue.best import Ranking, best_points, differing, flat
from xentlab.catalogue.rows import Sizes, kind_of
from xentlab.cli.console import console
from xentlab.cli.runs_list import megabytes, plain_table
from xentlab.journal import GroupRecord, Records, TrialRecord, names_of
from xentlab.plain import one_line
from xentlab.report.numbers import scale_of, short
from xentlab.tracking.content import outermost
from xentlab.tracking.keys import drivers


def show_record(name: str, root: str) -> int:
    """Print all that is known of one record."""
    records, page = catalogue.read(Path(root)), console()
    record = find_entry(records, name)
    names, sizes = names_of(records.groups), Sizes(records)
    entry = catalogue.entry_of(record, records, names, sizes)
    parts = sizes.below(record)
    members = {name for part in parts for name in part.members} or {record.id}
    said = f": {record.reason}" if isinstance(record, TrialRecord) and record.reason else ""
    session = records.sessions.get(record.session)
    driver = records.sessions.get(session.driver or "", session) if session is not None else None
    facts = {
        entry.kind: " · ".join(dict.fromkeys([entry.name, *names.get(record.id, []), entry.id])),
        "note": entry.note,
        "state": f"{entry.state}, begun {entry.when}{said}",
        "answer": entry.answer,
        "data, model": f"{', '.join(entry.dataset)} · {', '.join(entry.model)}",
        "losses": ", ".join(entry.losses),
        **(_of_trial(record) if isinstance(record, TrialRecord) else _of_group(record, parts, members, records, names)),
        "shared with": _shared(record, members, records, names),
        "imported": (session.source or session.imported or "") if session is not None else "",
        "disk": _disk(sizes.of(record), members, records, sizes),
        "command": driver.command if driver is not None else "",
    }
    for head, text in facts.items():
        if text:
            page.print(f"{head:<11}  {one_line(text)}", soft_wrap=True)
    if isinstance(record, GroupRecord):
        _print_result(record, records, page)
    return 0


def _of_trial(trial: TrialRecord) -> dict[str, str]:
    elsewhere = ("output", "tracking", "executor", "dataset")
    own = {key: value for key, value in trial.config.items() if key not in elsewhere}
    knobs = [(key, value) for key, value in flat(own) if value is not None and "._" not in key]
    facts = {"what": trial.label, "config": ", ".join(f"{key} {value}" for key, value in knobs)}
    if (end := trial.ended) is not None:
        facts["ended"] = f"{end.epochs} epochs in {end.seconds:.1f} s, the best one {end.best_epoch}"
        facts["test"] = ", ".join(f"{metric} {short(value)}" for metric, value in end.test.items())
    return facts | {"signature": trial.signature, "again": f"xentlab reproduce {trial.id}"}


def _of_group(
    group: GroupRecord,
    parts: Sequence[GroupRecord],
    members: Collection[str],
    records: Records,
    names: Mapping[str, list[str]],
) -> dict[str, str]:
    trials, sessions = [records.trials[name] for name in members], {part.session for part in parts}
    states = Counter(trial.status for trial in trials)
    before = sum(sessions.isdisjoint(drivers(records, trial.session)) for trial in trials)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    facts = {"trials": f"{len(trials)}: {told}" + (f"; {before} were recorded before" if before else "")}
    if group.artifacts:
        facts["report"] = str(records.root / group.artifacts / "report.html")
    if kind_of(group) == "comparison":
        facts["again"] = f"xentlab reproduce {names[group.id][0]}"
    return facts


def _shared(
    record: TrialRecord | GroupRecord, members: Collection[str], records: Records, names: Mapping[str, list[str]]
) -> str:
    """The others that have some of these trials, and how many."""
    counts = Counter[str]()
    for group in records.groups.values():
        top = outermost(records, group.id)
        if top != record.id and not group.removed and top in names:
            counts[names[top][0]] += len({*members} & {*group.members})
    return ", ".join(f"{owner} ({count})" for owner, count in counts.items() if count)


def _disk(whole: int, members: Collection[str], records: Records, sizes: Sizes) -> str:
    weights = [file for name in members for file in (records.root / "trials" / name).glob("*.pt")]
    return megabytes(whole) + (f", of it weights {megabytes(sum(map(sizes.size, weights)))}" if weights else "")


def _print_result(group: GroupRecord, records: Records, page: Console) -> None:
    """The verdicts of a comparison, or the best points of a sweep."""
    if kind_of(group) == "comparison" and group.artifacts and not group.removed:
        from xentlab.comparison.folder import read_verdicts
        from xentlab.report import headlines, record_tables, terminal
        from xentlab.report.headline import answer_of
        from xentlab.report.record import Record

        found = read_verdicts(records.root / group.artifacts)
        lines = [answer_of(found)] if isinstance(found, Record) else headlines(found)
        page.print()
        terminal.print_lines(lines, page)
        if isinstance(found, Record):
            terminal.print_table(record_tables.deciding(found), page)
    elif kind_of(group) == "sweep":
        for ranking in best_points([records.trials[name] for name in group.members]):
            _print_ranking(ranking, 5, page)


def best(root: str, name: str | None, limit: int, *, as_json: bool, **wanted: str | None) -> int:
    """Print the best points by validation."""
    records = catalogue.read(Path(root))
    inside = None
    if name is not None:
        record = find_entry(records, name)
        inside = {t for group in Sizes(records).below(record) for t in group.members} or {record.id}
    entries = catalogue.entries(records, Wanted(kind="trial", sort="when", **wanted))
    found = best_points([records.trials[e.id] for e in entries if inside is None or e.id in inside])
    if as_json:
        cut = [dataclasses.replace(ranking, points=ranking.points[:limit]) for ranking in found]
        print(json.dumps([dataclasses.asdict(ranking) for ranking in cut], indent=1, default=str))
        return 0
    page = console()
    for ranking in found:
        _print_ranking(ranking, limit, page)
    if not found:
        print(f"No finished trial of {root} is like that.")
    return 0


def _print_ranking(ranking: Ranking, limit: int, page: Console) -> None:
    better = "larger" if ranking.larger else "smaller"
    table = plain_table()
    page.print(f"{ranking.dataset}: validation {ranking.metric} at its best epoch, over seeds, {better} is better")
    for head in ("loss", "setting", "mean", "sd", "seeds", "best trial"):
        right, whole = head in ("mean", "sd", "seeds"), head not in ("setting", "loss")
        table.add_column(head, justify="right" if right else "left", no_wrap=whole, overflow="fold")
    shown = ranking.points[:limit]
    told = set(differing([point.setting for point in shown]) if len(shown) > 1 else shown[0].setting if shown else ())
    for point in shown:
        seeds = f"{point.n}" + (f", {point.diverged} diverged" if point.diverged else "")
        own = ", ".join(_spoken(key, value) for key, value in point.setting.items() if key in told)
        table.add_row(point.loss, own, short(point.mean), short(point.sd), seeds, point.trial)
    page.print(table)
    if len(ranking.points) > limit:
        page.print(f"... and {len(ranking.points) - limit} more points")


def _spoken(key: str, value: Any) -> str:
    """`lr 0.1`, and of a choice `model lenet`."""
    path, _, name = key.rpartition(".")
    return f"{path} {str(value).rpartition('.')[2]}" if name == "_target_" else f"{name} {_value(value)}"


def _value(value: Any) -> str:
    return short(value) if isinstance(value, float) else "null" if value is None else str(value)


def diff(a: str, b: str, root: str) -> int:
    """Print what lies between two records."""
    from xentlab.reproduce.between import between

    records, page = catalogue.read(Path(root)), console()
    found = between(records, find_entry(records, a), find_entry(records, b))
    for part, differences in found.differences.items():
        if not differences:
            page.print(f"{part}: the same")
            continue
        page.print(f"{part}:")
        table = plain_table()
        for head in ("what", a, b):
            table.add_column(head, overflow="fold")
        for one in differences:
            table.add_row(one.what, one_line(one.recorded), one_line(one.here))
        page.print(table)
    same, other = found.code
    page.print(
        f"trials: {found.shared} are the same ones; of {same + other} that were asked for alike, {same} have the same "
        f"signature" + (f" and {other} another: their code, torch or lift differs" if other else ""),
    )
    shown = [pair for pair in found.verdicts if pair.metric.primary or pair.moved]
    if shown:
        moved = sum(pair.moved for pair in found.verdicts)
        page.print(f"{moved} of {len(found.verdicts)} verdicts moved")
        table, cells = plain_table(), any(pair.cell for pair in shown)
        for head in (*(["cell"] if cells else []), "metric", "loss", a, b, ""):
            table.add_column(head, overflow="fold")
        for pair in shown:
            unit = scale_of(pair.metric)
            sides = [
                f"{row.verdict} {unit.change(row.difference)} {unit.interval(row.diff_low, row.diff_high)}".rstrip()
                for row in (pair.a, pair.b)
            ]
            own = [pair.cell] if cells else []
            table.add_row(*own, pair.metric.label, pair.loss, *sides, "moved" if pair.moved else "")
        page.print(table)
    return 0

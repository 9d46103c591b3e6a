"""`xentlab report`, `export`, `import` and `reproduce`: what can be done with a record."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from xentlab import reproduce as again
from xentlab.catalogue.rows import find_entry, kind_of, read
from xentlab.cli.compare import run_and_print
from xentlab.cli.console import console, titled
from xentlab.comparison.folder import find_comparison, folder_group, own_name, read_groups, read_verdicts, write_text
from xentlab.config.compose import config_dir
from xentlab.config.opening import opened
from xentlab.disk import private
from xentlab.dotted import see_working_directory
from xentlab.errors import UserError
from xentlab.journal import GroupRecord, Records, TrialRecord, names_of
from xentlab.plain import visible
from xentlab.report import html, latex, markdown, print_verdict
from xentlab.reproduce.archive import Archive, export_record, import_archive, read_archive
from xentlab.run.progress import progress_bar


def report(name: str, kind: str, root: str) -> int:
    """Lay out a comparison, or `published/NAME`, again: a page whose path is printed, or text on stdout."""
    if name.startswith("published/"):
        from xentlab.cli.published import lay_out

        return lay_out(name.removeprefix("published/"), kind, Path(root))
    folder = find_comparison(Path(root), name)
    found, own = read_verdicts(folder), own_name(Path(root), folder)
    if name != own:
        print(visible(f"xentlab: laid out {own}, the newest that '{name}' means."), file=sys.stderr)
    if kind == "html":
        write_text(folder / "report.html", html(found))
        print((folder / "report.html").absolute())
    elif kind in ("md", "tex"):
        print((markdown if kind == "md" else latex)(found), end="")
    elif kind == "json":
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        print_verdict(found, console())
    return 0


def export(name: str, out: str | None, root: str, *, diff: bool) -> int:
    """Write a comparison, a sweep or a trial as one archive."""
    records = read(Path(root))
    found: TrialRecord | GroupRecord | None = None
    try:
        folder = find_comparison(Path(root), name)
        if (found := records.groups.get(folder_group(folder))) is None:
            raise UserError(f"The journal of {root} holds no comparison {folder_group(folder)}: give its own --root.")
    except UserError:
        with contextlib.suppress(UserError):
            found = find_entry(records, name)
        if found is None or found.removed or kind_of(found) not in ("sweep", "trial"):
            raise
        folder = None
    stem = folder.name if folder is not None else names_of(records.groups).get(found.id, [found.id])[0]
    path = Path(out or f"{stem}.zip")
    trials, size = export_record(records, found, folder, path, diff=diff)
    print(f"{path}: {trials} trials, {size / 2**20:.1f} MiB")
    return 0


def import_(file: str, root: str) -> int:
    """Bring the comparison of an archive into an output directory."""
    _bring(read_archive(Path(file)), root)
    return 0


def _bring(archive: Archive, root: str) -> None:
    with private():
        brought = import_archive(archive, Path(root).absolute())
    new = "nothing that was not here" if not brought.trials + brought.files else f"{brought.trials} new trials"
    own = names_of(read_groups(Path(root)).groups).get(archive.group, [archive.group])[0]
    print(f"imported {new}: {own if brought.folder is None else brought.folder}")


def reproduce(
    name: str | None,
    source: str | None,
    root: str,
    *,
    trust: bool,
    tracking: bool,
    uri: str | None,
    experiment: str | None,
) -> int:
    """Train a record again and judge it; 0 only if every number and every verdict stands."""
    if name is None and source is None:
        raise UserError("Say what to reproduce: a trial, a comparison, or --from FILE.")
    place = Path(root).absolute()
    if source is not None:
        archive = read_archive(Path(source))
        for config in archive.configs if not trust else ():
            again.check_targets(config)
        _bring(archive, root)
        name = name or archive.group
    own = {
        "output": {"root": str(place), "fresh": True, "weights": True},
        "executor": yaml.safe_load((config_dir() / "executor" / "inline.yaml").read_text()),
        "tracking": yaml.safe_load((config_dir() / "tracking" / "mlflow.yaml").read_text())
        | {"enabled": tracking, "uri": uri, "experiment": experiment},
    }
    records = Records(place)
    records.update()
    records.mark_killed()
    found = again.find_record(records, name or "")
    if trust:
        see_working_directory()
    rerun = again.Rerun(records, own, trust, opened, _print_differences)
    if isinstance(found, TrialRecord):
        return _conclude_trial(rerun.trial(found, progress_bar))
    return _conclude_comparison(rerun.comparison(found, run_and_print))


def _conclude_trial(done: again.TrialAgain) -> int:
    title = f"trial {done.record.id} ({done.record.label}), again as {done.here.id}"
    table = titled(title, ("number", "recorded", "here", "judgement"), left=("number", "judgement"))
    for row in done.judged:
        table.add_row(row.what, _number(row.recorded), _number(row.here), row.level, style=_style(row.level))
    console().print(table)
    return _conclude([row.level for row in done.judged], [])


def _conclude_comparison(done: again.ComparisonAgain) -> int:
    heads = [*(["cell"] if done.cells > 1 else []), "metric", "loss", "recorded mean", "here", "judgement", "verdict"]
    title, numbers = f"{done.recorded.name}, again as {done.here.name}", {"recorded mean", "here"}
    table = titled(title, [*heads, "stands"], left={*heads, "stands"} - numbers)
    for v in done.verdicts:
        words = v.recorded if v.stands else f"{v.recorded}, here {v.here}"
        cells = [v.metric, v.loss, _number(v.mean.recorded), _number(v.mean.here), v.mean.level, words]
        cells += ["yes" if v.stands else "no"]
        table.add_row(*([v.cell] if done.cells > 1 else []), *cells, style=_style(v.mean.level, v.stands))
    console().print(table)
    if done.rejudged:
        print("The record was judged by an earlier rule: its values are judged by today's, as those from here are.")
    return _conclude([v.mean.level for v in done.verdicts], [v.stands for v in done.verdicts])


def _print_differences(found: Sequence[again.Difference]) -> None:
    heads = ("what", "recorded", "here")
    table = titled("what differs from the record", heads, left=heads)
    for row in found:
        if not row.same:
            table.add_row(row.what, row.recorded, row.here)
    page = console()
    if table.row_count:
        page.print(table)
    same = [row.what for row in found if row.same]
    page.print(f"the same as recorded: {', '.join(same) or 'nothing'}")


def _conclude(levels: Sequence[again.Closeness], stands: Sequence[bool]) -> int:
    """Say it in one line; returns the exit code."""
    counts = ", ".join(f"{levels.count(level)} {level}" for level in again.CLOSENESS if level in levels)
    good = "differs" not in levels and all(stands)
    words = "reproduced" if good else "NOT reproduced"
    verdicts = f"; {sum(stands)} of {len(stands)} verdicts stand" if stands else ""
    print(f"{words}: {counts or 'no numbers'}{verdicts}")
    return 0 if good else 1


def _number(value: Any) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else f"{value:.6g}"


def _style(level: again.Closeness, stands: bool = True) -> str | None:
    return "red" if level == "differs" or not stands else None

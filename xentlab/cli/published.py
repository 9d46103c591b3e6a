"""`xentlab published`, and `xentlab compare comparison=published/NAME`: published results, run again with a verdict."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from xentlab import published
from xentlab.cli.console import console
from xentlab.config.choices import given_keys
from xentlab.config.compose import compose_group, config_dir, run_composed
from xentlab.config.opening import looking, opened
from xentlab.errors import UserError, unknown
from xentlab.plain import visible
from xentlab.report.published import failed_words, markdown_of, summary, verdict_counts
from xentlab.report.render.terminal import print_table
from xentlab.report.reproduction import Reproduction
from xentlab.run.progress import progress_bar
from xentlab.train import find_device
from xentlab.typed import to_json

_GROUP = "published"


def compare_published(config: dict[str, Any], given: Sequence[str], *, dry_run: bool) -> Reproduction | None:
    """Run the published experiment of a composed config, print its verdicts and write its page."""
    plan = published.read_plan(config, compose_group, given_keys(given))
    if dry_run:
        trials, seconds = published.estimate_experiment(plan, looking(config))
        print(f"{plan.name} at size {plan.size}: {trials} trials to train, about {seconds:.0f} s on this machine")
        return None
    if plan.size == "smoke":
        print(f"{plan.name} at size smoke: it only shows that all runs; nothing can be decided there.")
    command = shlex.join(["xentlab", "compare", *given])
    with opened(config, command) as session:
        began = time.monotonic()
        found, path = published.run_experiment(plan, session, progress_bar, command)
        print_findings(found)
        print(f"{session.trained} trials trained now, in {time.monotonic() - began:.0f} s")
        print(f"report: {path}")
    return found


def print_findings(published: Reproduction) -> None:
    """The claims of one experiment as a table."""
    print_table(summary(published), console())
    print("\n".join([verdict_counts(published), *map(visible, failed_words(published))]))


def lay_out(name: str, kind: str, root: Path) -> int:
    """Lay out a recorded published experiment again, the newest of that name; `NAME-SIZE` names one of its sizes."""
    known = published.saved(root)
    named = sorted((one for one in known if name in (one.name, f"{one.name}-{one.size}")), key=lambda one: one.created)
    if not known:
        raise UserError(f"No published experiment is recorded in {root}: run `xentlab published`.")
    if not named:
        raise unknown("published experiment", name, {f"{one.name}-{one.size}" for one in known})
    found = named[-1]
    if kind == "html":
        print(published.save(found, root.absolute()))
    elif kind == "md":
        print(markdown_of(found.name, [found]), end="")
    elif kind == "json":
        print(json.dumps(to_json(found), indent=1, ensure_ascii=False))
    elif kind == "text":
        print_findings(found)
    else:
        raise UserError(f"--format of a published experiment must be html, md, json or text, got {kind}.")
    return 0


def names() -> list[str]:
    """The published experiments that there are; what is a plain comparison among the files is none."""
    files = sorted((config_dir() / "comparison" / _GROUP).glob("*.yaml"))
    return [file.stem for file in files if "published" in yaml.safe_load(file.read_text())]


def run_all(
    chosen: Sequence[str], size: str | None, minutes: float, root: str, *, dry_run: bool, overrides: Sequence[str]
) -> int:
    """Run published experiments of at most `minutes` each; one page tells of all that this root has at this size."""
    known = names()
    for name in chosen:
        if name not in known:
            raise unknown("published experiment", name, known)
    size = size or ("gpu" if find_device("auto").type == "cuda" else "cpu")
    common = [f"size={size}", f"output.root={root}", *overrides]
    missing: list[tuple[str, str]] = []
    wanted: list[str] = []
    told: list[tuple[int, float]] = []
    failed: list[str] = []

    def estimate(config: dict[str, Any], given: list[str]) -> None:
        plan = published.read_plan(config, compose_group, given_keys(given))
        told.append(published.estimate_experiment(plan, looking(config)))

    def run(config: dict[str, Any], given: list[str]) -> None:
        found = compare_published(config, given, dry_run=False)
        failed.extend(found.failed if found else ())

    print(f"estimates at size {size}, at most {minutes:g} minutes each:")
    for name in chosen or known:
        told.clear()
        try:
            run_composed("compare", [f"comparison={_GROUP}/{name}", *common], estimate)
        except UserError as error:
            missing.append((name, str(error)))
            print(f"  {name:<20} cannot run: {error}", file=sys.stderr)
            continue
        trials, seconds = told[0]
        fits = seconds <= 60 * minutes
        print(f"  {name:<20} {trials:>4} trials, about {seconds:,.0f} s" + ("" if fits else ": left out"), flush=True)
        if fits:
            wanted.append(name)
        else:
            missing.append((name, f"about {seconds / 60:.0f} minutes on this machine at size {size}"))
    if dry_run:
        return 0
    for name in wanted:
        run_composed("compare", [f"comparison={_GROUP}/{name}", *common], run)
    recorded = {one.name: one for one in published.saved(Path(root)) if one.size == size}  # by earlier commands too
    shown = [recorded[name] for name in known if name in recorded]
    missing = [(name, reason) for name, reason in missing if name not in recorded]
    path = published.write_pages("Published results, run again", shown, Path(root).absolute() / _GROUP, missing)
    print("\n".join(verdict_counts(one) for one in shown))
    print(f"report: {path}")
    return 1 if failed else 0

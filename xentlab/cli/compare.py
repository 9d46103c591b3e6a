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

from xentlab.cli.console import console, titled
from xentlab.comparison.cells import StudyPlan, read_study
from xentlab.comparison.estimate import estimate_study, what_seeds_detect
from xentlab.comparison.execute import Executed, run_study
from xentlab.comparison.extending import ADDED, read_extension
from xentlab.comparison.folder import Composed, remember
from xentlab.comparison.search import trial_epochs
from xentlab.config.choices import given_keys
from xentlab.config.compose import compose_group, run_composed
from xentlab.config.opening import looking, opened
from xentlab.errors import UserError
from xentlab.plain import visible
from xentlab.report import Record, headlines, print_verdict
from xentlab.report.conclusions import imported_words
from xentlab.report.facts import describe_rungs
from xentlab.run.executors.processes import Processes, cores
from xentlab.run.progress import progress_bar
from xentlab.run.session import Session


def compare(arguments: Sequence[str]) -> int:
    """Run the comparison that the overrides describe; returns the exit code."""
    dry_run = "--dry-run" in arguments
    flags = {"--fresh": "output.fresh=true", "--own": "output.own=true"}
    words, extended = _extended([a for a in arguments if a != "--dry-run"])
    added = any(word.startswith(f"{ADDED}=") for word in words)
    overrides = [flags.get(a, a).replace(f"{ADDED}=", "comparison.losses=") for a in words]
    failed: list[str] = []
    with contextlib.ExitStack() as stack:

        def job(config: dict[str, Any], given: list[str]) -> None:
            if "published" in config:
                from xentlab.cli.published import compare_published

                found = compare_published(config, given, dry_run=dry_run)
                failed.extend(found.failed if found else ())
                return
            refuse_without_meaning(given)
            composed: Composed = {}
            wider = None
            if extended is not None:
                wider = read_extension(extended, config, given_keys(given), compose_group, added=added)
                study, config, composed = wider.study, wider.config, wider.composed
                given = ["--extend", wider.name, *words]
            else:
                study = read_study(config, remember(compose_group, composed))
            if dry_run:
                if wider is not None:
                    print(wider.reuse_in(looking(config)))
                print_estimate(study, config)
                return
            command = shlex.join(["xentlab", "compare", *given])
            session = stack.enter_context(opened(config, command))
            if wider is not None:
                print(wider.say_in(session))
            done = run_and_print(study, session, command, config, composed)
            failed.extend([*done.failed, *(cell.label for cell in done.study.cells if cell.record.failed)])

        run_composed("compare", overrides, job)
    return 1 if failed else 0


def _extended(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """The words without `--extend NAME`, and that name."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--extend=") else [word])]
    if "--extend" not in words:
        return words, None
    place = words.index("--extend")
    if place + 1 == len(words) or "--extend" in words[place + 1 :]:
        raise UserError("--extend takes the name of one recorded comparison: xentlab runs ls --kind comparison.")
    return [*words[:place], *words[place + 2 :]], words[place + 1]


def refuse_without_meaning(given: Sequence[str]) -> None:
    """Refuse what would choose one training's loss or seed: a comparison has several."""
    instead = {
        "seed": "seeds: comparison.final_seeds=[0,1,2]",
        "loss": "losses: comparison.losses=[ce,{focal:{gamma:2}}]",
    }
    for key in sorted(given_keys(given)):
        if (top := key.partition(".")[0]) in instead:
            raise UserError(f"{key} has no meaning in a comparison, which has {instead[top]}.")


def run_and_print(
    study: StudyPlan, session: Session, command: str, config: Mapping[str, Any], composed: Composed
) -> Executed:
    """Run a study, print each verdict as it comes, and where its report is."""
    began = time.monotonic()
    protocols = [setting.protocol for setting in study.cells.values()]
    for line in dict.fromkeys(said for p in protocols for said in (p.drawn_between, p.undecidable)):
        print(line, end="\n" if line else "")

    def show(label: str, record: Record) -> None:
        if label:
            print(label)
        print_verdict(record, console())

    done = run_study(study, session, command, config, composed, progress_bar, show)
    if len(done.study.cells) > 1:
        print("\n".join(headlines(done.study)))
    for label, sentence in done.failed.items():
        print(visible(f"{label} failed: {sentence}"))
    print(f"{done.trials} trials, {session.trained} of them trained now, in {time.monotonic() - began:.0f} s")
    if imported := imported_words([cell.record for cell in done.study.cells]):
        print(visible(f"{imported}: --own trains them here"))
    print(f"report: {done.folder / 'report.html'}")
    print(f"runs:   {own_command()} ui --root {shlex.quote(str(session.root))}")
    return done


def print_estimate(study: StudyPlan, config: Mapping[str, Any]) -> None:
    """Print what the comparison would do; nothing is written."""
    session = looking(config)
    crew = session.executor
    workers, threads = (crew.workers or cores(), crew.threads) if isinstance(crew, Processes) else (1, 1)
    phases = estimate_study(study, session, workers=workers, threads=threads)
    heads = ("cell", "phase", "trials", "trial-epochs", "reused", "stacks", "memory MB", "seconds")
    table = titled(f"{study.name}: what would run", heads, left=("cell", "phase"))
    for p in phases:
        counts = (p.trials, p.trial_epochs, p.reused, p.stacks)
        table.add_row(p.cell or study.name, p.phase, *map(str, counts), f"{p.memory / 2**20:.1f}", f"{p.seconds:.0f}")
    page = console()
    page.print(table)
    for label, setting in study.cells.items():
        protocol = setting.protocol
        if protocol.search == "halving":
            whole = protocol.rungs[0].points * protocol.rungs[-1].epochs
            page.print(
                f"{label + ': ' if label else ''}every loss has {describe_rungs(protocol.rungs)}: "
                f"{trial_epochs(protocol.rungs)} trial-epochs for each tuning seed, {whole} by comparison.search=grid.",
            )
        if protocol.drawn_between:
            page.print(protocol.drawn_between)
        page.print(what_seeds_detect(protocol, session.root))
    if reused := sum(p.reused for p in phases):
        page.print(
            f"{reused} of {sum(p.trials for p in phases)} trials are recorded here and will be reused; "
            "output.fresh=true trains them again.",
        )
    page.print(
        f"about {sum(p.seconds for p in phases):.0f} s on this machine, as busy as it is now, from timed steps; more "
        f"where a winner sits on the edge of its grid and the grid is extended. Memory is the largest stack's, from "
        f"one measured step.",
    )


def own_command() -> str:
    """How to call xentlab from the user's shell: its name where it is on the path, else where it lies."""
    if shutil.which("xentlab"):
        return "xentlab"
    return shlex.quote(str(Path(sys.executable).with_name("xentlab")))

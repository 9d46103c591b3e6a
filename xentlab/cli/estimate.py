"""`xentlab compare --dry-run`: the trials, stacks, memory and time of a comparison, before anything runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from xentlab import environment
from xentlab.cli.console import console
from xentlab.comparison import Protocol, Study
from xentlab.comparison.search import describe_rungs, make_search, trial_epochs
from xentlab.run.session import Session
from xentlab.train import Rig, Trial
from xentlab.train.memory import footprint

# Steps that are timed, after those that warm up: the second meeting of a batch shape records the step.
_STEPS, _WARM = 30, 3


def print_estimate(study: Study, config: Mapping[str, Any]) -> None:
    """Print what the comparison would do; times a few steps of each kind of stack, writes nothing."""
    root = Path(config["output"]["root"]).absolute()
    session = Session.open(root, environment.describe(), "compare", fresh=config["output"]["fresh"], weights=False)
    table = Table(title=f"{study.name}: what would run", title_justify="left")
    for column in ("cell", "phase", "trials", "trial-epochs", "reused", "stacks", "memory MB", "seconds"):
        table.add_column(column, justify="left" if column in ("cell", "phase") else "right")
    total, seen = 0.0, set[str]()
    for label, protocol in study.cells.items():
        for phase, trials in _phases(protocol).items():
            keys = [session.signature(t) for t in trials]
            missing = [t for t, k in zip(trials, keys, strict=True) if k not in seen and session.recorded(t) is None]
            seen |= set(keys)  # a fairness mode reuses the tuning of another
            planned = session.plan(missing)
            memory, seconds = _cost(planned, session)
            total += seconds
            counts = (len(trials), sum(t.trainer.epochs for t in trials), len(trials) - len(missing), len(planned))
            cost = (f"{memory / 2**20:.1f}", f"{seconds:.0f}")
            table.add_row(label or study.name, phase, *map(str, counts), *cost)
    page = console()
    page.print(table)
    for label, protocol in study.cells.items():
        if protocol.search == "halving":
            _print_rungs(label, protocol, page)
    page.print(
        f"about {total:.0f} s on this machine; more where a winner sits on the edge of its grid and the grid is "
        f"extended. Memory is the largest stack's, from one measured step.",
        highlight=False,
    )


def _print_rungs(label: str, protocol: Protocol, page: Console) -> None:
    """Say what every loss is given on each rung, and what the whole grid would take."""
    climbed = trial_epochs(protocol.rungs)
    whole = protocol.rungs[0].points * protocol.rungs[-1].epochs
    page.print(
        f"{label + ': ' if label else ''}every loss has {describe_rungs(protocol.rungs)}: {climbed} trial-epochs for "
        f"each tuning seed, {whole} by comparison.search=grid.",
        highlight=False,
    )


def _phases(protocol: Protocol) -> dict[str, list[Trial]]:
    """The trials of each phase, as far as they are known before tuning: later rungs and the final ones at any point."""
    rungs = {f"tuning, epochs {r.epochs}" if len(protocol.rungs) > 1 else "tuning": r for r in protocol.rungs}
    tuning: dict[str, list[Trial]] = {phase: [] for phase in rungs}
    final = []
    for label, space in protocol.spaces.items():
        search = make_search(protocol.search, space, "nll", trials=protocol.trials, extensions=0, rungs=protocol.rungs)
        points = search.ask({})
        if protocol.search == "optuna" and protocol.trials:
            points = [points[i % len(points)] for i in range(protocol.trials)]
        for phase, rung in rungs.items():
            jobs = [(p, s) for p in points[: rung.points] for s in protocol.tuning_seeds]
            epochs = rung.epochs if len(rungs) > 1 else None  # a grid may tune them
            tuning[phase] += [protocol.trial(label, p, s, test=False, epochs=epochs) for p, s in jobs]
        final += protocol.final_trials(label, points[0])
    return {**tuning, "final seeds": final}


def _cost(planned: Sequence[Sequence[Trial]], session: Session) -> tuple[int, float]:
    """Bytes of the largest stack, and seconds of all, from a few timed steps of each."""
    memory, seconds = 0, 0.0
    for stack in planned:
        rig = Rig(stack, session.dataset(stack[0]))
        looped = rig.lift == "looped"
        memory = max(memory, footprint(stack[0], rig.dataset, looped=looped).stack(len(stack)))
        seconds += stack[0].trainer.epochs * epoch_seconds(rig)
    return memory, seconds


def epoch_seconds(rig: Rig) -> float:
    """One epoch of training and evaluation, from the first steps of each lift's first rows."""
    lift = rig.lifts[0]
    lift.enter()
    warm = min(_WARM, rig.steps_per_epoch - 1)
    steps, began = 0, 0.0
    for number, (inputs, target) in enumerate(rig.batches.training(lift.rows, 1, rig.batch_size)):
        if number == warm:
            began = time.perf_counter()
        lift.step(number, inputs, target)
        steps = number + 1 - warm
        if steps == _STEPS:
            break
    step = (time.perf_counter() - began) / steps
    evaluated = time.perf_counter()
    rig.evaluate("val")
    return step * rig.steps_per_epoch * len(rig.lifts) + (time.perf_counter() - evaluated)

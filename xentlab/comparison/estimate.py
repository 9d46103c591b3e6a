"""What a comparison would take before anything runs: its trials, stacks, memory and time, by cell and phase."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xentlab.analysis import detectable
from xentlab.comparison.cells import StudyPlan
from xentlab.comparison.folder import find_comparison
from xentlab.comparison.protocol import Protocol
from xentlab.comparison.search import make_search
from xentlab.errors import UserError
from xentlab.report.record import JudgedMetric, Record
from xentlab.run.session import Session
from xentlab.train import Rig, Trial
from xentlab.train.memory import footprint

# Steps that are timed, after those that warm up: the second meeting of a batch shape records the step.
_STEPS, _WARM = 30, 3


@dataclass(frozen=True)
class PhaseEstimate:
    """One phase of one cell.

    Attributes:
        cell: its label, empty for the only one.
        phase: its title.
        trials: of the phase, with `trial_epochs` in all.
        reused: how many of them are recorded already.
        stacks: in which the others train.
        memory: bytes of the largest stack, from one measured step.
        seconds: of all stacks, from a few timed steps of each.
    """

    cell: str
    phase: str
    trials: int
    trial_epochs: int
    reused: int
    stacks: int
    memory: int
    seconds: float


def estimate_study(plan: StudyPlan, session: Session) -> list[PhaseEstimate]:
    """Every phase of every cell; times a few steps of each kind of stack, writes nothing."""
    found, seen = [], set[str]()
    for label, setting in plan.cells.items():
        for phase, trials in trials_by_phase(setting.protocol).items():
            keys = [session.signature(t) for t in trials]
            missing = [t for t, k in zip(trials, keys, strict=True) if k not in seen and session.recorded(t) is None]
            seen |= set(keys)  # a fairness mode reuses the tuning of another
            planned = session.plan(missing)
            memory, seconds = _cost(planned, session)
            epochs, reused = sum(t.trainer.epochs for t in trials), len(trials) - len(missing)
            found.append(PhaseEstimate(label, phase, len(trials), epochs, reused, len(planned), memory, seconds))
    return found


def trials_by_phase(protocol: Protocol) -> dict[str, list[Trial]]:
    """The trials of each phase, as far as they are known before tuning: later rungs and the final ones at any point.

    Where each final seed tunes for itself, the final trials are among those of tuning.
    """
    rungs = {f"tuning, epochs {r.epochs}" if len(protocol.rungs) > 1 else "tuning": r for r in protocol.rungs}
    tuning: dict[str, list[Trial]] = {phase: [] for phase in rungs}
    final, rounded = list[Trial](), list[Trial]()
    for label, space in protocol.spaces.items():
        search = make_search(protocol.search, space, "nll", trials=protocol.trials, extensions=0, rungs=protocol.rungs)
        points = search.ask({})
        if protocol.search == "optuna" and protocol.trials:
            points = [points[i % len(points)] for i in range(protocol.trials)]
        for phase, rung in rungs.items():
            draws = [seed for replicate in protocol.draws for seed in protocol.drawn(label, replicate)]
            jobs = [(p, s) for p in points[: rung.points] for s in draws]
            epochs = rung.epochs if len(rungs) > 1 else None  # a grid may tune them
            tuning[phase] += [protocol.trial(label, p, s, test=False, epochs=epochs) for p, s in jobs]
        first = dict.fromkeys(protocol.final_seeds, points[0]).__getitem__
        final += protocol.final_trials(label, first)
        rounded += protocol.rounded.final_trials(label, first)
    phases = tuning if protocol.replicate == "procedure" else {**tuning, "final seeds": final}
    return phases | ({"rounding": rounded} if protocol.rounding else {})


def what_seeds_detect(protocol: Protocol, root: Path) -> str:
    """The smallest difference that the final seeds find with 80 % power, by the noise of an earlier record."""
    seeds, compared = len(protocol.final_seeds), protocol.compared
    if protocol.undecidable:
        return protocol.undecidable
    unit = detectable(1.0, seeds, compared=compared)
    told = f"{seeds} seeds, {compared} comparison{'s' if compared > 1 else ''}: a difference of {unit:.2g} standard"
    told += " deviations of the paired differences is found with 80 % power"
    known = _known_noise(protocol.name, root)
    if known is None:
        return f"{told}; no earlier record of {protocol.name} says how large one is."
    metric, sd = known
    factor, points = (100.0, " points") if metric.percent else (1.0, "")
    return f"{told}: {factor * unit * sd:.2g}{points} of {metric.label} by the noise of the latest record."


def _known_noise(name: str, root: Path) -> tuple[JudgedMetric, float] | None:
    """The primary metric of the latest record of a name, and the middle paired standard deviation of its losses."""
    try:
        found = json.loads((find_comparison(root, name) / "verdicts.json").read_text(encoding="utf-8"))
        record = Record.from_json(found["cells"][0]["record"] if "cells" in found else found)
    except UserError:
        return None
    rows = [(r.difference, r.effect) for r in record.primary.rows if r.difference and r.effect]
    known = [abs(d / e) for d, e in rows if math.isfinite(d / e)]
    return (record.primary, statistics.median(known)) if known else None


def _cost(planned: Sequence[Sequence[Trial]], session: Session) -> tuple[int, float]:
    """Bytes of the largest stack, and seconds of all, from a few timed steps of each."""
    memory, seconds = 0, 0.0
    for stack in planned:
        rig = Rig(stack, session.dataset(stack[0]))
        looped = rig.lift == "looped"
        memory = max(memory, footprint(stack[0], rig.dataset, looped=looped).stack(len(stack)))
        seconds += stack[0].trainer.epochs * epoch_seconds(rig)
    return memory, seconds


def alone_seconds(trial: Trial, session: Session) -> float:
    """Seconds that one trial would take by itself, from a few timed steps."""
    return trial.trainer.epochs * epoch_seconds(Rig([trial], session.dataset(trial)))


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

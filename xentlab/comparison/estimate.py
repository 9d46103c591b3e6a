"""What a comparison would take before anything runs: its trials, stacks, memory and time, by cell and phase."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xentlab.analysis import detectable
from xentlab.comparison.cells import StudyPlan
from xentlab.comparison.folder import find_comparison, read_cells
from xentlab.comparison.protocol import Protocol
from xentlab.comparison.runner import first_trial
from xentlab.errors import UserError
from xentlab.report.record import JudgedMetric
from xentlab.run.beside import places
from xentlab.run.session import Session
from xentlab.train import Rig, Trial, lift_of
from xentlab.train.memory import footprint
from xentlab.train.plan import structure

# Steps that are timed, after those that warm up: the second meeting of a batch shape records the step. A machine in
# use by others lets a process go for a moment and then wait, so that a short look says nothing. Of slow steps, what
# fits into two seconds is enough.
_STEPS, _WARM, _LEAST_S, _MOST_S = 30, 3, 0.25, 2.0
# Seconds of a core beside all steps: for each trial (planning, its files, its place in the journal), for each cell
# (judging, its report), and for workers to start, as small comparisons of MLPs took.
_TRIAL_S, _CELL_S, _START_S = 0.012, 2.5, 4.0
_SYNCS = 5  # of each trial: how often it waits until the disk has what was written
_Clock = Callable[[], float]


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
        seconds: of all stacks, from timed steps and evaluations of each kind, and of what else each trial and the last
            phase's report take at the pace that this machine and its disk have now.
    """

    cell: str
    phase: str
    trials: int
    trial_epochs: int
    reused: int
    stacks: int
    memory: int
    seconds: float


def estimate_study(plan: StudyPlan, session: Session, *, workers: int, threads: int) -> list[PhaseEstimate]:
    """Every phase of every cell; times some steps of each kind of stack and the disk, writes nothing that stays.

    Args:
        workers: how many train at once where the session's executor takes the stacks, and the threads of each.
        threads: see `workers`.
    """
    found, seen, known = [], set[str](), dict[str, float]()
    firsts = [first_trial(setting.protocol) for setting in plan.settings]
    for trial in firsts:
        session.dataset(trial)  # reading waits for the disk, which is no sign of how busy the machine is
    on_cpu = all(trial.device.type == "cpu" for trial in firsts)
    # Of the time on a CPU this process's own is taken, and by how much more of it the clock went by meanwhile.
    clock = time.thread_time if on_cpu else time.perf_counter
    wall, busy = time.perf_counter(), clock()
    for label, setting in plan.cells.items():
        trained = 0
        for phase, trials in trials_by_phase(setting.protocol).items():
            keys = [session.signature(t) for t in trials]
            missing = [t for t, k in zip(trials, keys, strict=True) if k not in seen and session.recorded(t) is None]
            seen |= set(keys)  # a fairness mode reuses the tuning of another
            planned = session.plan(missing)
            placed = session.executor.place(planned, trials, session.dataset) if session.executor and planned else None
            usual = torch.get_num_threads()
            at_once = workers if placed is not None else places(planned, session.dataset)
            torch.set_num_threads(threads if placed is not None else max(usual // at_once, 1))
            memory, seconds = _cost(planned, placed, session, known, clock, at_once)
            torch.set_num_threads(usual)
            trained += len(missing) if phase.startswith("tuning") else 0  # the points of later ones are not known yet
            seconds += len(missing) * _TRIAL_S if trained else 0.0
            epochs, reused = sum(t.trainer.epochs for t in trials), len(trials) - len(missing)
            found.append(PhaseEstimate(label, phase, len(trials), epochs, reused, len(planned), memory, seconds))
        if trained:
            found[-1] = dataclasses.replace(found[-1], seconds=found[-1].seconds + _CELL_S)
    pace = (time.perf_counter() - wall) / max(clock() - busy, 1e-9)
    disk = _SYNCS * _sync_seconds(session.root)
    return [dataclasses.replace(p, seconds=pace * p.seconds + (p.trials - p.reused) * disk) for p in found]


def beside_seconds(trials: int, root: Path) -> float:
    """What so many trials and one report take beside all steps."""
    return trials * (_TRIAL_S + _SYNCS * _sync_seconds(root)) + _CELL_S if trials else 0.0


def _sync_seconds(root: Path) -> float:
    """How long a write waits for the disk of `root`, the middle of five; 0 where nothing may be written."""
    folder, waits = next(path for path in (root, *root.absolute().parents) if path.is_dir()), list[float]()
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(5):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            waits.append(time.perf_counter() - began)
    return statistics.median(waits) if waits else 0.0


def trials_by_phase(protocol: Protocol) -> dict[str, list[Trial]]:
    """The trials of each phase, as far as they are known before tuning: later rungs and the final ones at any point.

    Where each final seed tunes for itself, the final trials are among those of tuning.
    """
    rungs = {f"tuning, epochs {r.epochs}" if len(protocol.rungs) > 1 else "tuning": r for r in protocol.rungs}
    tuning: dict[str, list[Trial]] = {phase: [] for phase in rungs}
    final, rounded = list[Trial](), list[Trial]()
    for label in protocol.losses:
        points = protocol.searching(label, "nll").ask({})
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
        record = next(iter(read_cells(find_comparison(root, name)).values()))
    except UserError:
        return None
    rows = [(r.difference, r.effect) for r in record.primary.rows if r.difference and r.effect]
    known = [abs(d / e) for d, e in rows if math.isfinite(d / e)]
    return (record.primary, statistics.median(known)) if known else None


def _cost(
    planned: Sequence[Sequence[Trial]],
    placed: Sequence[Sequence[Trial]] | None,
    session: Session,
    known: dict[str, float],
    clock: _Clock,
    at_once: int,
) -> tuple[int, float]:
    """Bytes of the largest stack, and seconds of all, each kind of stack timed once and kept in `known`."""
    memory, each = 0, list[float]()
    for stack in planned if placed is None else placed:
        data = session.dataset(stack[0])
        memory = max(memory, footprint(stack[0], data, looped=lift_of(stack[0], data) == "looped").stack(len(stack)))
        kind = f"{len(stack)} {placed is None} {at_once} {structure(stack[0])}"
        if kind not in known:
            known[kind] = stack[0].trainer.epochs * epoch_seconds(Rig(stack, data), clock)
        each.append(known[kind])
    start = 0.0 if placed is None else _START_S
    return memory, start + max([sum(each) / max(min(at_once, len(each)), 1), *each])


def epoch_seconds(rig: Rig, clock: _Clock = time.perf_counter) -> float:
    """One epoch of training and evaluation, from steps of each lift's first rows: a quarter of a second or more."""
    lift = rig.lifts[0]
    lift.enter()
    warm, number, began = min(_WARM, rig.steps_per_epoch - 1), 0, clock()
    for epoch in itertools.count(1):
        for inputs, target in rig.batches.training(lift.rows, epoch, rig.batch_size):
            if number == warm:
                began = clock()
            lift.step(number % rig.steps_per_epoch, inputs, target)
            number += 1
            timed = clock() - began
            if (number - warm >= _STEPS and timed >= _LEAST_S) or (number > warm and timed >= _MOST_S):
                break
        else:
            if epoch < 20:
                continue
        break
    step = (clock() - began) / (number - warm)
    evaluated = clock()
    for part, limit in (("train", rig.train_sample), ("val", None)):
        rig.evaluate(part, limit)
    return step * rig.steps_per_epoch * len(rig.lifts) + (clock() - evaluated)

#!/usr/bin/env python
"""Does everything around the training stay linear? Seconds per trial and memory from 10 to 10,000 trials.

    scripts/bench_scaling.py [--sizes 10,100,1000,10000] [--parts prepare,signature,...] [--training-ms 1] [--epochs 5]
                             [--most-jobs 1000] [--json FILE]

- `prepare`: configs to checked trials.
- `signature`: sha256 of what decides each trial's result.
- `planner`: trials to stacks by structure.
- `session`: `Session.run` as a sweep calls it, with an executor that trains nothing: it waits `--training-ms` a trial
  and writes the events of the training into a worker's journal. What it waited is taken off: the rest is looking up,
  planning, handing out, writing, and reading back.
- `reopen`: what the next command pays on such a root: `Session.open` reads the journal, then every trial is looked up.
- `launcher`: Hydra's composing of a sweep of so many jobs by the launcher `stack`. Above `--most-jobs` it is not run
  but extrapolated by the last exponent that was measured, and marked with `~`.
- `analysis`: `judge` over so many final trials of up to ten losses.

Each cell runs in a process of its own that was forked after the imports, so that its memory is its own: the growth of
the resident peak. The exponent is the slope of log(seconds) over log(trials): of all sizes, and from each size to the
next. A part bends where the latter exceeds 1.2 and the larger size takes 50 ms or more, below which it is noise; what
costs the same whatever the size keeps it under 1 at first.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import torch
from harness import LOSSES, config, number, peak_mib, seconds

from xentlab import environment
from xentlab.analysis import judge
from xentlab.config.compose import run_composed
from xentlab.data import Dataset, digits
from xentlab.journal import EndEvent, EpochEvent, Event, GroupEvent, Journal, MemberEvent, TrialEvent, new_id
from xentlab.outcome import Outcome
from xentlab.run.order import Failure, Order
from xentlab.run.session import Session
from xentlab.train import Trial, prepare, signature, stacks

METRICS = 20
# What a cell would import inside its measurement, had it not been imported before the fork.
IMPORTED = ["__main__", "hydra", "sklearn.datasets", "xentlab.config.launcher"]
BEND, LEAST_S = 1.2, 0.05


@dataclass(frozen=True)
class Cell:
    """One part at one size: seconds, processor seconds with its preparation, MiB by which the peak grew."""

    part: str
    trials: int
    seconds: float
    cpu: float | None
    mib: float | None
    measured: bool = True


def configs(count: int) -> list[dict[str, Any]]:
    """So many different trials: ten losses, learning rates, seeds."""
    points = itertools.islice(itertools.product(range(count), range(1, 11), LOSSES), count)
    facts: dict[str, Any] = {"schedule": "cosine", "knobs": {"hidden": [64]}, "epochs": 5, "device": "cpu"}
    return [config("digits", "mlp", loss, lr=0.01 * rate, seed=seed, **facts) for seed, rate, loss in points]


@dataclass
class Simulated:
    """An executor that trains nothing: it takes a stated time a trial, and journals what a training would have."""

    environment: dict[str, Any]
    training_s: float
    epochs: int
    waited: float = 0.0

    def place(
        self,
        planned: Sequence[Sequence[Trial]],
        wanted: Sequence[Trial],  # noqa: ARG002
        dataset: Callable[[Trial], Dataset],  # noqa: ARG002
    ) -> Sequence[Sequence[Trial]]:
        return planned

    def run(
        self, orders: Sequence[Order], watch: Callable[[], None]
    ) -> Generator[tuple[int, Failure | None], None, None]:
        journal = Journal(Path(orders[0].root), self.environment, "worker", driver=orders[0].driver)
        watched = time.perf_counter()
        for place, order in enumerate(orders):
            began = time.perf_counter()
            time.sleep(self.training_s * len(order.trials))
            self.waited += time.perf_counter() - began
            self.write(journal, order)
            if time.perf_counter() - watched > 0.5:
                watch()
                watched = time.perf_counter()
            yield place, None
        journal.close()

    def write(self, journal: Journal, order: Order) -> None:
        """The events of one stack from its opening to its end."""
        tags = dict.fromkeys(("task", "loss", "link", "model", "dataset", "optimizer", "host", "device"), "value")
        opening: list[Event] = []
        for t in order.trials:
            opening.append(TrialEvent(t["id"], t["signature"], t["name"], t["config"], tags | dict(order.tags), 0))
            opening.append(MemberEvent(t["group"], t["id"]))
        journal.append(*opening)
        ids = [t["id"] for t in order.trials]
        for epoch in range(1, self.epochs + 1):
            values = {f"val/m{i}": [1 / (epoch + i + row) for row in range(len(ids))] for i in range(METRICS)}
            journal.append(EpochEvent(ids, epoch, values))
        end = Outcome(
            diverged=False, stuck=False, epochs=self.epochs, best_epoch=1, epochs_to_target=None, seconds=1.0,
            test={f"m{i}": 0.1 for i in range(METRICS)},
        )  # fmt: skip
        journal.append(*(EndEvent(name, "finished", "", end.to_json(), None) for name in ids))

    def close(self) -> None:
        """Nothing is kept."""


def run_prepare(count: int, options: argparse.Namespace) -> float:  # noqa: ARG001
    nodes = configs(count)
    return seconds(lambda: [prepare(node) for node in nodes])


def run_signature(count: int, options: argparse.Namespace) -> float:  # noqa: ARG001
    trials, fingerprint = [prepare(node) for node in configs(count)], digits().fingerprint
    signature(trials[0], fingerprint, "looped")  # reads the sources
    return seconds(lambda: [signature(trial, fingerprint, "looped") for trial in trials])


def run_planner(count: int, options: argparse.Namespace) -> float:  # noqa: ARG001
    trials = [prepare(node) for node in configs(count)]
    return seconds(lambda: stacks(trials))


def run_session(count: int, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        return fill(Path(scratch), count, options)


def run_reopen(count: int, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        # A process of its own fills the root: what it leaves in memory is not this part's.
        child = multiprocessing.get_context("fork").Process(target=fill, args=(Path(scratch), count, options))
        child.start()
        child.join()
        if child.exitcode:
            raise RuntimeError(f"the root could not be filled: exit code {child.exitcode}")
        trials = [prepare(node) for node in configs(count)]

        def reopen() -> None:
            session = Session.open(Path(scratch), environment.describe(), "bench", fresh=False, weights=False)
            found = sum(session.recorded(trial) is not None for trial in trials)
            assert found == count, f"{found} of {count} trials were found"

        return seconds(reopen)


def fill(root: Path, count: int, options: argparse.Namespace) -> float:
    """A sweep of so many simulated trainings; returns its seconds without those of the training."""
    trials = [prepare(node) for node in configs(count)]
    facts = environment.describe()
    session = Session.open(root, facts, "bench", fresh=False, weights=False)
    executor = Simulated(facts, options.training_ms / 1e3, options.epochs)
    session.executor, group = executor, new_id()
    session.dataset(trials[0])

    def sweep() -> None:
        session.journal.append(GroupEvent(group, "sweep", "bench", None, {}, {}))
        records = session.run(trials, groups=dict.fromkeys(trials, group))
        assert all(record.status == "finished" for record in records)

    return seconds(sweep) - executor.waited


def run_launcher(count: int, options: argparse.Namespace) -> float:  # noqa: ARG001
    called: list[int] = []
    losses = LOSSES[: min(count, len(LOSSES))]
    line = ["-m", f"loss={','.join(losses)}", f"seed=range({count // len(losses)})", "dataset=digits", "tracking=off"]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        took = seconds(lambda: run_composed("train", line, lambda config, _: called.append(config["seed"])))
        os.chdir("/")
    assert len(called) == count, f"{len(called)} of {count} jobs were called"
    return took


def run_analysis(count: int, options: argparse.Namespace) -> float:  # noqa: ARG001
    draws, losses = random.Random(0), LOSSES[: min(len(LOSSES), count // 2)]
    table: dict[str, dict[int, float | None]] = {
        loss: {seed: draws.gauss(0.1 + 0.001 * place, 0.01) for seed in range(count // len(losses))}
        for place, loss in enumerate(losses)
    }
    return seconds(lambda: judge(table, baseline="ce", direction="min", margin=0.005))


PARTS: dict[str, Callable[[int, argparse.Namespace], float]] = {
    "prepare": run_prepare, "signature": run_signature, "planner": run_planner, "session": run_session,
    "reopen": run_reopen, "launcher": run_launcher, "analysis": run_analysis,
}  # fmt: skip


def in_child(part: str, count: int, options: argparse.Namespace, answers: Any) -> None:
    """One cell: what it took, and by how much the process's peak grew."""
    torch.set_num_threads(options.threads)
    before, cpu = peak_mib(), time.process_time()
    took = PARTS[part](count, options)
    answers.put((took, time.process_time() - cpu, peak_mib() - before))


def measure(part: str, count: int, options: argparse.Namespace) -> Cell:
    """Run one cell in a process that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    answers = context.SimpleQueue()
    child = context.Process(target=in_child, args=(part, count, options, answers))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"{part} of {count} trials failed: exit code {child.exitcode}")
    return Cell(part, count, *answers.get())


def cells_of(part: str, sizes: Sequence[int], options: argparse.Namespace) -> list[Cell]:
    """One part at every size; what is too large for the launcher follows its last exponent."""
    cells: list[Cell] = []
    for size in sizes:
        if part != "launcher" or size <= options.most_jobs or not cells:
            cells.append(measure(part, size, options))
            continue
        growth = exponent(cells[-2:]) if len(cells) > 1 else 1.0
        guessed = cells[-1].seconds * (size / cells[-1].trials) ** growth
        cells.append(Cell(part, size, guessed, None, None, measured=False))
    return cells


def exponent(cells: Sequence[Cell]) -> float:
    """The least-squares slope of log(seconds) over log(trials)."""
    x, y = [math.log(c.trials) for c in cells], [math.log(max(c.seconds, 1e-9)) for c in cells]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def growth_of(cells: Sequence[Cell]) -> dict[str, Any]:
    """The exponent over all measured sizes, from each to the next, and the first size above which it bends."""
    measured = [c for c in cells if c.measured]
    if len(measured) < 2:
        return {"exponent": None, "steps": [], "bends_above": None}
    steps = [exponent(pair) for pair in itertools.pairwise(measured)]
    pairs = zip(itertools.pairwise(measured), steps, strict=True)
    bend = next((a.trials for (a, b), step in pairs if step > BEND and b.seconds >= LEAST_S), None)
    return {"exponent": exponent(measured), "steps": steps, "bends_above": bend}


def show(rows: dict[str, list[Cell]], sizes: Sequence[int]) -> None:
    lines = []
    for part, cells in rows.items():
        found = growth_of(cells)
        times = [f"{'' if c.measured else '~'}{1e3 * c.seconds / c.trials:.3g}" for c in cells]
        memory = ["" if c.mib is None else f" ({c.mib:.0f})" for c in cells]
        slopes = [number(s, ".2f") for s in (found["exponent"], (found["steps"] or [None])[-1])]
        bend = "linear" if found["bends_above"] is None else f"bends above {found['bends_above']:,}"
        lines.append([part, *(t + m for t, m in zip(times, memory, strict=True)), *slopes, bend])
    heads = ("", *(f"{size:,}" for size in sizes), "exponent", "last step", "")
    harness.show("ms per trial (MiB of memory)", heads, lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--sizes", default="10,100,1000,10000", help="numbers of trials (default: %(default)s)")
    parser.add_argument("--parts", default=",".join(PARTS), help="(default: %(default)s)")
    parser.add_argument("--training-ms", type=float, default=1.0, help="of a simulated trial (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="of a simulated trial (default: %(default)s)")
    parser.add_argument("--most-jobs", type=int, default=1000, help="that Hydra composes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    sizes = sorted({int(size) for size in options.sizes.split(",")})
    multiprocessing.get_context("forkserver").set_forkserver_preload(IMPORTED)
    rows = {part: cells_of(part, sizes, options) for part in options.parts.split(",")}
    show(rows, sizes)
    parts = {part: {"cells": [vars(c) for c in cells], **growth_of(cells)} for part, cells in rows.items()}
    harness.write(options, {"parts": parts})
    return 0


if __name__ == "__main__":
    sys.exit(main())

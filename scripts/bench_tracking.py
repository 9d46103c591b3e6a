#!/usr/bin/env python
"""What does tracking cost? Whole commands with it and without it, and a thousand trials at full speed.

    scripts/bench_tracking.py [--parts train,sweep,flood] [--repeats 5] [--trials 100,1000] [--json FILE]

- `train`, `sweep`: the same command with `tracking=off` and with a sqlite store, taken in turns, in a process of its
  own each. Ratios are medians of the paired ratios: of the wall time, and of the training part, which is the time from
  the first trial's first event to the last trial's end in the journal. The database is there already; what the first
  command of a new output directory takes longer, as it makes the database, stands in a row of its own.
- `flood`: trials written into a journal as fast as the disk takes them, in the training's place: the seconds until
  sqlite, and a server on loopback, hold every point, and how many of them passed after the journal was closed. The
  points in the store are counted, not assumed.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import harness

from xentlab import environment, tracking
from xentlab.errors import UserError
from xentlab.journal import (
    EndEvent,
    EpochEvent,
    GroupEndEvent,
    GroupEvent,
    Journal,
    MemberEvent,
    TrialEvent,
    new_id,
)
from xentlab.outcome import Outcome

WAIT_S = 3600.0


@dataclass
class Taken:
    """One command: seconds of wall time, of its training part, and of processor time of all its processes."""

    wall: float
    training: float
    cpu: float


@dataclass
class Flood:
    """One flood: what the store holds; seconds of writing, until all arrived, from the journal's end, of the sender."""

    store: str
    trials: int
    points: int
    written: float
    arrived: float
    after_end: float
    sender_cpu: float


def run_command(arguments: Sequence[str], folder: Path, mode: str) -> Taken:
    """Run a command of xentlab in a folder, everything trained anew."""
    root = folder / "xentlab-runs"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    known = set((root / "journal").glob("*.jsonl"))
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "xentlab", *arguments, f"tracking={mode}", "output.fresh=true"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - began
    if done.returncode:
        raise UserError(f"The command must succeed, got exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    times: list[int] = []
    for segment in set((root / "journal").glob("*.jsonl")) - known:
        events = [json.loads(line) for line in segment.read_text().splitlines()]
        times += [e["time"] for e in events if e["event"] in ("trial", "end")]
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Taken(wall, (max(times) - min(times)) / 1000, cpu)


def beside(arguments: Sequence[str], repeats: int) -> dict[str, list[Taken]]:
    """The command without and with tracking, in turns; `first` is the one that made the database."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def taken(mode: str) -> Callable[[], dict[str, Taken]]:
            return lambda: {mode: run_command(arguments, folder, mode)}

        first = run_command(arguments, folder, "mlflow")
        return {**harness.take_turns([taken("off"), taken("mlflow")], repeats), "first": [first]}


def tracked_ratio(taken: dict[str, list[Taken]], what: str) -> float:
    """With tracking against without: the median over the turns."""
    return harness.ratio(*([getattr(turn, what) for turn in taken[mode]] for mode in ("mlflow", "off")))


def flood(store: str, trials: int, epochs: int, metrics: int, stack: int) -> Flood:
    """Write trials into a journal at full speed, with a tracker beside it, and wait until the store has them all."""
    with tempfile.TemporaryDirectory() as scratch:
        here, there = Path(scratch) / "here", Path(scratch) / "there"
        local = tracking.resolve_destination(None, "bench", here if store == "sqlite" else there)
        small = Journal(local.root, environment.describe(), "bench")  # makes the database
        write_trials(small, 1, 1, 1, 1)
        tracking.sync(local)
        server = None
        try:
            destination = local
            if store == "http":
                port = free_port()
                server = tracking.serve(local, port)
                destination = tracking.resolve_destination(tracking.base("127.0.0.1", port), "flood", here)
            journal = Journal(here, environment.describe(), "bench")
            warnings: list[str] = []
            trackers: list[tracking.Tracker] = []
            journal.on_open = lambda: trackers.append(tracking.Tracker(journal, destination, warn=warnings.append))
            before, used = count(local), resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.perf_counter()
            expected = write_trials(journal, trials, epochs, metrics, stack)
            written = time.perf_counter() - began
            if not trackers[0].close(WAIT_S):
                raise UserError(f"Every point must arrive, got: {' '.join(warnings) or 'a tracker that gave up'}")
            arrived = time.perf_counter() - began
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            points = count(local) - before
        finally:
            if server is not None:
                tracking.stop(server)
    if points != expected:
        raise UserError(f"The store must hold every point, got {points} of {expected}.")
    cpu = (now.ru_utime + now.ru_stime) - (used.ru_utime + used.ru_stime)
    return Flood(store, trials, points, written, arrived, arrived - written, cpu)


def write_trials(journal: Journal, trials: int, epochs: int, metrics: int, stack: int) -> int:
    """A sweep as the launcher writes it, stack by stack, with the files of each trial; returns its number of points."""
    facts = environment.describe()
    group = new_id()
    journal.append(GroupEvent(group, "sweep", "flood", None, {}, {}))
    names = [f"{part}/m{i}" for i in range(metrics // 2 + metrics % 2) for part in ("train", "val")][:metrics]
    for first in range(0, trials, stack):
        ids = [new_id() for _ in range(min(stack, trials - first))]
        journal.append(*(event for k, t in enumerate(ids) for event in (opened(t, first + k), MemberEvent(group, t))))
        for epoch in range(1, epochs + 1):
            values = {name: [1 / (epoch + i + row + 1) for row in range(len(ids))] for i, name in enumerate(names)}
            journal.append(EpochEvent(ids, epoch, values))
        for trial in ids:
            folder = journal.root / "trials" / trial
            folder.mkdir(parents=True)
            (folder / "config.yaml").write_text("seed: 0\n" * 40)
            (folder / "environment.json").write_text(json.dumps(facts))
            (folder / "final.pt").write_bytes(bytes(60_000))
        end = Outcome(
            diverged=False, stuck=False, epochs=epochs, best_epoch=1, epochs_to_target=None, seconds=1.0,
            test={"error": 0.1},
        )  # fmt: skip
        journal.append(*(EndEvent(trial, "finished", "", end.to_json(), f"trials/{trial}") for trial in ids))
    journal.append(GroupEndEvent(group, "finished", {}, {"trials": trials}, None))
    journal.close()
    return trials * (epochs * metrics + 4) + 1


def opened(trial: str, seed: int) -> TrialEvent:
    """The opening event of a trial, as large as that of a real one."""
    config = {group: {"_target_": f"xentlab.{group}.one", "a": 0.1, "b": 2, "c": True} for group in "dlmors"}
    tags = dict.fromkeys(("task", "loss", "link", "model", "optimizer", "host", "device", "git_commit"), "value")
    tags |= {"dataset": "digits", "fingerprint": "sha256:" + "0123456789abcdef" * 4, "seed": str(seed)}
    return TrialEvent(trial, trial, f"flood, seed {seed}", {**config, "seed": seed}, tags, resumed=0)


def count(destination: tracking.Destination) -> int:
    """The points in a sqlite store."""
    assert destination.database is not None
    connection = sqlite3.connect(destination.database)
    number = int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])
    connection.close()
    return number


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """The commands that are taken with and without tracking."""
    one = ["train", "dataset=digits", f"trainer.epochs={options.epochs}"]
    seeds = f"seed=range({max(options.sweep // 4, 1)})"
    many = ["train", "-m", "loss=ce,bce,mse,focal", seeds, "dataset=digits", f"trainer.epochs={options.sweep_epochs}"]
    return {"train": one, "sweep": many}


def show_commands(rows: dict[str, dict[str, list[Taken]]]) -> None:
    heads = ("command", "wall\noff", "wall\non", "wall\nratio", "training\nratio", "CPU\noff", "CPU\non", "first\non")
    lines = []
    for name, taken in rows.items():
        median = {(mode, what): statistics.median(getattr(t, what) for t in taken[mode])
                  for mode in taken for what in ("wall", "cpu")}  # fmt: skip
        seconds = {key: f"{value:.2f} s" for key, value in median.items()}
        shares = [f"{tracked_ratio(taken, what):.3f}" for what in ("wall", "training")]
        ends = (seconds["off", "cpu"], seconds["mlflow", "cpu"], seconds["first", "wall"])
        lines.append((name, seconds["off", "wall"], seconds["mlflow", "wall"], *shares, *ends))
    harness.show("tracking on / off", heads, lines, left=("command",))


def show_floods(floods: Sequence[Flood]) -> None:
    heads = (
        "store", "trials", "points", "written\nin", "arrived\nin", "after\nthe end", "ms a\ntrial", "us a\npoint",
        "sender's\nCPU",
    )  # fmt: skip
    lines = [
        (f.store, str(f.trials), str(f.points), f"{f.written:.2f} s", f"{f.arrived:.2f} s", f"{f.after_end:.2f} s",
         f"{1e3 * f.arrived / f.trials:.2f}", f"{1e6 * f.arrived / f.points:.1f}", f"{f.sender_cpu:.2f} s")
        for f in floods
    ]  # fmt: skip
    harness.show("a flood of trials", heads, lines, left=("store",))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--parts", default="train,sweep,flood", help="which of train, sweep, flood (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of a command (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=300, help="of the one training (default: %(default)s)")
    parser.add_argument("--sweep", type=int, default=32, help="trials of the sweep (default: %(default)s)")
    parser.add_argument("--sweep-epochs", type=int, default=20, help="of each of them (default: %(default)s)")
    parser.add_argument("--stores", default="sqlite,http", help="stores of the flood (default: %(default)s)")
    parser.add_argument("--trials", default="100,1000", help="sizes of the flood (default: %(default)s)")
    parser.add_argument("--flood-epochs", type=int, default=5)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--stack", type=int, default=64, help="trials that the flood writes at once")
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    rows = {name: beside(line, options.repeats) for name, line in commands(options).items() if name in parts}
    if rows:
        show_commands(rows)
    sizes = [(store, int(n)) for n in options.trials.split(",") for store in options.stores.split(",")]
    size = (options.flood_epochs, options.metrics, options.stack)
    floods = [flood(store, n, *size) for store, n in sizes] if "flood" in parts else []
    if floods:
        show_floods(floods)
    told = {name: {mode: [asdict(t) for t in turns] for mode, turns in taken.items()}
            | {f"{what}_ratio": tracked_ratio(taken, what) for what in ("wall", "training")}
            for name, taken in rows.items()}  # fmt: skip
    facts = {"commands": commands(options), "taken": told, "floods": [asdict(f) for f in floods]}
    harness.write(options, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""How long does a whole sweep take, as a user runs it? One command with tracking on, from the call to its return.

    scripts/bench_sweep.py [--losses 10] [--rates 5] [--seeds 10] [--epochs 20] [--dataset digits|mnist] [--model mlp]
                           [--device auto] [--repeats 1] [--sample 8] [--direct] [--json FILE]

- `command`: `xentlab train -m loss=... optimizer.lr=... seed=...` in a fresh output directory. Its wall time is split
  by the journal's own timestamps: `start` (the interpreter, its imports, the data; measured with a sweep of one trial),
  `compose` (Hydra's part for all other jobs), `training` (from the sweep's opening to the last trial's end) and
  `MLflow` (from there until the store has everything and the command returns). What the store holds is counted.
- `plain`: the same trainings one after another as anyone would write them: a DataLoader over a TensorDataset,
  torch.optim with a cosine schedule, validation after each epoch, the test set at the end; cross-entropy in every
  loss's place, nothing recorded. The time of a few (`--sample`), after one to warm up, is scaled to the whole sweep.
- `direct` (with `--direct`): the same trials prepared here and given to a session, tracking on: what the command's
  start and composing cost beside it.

On CUDA the defaults are 10 x 10 x 10 on MNIST for 5 epochs, else 10 x 5 x 10 on digits for 20. Without MNIST under
XENTLAB_DATA, digits stand in its place.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, TensorDataset

from xentlab import environment, tracking
from xentlab.cli.session import opened
from xentlab.data import Dataset, digits, generator, mnist, split
from xentlab.errors import UserError
from xentlab.journal import GroupEndEvent, GroupEvent, Records, new_id
from xentlab.models import initial
from xentlab.train import Trial, find_device, prepare

LOSSES = ("ce", "bce", "mse", "focal", "label_smoothing", "poly1", "gce", "sce", "multi_margin", "squared_hinge")
MOMENTUM = 0.9
WAIT_S = 3600


def rates(count: int) -> list[float]:
    """Learning rates from 0.01 to 0.5, evenly spaced on a logarithmic scale."""
    return [float(f"{0.01 * 50 ** (i / max(count - 1, 1)):.4g}") for i in range(count)]


def command(options: argparse.Namespace, root: Path) -> list[str]:
    """The sweep as a user writes it."""
    return [
        "train", "-m", f"loss={','.join(options.losses)}", f"optimizer.lr={','.join(map(str, rates(options.rates)))}",
        f"seed=range({options.seeds})", f"dataset={options.dataset}", f"model={options.model}",
        f"trainer.epochs={options.epochs}", f"trainer.device={options.device}", f"output.root={root}",
        f"tracking.wait={WAIT_S}",
    ]  # fmt: skip


def run_command(options: argparse.Namespace) -> dict[str, float]:
    """Run the sweep in a process of its own and a fresh output directory; returns its parts in seconds."""
    trials = len(options.losses) * options.rates * options.seeds
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "runs"
        began = time.time()
        call(command(options, root), scratch)
        ended = time.time()
        return {"wall": ended - began} | parts(root, trials, began, ended)


def call(arguments: Sequence[str], folder: str) -> None:
    """Run one command of xentlab in a process of its own."""
    line = [sys.executable, "-m", "xentlab", *arguments]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"The command must succeed, got exit code {done.returncode}: {done.stderr.strip()[-300:]}")


def parts(root: Path, trials: int, began: float, ended: float) -> dict[str, float]:
    """The seconds before, in and after the training, from the journal; counts what it and the store hold."""
    records = Records(root)
    records.update()
    ends = [t.end for t in records.trials.values() if t.status == "finished" and t.end is not None]
    opened, closed = min(g.start for g in records.groups.values()) / 1e3, max(ends, default=0) / 1e3
    points = sum(len(curve) for t in records.trials.values() for curve in t.curves.values())
    epochs = sum(t.epochs for t in records.trials.values())
    runs, stored = stored_runs(root)
    if len(ends) != trials or runs < trials or stored < points - points_not_finite(records):
        raise UserError(f"{trials} trials must be recorded and stored, got {len(ends)} and {runs}, {stored} points.")
    facts = {"trials": len(ends), "epochs": epochs, "points": stored}
    return {"before": opened - began, "training": closed - opened, "MLflow": ended - closed, **facts}


def points_not_finite(records: Records) -> int:
    """Points that no store takes."""
    curves = (curve for t in records.trials.values() for curve in t.curves.values())
    return sum(value is None for curve in curves for _, _, value in curve)


def stored_runs(root: Path) -> tuple[int, int]:
    """How many finished runs and points the sqlite store holds."""
    database = tracking.resolve(None, "xentlab", root).database
    assert database is not None
    connection = sqlite3.connect(database)
    runs = connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0]
    points = connection.execute("SELECT count(*) FROM metrics").fetchone()[0]
    connection.close()
    return int(runs), int(points)


def config(options: argparse.Namespace, loss: str, lr: float, seed: int) -> dict[str, Any]:
    """The config of one trial, as plain data."""
    return {
        "seed": seed,
        "dataset": {"_target_": f"xentlab.data.{options.dataset}"},
        "model": {"_target_": f"xentlab.models.{options.model}"},
        "loss": {"_target_": f"xentlab.losses.{loss}"},
        "regularizer": {"_target_": "xentlab.regularizers.none"},
        "optimizer": {"_target_": "xentlab.optim.sgd", "lr": lr, "momentum": MOMENTUM},
        "schedule": {"_target_": "xentlab.optim.cosine"},
        "trainer": {"epochs": options.epochs, "device": options.device},
    }


def grid(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All trials of the sweep in the order of its jobs."""
    values = [(loss, lr, s) for loss in options.losses for lr in rates(options.rates) for s in range(options.seeds)]
    return [config(options, *point) for point in values]


def run_direct(options: argparse.Namespace) -> dict[str, float]:
    """The same trials without a command line: prepared here, trained by a session that is tracked."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "runs"
        facts: dict[str, Any] = {
            "output": {"root": str(root), "fresh": False, "weights": True},
            "tracking": {"enabled": True, "uri": None, "experiment": "xentlab", "wait": WAIT_S},
            "executor": {"_target_": "xentlab.run.executors.auto.Auto"},
        }
        began = time.time()
        trials = [prepare(node) for node in grid(options)]
        with opened(facts, "bench") as session:
            group = new_id()
            session.journal.append(GroupEvent(group, "sweep", "direct", None, {}, {}))
            session.run(trials, groups=dict.fromkeys(trials, group))
            session.journal.append(GroupEndEvent(group, "finished", {}, {}, None))
        ended = time.time()
        return {"wall": ended - began} | parts(root, len(trials), began, ended)


def train_plainly(trial: Trial, dataset: Dataset) -> float:
    """One training as anyone would write it; returns its accuracy on test."""
    device, epochs = trial.device, trial.trainer.epochs
    division = split(dataset, trial.seed)

    def loader(index: torch.Tensor, *, shuffle: bool) -> DataLoader[tuple[torch.Tensor, ...]]:
        images = dataset.inputs[index].float() * dataset.scale
        return DataLoader(TensorDataset(images, dataset.targets[index].long()), trial.batch_size, shuffle=shuffle)

    train, val, test = (
        loader(division.train, shuffle=True),
        *(loader(part, shuffle=False) for part in (division.val, division.test)),
    )
    weights = generator(trial.seed, "weights").initial_seed()
    model = initial(trial.model, dataset.input_shape, dataset.num_classes, weights).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.optimizer.keywords["lr"], momentum=MOMENTUM)
    total = epochs * len(train)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / total)))

    def accuracy(batches: DataLoader[tuple[torch.Tensor, ...]]) -> float:
        model.eval()
        right = count = 0
        with torch.no_grad():
            for inputs, target in batches:
                right += int((model(inputs.to(device)).argmax(1) == target.to(device)).sum())
                count += len(target)
        return right / count

    for _ in range(epochs):
        model.train()
        for inputs, target in train:
            loss = F.cross_entropy(model(inputs.to(device)), target.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        accuracy(val)
    return accuracy(test)


def run_plainly(options: argparse.Namespace, dataset: Dataset) -> dict[str, float]:
    """A sample of the sweep in plain PyTorch, scaled to all of it; seconds."""
    jobs = grid(options)
    chosen = [prepare(jobs[i * len(jobs) // options.sample]) for i in range(min(options.sample, len(jobs)))]
    train_plainly(prepare({**jobs[0], "trainer": {**jobs[0]["trainer"], "epochs": 1}}), dataset)
    began = time.perf_counter()
    accuracies = [train_plainly(trial, dataset) for trial in chosen]
    each = (time.perf_counter() - began) / len(chosen)
    return {"wall": each * len(jobs), "each": each, "sample": len(chosen), "accuracy": statistics.median(accuracies)}


def start_of(options: argparse.Namespace) -> float:
    """How long a command takes until a sweep of one trial begins: the interpreter, its imports, the data; seconds."""
    one = argparse.Namespace(**{**vars(options), "losses": options.losses[:1], "rates": 1, "seeds": 1, "epochs": 1})
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "runs"
        began = time.time()
        call([*command(one, root), "tracking=off"], scratch)
        records = Records(root)
        records.update()
        return next(iter(records.groups.values())).start / 1e3 - began


def table(taken: dict[str, list[dict[str, float]]], trials: int) -> Table:
    page = Table(title=f"{trials} trainings", title_justify="left")
    for column in (
        "",
        "wall\ns",
        "start\ns",
        "compose\ns",
        "training\ns",
        "MLflow\ns",
        "ms a\ntraining",
        "wall /\nplain",
    ):
        page.add_column(column, justify="right" if column else "left")
    plain = statistics.median(turn["wall"] for turn in taken["plain"])
    for name, turns in taken.items():
        median = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        seconds = [median.get(key) for key in ("wall", "start", "compose", "training", "MLflow")]
        cells = ["–" if s is None else f"{s:.2f}" for s in seconds]
        page.add_row(name, *cells, f"{1e3 * median['wall'] / trials:.1f}", f"{median['wall'] / plain:.3f}")
    return page


def measure(options: argparse.Namespace, dataset: Dataset) -> dict[str, list[dict[str, float]]]:
    """Everything turn by turn: the plain sample, the command, and the session without it."""
    names = ("command", "direct", "plain") if options.direct else ("command", "plain")
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    start = start_of(options)
    for _ in range(options.repeats):
        taken["plain"].append(run_plainly(options, dataset))
        turn = run_command(options)
        before = turn.pop("before")
        taken["command"].append({**turn, "start": min(start, before), "compose": max(before - start, 0.0)})
        if options.direct:
            turn = run_direct(options)
            taken["direct"].append({**turn, "compose": turn.pop("before")})
    return taken


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", default="10", help=f"names, or how many of {', '.join(LOSSES)} (default: all)")
    parser.add_argument("--rates", type=int, help="learning rates from 0.01 to 0.5 (default: 5; 10 on CUDA)")
    parser.add_argument("--seeds", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="of each training (default: 20; 5 on CUDA)")
    parser.add_argument("--dataset", choices=["digits", "mnist"], help="(default: digits; mnist on CUDA)")
    parser.add_argument("--model", choices=["mlp", "lenet"], default="mlp")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0 ... (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="turns (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=8, help="trainings in plain PyTorch (default: %(default)s)")
    parser.add_argument("--direct", action="store_true", help="also without command line and Hydra")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    options.device = str(find_device(options.device))
    cuda = options.device.startswith("cuda")
    options.losses = list(LOSSES[: int(options.losses)]) if options.losses.isdigit() else options.losses.split(",")
    options.rates = options.rates or (10 if cuda else 5)
    options.epochs = options.epochs or (5 if cuda else 20)
    options.dataset = options.dataset or ("mnist" if cuda else "digits")
    try:
        dataset = mnist(download=False) if options.dataset == "mnist" else digits()
    except UserError:
        print("bench_sweep: MNIST is not at hand (XENTLAB_DATA): digits stand in its place.", file=sys.stderr)
        options.dataset, dataset = "digits", digits()
    trials = len(options.losses) * options.rates * options.seeds
    print(f"{len(options.losses)} losses x {options.rates} learning rates x {options.seeds} seeds, {options.model} on "
          f"{options.dataset}, {options.epochs} epochs, {options.device}, torch {torch.__version__}")  # fmt: skip
    taken = measure(options, dataset)
    Console(width=None if sys.stdout.isatty() else 120).print(table(taken, trials))
    print(
        f"plain: {taken['plain'][0]['sample']:.0f} of {trials} trainings were run, the time of all is scaled from them."
    )
    if options.json:
        facts = {"taken": taken, "trials": trials, "command": command(options, Path("xentlab-runs"))}
        here = {"environment": environment.describe(), "load": os.getloadavg()}
        options.json.write_text(json.dumps({**facts, **here, "options": {k: str(v) for k, v in vars(options).items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

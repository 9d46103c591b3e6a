#!/usr/bin/env python
"""How long does a whole sweep take, as a user runs it? One command with tracking on, from the call to its return.

    scripts/bench_sweep.py [--losses 10] [--rates 5] [--seeds 10] [--epochs 20] [--dataset digits|mnist] [--model mlp]
                           [--device auto] [--repeats 1] [--sample 8] [--direct] [--peer lightning] [--json FILE]

- `command`: `xentlab train -m loss=... optimizer.lr=... seed=...` in a fresh output directory. Its wall time is split
  by the journal's own timestamps: `start` (the interpreter, its imports, the data; measured with a sweep of one trial),
  `compose` (Hydra's part for all other jobs), `training` (from the sweep's opening to the last trial's end) and
  `MLflow` (from there until the store has everything and the command returns). What the store holds is counted.
- `plain`: the same trainings one after another as anyone would write them: a DataLoader over a TensorDataset,
  torch.optim with a cosine schedule, validation after each epoch, the test set at the end; cross-entropy in every
  loss's place, nothing recorded. The time of a few (`--sample`), after one to warm up, is scaled to the whole sweep.
- `direct` (with `--direct`): the same trials prepared here and given to a session, tracking on: what the command's
  start and composing cost beside it.
- `lightning` (with `--peer lightning`, where it is installed): the same sample in Lightning's loop with its MLflow
  logger on sqlite and a checkpoint, as people use it; scaled as `plain` is.

On CUDA the defaults are 10 x 10 x 10 on MNIST for 5 epochs, else 10 x 5 x 10 on digits for 20. Without MNIST under
XENTLAB_DATA, digits stand in its place.
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import peer_lightning
import torch
from harness import LOSSES, ByHand, call, number
from torch.utils.data import DataLoader, TensorDataset

from xentlab import tracking
from xentlab.config.opening import opened
from xentlab.data import Dataset, split
from xentlab.errors import UserError
from xentlab.journal import GroupEndEvent, GroupEvent, Records, new_id
from xentlab.train import Trial, find_device, prepare

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
    database = tracking.resolve_destination(None, "xentlab", root).database
    assert database is not None
    connection = sqlite3.connect(database)
    runs = connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0]
    points = connection.execute("SELECT count(*) FROM metrics").fetchone()[0]
    connection.close()
    return int(runs), int(points)


def grid(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The configs of all trials of the sweep in the order of its jobs."""
    facts: dict[str, Any] = {"schedule": "cosine", "epochs": options.epochs, "device": options.device}
    values = [(loss, lr, s) for loss in options.losses for lr in rates(options.rates) for s in range(options.seeds)]
    return [harness.config(options.dataset, options.model, loss, lr=lr, seed=s, **facts) for loss, lr, s in values]


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
    own = ByHand(trial, dataset)
    model, optimizer = own.model, own.optimizer
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
            own.step(inputs.to(device), target.to(device))
            schedule.step()
        accuracy(val)
    return accuracy(test)


def run_sample(options: argparse.Namespace, train: Callable[[Trial], float]) -> dict[str, float]:
    """A sample of the sweep one after another, after one epoch to warm up, scaled to all of it; seconds."""
    jobs = grid(options)
    chosen = [prepare(jobs[i * len(jobs) // options.sample]) for i in range(min(options.sample, len(jobs)))]
    train(prepare({**jobs[0], "trainer": {**jobs[0]["trainer"], "epochs": 1}}))
    began = time.perf_counter()
    accuracies = [train(trial) for trial in chosen]
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


def show(taken: dict[str, list[dict[str, float]]], trials: int) -> None:
    heads = ("", "wall\ns", "start\ns", "compose\ns", "training\ns", "MLflow\ns", "ms a\ntraining", "wall /\nplain")
    heads += ("wall /\nlightning",) * ("lightning" in taken)
    lines = []
    for name, turns in taken.items():
        median = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        cells = [number(median.get(key), ".2f") for key in ("wall", "start", "compose", "training", "MLflow")]
        walls = {name: [turn["wall"] for turn in some] for name, some in taken.items()}
        ratios = [harness.ratio(walls[name], walls[peer]) for peer in ("plain", "lightning") if peer in walls]
        lines.append([name, *cells, f"{1e3 * median['wall'] / trials:.1f}", *(f"{each:.3f}" for each in ratios)])
    harness.show(f"{trials} trainings", heads, lines)


def measure(options: argparse.Namespace, dataset: Dataset) -> dict[str, list[dict[str, float]]]:
    """Everything turn by turn: the plain sample, the command, and the session without it."""
    start = start_of(options)

    def command() -> dict[str, dict[str, float]]:
        turn = run_command(options)
        before = turn.pop("before")
        return {"command": {**turn, "start": min(start, before), "compose": max(before - start, 0.0)}}

    def direct() -> dict[str, dict[str, float]]:
        turn = run_direct(options)
        return {"direct": {**turn, "compose": turn.pop("before")}}

    def plain() -> dict[str, dict[str, float]]:
        return {"plain": run_sample(options, lambda trial: train_plainly(trial, dataset))}

    def lightning() -> dict[str, dict[str, float]]:
        with tempfile.TemporaryDirectory() as store:
            return {"lightning": run_sample(options, lambda trial: peer_lightning.train(trial, dataset, Path(store)))}

    further = [direct] * options.direct + [lightning] * (options.peer == "lightning")
    return harness.take_turns([plain, command, *further], options.repeats)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = harness.parser(__doc__ or "")
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
    parser.add_argument("--peer", choices=["lightning"], help="also as users of this library train and log")
    options = parser.parse_args(arguments)
    if options.peer and (lacking := peer_lightning.missing()):
        parser.error(lacking)
    options.device = str(find_device(options.device))
    cuda = options.device.startswith("cuda")
    options.losses = list(LOSSES[: int(options.losses)]) if options.losses.isdigit() else options.losses.split(",")
    options.rates = options.rates or (10 if cuda else 5)
    options.epochs = options.epochs or (5 if cuda else 20)
    options.dataset = options.dataset or ("mnist" if cuda else "digits")
    options.dataset, dataset = harness.load(options.dataset)
    trials = len(options.losses) * options.rates * options.seeds
    print(f"{len(options.losses)} losses x {options.rates} learning rates x {options.seeds} seeds, {options.model} on "
          f"{options.dataset}, {options.epochs} epochs, {options.device}, torch {torch.__version__}")  # fmt: skip
    taken = measure(options, dataset)
    show(taken, trials)
    print(
        f"{', '.join(sorted(taken.keys() & {'plain', 'lightning'}, reverse=True))}: "
        f"{taken['plain'][0]['sample']:.0f} of {trials} trainings were run, the time of all is scaled from them."
    )
    line = command(options, Path("xentlab-runs"))
    harness.write(options, {"taken": taken, "trials": trials, "command": line})
    return 0


if __name__ == "__main__":
    sys.exit(main())

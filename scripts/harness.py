"""What the benchmarks share: the config of a trial, turns that alternate, medians of paired ratios, a table, a file.

All that is compared runs in one process or one run, turn by turn: every other turn goes through the work backwards, so
that a machine that slows down slows all alike, and what comes second does not always find what the first left warm.
"""

from __future__ import annotations

import argparse
import compileall
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

import xentlab
from xentlab import environment
from xentlab.data import Dataset, digits, generator, mnist, split
from xentlab.errors import UserError
from xentlab.models import initial
from xentlab.train import Fit, Trial

LOSSES = ("ce", "bce", "mse", "focal", "label_smoothing", "poly1", "gce", "sce", "multi_margin", "squared_hinge")
LR, MOMENTUM = 0.05, 0.9
MIB = 2**20
T = TypeVar("T")


def parser(description: str) -> argparse.ArgumentParser:
    """A parser that prints a script's own text, with `--json`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, with the environment")
    return made


def write(options: argparse.Namespace, facts: Mapping[str, Any]) -> None:
    """Write what `--json` asks for: the figures, the options, and on what they were measured."""
    if options.json:
        here = {"environment": environment.describe(), "load": os.getloadavg(), "machine": platform.machine()}
        said = {name: str(value) for name, value in vars(options).items()}
        options.json.write_text(json.dumps({**facts, **here, "options": said}, indent=1) + "\n")


def show(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ("",)) -> None:
    """Print a table whose columns are numbers, but for those whose heads are in `left`."""
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right", no_wrap=head != "")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def load(name: str) -> tuple[str, Dataset]:
    """mnist or digits by name; digits where MNIST is not at hand."""
    if name == "mnist":
        try:
            return name, mnist(download=False)
        except UserError:
            print("MNIST is not at hand (XENTLAB_DATA): digits stand in its place.", file=sys.stderr)
    return "digits", digits()


def config(
    dataset: str, model: str, loss: str = "ce", *, lr: float = LR, seed: int = 0, schedule: str = "constant",
    sampling: Mapping[str, Any] | None = None, knobs: Mapping[str, Any] | None = None, **trainer: Any,
) -> dict[str, Any]:  # fmt: skip
    """The config of one trial, as plain data; `sampling` of its dataset, `knobs` of its model."""
    return {
        "seed": seed,
        "dataset": {"_target_": f"xentlab.data.{dataset}", **(sampling or {})},
        "model": {"_target_": f"xentlab.models.{model}", **(knobs or {})},
        "loss": {"_target_": f"xentlab.losses.{loss}"},
        "regularizer": {"_target_": "xentlab.regularizers.none"},
        "optimizer": {"_target_": "xentlab.optim.sgd", "lr": lr, "momentum": MOMENTUM},
        "schedule": {"_target_": f"xentlab.optim.{schedule}"},
        "trainer": trainer,
    }


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device | None = None) -> float:
    """How long the work takes, with what it leaves a device to do."""
    if device is not None:
        synchronise(device)
    start = time.perf_counter()
    work()
    if device is not None:
        synchronise(device)
    return time.perf_counter() - start


def take_turns(work: Sequence[Callable[[], Mapping[str, T]]], repeats: int, least_s: float = 0.0) -> dict[str, list[T]]:
    """Do all work once in each turn, forwards and backwards in turn; what each tells by name, turn by turn.

    There are `repeats` turns, or as many more as it takes to fill `least_s` seconds.
    """
    taken: dict[str, list[T]] = {}
    began, turn = time.perf_counter(), 0
    while turn < repeats or time.perf_counter() - began < least_s:
        for one in work if turn % 2 == 0 else reversed(work):
            for name, value in one().items():
                taken.setdefault(name, []).append(value)
        turn += 1
    return taken


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """The median of the ratios turn by turn."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


class Training:
    """A fit, one epoch after another.

    Attributes:
        fit: what trains.
    """

    def __init__(self, fit: Fit) -> None:
        self.fit, self._epochs = fit, fit.epochs()

    def epoch(self) -> tuple[float, float]:
        """Train one epoch; returns the seconds of its steps, and those of the metrics after it."""
        start = time.perf_counter()
        told = next(self._epochs)
        whole = time.perf_counter() - start
        (step, *_) = told.metrics["speed/ms_per_step"]
        assert step is not None
        steps = step / 1e3 * self.fit.rig.steps_per_epoch * len(self.fit.rig.trials)
        return steps, whole - steps


class ByHand:
    """A trial as anyone would write it: resident tensors, `torch.optim`, one random order per epoch."""

    def __init__(self, trial: Trial, dataset: Dataset) -> None:
        self.device, self.batch_size = trial.device, trial.batch_size
        self.train = split(dataset, trial.seed, **trial.sampling).train
        self.images = (dataset.inputs[self.train].float() * dataset.scale).to(self.device)
        self.labels = dataset.targets[self.train].long().to(self.device)
        weights = generator(trial.seed, "weights").initial_seed()
        self.model = initial(trial.model, dataset.input_shape, dataset.num_classes, weights).to(self.device)
        lr = trial.optimizer.keywords["lr"]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=MOMENTUM)

    def step(self, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(self.model(inputs), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def epoch(self) -> None:
        total = torch.zeros((), device=self.device)
        for batch in torch.randperm(len(self.images)).to(self.device).split(self.batch_size):
            total += self.step(self.images[batch], self.labels[batch])
        total.item()


@functools.cache
def _with_bytecode() -> dict[str, str]:
    """The environment of a command for which the package is compiled, also where this process is to leave none."""
    compileall.compile_dir(Path(xentlab.__file__).parent, quiet=1)
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def call(arguments: Sequence[str], folder: str | Path) -> None:
    """Run one command of xentlab in a process of its own and a folder, with the bytecode that an installation has."""
    line, environment = [sys.executable, "-m", "xentlab", *arguments], _with_bytecode()
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"The command must succeed, got exit code {done.returncode}: {done.stderr.strip()[-300:]}")


def peak_mib() -> float:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024

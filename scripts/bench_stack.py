#!/usr/bin/env python
"""What does stacking gain? R trials as one stack beside the same trials one after another, in one alternating run.

    scripts/bench_stack.py [--sizes 1,4,16,64,256,1024] [--models mlp,lenet] [--dataset mnist|digits] [--device auto]
                           [--repeats 5] [--sample 4] [--seconds 60] [--lift auto] [--json FILE]

- `stacked`: one epoch of R trials of different seeds, trained as one stack by the lift that xentlab chooses.
- `one by one`: the same trials as stacks of one. Trials differ in their seeds alone, so the time is that of the first
  few (`--sample`), times R / sample.
- `by hand`: the same model in plain PyTorch on resident tensors with torch.optim, measured and scaled alike.
- `validated`: stacked / one by one, when each epoch is followed by all metrics on validation and training examples.

Times are milliseconds per trial-epoch, medians over the repeats; ratios are medians of the paired ratios, and every
repeat runs all three, in alternating order. Memory is the measured peak of the stack on CUDA, and elsewhere the
estimate by which xentlab plans (`xentlab.train.memory`), with the peak of the whole process so far beside it.

A row that would take longer than `--seconds` trains on a part of the training set, in all columns alike: its times are
scaled to a whole epoch by the number of steps, and the row says so. A row that memory or time forbids says so instead.
Without MNIST under XENTLAB_DATA, digits stand in its place.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import harness
import torch
from harness import MIB, ByHand, Training, load, number

from xentlab.data import Dataset, digits, split
from xentlab.train import Fit, Trial, find_device, lift_of, prepare
from xentlab.train.memory import footprint, is_out_of_memory, memory_limit

MODELS: dict[str, dict[str, Any]] = {"mlp": {"hidden": [64]}, "lenet": {}, "convnet": {}}
# The least steps that still stand for an epoch.
FEWEST_STEPS = 16


@dataclass
class Row:
    """One cell of the benchmark; times in seconds, of `trials` trials for one epoch of the whole training set."""

    dataset: str
    model: str
    trials: int
    note: str = ""
    lift: str = ""
    fraction: float = 1.0
    setup: float | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    ratio: float | None = None
    hand_ratio: float | None = None
    validated_ratio: float | None = None
    memory_mib: float | None = None
    memory_is: str = "estimate"
    process_peak_mib: float | None = None

    def per_trial(self, name: str) -> float | None:
        """Median milliseconds per trial-epoch."""
        values = self.seconds.get(name)
        return 1e3 * statistics.median(values) / self.trials if values else None


def trial_of(dataset: str, model: str, options: argparse.Namespace, *, seed: int, fraction: float) -> Trial:
    """One trial of the stack."""
    trainer = {"batch_size": options.batch_size, "device": str(options.device), "lift": options.lift}
    trainer |= {"memory": options.memory, "epochs": options.repeats + 1, "max_stack": 2**20}
    sampling = {"train_fraction": fraction}
    return prepare(harness.config(dataset, model, seed=seed, sampling=sampling, knobs=MODELS[model], **trainer))


def steps_of(dataset: Dataset, options: argparse.Namespace, fraction: float) -> int:
    """Steps of one epoch."""
    return math.ceil(len(split(dataset, 0, train_fraction=fraction).train) / options.batch_size)


def measure(row: Row, dataset: Dataset, options: argparse.Namespace, expected: float) -> None:
    """Fill a row, or its note; `expected` is about how long a trial-epoch of the whole training set takes, seconds."""
    sample, device = min(options.sample, row.trials), options.device
    row.fraction = affordable(row, dataset, options, expected * (row.trials + 2 * sample) * (options.repeats + 1))
    if not row.fraction:
        return
    trials = [trial_of(row.dataset, row.model, options, seed=s, fraction=row.fraction) for s in range(row.trials)]
    row.lift = lift_of(trials[0], dataset)
    needs = footprint(trials[0], dataset, looped=row.lift == "looped").stack(row.trials)
    limit = memory_limit(trials[0])
    row.memory_mib = needs / MIB
    if needs > limit:
        row.note = f"needs {needs / MIB:,.0f} MiB, and {limit / MIB:,.0f} are allowed"
        return
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    try:
        began = time.perf_counter()
        stack = Training(Fit(trials, dataset))
        harness.synchronise(device)
        row.setup = time.perf_counter() - began
        stack.epoch()  # warm-up
        if device.type == "cuda":
            row.memory_mib = (torch.cuda.max_memory_allocated(device) - before) / MIB
            row.memory_is = "measured"
        alternate(row, stack, trials[:sample], dataset, options)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        row.note = "out of memory"
    row.process_peak_mib = harness.peak_mib()


def affordable(row: Row, dataset: Dataset, options: argparse.Namespace, wanted: float) -> float:
    """The share of the training set on which the row ends in time; 0, with a note, where none does."""
    fraction = 1.0
    whole = steps_of(dataset, options, 1.0)
    while wanted * fraction > options.seconds and whole * fraction / 2 >= FEWEST_STEPS:
        fraction /= 2
    if wanted * fraction > 2 * options.seconds:
        row.note = f"would take about {wanted * fraction:,.0f} s, more than --seconds {options.seconds:g}"
        return 0.0
    return fraction


def alternate(
    row: Row, stack: Training, sample: Sequence[Trial], dataset: Dataset, options: argparse.Namespace
) -> None:
    """Time the stack, its first trials one by one, and the same by hand, turn by turn."""
    alone = [Training(Fit([trial], dataset)) for trial in sample]
    hands = [ByHand(trial, dataset) for trial in sample]
    for one in (*alone, *hands):
        one.epoch()  # warm-up
    whole = steps_of(dataset, options, 1.0) / stack.fit.rig.steps_per_epoch
    each = row.trials / len(sample)

    def stacked() -> dict[str, float]:
        steps, after = stack.epoch()
        return {"stacked": steps * whole, "stacked validation": after}

    def one_by_one() -> dict[str, float]:
        steps, after = (sum(part) for part in zip(*(one.epoch() for one in alone), strict=True))
        return {"one by one": steps * whole * each, "validation": after * each}

    def by_hand() -> dict[str, float]:
        return {"by hand": harness.seconds(lambda: [hand.epoch() for hand in hands], options.device) * whole * each}

    row.seconds = taken = harness.take_turns([stacked, one_by_one, by_hand], options.repeats)
    row.ratio = harness.ratio(taken["stacked"], taken["one by one"])
    row.hand_ratio = harness.ratio(taken["stacked"], taken["by hand"])
    row.validated_ratio = harness.ratio(
        map(sum, zip(taken["stacked"], taken["stacked validation"], strict=True)),
        map(sum, zip(taken["one by one"], taken["validation"], strict=True)),
    )


def rows_of(name: str, dataset: Dataset, model: str, sizes: Sequence[int], options: argparse.Namespace) -> list[Row]:
    """All rows of one model; each tells the next how long it may take."""
    probe = ByHand(trial_of(name, model, options, seed=0, fraction=1.0), dataset)
    probe.images, probe.labels = (t[: 8 * options.batch_size] for t in (probe.images, probe.labels))
    probe.epoch()
    steps = math.ceil(len(probe.images) / options.batch_size)
    expected = harness.seconds(probe.epoch, options.device) * steps_of(dataset, options, 1.0) / steps
    rows = []
    for size in sizes:
        row = Row(name, model, size)
        measure(row, dataset, options, expected)
        taken = row.per_trial("stacked")
        expected = taken / 1e3 if taken is not None else expected
        rows.append(row)
    return rows


def show(rows: Sequence[Row], title: str) -> None:
    heads = (
        "R", "lift", "stacked\nms", "one by\none ms", "by hand\nms", "ratio", "ratio to\nby hand", "ratio\nvalidated",
        "set-up\ns", "memory\nMiB", "",
    )  # fmt: skip
    lines = []
    for r in rows:
        times = [r.per_trial(name) for name in ("stacked", "one by one", "by hand")]
        numbers = zip((*times, r.ratio, r.hand_ratio, r.validated_ratio, r.setup, r.memory_mib),
                      (*[".2f"] * 3, *[".3f"] * 3, ".2f", ",.0f"), strict=True)  # fmt: skip
        words = r.note or (f"1/{1 / r.fraction:.0f} of the training set" if r.fraction < 1 else "")
        lines.append([str(r.trials), r.lift, *(number(v, how) for v, how in numbers), words])
    harness.show(title, heads, lines, left=("lift", ""))


def targets(rows: Sequence[Row], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows that have a target, with it."""
    cuda = options.device.type == "cuda"
    wanted, goal = (64, 1 / 30) if cuda else (32, 1 / 3)
    return [
        {"what": f"{r.trials} {r.dataset} {r.model} on {options.device.type}", "ratio": r.ratio, "target": goal}
        for r in rows
        if r.trials == wanted and r.ratio is not None and (cuda or (r.dataset, r.model) == ("digits", "mlp"))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--sizes", default="1,4,16,64,256,1024", help="numbers of trials (default: %(default)s)")
    parser.add_argument("--models", default="mlp,lenet", help=f"which of {', '.join(MODELS)} (default: %(default)s)")
    parser.add_argument("--dataset", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0 ... (default: %(default)s)")
    parser.add_argument("--lift", choices=["auto", "looped", "vectorised"], default="auto")
    parser.add_argument("--batch-size", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of a row (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=4, help="trials that are run one by one (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long a row may take")
    parser.add_argument("--memory", type=float, help="MB that a stack may take (default: half of what is free)")
    options = parser.parse_args(arguments)
    options.device = find_device(options.device)
    name, dataset = load(options.dataset)
    sizes = sorted({int(size) for size in options.sizes.split(",")})
    rows = []
    for model in options.models.split(","):
        found = rows_of(name, dataset, model, sizes, options)
        show(found, f"{model} on {name}, batch {options.batch_size}, {options.device}: per trial-epoch")
        rows += found
    if options.device.type == "cpu" and "mlp" in options.models.split(",") and not targets(rows, options):
        found = rows_of("digits", digits(), "mlp", [32], options)
        show(found, f"mlp on digits, batch {options.batch_size}, cpu: per trial-epoch")
        rows += found
    marks = targets(rows, options)
    for mark in marks:
        met = "met" if mark["ratio"] <= mark["target"] else "not met"
        print(f"{mark['what']}: stacked / one by one {mark['ratio']:.3f}, target 1/{1 / mark['target']:.0f}: {met}")
    harness.write(options, {"rows": [asdict(r) for r in rows], "targets": marks})
    return 0


if __name__ == "__main__":
    sys.exit(main())

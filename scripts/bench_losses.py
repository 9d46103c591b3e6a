"""Measures every loss beside PyTorch's cross-entropy: time and peak memory of one forward and backward pass.

    python scripts/bench_losses.py --losses ce,custom_ce,dice --repeats 7 --json bench.json

Ratios are to `F.cross_entropy` on the same logits and targets. Times are taken in turns, one pass of each, and the
ratio is the median over the turns, so that a machine that slows down slows both. Peak memory is what a pass holds at
its worst beyond its inputs, temporaries inside kernels included, taken in a pass of its own. A bandwidth of 100 % of a
copy means as fast as the device copies the logits: no loss can do with less than to read them once and to write a
gradient of their size.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import harness
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from xentlab.errors import UserError, unknown
from xentlab.losses.adapters import bind_term
from xentlab.losses.contract import catalogue
from xentlab.schema import check_knobs
from xentlab.tasks import find

SHAPES = "65536x10,8x21x256x256,2048x32000"
Values = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Cell:
    """One loss on one shape: medians over the turns, and the same of `F.cross_entropy` in those turns."""

    device: str
    shape: str
    target: str
    loss: str
    time_ms: float
    time_ratio: float
    peak_mib: float
    memory_ratio: float
    gib_per_s: float
    of_copy: float


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        chosen, shapes = choose(options.losses), [shape(s, options.scale) for s in options.shapes.split(",")]
        devices = [d for d in options.devices.split(",") if d != "cuda" or torch.cuda.is_available()]
    except UserError as error:
        print(f"bench_losses: {error}", file=sys.stderr)
        return 2
    if options.threads:
        torch.set_num_threads(options.threads)
    cells = []
    for device in devices:
        for sizes in shapes:
            for kind in options.targets.split(","):
                found = measure(chosen, torch.device(device), sizes, kind, options)
                show(found, threads=torch.get_num_threads())
                cells += found
    gpu = torch.cuda.get_device_name() if "cuda" in devices else None
    harness.write(options, {"threads": torch.get_num_threads(), "gpu": gpu, "cells": [asdict(c) for c in cells]})
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options from the command line."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--losses", help="names, comma-separated (default: the whole catalogue)")
    parser.add_argument("--shapes", default=SHAPES, help="of the logits: NxC or NxCxHxW (default: %(default)s)")
    parser.add_argument("--targets", default="index", help="index, soft or index,soft (default: %(default)s)")
    parser.add_argument("--devices", default="cpu,cuda", help="cuda is left out where there is none")
    parser.add_argument("--repeats", type=int, default=7, help="turns per loss at least (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="more turns until they fill this (default: %(default)s)"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the samples, or of the pixels, of each shape"
    )
    parser.add_argument("--threads", type=int, help="of the CPU (default: PyTorch's own choice)")
    parser.add_argument("--seed", type=int, default=0, help="of the logits and targets")
    return parser.parse_args(arguments)


def choose(names: str | None) -> dict[str, Callable[..., Tensor]]:
    """The named losses of the catalogue, or all.

    Raises:
        UserError: a name is not in the catalogue.
    """
    known = catalogue()
    for name in names.split(",") if names else ():
        if name not in known:
            raise unknown("loss", name, known)
    return {name: known[name] for name in names.split(",")} if names else known


def shape(text: str, scale: float) -> tuple[int, ...]:
    """`8x21x256x256` as numbers, with the samples, or on maps the pixels, reduced to a share of `scale`.

    Raises:
        UserError: it is not two or four positive integers.
    """
    parts = text.split("x")
    if len(parts) not in (2, 4) or not all(p.isdecimal() and int(p) for p in parts):
        raise UserError(f"--shapes must be NxC or NxCxHxW, got {text}.")
    samples, classes, *pixels = map(int, parts)
    if pixels:
        return (samples, classes, *(max(1, round(p * math.sqrt(scale))) for p in pixels))
    return max(1, round(samples * scale)), classes


def measure(
    chosen: dict[str, Callable[..., Tensor]],
    device: torch.device,
    sizes: tuple[int, ...],
    kind: str,
    options: argparse.Namespace,
) -> list[Cell]:
    """Every chosen loss that has a meaning on such logits and targets, after `F.cross_entropy`."""
    generator = torch.Generator().manual_seed(options.seed)
    logits = torch.randn(sizes, generator=generator).to(device).requires_grad_()
    if kind == "soft":
        target = torch.randn(sizes, generator=generator).softmax(1).to(device)
    else:
        target = torch.randint(sizes[1], (sizes[0], *sizes[2:]), generator=generator).to(device)
    task = "multiclass" if len(sizes) == 2 else "segmentation"
    functions = {
        name: bound(function, task, sizes[1], device)
        for name, function in chosen.items()
        if task in function.spec.tasks and (kind == "index" or function.spec.float_targets)  # type: ignore[attr-defined]
    }
    baseline: Values = functools.partial(F.cross_entropy, reduction="none")
    copied = logits.detach().clone()
    copy = statistics.median(
        seconds(device, lambda: copied.copy_(logits.detach())) for _ in range(max(3, options.repeats))
    )
    least = 2 * logits.numel() * logits.element_size()
    base_peak = peak(baseline, logits, target)

    def cell(name: str, times: list[float], ratio: float, bytes_held: int) -> Cell:
        median = statistics.median(times)
        where = "x".join(map(str, sizes))
        speed = least / median / 2**30
        memory = bytes_held / base_peak
        return Cell(
            device.type, where, kind, name, median * 1e3, ratio, bytes_held / 2**20, memory, speed, copy / median
        )

    rows, all_base = [], []
    for name, function in functions.items():
        held = peak(function, logits, target)
        passes = {"base": baseline, "own": function}
        work = [
            lambda n=n, f=f: {n: seconds(device, functools.partial(step, f, logits, target))}  # type: ignore[misc]
            for n, f in passes.items()
        ]
        turns = harness.take_turns(work, options.repeats, least_s=options.seconds)
        all_base += turns["base"]
        rows.append(cell(name, turns["own"], harness.ratio(turns["own"], turns["base"]), held))
    return [cell("F.cross_entropy", all_base, 1.0, base_peak), *rows] if rows else []


def bound(function: Callable[..., Tensor], task: str, num_classes: int, device: torch.device) -> Values:
    """The loss at its default knobs as `(logits, target) -> values`, with even class counts where it asks for them."""
    term, _ = bind_term(functools.partial(function, **check_knobs("loss", function, {})), find(task))
    facts: dict[str, Any] = {
        "weight": None,
        "class_weights": None,
        "class_counts": torch.full((num_classes,), 100.0, device=device),
    }

    def values(logits: Tensor, target: Tensor) -> Tensor:
        return term.function(logits, target, *(facts[name] for name in term.asks), **term.data)

    return values


def step(function: Values, logits: Tensor, target: Tensor) -> Tensor:
    """One forward and backward pass: the gradient of the mean."""
    return torch.autograd.grad(function(logits, target).mean(), logits)[0]


def seconds(device: torch.device, run: Callable[[], Any]) -> float:
    """How long `run` takes, on the device's own clock."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1e3


def peak(function: Values, logits: Tensor, target: Tensor) -> int:
    """Bytes that one pass holds at its worst beyond its inputs; the first pass of each loss, so it also warms up."""
    if logits.device.type == "cuda":
        step(function, logits, target)
        torch.cuda.synchronize(logits.device)
        torch.cuda.reset_peak_memory_stats(logits.device)
        before = torch.cuda.memory_allocated(logits.device)
        step(function, logits, target)
        return torch.cuda.max_memory_allocated(logits.device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # The allocator's own record: it sees what kernels take and give back inside, which tensors do not show.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step(function, logits, target)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    moves = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    held = highest = 0
    for _, size in moves:
        held += size
        highest = max(highest, held)
    return highest


def show(cells: list[Cell], *, threads: int) -> None:
    """One shape's losses, fastest first."""
    if not cells:
        print("no chosen loss has a meaning on this shape and kind of target")
        return
    first = cells[0]
    where = f"{first.device}, {threads} threads" if first.device == "cpu" else first.device
    rows = [
        (c.loss, f"{c.time_ms:.2f}", f"{c.time_ratio:.2f}", f"{c.peak_mib:.1f}", f"{c.memory_ratio:.2f}",
         f"{c.gib_per_s:.2f}", f"{c.of_copy:.0%}")
        for c in sorted(cells, key=lambda c: c.time_ratio)
    ]  # fmt: skip
    heads = ("loss", "time\nms", "\nratio", "peak\nMiB", "\nratio", "\nGiB/s", "of a\ncopy")
    harness.show(f"{first.shape}, {first.target} targets, {where}", heads, rows, left=("loss",))


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""What does it cost to train on images that stay in their files? Six losses on one stream, in one alternating run.

    scripts/bench_stream.py [--count 3000] [--size 32] [--model lenet] [--epochs 2] [--repeats 3] [--json FILE]

JPEGs of different sizes are written first: an MNIST digit on a piece of a CamVid photograph, its class the digit. Then

- `shared`: six trials of one seed that differ in their losses, side by side on one stream, as xentlab trains them.
- `decoding`: one reading of all that a trial reads, nothing trained. `alone`: the six on held images, one by one.
- `separate`: the six on streams of their own, one after another.

Times are seconds, medians over the repeats; ratios are medians of the paired ratios. What the shared ones end with is
compared with what the held ones end with, bit for bit. Peaks are of processes of their own, less what one has that has
trained nothing. `--decode` measures threads against processes that decode instead.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import harness
import numpy as np
import torch
from PIL import Image

from xentlab import environment
from xentlab.data import Dataset, image_folder, mnist
from xentlab.data.pixels import Remarks, centred, read_pixels, resized
from xentlab.data.turns import Turns
from xentlab.errors import UserError
from xentlab.train import Fit, Trial, prepare

LOSSES = ("ce", "bce", "mse", "focal", "label_smoothing", "gce")


def write_photographs(folder: Path, count: int) -> None:
    """JPEGs of 120 to 420 pixels a side: a digit on a piece of a photograph, in ten classes."""
    places = os.environ.get("XENTLAB_DATA")
    photographs = sorted(Path(places or ".").glob("camvid/train/images/*"))
    if not photographs:
        raise UserError("CamVid must lie in XENTLAB_DATA, found no photograph of it.")
    digits, draws = mnist(download=False), np.random.default_rng(0)
    opened = [np.asarray(Image.open(file).convert("RGB")) for file in photographs[:: max(1, len(photographs) // 20)]]
    for i in range(count):
        whole = opened[i % len(opened)]
        height, width = draws.integers(120, min(420, *whole.shape[:2]), 2)
        top, left = (int(draws.integers(0, whole.shape[k] - (height, width)[k] + 1)) for k in (0, 1))
        piece = whole[top : top + height, left : left + width].copy()
        side = int(0.8 * min(height, width))
        stamp = np.asarray(Image.fromarray(digits.inputs[i, 0].numpy()).resize((side, side)), dtype=np.uint8)
        y, x = (height - side) // 2, (width - side) // 2
        inside = piece[y : y + side, x : x + side]
        np.maximum(inside, stamp[..., None], out=inside)
        file = folder / str(int(digits.targets[i])) / f"{i:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece).save(file, quality=90)


def trained(trial: Trial, dataset: Dataset) -> Fit:
    """A trial trained to its end, with its test set met."""
    fit = Fit([trial], dataset)
    for _ in fit.epochs():
        pass
    fit.finish()
    return fit


def together(trials: list[Trial], dataset: Dataset) -> list[Fit]:
    """Trials trained side by side."""
    ends: dict[int, Fit] = {}
    work = [functools.partial(lambda i: ends.update({i: trained(trials[i], dataset)}), i) for i in range(len(trials))]
    for error in Turns(work).run():
        if error is not None:
            raise error
    return [ends[i] for i in range(len(trials))]


def read_through(trial: Trial, dataset: Dataset) -> None:
    """Read all that a trial reads."""
    rig, rows = Fit([trial], dataset).rig, slice(0, 1)
    batches, some = rig.batches, rig.train_sample
    size, measured = trial.batch_size, trial.trainer.eval_batch_size
    for epoch in range(1, trial.trainer.epochs + 1):
        parts = (batches.training(rows, epoch, size), batches.evaluation(rows, "train", measured, some))
        for part in (*parts, batches.evaluation(rows, "val", measured)):
            for _ in part:
                pass
    for _ in batches.evaluation(rows, "test", measured):
        pass


def decode(size: int, file: str) -> int:
    """What a decoder does, for the comparison of threads and processes; hands back a small answer."""
    return int(resized(centred(read_pixels(Path(file), "RGB", Remarks())), (size, size), "bilinear").sum())


def decoders(folder: Path, size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds in which all images are decoded by two threads, and by two processes that are there already."""
    files = [str(file) for file in sorted(folder.rglob("*.jpg"))]

    def timed(name: str, pool: Executor) -> Callable[[], Mapping[str, float]]:
        run = functools.partial(pool.map, functools.partial(decode, size), files, chunksize=16)
        return lambda: {name: harness.seconds(lambda: list(run()))}

    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2) as processes:
        list(processes.map(functools.partial(decode, size), files[:64]))
        return harness.take_turns([timed("threads", threads), timed("processes", processes)], repeats)


def peak_of(name: str, folder: Path) -> float:
    """The peak of a process that does this alone, in MiB."""
    line = [sys.executable, *sys.argv, "--only", name, "--folder", str(folder)]
    return float(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every figure."""
    knobs = {"root": str(folder), "size": options.size}
    common = {"epochs": options.epochs, "device": "cpu", "batch_size": 64}
    trials = [prepare(harness.config("image_folder", options.model, loss, **common)) for loss in LOSSES]
    streamed = image_folder(**knobs, resident=False)
    if options.only:
        if options.only == "shared":
            together(trials, streamed)
        elif options.only == "alone":
            trained(trials[0], image_folder(**knobs, resident=True))
        return {"seconds": {}, "peak": harness.peak_mib()}
    peaks = {name: peak_of(name, folder) for name in ("nothing", "shared", "alone")}
    shared = together(trials, streamed)
    held = image_folder(**knobs, resident=True)
    alone = [trained(trial, held) for trial in trials]
    equal = all(
        torch.equal(one.rig.state.params, other.rig.state.params) and one.history.best == other.history.best
        for one, other in zip(shared, alone, strict=True)
    )
    work: dict[str, Callable[[], object]] = {
        "shared": lambda: together(trials, streamed),
        "decoding": lambda: read_through(trials[0], streamed),
        "alone": lambda: [trained(trial, held) for trial in trials],
        "separate": lambda: [trained(trial, streamed) for trial in trials],
    }
    taken = harness.take_turns(
        [functools.partial(lambda name: {name: harness.seconds(work[name])}, name) for name in work], options.repeats
    )
    parts = [d + a for d, a in zip(taken["decoding"], taken["alone"], strict=True)]
    return {
        "seconds": {name: median(times) for name, times in taken.items()},
        "shared / (decoding + alone)": harness.ratio(taken["shared"], parts),
        "separate / (decoding + alone)": harness.ratio(taken["separate"], parts),
        "peak MiB, six shared": peaks["shared"] - peaks["nothing"],
        "peak MiB, one alone": peaks["alone"] - peaks["nothing"],
        "held MiB": held.inputs.nbytes / harness.MIB,
        "equal": equal,
        "turns": taken,
    }


def main() -> int:
    assert __doc__ is not None
    parser = harness.parser(__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--decode", action="store_true", help="threads against processes, nothing trained")
    parser.add_argument("--threads", type=int, default=1, help="that train, as in a worker of executor=processes")
    parser.add_argument("--only", choices=("nothing", "shared", "alone"), help="print the peak of this alone, in MiB")
    parser.add_argument("--folder", type=Path, help="of JPEGs that are there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    environment.keep_freed_memory()
    if options.only:
        print(measure(options, options.folder)["peak"])
        return 0
    folder = Path(tempfile.mkdtemp(prefix="photographs-"))
    try:
        write_photographs(folder, options.count)
        figures = (
            {"seconds": {k: median(v) for k, v in decoders(folder, options.size, options.repeats).items()}}
            if options.decode
            else measure(options, folder)
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder)
    rows = [[name, harness.number(value, ".2f")] for name, value in figures["seconds"].items()]
    rows += [
        [name, str(v) if isinstance(v, bool) else f"{v:.3f}"] for name, v in figures.items() if not isinstance(v, dict)
    ]
    harness.show(f"{options.count} JPEGs at {options.size} pixels, {options.model}", ("", "s"), rows)
    harness.write(options, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

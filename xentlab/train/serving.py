"""What it brings that batches are gathered from resident tensors: the same steps, served by a DataLoader instead."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from xentlab.data import Dataset, as_torchvision
from xentlab.train.rig import Rig
from xentlab.train.trial import Trial


def resident_speedup(trial: Trial, dataset: Dataset, *, steps: int = 20, turns: int = 3) -> float:
    """Seconds of steps whose batches torchvision's dataset and a DataLoader serve, over those of resident batches.

    Both train the same network from the same state, in alternating turns; what a turn takes is divided by its steps.

    Args:
        trial: of one seed; its weights are not kept.
        dataset: grey images with a class each.
        steps: of a turn, at most those of an epoch, >= 1.
        turns: of each, >= 1; the ratio is of their medians.
    """
    rig = Rig([trial], dataset)
    lift, rows = rig.lifts[0], slice(0, 1)
    lift.enter()
    examples = rig.batches.examples(rows, "train").cpu()
    loader = torch.utils.data.DataLoader(as_torchvision(dataset, examples), trial.batch_size, shuffle=True)

    def from_loader() -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, target in loader:
            yield inputs.to(rig.device), target.to(rig.device)

    def seconds(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        _synchronise(rig.device)
        count, began = 0, time.perf_counter()
        for inputs, target in itertools.islice(batches, min(steps, rig.steps_per_epoch)):
            lift.step(count, inputs, target)
            count += 1
        _synchronise(rig.device)
        return (time.perf_counter() - began) / count

    resident, loaded = [], []
    for turn in range(turns + 1):
        a = seconds(rig.batches.training(rows, turn + 1, rig.batch_size))
        b = seconds(from_loader())
        if turn:  # the first one warms up
            resident.append(a)
            loaded.append(b)
    return statistics.median(loaded) / statistics.median(resident)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

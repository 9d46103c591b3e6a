"""The default executor: the command's own process, or worker processes where those are faster by a stated rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xentlab.data import Dataset, split
from xentlab.run.executors.processes import Processes, cores
from xentlab.train import Trial, lift_of, stacks
from xentlab.train.modules import first_module
from xentlab.train.plan import cut
from xentlab.train.together import groups

WORTH_S = 30.0
LONGEST = 0.75  # of the whole time
# What a core does: forward and backward of convolutions and matrices, and the rest of a step whatever its size.
FLOPS = 2e10
STEP_S = 2e-3


@dataclass(kw_only=True)
class Auto(Processes):
    """Trains in the command's own process, or as `executor=processes` does where that pays.

    It pays where the device is the CPU, this process may use 2 cores or more, and what is to be trained would take 30 s
    of one core or more, of which the longest stack takes at most three quarters; trials that train one after another
    (convolutions and dropout on a CPU, see `train.plan.lift_of`) count as a stack each. A worker takes about 4 s of CPU
    time to import torch. Once two one-thread workers had started, 8 LeNets on MNIST took 0.44 of the time of one
    two-thread process (21 s against 49 s, on two cores in use by others); a stack of 8 MLPs of 30 hidden units trains
    batches of 10 in 0.5 of the time on one thread that it takes on two (6.2 s against 12.3 s an epoch), and 8 of 100
    hidden units in 0.9, so that two such stacks take a quarter and 0.45 of the time. Against two stacks side by side in
    one process (see `run.beside`) a sweep of 500 small MLPs took as long in workers where it is short (25 s in either,
    24 s by the estimate below), and 0.82 of the time where it is three times as long; beside two processes that kept
    both cores busy the short one took 1.36 of the time in workers. The time is estimated from the model's
    multiplications, 20 GFLOP/s and 2 ms a step, not measured, so that the same command decides alike every time; and it
    is of all trials that a phase wants, recorded or not, so that a command that goes on decides as it did.
    The knobs are those of `processes`.
    """

    def place(
        self, planned: Sequence[Sequence[Trial]], wanted: Sequence[Trial], dataset: Callable[[Trial], Dataset]
    ) -> Sequence[Sequence[Trial]] | None:
        """The stacks, looped ones as single trials, where worker processes pay, else None."""
        if any(t.device.type != "cpu" for t in wanted) or (self.workers or cores()) < 2:
            return None
        times = [seconds(piece, dataset(piece[0])) for piece in cut(groups(stacks(wanted), dataset), dataset)]
        if sum(times) < WORTH_S or max(times) > LONGEST * sum(times):
            return None
        return cut(planned, dataset)


def seconds(stack: Sequence[Trial], dataset: Dataset) -> float:
    """About how long one core trains a stack, in seconds."""
    first = stack[0]
    examples = len(split(dataset, first.seed, **first.sampling).train)
    steps = math.ceil(examples / first.batch_size)
    module, _ = first_module(first, dataset, 0)
    seen = dataset.blank(1) if dataset.encoded is None else torch.zeros(1, *dataset.encoded.shape)
    work = len(stack) * 3 * first.batch_size * forward_flops(module, seen) / FLOPS
    calls = len(stack) if lift_of(first, dataset) == "looped" else 1
    return first.trainer.epochs * steps * (calls * STEP_S + work)


def forward_flops(module: nn.Module, inputs: torch.Tensor) -> int:
    """Multiplications and additions of the linear and convolutional layers for these inputs."""
    total = 0

    def count(layer: nn.Module, given: Any, out: torch.Tensor) -> None:
        nonlocal total
        transposed = bool(getattr(layer, "transposed", False))
        values = given[0].numel() if transposed else out.numel()
        assert isinstance(layer.weight, torch.Tensor)
        total += 2 * values * layer.weight[0].numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    with torch.no_grad():
        module.eval()(inputs)
    for hook in hooks:
        hook.remove()
    return total

"""How much memory a stack takes, from one measured step of one of its trials, and how many trials rig."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xentlab.data import Dataset
from xentlab.step import peak_bytes
from xentlab.train.plan import lift_of, structure
from xentlab.train.rig import Rig
from xentlab.train.trial import Trial

# Of what is free when a stack is planned: the rest is for evaluation, for what frees late, and for others.
_SHARE = 0.5
# Copies of the parameters beside the optimizer's own: weights, gradients, best and final weights, two in the update.
_COPIES = 6


@dataclass(frozen=True)
class Footprint:
    """Bytes that a stack takes: once, and for each trial in it."""

    fixed: int
    per_trial: int

    def stack(self, trials: int) -> int:
        """Bytes of a stack of so many trials."""
        return self.fixed + trials * self.per_trial

    def fits(self, limit: int) -> int:
        """How many trials fit into `limit` bytes; at least one, since one cannot be cut."""
        return max(1, (limit - self.fixed) // max(self.per_trial, 1))


def footprint(trial: Trial, dataset: Dataset, *, looped: bool) -> Footprint:
    """What a stack of trials like this one takes; runs one step of one trial of its structure and counts its tensors.

    Args:
        dataset: what it trains on; its tensors count once.
        looped: whether its trials train one after another; then their steps' tensors never live at the same time.
    """
    key = f"{looped} {dataset.fingerprint} {structure(trial)}"
    if key not in _MEASURED:
        _MEASURED[key] = _measured(trial, dataset, looped=looped)
    return _MEASURED[key]


_MEASURED: dict[str, Footprint] = {}


def _measured(trial: Trial, dataset: Dataset, *, looped: bool) -> Footprint:
    rig = Rig([trial], dataset)
    (lift,) = rig.lifts
    lift.enter()
    inputs, target = next(rig.batches.training(lift.rows, 1, trial.batch_size))
    step = peak_bytes(lambda x: lift.gradients(x, target), [inputs]) + inputs.nbytes
    slots = sum(t.nbytes for t in rig.state.slots.values())
    buffers = 3 * sum(t.nbytes for t in rig.state.buffers.values())
    state = _COPIES * rig.state.params.nbytes + slots + buffers + rig.batches.index_bytes()
    soft = 0 if dataset.soft_targets is None else dataset.soft_targets.nbytes
    seen = dataset.seen
    images = seen.inputs.nbytes if seen.stream is None else seen.stream.window(trial.batch_size)
    shared = images + dataset.targets.nbytes + soft
    return Footprint(shared + step, state) if looped else Footprint(shared, state + step)


def most_at_once(group: Sequence[Trial], dataset: Dataset, say: Callable[[str], None]) -> int:
    """How many of these trials fit into one stack; says so where memory is what limits it."""
    first = group[0]
    looped = lift_of(first, dataset) == "looped"
    try:
        limit, needs = memory_limit(first), footprint(first, dataset, looped=looped)
    except (Exception, SystemExit) as error:
        # The step raises again in training, where it is this stack's own failure and stops no other.
        say(f"The memory of {first.label} cannot be measured: {type(error).__name__}: {error}")
        return len(group)
    size, wanted = needs.fits(limit), min(len(group), first.trainer.max_stack)
    if size < wanted:
        say(
            f"{len(group)} trials like {first.label} train in stacks of {size}: together they would take "
            f"{needs.stack(wanted) / 2**20:,.1f} MB, and {limit / 2**20:,.1f} MB are allowed."
        )
    return size


def has_room(stack: Sequence[Trial], dataset: Dataset, count: int) -> bool:
    """Whether memory has room for so many stacks like this one at a time; it has none where that cannot be measured."""
    first = stack[0]
    try:
        needs = footprint(first, dataset, looped=lift_of(first, dataset) == "looped")
    except (Exception, SystemExit):  # the step raises again in training, where it is this stack's own failure
        return False
    return count * needs.stack(len(stack)) <= memory_limit(first)


def memory_limit(trial: Trial) -> int:
    """Bytes that a stack may take: `trainer.memory`, or half of what is free on the trial's device now."""
    if trial.trainer.memory is not None:
        return int(trial.trainer.memory * 2**20)
    return int(_SHARE * free_bytes(trial.device))


def free_bytes(device: torch.device) -> int:
    """What new tensors on this device may take before it is full; on a CPU half of the machine where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is a device or the machine saying that it is full."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)

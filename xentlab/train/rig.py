"""A rig: a stack of trials set up on its data, ready to be trained, asked or measured; it trains nothing by itself.

Everything random comes from each trial's own seed: its split, first weights and batch order. So a trial in a stack has
what the same trial alone has.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xentlab import regularizers
from xentlab.data import Dataset, generator, split
from xentlab.models import has_convolution, is_foreign
from xentlab.optim import clip_norm, optimizer_state, plateau
from xentlab.step import (
    Facts,
    Given,
    Lift,
    Looped,
    Objective,
    State,
    Update,
    Vectorised,
    row_norms,
    state_dict,
    trained,
)
from xentlab.train.batches import Batches
from xentlab.train.evaluate import Evaluated, Evaluation
from xentlab.train.modules import first_module
from xentlab.train.on_data import warmup_of
from xentlab.train.plan import lift_of
from xentlab.train.trial import Trial

# Weights and batches of the rows that step together. With more a trial's step took 1.8 times as long: past the caches,
# and past what an allocator keeps, every tensor is fresh memory from the system.
_BLOCK_BYTES = 24 * 2**20


class Rig:
    """R trials of one structure on one dataset, at their first weights.

    Args:
        trials: of one structure (see `plan.stacks`).
        dataset: what `trials[0].dataset()` returns, with the trials' soft targets where they have some.

    Attributes:
        batches: the data under each trial's split.
        module: one model; its weights stand in `state`.
        state: all numbers that training changes, one row for each trial.
        plateau: epochs without a better value after which a row's rate falls, None where the schedule does not look.
        lift: the name of the lift that trains them.
        lifts: together they hold all rows, in order.
        facts: of each trial's training set, as loss and task ask for them.
        batch_size: examples of a step.
        steps_per_epoch: of each trial.
    """

    def __init__(self, trials: Sequence[Trial], dataset: Dataset) -> None:
        first = trials[0]
        assert (first.soft_targets is None) == (dataset.soft_targets is None)
        self.trials, self.dataset, self.trainer = list(trials), dataset, first.trainer
        self.device, self.batch_size = first.device, first.batch_size * self.trainer.accumulate
        dtype = torch.float64 if self.trainer.precision == "float64" else torch.float32
        seeds = [t.seed for t in trials]
        splits = {s: split(dataset, s, **first.sampling) for s in dict.fromkeys(seeds)}
        if not first.test:
            splits = {s: part.without_test() for s, part in splits.items()}
        balanced = self.trainer.sampling == "balanced"
        self.batches = Batches(
            dataset.seen,
            [splits[s] for s in seeds],
            seeds,
            self.device,
            dtype,
            balanced=balanced,
            augment=first.augment,
        )
        self.steps_per_epoch = self.batches.num_steps(self.batch_size)
        modules = {s: self._initial(s) for s in splits}
        self._prefix = "" if dataset.encoded is None else f"{dataset.encoded.head}."
        self.state = State.of([modules[s] for s in seeds], self.device, dtype)
        self.module: nn.Module = modules[seeds[0]].to(self.device, dtype)
        self.plateau: int | None = first.schedule.keywords["patience"] if first.schedule.func is plateau else None
        self.lift = lift_of(first, dataset)
        self.lifts = self._lifts()

    def _initial(self, seed: int) -> nn.Module:
        return first_module(self.trials[0], self.dataset, generator(seed, "weights").initial_seed())[0]

    def _lifts(self) -> list[Lift]:
        """The lifts over one state; fills its optimizer slots."""
        trials, first, trainer = self.trials, self.trials[0], self.trainer
        first.loss.renew()
        objective = Objective(
            loss=first.loss.data_term(self.dataset.ignore_index),
            penalty=first.regularizer.func if first.regularizer.func is not regularizers.none else None,
            mass=first.loss.mass(self.dataset.ignore_index),
            autocast=trainer.precision == "bfloat16",
            window=trainer.window,
        )
        self.facts = class_facts_of(trials, self.dataset, self.batches)
        given = Given(
            loss_knobs={k: [t.loss.data[k] for t in trials] for k in first.loss.data},
            penalty_knobs={k: [t.regularizer.keywords[k] for t in trials] for k in first.regularizer.keywords},
            facts=self.facts,
        )
        update = _update(trials, self.steps_per_epoch)
        knobs: dict[str, Any] = {
            k: v[0] if all(x == v[0] for x in v) else torch.tensor(v) for k, v in update.knobs.items()
        }
        self.state.slots = optimizer_state(first.optimizer.func, self.state.params, knobs)
        if trainer.ema is not None:
            self.state.slots["average"] = self.state.params.clone()
        parts, compiled = (self.module, self.state), trainer.compile
        if self.lift == "vectorised":
            shared = self.batches.shared
            return [
                Vectorised(*parts, rows, objective, given, update, shared=shared, compiled=compiled)
                for rows in self._blocks()
            ]
        last = self._channels_last()
        return [
            Looped(*parts, row, objective, given, update, compiled=compiled, channels_last=last)
            for row in range(len(trials))
        ]

    def _channels_last(self) -> bool:
        """Whether images come with their channels side by side: on a CPU a convnet's step took 0.74 of the time so, a
        unet's 0.86 and a lenet's all of it; in float64 a lenet took 1.5, and a stranger's model may want a `view`.
        """
        return (
            self.device.type == "cpu"
            and self.state.params.dtype == torch.float32
            and self.batches.peek(slice(0, 1), "train").ndim == 4
            and has_convolution(self.module)
            and not is_foreign(self.trials[0].model)
        )

    def _blocks(self) -> list[slice]:
        """The rows that step together: all of them, but on a CPU few enough for its caches."""
        rows = len(self.trials)
        if self.device.type != "cpu" or self.batches.dear:
            return [slice(0, rows)]
        some = self.batches.peek(slice(0, 1), "train")
        batch = 0 if self.batches.shared else some.nbytes // len(some) * self.batch_size
        # Never a single row beside others: its batches would have no axis of rows.
        most = max(_BLOCK_BYTES // (self.state.params[0].nbytes + batch), 3)
        count = math.ceil(rows / most)
        return [slice(i * rows // count, (i + 1) * rows // count) for i in range(count)]

    def holder(self, row: int) -> tuple[Lift, int]:
        """The lift that holds a row, and its place there."""
        lift = next(lift for lift in self.lifts if lift.rows.start <= row < lift.rows.stop)
        return lift, row - lift.rows.start

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the trials' weights are their running means, where they keep such: what they are judged by."""
        average = self.state.slots.get("average")
        if average is None:
            yield
            return
        trained = self.state.params.clone()
        self.state.params.copy_(average)
        yield
        self.state.params.copy_(trained)

    @property
    def evaluation(self) -> Evaluation:
        """The trials as they are evaluated, under the weights that they have now."""
        facts = {**self.facts, **_knobs_of(self.trials, self.batches)}
        link, size = self.trials[0].loss.link, self.trainer.eval_batch_size
        return Evaluation(self.lifts, self.batches, self.dataset, link, facts, size)

    @property
    def train_sample(self) -> int:
        """On how many training examples metrics are taken each epoch; unless said, on no more than on validation."""
        most = min(self.trials[0].task.train_sample, self.batches.size["val"])
        return self.trainer.train_sample or most

    def evaluate(self, part: str, limit: int | None = None) -> Evaluated:
        """What one part of the data says of the trials, see `Evaluation.of`."""
        return self.evaluation.of(part, limit)

    def known(self) -> Facts:
        """All that `Task.predict` is told of the only trial [1, ...], under the weights that it has now."""
        (lift,) = self.lifts
        return self.evaluation.known(lift, "val")

    def weights(self, row: int, state: State | None = None) -> dict[str, Tensor]:
        """One trial's weights in `state` (None: those that it has now), as `load_state_dict` takes them."""
        kept = state or self.state
        found = state_dict(self.module, kept.params[row], {k: v[row] for k, v in kept.buffers.items()})
        return {f"{self._prefix}{name}": value for name, value in found.items()}

    def put_weights(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Give each trial the weights that `weights` told of it."""
        names = [f"{self._prefix}{name}" for name in trained(self.module)]
        for row, kept in enumerate(weights):
            self.state.params[row].copy_(torch.cat([kept[name].reshape(-1) for name in names]))
            for name, buffer in self.state.buffers.items():
                if f"{self._prefix}{name}" in kept:  # a head's weights are kept without what is frozen before it
                    buffer[row].copy_(kept[f"{self._prefix}{name}"])


def class_facts_of(trials: Sequence[Trial], dataset: Dataset, batches: Batches) -> Facts:
    """What loss and task ask to know about each trial's own training set: by name [R, ...]."""
    first = trials[0]
    kinds = {name: first.task.facts[name] for name in first.loss.needs}
    if first.trainer.class_weights != "none" and first.task.class_weights is not None:
        kinds["class_weights"] = functools.partial(first.task.class_weights, first.trainer.class_weights)
    rows: dict[int, Facts] = {}
    for row, trial in enumerate(trials):
        if kinds and trial.seed not in rows:
            targets = batches.targets(row, "train").cpu()
            rows[trial.seed] = {name: kind(targets, dataset) for name, kind in kinds.items()}
    return {name: torch.stack([rows[t.seed][name] for t in trials]).to(batches.device, batches.dtype) for name in kinds}


def _knobs_of(trials: Sequence[Trial], batches: Batches) -> Facts:
    """The numbers among each trial's loss knobs, by name [R, ...]."""
    rows = [trial.loss.numbers for trial in trials]
    return {k: torch.tensor([row[k] for row in rows]).to(batches.device, batches.dtype) for k in rows[0]}


def first_gradient_norm(trial: Trial, dataset: Dataset) -> float:
    """The norm of the objective's gradient on a trial's first batch at its first weights; nothing is trained."""
    rig = Rig([trial], dataset)
    (lift,) = rig.lifts
    lift.enter()
    lift.accumulated(*next(rig.batches.training(lift.rows, 1, rig.batch_size)))
    return float(row_norms(lift.grads))


def _update(trials: Sequence[Trial], steps_per_epoch: int) -> Update:
    """How the parameters move over the training, one value of every knob for each trial."""
    first, total = trials[0], steps_per_epoch * trials[0].trainer.epochs
    factors = [t.schedule(np.arange(total), total, **warmup_of(t, steps_per_epoch)) for t in trials]
    rates = np.stack([t.optimizer.keywords["lr"] * f for t, f in zip(trials, factors, strict=True)], axis=1)
    clips = [t.trainer.clip_norm for t in trials]
    return Update(
        optimizer=first.optimizer.func,
        knobs={k: [t.optimizer.keywords[k] for t in trials] for k in first.optimizer.keywords if k != "lr"},
        rates=torch.from_numpy(rates),
        clip=clip_norm,
        chunk=None if first.trainer.accumulate == 1 else first.batch_size,
        decay=first.trainer.decay,
        average=first.trainer.ema,
        clip_norm=None if clips[0] is None else [float(c) for c in clips if c is not None],
    )

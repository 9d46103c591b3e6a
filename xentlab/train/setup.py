"""From checked trials to what the step runs: the objective, the update, and the lifts over one state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from xentlab import regularizers
from xentlab.data import Dataset
from xentlab.losses.adapters import FactKind, class_facts
from xentlab.optim import clip_norm, optimizer_state
from xentlab.step import Facts, Lift, Looped, Objective, State, Update, Vectorised
from xentlab.train.batches import Batches
from xentlab.train.plan import choose_lift
from xentlab.train.trial import Trial


def class_facts_of(trials: Sequence[Trial], dataset: Dataset, batches: Batches) -> Facts:
    """What the loss asks to know about each trial's own training set: by name [R, C]."""
    kinds: dict[str, FactKind] = dict.fromkeys(trials[0].loss.needs, "counts")
    weighting = trials[0].trainer.class_weights
    if weighting != "none":
        kinds["class_weights"] = weighting
    rows: dict[int, Facts] = {}
    for row, trial in enumerate(trials):
        if kinds and trial.seed not in rows:
            targets = batches.targets(row, "train").cpu()
            rows[trial.seed] = {
                name: class_facts(kind, targets, dataset.num_classes, dataset.ignore_index)
                for name, kind in kinds.items()
            }
    return {name: torch.stack([rows[t.seed][name] for t in trials]).to(batches.device, batches.dtype) for name in kinds}


def lifts_of(
    trials: Sequence[Trial], dataset: Dataset, module: nn.Module, state: State, batches: Batches
) -> tuple[Literal["looped", "vectorised"], list[Lift]]:
    """The name of the chosen lift, and the lifts that together hold all rows; fills the state's optimizer slots."""
    first, trainer = trials[0], trials[0].trainer
    objective = Objective(
        loss=first.loss.data_term(dataset.ignore_index),
        penalty=first.regularizer.func if first.regularizer.func is not regularizers.none else None,
        loss_knobs={k: [t.loss.data[k] for t in trials] for k in first.loss.data},
        penalty_knobs={k: [t.regularizer.keywords[k] for t in trials] for k in first.regularizer.keywords},
        autocast=trainer.precision == "bfloat16",
    )
    update = _update(trials, batches.num_steps(first.batch_size) * trainer.epochs)
    knobs: dict[str, Any] = {k: v[0] if all(x == v[0] for x in v) else torch.tensor(v) for k, v in update.knobs.items()}
    state.slots = optimizer_state(first.optimizer.func, state.params, knobs)
    name = choose_lift(trials, module, batches.device.type)
    if name == "vectorised":
        return name, [Vectorised(module, state, objective, update, shared=batches.shared, compiled=trainer.compile)]
    return name, [Looped(module, state, row, objective, update, compiled=trainer.compile) for row in range(len(trials))]


def _update(trials: Sequence[Trial], total: int) -> Update:
    """How the parameters move over `total` steps, one value of every knob for each trial."""
    first, steps = trials[0], np.arange(total)
    rates = np.stack([t.optimizer.keywords["lr"] * t.schedule(steps, total) for t in trials], axis=1)
    clips = [t.trainer.clip_norm for t in trials]
    return Update(
        optimizer=first.optimizer.func,
        knobs={k: [t.optimizer.keywords[k] for t in trials] for k in first.optimizer.keywords if k != "lr"},
        rates=torch.from_numpy(rates),
        clip=clip_norm,
        clip_norm=None if clips[0] is None else [float(c) for c in clips if c is not None],
    )

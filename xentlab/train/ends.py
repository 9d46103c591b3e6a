"""How the trials of a stack ended: their marks, their test metrics, and examples of what they answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from xentlab import tasks
from xentlab.data import Dataset
from xentlab.data.augment import unchanged
from xentlab.data.augmentation import sheet
from xentlab.outcome import OnTest, Outcome, ReliabilityBins
from xentlab.step import State
from xentlab.train.evaluate import is_stuck
from xentlab.train.history import History
from xentlab.train.rig import Rig
from xentlab.train.trial import Trial


def ends(rig: Rig, history: History, weights_at_best: State) -> tuple[list[Outcome], dict[str, Tensor]]:
    """How each trial ended: its marks, and where it may see test data, its test metrics at the final and best epoch.

    Beside them, what each test example came to under the final weights, see `Task.answers`.

    `stuck` is a trial whose final validation value is hardly better than a constant answer's, whether it never left it
    or fell back.
    """
    at_end = history.patience is not None or all(epoch == history.done for epoch in history.best_epoch)
    tests, answers = [OnTest()] * len(rig.trials), dict[str, Tensor]()
    if rig.trials[0].test:
        _, tests, answers = on_test(rig, None if at_end else weights_at_best)
    constants: dict[int, float] = {}
    told: list[Outcome] = []
    for row, (trial, test) in enumerate(zip(rig.trials, tests, strict=True)):
        if trial.seed not in constants:
            constants[trial.seed] = constant_value(rig, row)
        ended, best = not history.diverged[row], history.best[row]
        told.append(
            Outcome(
                diverged=history.diverged[row],
                stuck=_stuck(history, row, constants[trial.seed]),
                epochs=history.done,
                best_epoch=history.best_epoch[row],
                epochs_to_target=history.reached[row],
                seconds=history.seconds / len(rig.trials),
                stack=len(rig.trials),
                lift=rig.lift,
                monitor=trial.monitor if best is not None else "",
                best=best,
                test=test.test if ended else {},
                test_at_best=test.test_at_best if best is not None else {},
                reliability=test.reliability if ended else None,
            )
        )
    return told, answers


Met = tuple[Rig, list[OnTest], dict[str, Tensor]]
"""A rig with final weights, what the test set says of each trial, and of each example [R, N], see `Task.answers`."""


def on_test(rig: Rig, weights_at_best: State | None) -> Met:
    """What the test set says of each trial. It is read here and nowhere else.

    Args:
        weights_at_best: of each trial's best epoch; None where those are the final ones.
    """
    final, bins, answers = rig.evaluate("test")
    at_best = final if weights_at_best is None else _evaluated_at(rig, weights_at_best)
    found = []
    for row in range(len(rig.trials)):
        sound = bool(bins) and bool(torch.isfinite(bins["confidence"][row]).all())
        reliability = ReliabilityBins(**{k: v[row].tolist() for k, v in bins.items()}) if sound else None
        found.append(OnTest(_finite(final, row), _finite(at_best, row), reliability))
    return rig, found, answers


def meet_test(trials: Sequence[Trial], dataset: Dataset, weights: Sequence[Mapping[str, Mapping[str, Tensor]]]) -> Met:
    """What the test set says of trials that were trained without it.

    Args:
        trials: R trials of one structure that may see test data.
        weights: for each its `final` and `best` weights, as `Rig.weights` gave them.
    """
    rig = Rig(trials, dataset)
    rig.put_weights([kept["best"] for kept in weights])
    at_best = rig.state.weights()
    rig.put_weights([kept["final"] for kept in weights])
    return on_test(rig, at_best)


def _finite(values: Mapping[str, Tensor], row: int) -> dict[str, float]:
    return {name: float(column[row]) for name, column in values.items() if math.isfinite(column[row])}


def _evaluated_at(rig: Rig, weights: State) -> dict[str, Tensor]:
    final = rig.state.weights()
    rig.state.load(weights.tensors())
    values = rig.evaluate("test").metrics
    rig.state.load(final.tensors())
    return values


def constant_value(rig: Rig, row: int) -> float:
    """The monitored metric of the constant predictor on a trial's validation set."""
    train, val = rig.batches.targets(row, "train"), rig.batches.targets(row, "val")
    return rig.trials[row].task.trivial(train, val, rig.dataset)[rig.trials[row].monitor]


def _stuck(history: History, row: int, constant: float) -> bool:
    last = history.last[row] if history.patience is None else history.best[row]
    return history.best[row] is None or (last is not None and is_stuck(tasks.metric(history.monitor), last, constant))


def augmented(rig: Rig, row: int, count: int = 16) -> bytes | None:
    """A picture of the first examples that one trial was trained on, as PNG; None without augmentation of images."""
    trial = rig.trials[row]
    if trial.augment.func is unchanged or len(rig.dataset.input_shape) != 3:
        return None
    inputs, _ = next(rig.batches.training(slice(row, row + 1), 1, rig.batch_size))
    return sheet(inputs[:count])


def examples(rig: Rig, row: int, count: int = 4) -> dict[str, np.ndarray]:
    """What pictures test (else validation) examples of one trial, evenly spaced over the part; nothing on most tasks.

    Neighbours in a part may be neighbours in a film.
    """
    draw = rig.trials[row].task.example
    if draw is None or rig.dataset.encoded is not None:  # there, inputs are no pictures
        return {}
    part = "test" if rig.trials[row].test else "val"
    lift, place = rig.holder(row)
    lift.enter()
    places = torch.linspace(0, rig.batches.size[part] - 1, min(count, rig.batches.size[part])).long()
    inputs, target = rig.batches.chosen(lift.rows, part, places)
    logits = lift.predict(inputs)
    if inputs.ndim == rig.dataset.inputs.ndim + 1:
        inputs, target = inputs[place], target[place]
    return draw(inputs, target, logits[place], rig.dataset)

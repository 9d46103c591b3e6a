"""One trial's test predictions under other losses: what the trained weights would have scored, had those been asked.

Losses have different scales, so a value compares trials under one loss, never losses under one trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xentlab.data import Dataset
from xentlab.step import Facts
from xentlab.train.evaluate import predictions
from xentlab.train.rig import Rig, class_facts_of
from xentlab.train.trial import Trial


def under_losses(
    trials: Sequence[Trial],
    dataset: Dataset,
    weights: Sequence[Mapping[str, Tensor]],
    yardsticks: Mapping[str, Sequence[Trial]],
) -> dict[str, list[float]]:
    """The mean value of other losses' data terms on the test examples of a stack of trained trials.

    Args:
        trials: R trials of one structure that may see test data.
        yardsticks: name -> R trials with the same seeds as `trials` in turn, of which only the loss is asked.

    Returns:
        Name -> R values in the loss's own unit, averaged as in training (ignored pixels and class weights apply), in
        float64; NaN where a loss cannot read the outputs. A loss that looks at a whole batch sees evaluation batches.
    """
    rig = Rig(trials, dataset)
    rig.put_weights(weights)
    facts = {
        name: {k: v.double() for k, v in class_facts_of(others, dataset, rig.batches).items()}
        for name, others in yardsticks.items()
    }
    sums = {name: [0.0] * len(trials) for name in yardsticks}
    totals = {name: [0.0] * len(trials) for name in yardsticks}
    for lift in rig.lifts:
        chunks = predictions(lift, rig.batches, "test", rig.trainer.eval_batch_size)
        for logits, target in chunks:
            own_target = target.ndim > dataset.targets.ndim
            for place, row in enumerate(range(len(trials))[lift.rows]):
                truth = target[place] if own_target else target
                truth = truth.double() if truth.is_floating_point() else truth
                for name, others in yardsticks.items():
                    if not others[row].loss.reads(trials[row].loss):
                        continue
                    known = {k: v[row] for k, v in facts[name].items()}
                    mean, share = _mean(others[row], logits[place].double(), truth, known, dataset.ignore_index)
                    if share:
                        sums[name][row] += share * mean
                        totals[name][row] += share
    return {
        name: [s / t if t else math.nan for s, t in zip(sums[name], totals[name], strict=True)] for name in yardsticks
    }


def _mean(trial: Trial, logits: Tensor, target: Tensor, facts: Facts, ignore_index: int | None) -> tuple[float, float]:
    """The data term on one chunk, and the weight of the chunk in the mean over all."""
    loss = trial.loss
    _, weight = loss.task.weigh(target, facts, ignore_index, loss.link)
    if weight is None:
        share = float(len(target) if target.is_floating_point() else target.numel())
    else:
        share = float(weight.sum())
    with torch.no_grad():
        return float(loss.data_term(ignore_index)(logits, target, facts, loss.data)), share

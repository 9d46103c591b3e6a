"""How the trials of a stack ended: their marks, their test metrics, and examples of what they answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xentlab.outcome import Outcome, ReliabilityBins
from xentlab.train.evaluate import constant_predictor, is_stuck

if TYPE_CHECKING:
    from xentlab.train.fit import Fit


def ends(fit: Fit) -> list[Outcome]:
    """How each trial ended: its marks, and its test metrics at the final and the best epoch.

    The test set is read here and nowhere else. `stuck` is a trial whose last validation value is hardly better than a
    constant answer's, whether it never left it or fell back.
    """
    test = fit.trials[0].test
    final, bins = fit.evaluate("test") if test else ({}, {})
    fit.final = {"params": fit.state.params.clone()} | {k: v.clone() for k, v in fit.state.buffers.items()}
    if all(best == fit.done for best in fit.best_epoch):
        at_best = final
    else:
        at_best = _at_best(fit) if test else {}
    constants: dict[int, float] = {}
    told: list[Outcome] = []
    for row, trial in enumerate(fit.trials):
        if trial.seed not in constants:
            constants[trial.seed] = constant_value(fit, row)
        ended = not fit.diverged[row]
        sound = ended and bool(bins) and bool(torch.isfinite(bins["confidence"][row]).all())
        best = fit.best_value[row]
        told.append(
            Outcome(
                diverged=bool(fit.diverged[row]),
                stuck=_stuck(fit, row, constants[trial.seed]),
                epochs=fit.done,
                best_epoch=fit.best_epoch[row],
                epochs_to_target=fit.reached[row],
                seconds=fit.seconds / len(fit.trials),
                stack=len(fit.trials),
                lift=fit.lift,
                monitor=trial.monitor if best is not None else "",
                best=best,
                test=_finite(final, row) if ended else {},
                test_at_best=_finite(at_best, row) if best is not None else {},
                reliability=ReliabilityBins(**{k: v[row].tolist() for k, v in bins.items()}) if sound else None,
            )
        )
    return told


def _finite(values: Mapping[str, Tensor], row: int) -> dict[str, float]:
    return {name: float(column[row]) for name, column in values.items() if math.isfinite(column[row])}


def _at_best(fit: Fit) -> dict[str, Tensor]:
    fit.load(fit.best)
    values, _ = fit.evaluate("test")
    fit.load(fit.final)
    return values


def constant_value(fit: Fit, row: int) -> float:
    """The monitored metric of the constant predictor on a trial's validation set."""
    train, val = fit.batches.targets(row, "train"), fit.batches.targets(row, "val")
    return constant_predictor(fit.dataset, train, val)[fit.trials[row].monitor]


def _stuck(fit: Fit, row: int, constant: float) -> bool:
    last = fit.last_value[row]
    return fit.best_value[row] is None or (last is not None and is_stuck(fit.trials[row].monitor, last, constant))


def examples(fit: Fit, row: int, count: int = 4) -> dict[str, np.ndarray]:
    """Inputs, truth and prediction of test (else validation) examples of one trial, evenly spaced over the part.

    Neighbours in a part may be neighbours in a film.
    """
    part = "test" if fit.trials[row].test else "val"
    lift = fit.lifts[row] if len(fit.lifts) > 1 else fit.lifts[0]
    lift.enter()
    places = torch.linspace(0, fit.batches.size[part] - 1, min(count, fit.batches.size[part])).long()
    inputs, target = fit.batches.chosen(lift.rows, part, places)
    logits = lift.predict(inputs)
    place = 0 if len(logits) == 1 else row
    if inputs.ndim == fit.dataset.inputs.ndim + 1:
        inputs, target = inputs[place], target[place]
    return {
        "inputs": inputs.float().cpu().numpy(),
        "truth": target.cpu().numpy(),
        "prediction": logits[place].max(1).indices.cpu().numpy(),
    }

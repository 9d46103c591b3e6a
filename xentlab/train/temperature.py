"""Temperature: a number that divides the logits of a trained network, to scale how sure it is or to teach another.

Temperature scaling fits it on validation. That changes no decision, only how sure the probabilities are; so it
separates how calibrated a loss leaves a network from how calibrated the same network can be made afterwards.

Reference: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, 2017. Hinton, Vinyals, Dean,
Distilling the knowledge in a neural network, 2015.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.data import Dataset
from xentlab.errors import UserError
from xentlab.step import Lift
from xentlab.tasks import find
from xentlab.train.evaluate import predictions
from xentlab.train.rig import Rig
from xentlab.train.trial import Trial

# Temperatures that are searched, on a log scale.
LOWEST, HIGHEST = 0.01, 100.0


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature in [0.01, 100] at which softmax(logits / T) has the least mean negative log-likelihood.

    Args:
        logits: [N, C].
        target: class indices [N].
    """
    from scipy.optimize import minimize_scalar

    logits, target = logits.double(), target.long()

    def nll(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return float(torch.nn.functional.cross_entropy(scaled, target))

    # Convex in 1 / T, hence with one minimum in log T.
    found = minimize_scalar(
        nll, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(float(found.x))


def temperature_scaled(
    trials: Sequence[Trial], dataset: Dataset, weights: Sequence[Mapping[str, Tensor]]
) -> list[dict[str, float]]:
    """Each trained trial's temperature, fitted on its validation set, and its test metrics at that temperature.

    Args:
        trials: R trials of one structure that may see test data.
        dataset: what they were trained on; of a task that has soft targets.

    Returns:
        R mappings: `temperature`, and every metric of the task.

    Raises:
        UserError: the task has no single class of each example, or the loss does not give softmax probabilities.
    """
    if not find(dataset.task).soft_targets:
        raise UserError(f"Temperature scaling needs a multiclass dataset, got the {dataset.task} '{dataset.name}'.")
    if trials[0].loss.link != "softmax":
        raise UserError(f"Temperature scaling needs a loss of softmax logits, got {trials[0].name}.")
    rig = Rig(trials, dataset)
    rig.put_weights(weights)
    found: list[dict[str, float]] = []
    for lift in rig.lifts:
        val_logits, val_target = _all(rig, lift, "val")
        test_logits, test_target = _all(rig, lift, "test")
        for row in range(len(val_logits)):
            temperature = fit_temperature(val_logits[row], val_target[row])
            probs = torch.softmax(test_logits[row : row + 1] / temperature, dim=2)
            stats = metrics.multiclass_counts(probs, test_target[row : row + 1])
            values = {name: float(value) for name, value in metrics.multiclass_metrics(stats).items()}
            found.append({"temperature": temperature, **values})
    return found


def soft_answers(
    trial: Trial, dataset: Dataset, weights: Mapping[str, Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    """What a trained trial answers on its own training examples, for a student to learn.

    Args:
        trial: multiclass, with a loss of softmax logits.
        temperature: divides the logits, > 0.

    Returns:
        Which examples of the dataset those are [n], and softmax(logits / temperature) of them [n, C], float64.
    """
    rig = Rig([trial], dataset)
    rig.put_weights([weights])
    logits, _ = _all(rig, rig.lifts[0], "train")
    return rig.batches.examples(slice(0, 1), "train"), torch.softmax(logits[0] / temperature, dim=1)


def _all(rig: Rig, lift: Lift, part: str) -> tuple[Tensor, Tensor]:
    """Logits [rows, N, C], float64, and class indices [rows, N] of a whole part, on the host."""
    chunks = list(predictions(lift, rig.batches, part, rig.trainer.eval_batch_size))
    logits = torch.cat([chunk.double().cpu() for chunk, _ in chunks], dim=1)
    targets = [target.cpu().expand(len(logits), -1) if target.ndim == 1 else target.cpu() for _, target in chunks]
    return logits, torch.cat(targets, dim=1)

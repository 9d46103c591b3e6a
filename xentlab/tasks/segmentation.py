"""Segmentation: exactly one class is true of each pixel. Targets uint8 or int64 masks [N, H, W]."""

import numpy as np
import torch
from torch import Tensor

from xentlab import metrics
from xentlab.tasks import classes
from xentlab.tasks.contract import Examples


def _check(examples: Examples) -> None:
    classes.check_indices(examples, 2)


def _disturb(examples: Examples, train: Tensor, rate: float, kind: str, draws: torch.Generator) -> Tensor:
    # Image by image: random numbers for all pixels at once would take ten times the masks' memory.
    masks = examples.targets[train]
    return torch.stack([classes.disturb_indices(mask, examples, rate, kind, draws) for mask in masks])


def _trivial(train: Tensor, judged: Tensor, examples: Examples) -> dict[str, float]:
    return classes.to_values(metrics.segmentation_metrics(classes.constant_answers(train, judged, examples)))


def _example(inputs: Tensor, target: Tensor, outputs: Tensor, examples: Examples) -> dict[str, np.ndarray]:
    """Images, their masks and the predicted ones, and what a legend needs; `ignore_index` -1 is none."""
    return {
        "inputs": inputs.float().cpu().numpy(),
        "truth": target.cpu().numpy(),
        "prediction": outputs.max(1).indices.cpu().numpy(),
        "class_names": np.array(examples.class_names),
        "ignore_index": np.array(-1 if examples.ignore_index is None else examples.ignore_index),
    }


SEGMENTATION = classes.exclusive_task(
    name="segmentation",
    check=_check,
    noise=("symmetric", "asymmetric", "pairs"),
    disturb=_disturb,
    output="map",
    metrics=metrics.MAP_METRICS,
    statistics=metrics.segmentation_counts,
    finish=metrics.segmentation_metrics,
    trivial=_trivial,
    batch_size=8,
    train_sample=100,
    example=_example,
    axes=2,
)

"""What is fitted on a seed's training rows and applied to all of its rows: standardisation, and what is missing.

No validation or test row enters either; every loss of a seed sees the same inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xentlab.data.dataset import Dataset


@dataclass(frozen=True)
class Scaling:
    """An input [F] is `(value - offset) * factor`, where a missing (NaN) value is `fill`; each [F], float64."""

    offset: Tensor
    factor: Tensor
    fill: Tensor


def fit_scaling(dataset: Dataset, train: Tensor) -> Scaling | None:
    """What the training rows [n] of a seed say of a dataset's inputs [N, F]; None where the dataset asks for nothing.

    A feature that is constant over them is only moved to 0; one that has no value at all in them is 0 everywhere.
    """
    if not dataset.standardize and dataset.impute is None:
        return None
    rows = dataset.inputs[train].double()
    features = rows.shape[1]
    fill = torch.zeros(features).double()
    if dataset.impute is not None:
        fill = torch.stack([_typical(rows[:, j], dataset.impute) for j in range(features)])
        rows = torch.where(rows.isnan(), fill, rows)
    if not dataset.standardize:
        return Scaling(torch.zeros(features).double(), torch.ones(features).double(), fill)
    spread = rows.std(0, correction=0)
    return Scaling(rows.mean(0), torch.where(spread > 0, 1 / spread, 1.0), fill)


def _typical(values: Tensor, how: str) -> Tensor:
    """The mean, the median (of two middle values their mean), or the most frequent (the least of them) value."""
    known = values[~values.isnan()]
    if not len(known):
        return values.new_zeros(())
    if how == "mean":
        return known.mean()
    if how == "median":
        return known.quantile(0.5)
    found, counts = known.unique(return_counts=True)
    return found[counts.argmax()]

"""Numbers to predict: a small real table that comes with scikit-learn, and examples of a stated distribution.

To add one: a builder with `@of_task("regression")`, float targets [N] or [N, D], and a word for each of them.
"""

from __future__ import annotations

import torch

from xentlab.data.dataset import Dataset, of_task


@of_task("regression")
def diabetes() -> Dataset:
    """The 442 patients of scikit-learn's diabetes table: how far the disease went in a year, from ten measurements.

    Returns:
        A regression dataset: inputs float32 [442, 10] as measured, targets float64 [442] from 25 to 346.

    Reference: Efron, Hastie, Johnstone & Tibshirani, Least angle regression, 2004.
    """
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    return Dataset(
        name="diabetes",
        task="regression",
        inputs=torch.from_numpy(found.data).float(),
        targets=torch.from_numpy(found.target).double(),
        class_names=("progression",),
        standardize=True,
    )

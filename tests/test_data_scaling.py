"""Standardisation and missing values: fitted on each seed's training rows alone, as scikit-learn does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlab.data import Dataset, split
from xentlab.data.scaling import fit_scaling
from xentlab.train.batches import Batches

HOW = {"mean": "mean", "median": "median", "most_frequent": "most_frequent"}


def table(impute: str | None) -> Dataset:
    """60 rows of 4 features, a tenth of the values missing, on few different values so that some are frequent."""
    draws = np.random.default_rng(0)
    x = draws.integers(-3, 4, (60, 4)) * [1.0, 10.0, 0.5, 3.0] + [0.0, 100.0, -2.0, 7.0]
    if impute is not None:
        x[draws.random(x.shape) < 0.1] = np.nan
    return Dataset(
        "t", "multiclass", torch.tensor(x, dtype=torch.float32), torch.arange(60) % 3, ("a", "b", "c"),
        standardize=True, impute=impute,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("impute", [None, *HOW])
def test_each_row_of_a_stack_has_the_numbers_of_its_own_training_rows(impute: str | None) -> None:
    dataset, seeds = table(impute), [0, 1, 0]
    splits = [split(dataset, seed) for seed in seeds]
    batches = Batches(dataset, splits, seeds, torch.device("cpu"), torch.float64)
    for part in ("train", "val", "test"):
        ((inputs, _),) = batches.evaluation(slice(0, 3), part, 1000)
        for row, (seed, of_seed) in enumerate(zip(seeds, splits, strict=True)):
            steps = [StandardScaler()] if impute is None else [SimpleImputer(strategy=HOW[impute]), StandardScaler()]
            reference = make_pipeline(*steps).fit(dataset.inputs[of_seed.train].double().numpy())
            rows = dataset.inputs[getattr(of_seed, part)].double().numpy()
            np.testing.assert_allclose(inputs[row].numpy(), reference.transform(rows), rtol=1e-9, atol=1e-12)
            alone = Batches(dataset, [of_seed], [seed], torch.device("cpu"), torch.float64)
            ((own, _),) = alone.evaluation(slice(0, 1), part, 1000)
            assert torch.equal(own, inputs[row])


def test_no_other_row_enters() -> None:
    dataset = table("mean")
    train = split(dataset, 0).train
    others = torch.ones(60, dtype=torch.bool)
    others[train] = False
    wild = dataset.inputs.clone()
    wild[others] = 1e9
    first, second = (fit_scaling(d, train) for d in (dataset, Dataset(
        "t", "multiclass", wild, dataset.targets, dataset.class_names, standardize=True, impute="mean")))  # fmt: skip
    assert first is not None
    assert second is not None
    assert torch.equal(first.offset, second.offset)
    assert torch.equal(first.factor, second.factor)
    assert torch.equal(first.fill, second.fill)


def test_a_dataset_that_asks_for_nothing_has_none() -> None:
    dataset = Dataset("t", "multiclass", torch.zeros(4, 2), torch.arange(4) % 2, ("a", "b"))
    assert fit_scaling(dataset, torch.arange(4)) is None

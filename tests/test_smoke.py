"""Every basic loss on every kind of task: it trains, and ends clearly better than a constant answer."""

from __future__ import annotations

import functools

import pytest
import torch
from support import compose_train

from xentlab import metrics
from xentlab.data import Dataset
from xentlab.train import Fit, Trial, prepare
from xentlab.train.outcome import constant_value

CELLS = {
    "digits": ("dataset=digits", "model=mlp", "trainer.epochs=8"),
    "multilabel_synthetic": (
        "dataset=multilabel_synthetic", "dataset.samples=600", "model=mlp", "trainer.epochs=12",
    ),
    "scenes": (
        "dataset=scenes", "dataset.samples=500", "dataset.canvas=10", "dataset.max_objects=1", "model=unet",
        "model.width=8", "trainer.epochs=8", "trainer.batch_size=8", "trainer.class_weights=median_frequency",
        "optimizer=adam",
    ),
    "scenes as multilabel": (
        "dataset=scenes", "dataset.task=multilabel", "dataset.samples=800", "dataset.canvas=10",
        "dataset.max_objects=1", "model=mlp", "trainer.epochs=20", "optimizer=adam",
    ),
}  # fmt: skip
LOSSES = ("ce", "bce", "mse", "mse_logits", "custom_ce")
RATES = {"mse": 0.3, "mse_logits": 0.01, "bce": 0.03}  # of SGD; Adam's is 0.01 throughout


@functools.cache
def data(cell: str) -> Dataset:
    dataset: Dataset = cell_trial(cell, "ce").dataset()
    return dataset


def cell_trial(cell: str, loss: str) -> Trial:
    rate = 0.01 if "optimizer=adam" in CELLS[cell] else RATES.get(loss, 0.05)
    return prepare(compose_train(*CELLS[cell], f"loss={loss}", f"optimizer.lr={rate}"))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("cell", list(CELLS))
def test_every_cell_trains(cell: str, loss: str) -> None:
    trial = cell_trial(cell, loss)
    fit = Fit([trial], data(cell))
    epochs = list(fit.epochs())
    (end,) = fit.finish()
    assert len(epochs) == trial.trainer.epochs
    assert not end.diverged
    assert not end.stuck
    first, last = (e.metrics["train/objective"][0] for e in (epochs[0], epochs[-1]))
    assert first is not None
    assert last is not None
    assert last < first
    constant = constant_value(fit.rig, 0)
    reached = end.test[trial.monitor]
    if metrics.DIRECTIONS[trial.monitor] == "min":
        assert reached < 0.5 * constant
    else:
        assert reached > 1.5 * constant
    assert set(end) >= {f"test/{name}" for name in metrics.METRICS[trial.task]}


def test_a_torchvision_classifier_trains_by_its_dotted_path() -> None:
    config = compose_train("model=torchvision", "trainer.epochs=1", "dataset.train_fraction=0.05")
    config["model"]["_target_"] = "torchvision.models.squeezenet1_1"
    with pytest.raises(Exception, match="squeezenet1_1"):  # 8x8 pixels are too small for it, and it says so
        Fit([prepare(config)], data("digits"))
    config["model"]["_target_"] = "torchvision.models.resnet18"
    fit = Fit([prepare(config)], data("digits"))
    (epoch,) = list(fit.epochs())
    assert torch.isfinite(torch.tensor(epoch.metrics["train/objective"][0]))

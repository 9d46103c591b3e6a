"""A training as users of Lightning write it, with its MLflow logger on sqlite: what bench_sweep's `--peer` times."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import warnings
from pathlib import Path

import torch
from harness import ByHand
from torch.utils.data import DataLoader, TensorDataset

from xentlab.data import Dataset, split
from xentlab.train import Trial


def missing() -> str:
    """What to install before anything is timed, or an empty text."""
    return "" if importlib.util.find_spec("lightning") else "--peer lightning needs Lightning: pip install lightning."


def train(trial: Trial, dataset: Dataset, store: Path) -> float:
    """The trial's model, data and schedule in Lightning's loop, cross-entropy in every loss's place.

    Args:
        store: the folder of the sqlite database and of its artifacts.

    Returns:
        The accuracy on test.
    """
    import lightning
    from lightning.pytorch.loggers import MLFlowLogger

    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    own, division, epochs = ByHand(trial, dataset), split(dataset, trial.seed), trial.trainer.epochs

    def loader(index: torch.Tensor, *, shuffle: bool) -> DataLoader[tuple[torch.Tensor, ...]]:
        images = dataset.inputs[index].float() * dataset.scale
        return DataLoader(TensorDataset(images, dataset.targets[index].long()), trial.batch_size, shuffle=shuffle)

    train_batches = loader(division.train, shuffle=True)
    total = epochs * len(train_batches)

    class Module(lightning.LightningModule):  # type: ignore[misc]  # Lightning need not be here
        def __init__(self) -> None:
            super().__init__()
            self.model = own.model

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            loss = torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
            self.log("train/loss", loss, on_step=False, on_epoch=True)
            return loss

        def _evaluate(self, batch: tuple[torch.Tensor, torch.Tensor], part: str) -> None:
            outputs = self.model(batch[0])
            self.log(f"{part}/loss", torch.nn.functional.cross_entropy(outputs, batch[1]))
            self.log(f"{part}/accuracy", (outputs.argmax(1) == batch[1]).float().mean())

        def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
            self._evaluate(batch, "val")

        def test_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
            self._evaluate(batch, "test")

        def configure_optimizers(self) -> dict[str, object]:
            optimizer = own.optimizer
            cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * k / total)))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    logger = MLFlowLogger("peer", tracking_uri=f"sqlite:///{store / 'mlflow.db'}", artifact_location=str(store))
    trainer = lightning.Trainer(
        max_epochs=epochs, logger=logger, accelerator="cuda" if trial.device.type == "cuda" else "cpu", devices=1,
        default_root_dir=store, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=10**9,
        num_sanity_val_steps=0,
    )  # fmt: skip
    module = Module()
    trainer.fit(module, train_batches, loader(division.val, shuffle=False))
    (found,) = trainer.test(module, loader(division.test, shuffle=False), verbose=False)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the logger has set it, and whoever is timed next would follow it
    return float(found["test/accuracy"])

"""xentlab from Python: real objects in, data frames and figures out, twice in one process, in a thread and a loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import xentlab
from xentlab.errors import UserError

QUICK = ("trainer.epochs=2", "tracking=off", "executor=inline")


@pytest.fixture(autouse=True)
def place(here: Path) -> Path:
    return here


def my_loss(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.line = nn.Linear(in_features, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.line(inputs.flatten(1)))


def rows() -> TensorDataset:
    inputs = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())


def test_a_training_of_real_objects() -> None:
    run = xentlab.train(*QUICK, dataset=rows(), model=Net, loss=my_loss)
    assert list(run.curves.index) == [1, 2]
    assert run.table.loc["error", "test"] == pytest.approx(run.record.outcome.test["error"])
    assert "<table" in run._repr_html_()
    assert len(run.plot().axes) == 1
    assert xentlab.train(*QUICK, dataset=rows(), model=Net, loss=my_loss).id
    assert xentlab.load(run.id).id == run.id
    assert run.id in set(xentlab.runs()["id"])
    assert (
        xentlab.train(*QUICK, loss=nn.CrossEntropyLoss(), model=lambda num_outputs: Net(64, num_outputs)).id != run.id
    )


def test_a_comparison_of_real_objects() -> None:
    small = ("comparison.tuning_seeds=1", "comparison.final_seeds=3", "comparison.tune.optimizer.lr=[0.1]")
    found = xentlab.compare(*QUICK, *small, "comparison.extensions=0", model=Net, losses=["ce", {"mine": my_loss}])
    assert set(found.table["loss"]) == {"ce", "mine"}
    assert len(found.trials) == 6
    assert found.report.is_file()
    assert "<table" in found._repr_html_()
    assert len(found.plot().axes) == 1
    again = xentlab.load(found.folder.name)
    assert again.verdicts.equals(found.verdicts)


def test_a_mistake_is_the_commands_sentence(here: Path) -> None:
    with pytest.raises(UserError, match="cross_entropy is ce here"):
        xentlab.train(loss="cross_entropy")
    with pytest.raises(UserError, match="Unknown knob of model"):
        xentlab.train("+model.depth=3", model=Net)
    assert list(here.iterdir()) == []


def test_in_a_thread_and_inside_a_running_loop() -> None:
    ends: list[str] = []
    thread = threading.Thread(target=lambda: ends.append(xentlab.train(*QUICK).id))
    thread.start()
    thread.join()

    async def inside() -> str:
        return str(xentlab.train(*QUICK).id)

    assert asyncio.run(inside()) == ends[0]


def test_the_door_is_light() -> None:
    code = "import sys, xentlab; print(*[m for m in ('torch', 'pandas', 'hydra', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

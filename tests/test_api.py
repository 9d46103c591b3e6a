"""xentlab from Python: real objects in, data frames and figures out, twice in one process, in a thread and a loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import xentlab
from xentlab.api import Run
from xentlab.data import digits
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
    curves = found.curves
    assert set(curves["loss"]) == {"ce", "mine"}
    assert len(found.plot(curves["metric"][0]).axes[0].lines) == 2
    with pytest.raises(UserError, match="Unknown metric of curves 'err'"):
        found.plot("err")
    again = xentlab.load(found.folder.name)
    assert again.verdicts.equals(found.verdicts)


def test_a_training_answers() -> None:
    run = xentlab.load(xentlab.train(*QUICK).id)
    assert isinstance(run, Run)
    answer = run.predict(digits().inputs[:3])
    torch.testing.assert_close(answer.sum(1), torch.ones(3))
    with pytest.raises(UserError, match=r"Inputs must have the shape \[N, 1, 8, 8\], got \[3, 64\]\."):
        run.predict(torch.zeros(3, 64))


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


def test_two_threads_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    ends: dict[str, str] = {}

    def one(name: str) -> None:
        ends[name] = xentlab.train(*QUICK, loss=name, seed=len(name)).record.tags["loss"]

    threads = [threading.Thread(target=one, args=(name,)) for name in ("ce", "mse", "focal")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == {name: name for name in ends}
    assert len(ends) == 3
    assert capsys.readouterr().out == ""


def test_objects_are_told_apart_by_what_they_hold_and_recorded_by_their_source() -> None:
    def tempered(factor: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda logits, target: factor * my_loss(logits, target)

    quick = (*QUICK, "trainer.epochs=1", "dataset.train_fraction=0.1")
    losses = [tempered(1.0), tempered(2.0), tempered(1.0)]
    losses += [nn.CrossEntropyLoss(label_smoothing=s) for s in (0.1, 0.2, 0.1)]
    ids = [xentlab.train(*quick, loss=loss).record.signature for loss in losses]
    assert ids[0] == ids[2]
    assert ids[3] == ids[5]
    assert len(set(ids)) == 4
    run = xentlab.train(*quick, loss=losses[1])
    written = run.record.config["loss"]["_source_"]
    assert "factor * my_loss(logits, target)" in written
    assert "# factor\n2.0" in written
    assert xentlab.train(*quick, loss=nn.BCELoss()).record.tags["link"] == "sigmoid"


def test_objects_of_this_process_are_trained_in_it() -> None:
    double = lambda logits, target: 2 * my_loss(logits, target)  # noqa: E731
    with pytest.raises(UserError, match="is an object of this Python process, and Processes trains in others"):
        xentlab.train("trainer.epochs=1", "tracking=off", "executor=processes", loss=double)
    assert xentlab.train("trainer.epochs=1", "tracking=off", "executor=auto", loss=double).id
    with pytest.raises(UserError, match="was an object of a Python session: its record can be run again from Python"):
        xentlab.train("loss._target_=xentlab.held.gone")
    with pytest.raises(UserError, match=r"loss must be a name, a class, a function or a module, got a list\."):
        xentlab.train(loss=[1])


def test_arrays_and_data_frames_are_data() -> None:
    inputs = rows().tensors[0].numpy()
    pair = (inputs, (inputs[:, 0] > 0).astype("int64"))
    assert xentlab.train(*QUICK, dataset=pair).record.tags["task"] == "multiclass"
    frame = pd.DataFrame(inputs, columns=list("abcdef"))
    assert xentlab.train(*QUICK, "loss=mse", dataset=(frame, "c")).record.tags["task"] == "regression"
    parts = {"train": pair, "test": (inputs[:50], pair[1][:50])}
    assert "200 train, 50 test examples" in xentlab.train(*QUICK, dataset=parts).record.tags["data"]


def test_the_door_is_light() -> None:
    code = "import sys, xentlab; print(*[m for m in ('torch', 'pandas', 'hydra', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

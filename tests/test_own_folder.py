"""Own model, own data, own losses and those of other libraries: one command each from the folder, and all at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from own_folder_lab import DATA, LOSS, MODEL, own_folder

Run = Callable[..., tuple[int, str, str]]

QUICK = ("trainer.epochs=2", "tracking=off", "executor=inline")
OWN = ("dataset._target_=my_data.Rows", "model._target_=my_model.Net")
READ = "Rows: 150 examples [5] of multiclass (task by its examples), 3 classes"


@pytest.fixture(autouse=True)
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with own_folder(here, monkeypatch, my_model=MODEL, my_data=DATA, my_loss=LOSS):
        yield


@pytest.mark.parametrize(
    ("overrides", "shown", "said"),
    [
        ((OWN[0], "model._target_=my_model.Plain"), "ce · lr 0.05 · seed 0 · Plain on Rows", (READ,)),
        ((*OWN, "+model.width=4", "trainer.lift=looped"), "Net on Rows", (READ,)),
        (
            (*OWN, "+dataset.test.start=150", "+dataset.test.count=50"),
            "Net on Rows",
            ("Rows: 150 train, 50 test examples [5] of multiclass (task by its examples), 3 classes",),
        ),
        (
            (*OWN, "loss._target_=my_loss.Focused", "+loss.gamma=3"),
            "Focused · lr",
            (READ, "loss Focused: one value per example of logits and class indices or distributions, link softmax"),
        ),
        (
            ("loss._target_=my_loss.averaged",),
            "averaged · lr 0.05 · seed 0 · mlp on digits",
            ("loss averaged: one mean per batch of logits and class indices or distributions, link softmax, no ignored "
             "pixels, no class weights",),
        ),
        (
            ("loss._target_=timm.loss.LabelSmoothingCrossEntropy", "+loss.smoothing=0.2"),
            "LabelSmoothingCrossEntropy",
            ("loss LabelSmoothingCrossEntropy: one mean per batch of logits and class indices only, link softmax, no "
             "ignored pixels, no class weights",),
        ),
        (
            ("dataset=scenes_small", "model=unet", "model.depth=1", "dataset.samples=60",
             "loss._target_=segmentation_models_pytorch.losses.DiceLoss", "+loss.mode=multiclass"),
            "DiceLoss · lr 0.05 · seed 0 · unet on scenes",
            ("loss DiceLoss: one mean per batch of logits and class indices only, link softmax, no ignored pixels, no "
             "class weights",),
        ),
        (
            ("loss._target_=torch.nn.CrossEntropyLoss",),
            "CrossEntropyLoss",
            ("loss CrossEntropyLoss: one value per example of logits and class indices or distributions",),
        ),
        pytest.param(
            ("model._target_=timm.create_model", "+model.model_name=resnet18", "dataset.train_fraction=0.1"),
            "create_model on digits",
            (),
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_one_command_each(run: Run, overrides: tuple[str, ...], shown: str, said: tuple[str, ...]) -> None:
    code, out, err = run("train", *overrides, *QUICK)
    assert code == 0
    assert shown in out
    lines = [line.removeprefix("xentlab: ") for line in err.splitlines()]
    assert [line[: len(start)] for line, start in zip(lines, said, strict=True)] == list(said)


def test_all_losses_in_one_comparison(run: Run, here: Path) -> None:
    losses = ["ce"] + [
        f"{{{label}:{{_target_:{target}}}}}"
        for label, target in {
            "focused": "my_loss.Focused",
            "averaged": "my_loss.averaged",
            "smoothed": "timm.loss.LabelSmoothingCrossEntropy",
            "theirs": "torch.nn.CrossEntropyLoss",
        }.items()
    ]
    small = ("comparison.final_seeds=4", "comparison.tune.optimizer.lr=[0.1]", "comparison.extensions=0")
    code, *_ = run("compare", *OWN, *small, *QUICK, f"comparison.losses=[{','.join(losses)}]")
    assert code == 0
    (folder,) = (here / "xentlab-runs" / "comparisons").iterdir()
    assert folder.name.startswith("Rows_Net-")
    primary = json.loads((folder / "verdicts.json").read_text())["metrics"][0]
    means = {row["loss"]: row["mean"] for row in primary["rows"]}
    assert list(means) == ["ce", "focused", "averaged", "smoothed", "theirs"]
    assert means["theirs"] == means["ce"]
    assert "Does the loss matter for Net on Rows?" in (folder / "report.html").read_text()

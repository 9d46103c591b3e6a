"""Choosing: a choice replaces what it replaces, says what it dropped, and names of other libraries help."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xentlab.comparison.cells import StudyPlan, read_study
from xentlab.config.compose import compose_group, config_dir, run_composed
from xentlab.dotted import locate
from xentlab.models import kind
from xentlab.tasks import find

Run = Callable[..., tuple[int, str, str]]


composed_once = functools.cache(compose_group)


def group_node(group: str, name: str) -> dict[str, Any]:
    return copy.deepcopy(composed_once(group, name))


def study(*overrides: str) -> tuple[StudyPlan, dict[str, Any]]:
    """What `compare` would run under these overrides, and its config."""
    found: list[tuple[StudyPlan, dict[str, Any]]] = []
    run_composed("compare", overrides, lambda config, _: found.append((read_study(config, group_node), config)))
    return found[0]


@pytest.mark.usefixtures("here")
def test_the_default_comparison_takes_other_data_and_another_model(capsys: pytest.CaptureFixture[str]) -> None:
    plan, config = study("dataset=mnist", "model=lenet")
    assert plan.question == "Does the loss matter for lenet on mnist?"
    assert plan.name == "mnist_lenet"
    assert config["model"]["_target_"] == "xentlab.models.lenet"
    assert "hidden" not in config["model"]
    assert (plan.settings[0].protocol.margin, config["trainer"]["target"]) == (None, None)
    said = capsys.readouterr().err
    assert said == "xentlab: model=lenet does without what was set for another model: hidden.\n"


@pytest.mark.usefixtures("here")
def test_a_preset_of_its_own_choice_stays(capsys: pytest.CaptureFixture[str]) -> None:
    plan, config = study("dataset=digits", "model=mlp", "comparison.final_seeds=20")
    assert config["model"]["hidden"] == [64]
    assert (plan.name, plan.settings[0].protocol.margin, config["trainer"]["target"]) == ("quickstart", 0.005, 0.05)
    assert capsys.readouterr().err == ""
    plan, config = study("model=linear", "comparison.margin=0.01", "comparison.question=Why?")
    assert (plan.question, plan.settings[0].protocol.margin) == ("Why?", 0.01)
    plan, config = study("comparison=mnist", "dataset=digits", "model=linear")
    assert [setting.axes for setting in plan.settings] == [{}, {}]
    assert config["dataset"]["train_fraction"] == 1.0
    said = capsys.readouterr().err
    assert "dataset=digits does without what was set for another dataset: root, download" not in said
    assert "train_fraction" in said
    assert "comparison.axes.model" in said
    plan, config = study("comparison=label_noise", "dataset=mnist")
    assert len(plan.settings) == len(config["comparison"]["axes"]["dataset"]["label_noise"]) > 1
    plan, _ = study("comparison=regression", "dataset=diabetes")
    assert (plan.name, len(plan.settings)) == ("diabetes_mlp", 1)


@pytest.mark.usefixtures("here")
def test_a_dotted_path_replaces_the_choice_and_keeps_the_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("chosen_by_path.py").write_text(
        "from torch import nn\n\n\ndef net(input_shape, num_outputs, *, width=3): ...\n"
    )
    monkeypatch.syspath_prepend(Path.cwd())
    _, config = study("model._target_=chosen_by_path.net", "+model.width=5", "dataset.label_noise=0.2")
    assert config["model"] == {
        "_target_": "chosen_by_path.net",
        "_partial_": True,
        "width": 5,
        "weights": None,
        "freeze": "none",
    }
    assert config["dataset"]["label_noise"] == 0.2


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("model=lenet", "model.hidden=[3]"), "Unknown config key 'model.hidden'. Did you mean 'model.init'?"),
        (("model=linear", "+model.depth=3"), "Unknown knob of model 'depth'."),
        (("+loss.gamma=3",), "Unknown knob of loss 'gamma': there is none."),
        (("loss=cross_entropy",), "cross_entropy is ce here: loss=ce."),
        (("loss=CrossEntropyLoss",), "CrossEntropyLoss is ce here: loss=ce."),
        (("loss=categorical_crossentropy",), "categorical_crossentropy is ce here: loss=ce."),
        (("loss=sparse_categorical_crossentropy",), "sparse_categorical_crossentropy is ce here: loss=ce."),
        (("loss=BCEWithLogitsLoss",), "BCEWithLogitsLoss is bce here: loss=bce."),
        (("loss=nll",), "nll is ce here: loss=ce."),
        (("loss=l1",), "l1 is mae here: loss=mae."),
        (("loss=l2",), "l2 is mse here: loss=mse."),
        (("loss=MSELoss",), "MSELoss is mse here: loss=mse."),
        (("loss=mean_squared_error",), "mean_squared_error is mse here: loss=mse."),
        (("loss=kullback_leibler_divergence",), "kullback_leibler_divergence is kl here: loss=kl."),
        (("loss=DiceLoss",), "DiceLoss is dice here: loss=dice."),
        (("loss=FocalLoss",), "FocalLoss is focal here: loss=focal."),
        (("loss=my_loss.Mine",), "'my_loss.Mine' is a dotted path: loss._target_=my_loss.Mine chooses it."),
        (("optimizer=Adam",), "Adam is adam here: optimizer=adam."),
        (("optimizer=RAdam",), "RAdam is torch's: optimizer._target_=torch.optim.RAdam, whose trials"),
        (("optimizer=RMSprop",), "RMSprop is rmsprop here: optimizer=rmsprop."),
        (("model=cnn",), "cnn is convnet here: model=convnet."),
        (("dataset=CIFAR-10",), "CIFAR-10 is cifar10 here: dataset=cifar10."),
        (("dataset=usps",), "usps is torchvision's: dataset._target_=torchvision.datasets.USPS "),
        (("dataset=FashionMNIST",), "FashionMNIST is fashion_mnist here: dataset=fashion_mnist."),
        (("schedule=CosineAnnealingLR",), "CosineAnnealingLR is cosine here: schedule=cosine."),
        (("model=resnet50",), "resnet50 is torchvision's: model._target_=torchvision.models.resnet50."),
        (("dataset=iris",), "iris is read from its files: dataset=tabular dataset.path=PATH."),
        (("dataset=imagenet",), "imagenet is read from its files: dataset=image_folder dataset.root=PATH."),
        (("label_smoothing=0.1",), "There is no 'label_smoothing': it is loss=label_smoothing here."),
        (("trainer.seed=3",), "There is no 'trainer.seed': it is seed here."),
        (("optimizer.wd=3",), "There is no 'optimizer.wd': it is optimizer.weight_decay here."),
        (("early_stopping=true",), "There is no 'early_stopping': it is trainer.patience here."),
        (("lr=0.1",), "There is no 'lr': it is optimizer.lr here."),
        (("batch_size=3",), "There is no 'batch_size': it is trainer.batch_size here."),
    ],
)
def test_a_name_that_is_not_here_is_answered(run: Run, here: Path, overrides: tuple[str, ...], sentence: str) -> None:
    code, out, err = run("train", "tracking=off", *overrides)
    assert (code, out) == (2, "")
    assert err.startswith(f"xentlab: {sentence}")
    assert err.count("\n") == 1
    assert list(here.iterdir()) == []


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (config_dir() / group).glob("*.yaml"))


def task_of(dataset: str) -> str:
    text = (config_dir() / "dataset" / f"{dataset}.yaml").read_text()
    path = next(line.split()[1] for line in text.splitlines() if line.startswith("_target_:"))
    knob = next((line.split()[1] for line in text.splitlines() if line.startswith("task:")), None)
    return knob or locate("dataset", path).task  # type: ignore[attr-defined]


def fits(model: str, task: str) -> bool:
    text = (config_dir() / "model" / f"{model}.yaml").read_text()
    path = next(line.split()[1] for line in text.splitlines() if line.startswith("_target_:"))
    return kind(locate("model", path)) == find(task).output


def choices_of(comparison: str) -> list[tuple[str, str]]:
    """Every dataset and every model of its task, in as few pairs as hold them all."""
    text = (config_dir() / "comparison" / f"{comparison}.yaml").read_text()
    task = task_of(text.partition("override /dataset: ")[2].split()[0])
    datasets = [name for name in names("dataset") if task_of(name) == task]
    models = [name for name in names("model") if fits(name, task)]
    count = max(len(datasets), len(models))
    return [(datasets[i % len(datasets)], models[i % len(models)]) for i in range(count)]


# `tokens` is another's name, see its file.
READY = [name for name in names("comparison") if name != "tokens"]
PAIRS = [(comparison, *pair) for comparison in READY for pair in choices_of(comparison)]
MARKED = [pytest.param(*pair, marks=[pytest.mark.slow] if i % 4 else []) for i, pair in enumerate(PAIRS)]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("comparison", "dataset", "model"), MARKED)
def test_every_ready_comparison_takes_every_dataset_and_model_of_its_task(
    comparison: str, dataset: str, model: str
) -> None:
    file = config_dir() / "dataset" / f"{dataset}.yaml"
    needed = ["dataset.path=x.csv"] if "\npath: ???" in file.read_text() else []
    plan, _ = study(f"comparison={comparison}", f"dataset={dataset}", f"model={model}", *needed)
    assert plan.settings


def test_there_are_pairs_to_take() -> None:
    assert len(PAIRS) > 40
    tasks = {task_of(dataset) for _, dataset, _ in PAIRS}
    assert tasks >= {"multiclass", "multilabel", "segmentation", "regression"}
    assert {dataset for _, dataset, _ in PAIRS} == {name for name in names("dataset") if task_of(name) in tasks}
    assert {model for *_, model in PAIRS} == {m for m in names("model") if any(fits(m, task) for task in tasks)}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("overrides", "losses", "name"),
    [
        (("dataset=diabetes",), "mse", "diabetes_mlp"),
        (("dataset=multilabel_synthetic", "model=linear"), "bce", "multilabel"),
        (("dataset=scenes_small",), "ce", "segmentation"),
        (("dataset=heavy_tailed",), "mse", "heavy_tailed_mlp"),
    ],
)
def test_the_default_comparison_follows_the_task_of_the_data(
    overrides: tuple[str, ...], losses: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, _ = study(*overrides)
    assert (plan.name, plan.settings[0].protocol.baseline, len(plan.settings)) == (name, losses, 1)
    task = task_of(overrides[0].partition("=")[2])
    assert f"The data are of {task}: comparison={task} says which losses" in capsys.readouterr().err

"""A trial: one complete training, as its resolved config describes it, checked before any data is read."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xentlab.data import Dataset, soften, split
from xentlab.data.augmentation import declared
from xentlab.data.foreign import build_dataset
from xentlab.errors import UserError, unknown
from xentlab.losses.adapters import BoundLoss
from xentlab.losses.compound import bind
from xentlab.losses.contract import spec_of
from xentlab.losses.foreign import build_loss
from xentlab.metrics import Metric
from xentlab.models import Start, check_model
from xentlab.models.foreign import model_of
from xentlab.optim.foreign import build_optimizer
from xentlab.schema import Knob, Range, build, check_knob, check_knobs, check_mapping, knobs
from xentlab.tasks import TASKS, Task, find
from xentlab.train.trainer import Trainer

_KEYS = (
    "augment", "dataset", "executor", "loss", "model", "optimizer", "output", "regularizer", "schedule", "seed",
    "tracking", "trainer",
)  # fmt: skip

_SEED = Knob("seed", int, 0, Range(0, None))
# Those that every record names; one from before there was augmentation has none.
ALWAYS_NAMED = ("dataset", "model", "loss", "regularizer", "optimizer", "schedule")
COMPONENTS = (*ALWAYS_NAMED, "augment")
_UNCHANGED = {"_target_": "xentlab.data.augment.unchanged", "_partial_": True}


@dataclass(frozen=True, eq=False)
class Trial:
    """One training, checked: its components with their knobs bound, and the config they came from.

    Compared by identity, so that a trial can be a key; `signature` says whether two would end alike.

    Attributes:
        config: the resolved config as plain data.
        dataset: the builder of its data; `sampling` are the knobs of `split`.
        start: where the model's first weights are from, and what of them never moves.
        soft_targets: the file that holds what it trains on in the labels' place, see `xentlab.data.soften`.
        name: what its loss is called here.
        label: what a person calls it, such as `ce · lr 0.1 · seed 3`.
        test: whether it meets its test set as it ends; one that is to be chosen first does so afterwards, if ever.
    """

    config: dict[str, Any]
    seed: int
    task: Task
    dataset: functools.partial[Dataset]
    sampling: dict[str, Any]
    model: functools.partial[Any]
    start: Start
    loss: BoundLoss
    regularizer: functools.partial[Any]
    optimizer: functools.partial[Any]
    schedule: functools.partial[Any]
    augment: functools.partial[Any]
    trainer: Trainer
    name: str
    label: str
    test: bool = True
    soft_targets: str | None = None

    @property
    def names(self) -> dict[str, str]:
        """The short name of each component: `{"loss": "ce", "model": "mlp", ...}`."""
        return {c: component_name(self.config[c]) for c in COMPONENTS}

    @property
    def batch_size(self) -> int:
        """Examples in a batch."""
        return self.trainer.batch_size or self.task.batch_size

    @property
    def metric(self) -> Metric:
        """The metric by which the best epoch is chosen."""
        return self.task.primary if self.trainer.monitor is None else self.task.metric(self.trainer.monitor)

    @property
    def monitor(self) -> str:
        """Its name."""
        return self.metric.name

    def num_outputs(self, dataset: Dataset) -> int:
        """How many numbers its model gives for each place."""
        return self.task.num_outputs(dataset) * self.loss.outputs

    def blank(self, dataset: Dataset) -> Tensor:
        """Two blank inputs [2, ...] as its model is shown them where nothing is trained: whole, or a window of each."""
        whole, side = dataset.blank(2), self.trainer.window
        return whole if side is None else whole[..., :side, :side].contiguous()

    @property
    def device(self) -> torch.device:
        return find_device(self.trainer.device)


def component_name(node: Mapping[str, Any]) -> str:
    """What a person calls the component that a config node names: the last word of its target."""
    return str(node["_target_"]).rpartition(".")[2]


def prepare(config: Mapping[str, Any], *, test: bool = True, name: str | None = None) -> Trial:
    """Check a resolved config and bind its components; reads no data. `name` is what the loss is called here.

    Raises:
        UserError: a target, a knob, a range or a combination that has no meaning.
    """
    config = {"augment": _UNCHANGED, **config}
    for key in config:
        if key not in _KEYS:
            raise unknown("config key", key, _KEYS)
    for key in (*COMPONENTS, "trainer", "seed"):
        if config.get(key) is None:
            raise UserError(f"{key} must be chosen, got none: {key}=NAME, without ~{key}.")
        if key != "seed":
            check_mapping(key, config[key])
    dataset, sampling, soft = dataset_of(config["dataset"])
    trainer = Trainer(**check_knobs("trainer", Trainer, config["trainer"]))
    seed = check_knob("", _SEED, config["seed"])
    task = task_of(dataset)
    model, start, node = model_of(config["model"])
    check_model(model, task.name)
    bound = bind(build_loss("loss", config["loss"], task), task.name)
    find_device(trainer.device)
    _check_trainer(trainer, task, bound)
    if dataset.keywords.get("ignore_index") is not None:
        bound.check_weights(f"dataset.ignore_index={dataset.keywords['ignore_index']}")
    optimizer = build_optimizer("optimizer", config["optimizer"])
    if trainer.decay != "all" and "weight_decay" not in optimizer.keywords:
        raise UserError(f"trainer.decay must be all for {optimizer.func.__name__}, which has no weight_decay.")
    name = name or component_name(config["loss"])
    label = f"{name} · lr {optimizer.keywords['lr']:g} · seed {seed}"
    trial = Trial(
        config={**config, "seed": seed, "model": node},
        seed=seed,
        task=task,
        dataset=dataset,
        sampling=sampling,
        model=model,
        start=start,
        loss=bound,
        regularizer=build("regularizer", config["regularizer"]),
        optimizer=optimizer,
        schedule=build("schedule", config["schedule"]),
        augment=build("augment", config["augment"]),
        trainer=trainer,
        name=name,
        label=label,
        test=test,
        **soft,
    )
    if trial.soft_targets is not None:
        check_teachable(trial)
    _check_augment(trial)
    return trial


def _check_augment(trial: Trial) -> None:
    """Refuse an augmentation that has no meaning for the task or the loss; reads no data."""
    name, found, task = trial.names["augment"], declared(trial.augment.func), trial.task
    if found is None or not found.images:
        return
    if task.output not in ("vector", "map") or (task.axes == 2 and not found.masks):
        kinds = "masks stay where they are" if task.axes == 2 else "it is for images"
        raise UserError(f"augment={name} has no meaning on a {task.name} dataset: {kinds}.")
    if found.mixes:
        if not task.soft_targets:
            raise UserError(f"augment={name} has no meaning on a {task.name} dataset: it blends two true classes.")
        _check_soft(trial, f"augment={name}")


def _check_trainer(trainer: Trainer, task: Task, bound: BoundLoss) -> None:
    """Refuse a way to train that has no meaning for the task or the loss."""
    names = [metric.name for metric in task.metrics]
    if trainer.monitor is not None and trainer.monitor not in names:
        raise unknown(f"metric of {task.name}", trainer.monitor, names)
    if trainer.class_weights != "none" and task.class_weights is None:
        raise UserError(f"trainer.class_weights must be none for a {task.name} dataset, got {trainer.class_weights}.")
    if trainer.sampling != "shuffle" and task.strata is None:
        raise UserError(f"trainer.sampling must be shuffle for a {task.name} dataset, got {trainer.sampling}.")
    if trainer.window is not None and task.output != "map":
        raise UserError(f"trainer.window must be null for a {task.name} dataset, got {trainer.window}.")
    if trainer.accumulate > 1 and bound.mixed:
        raise UserError(
            f"trainer.accumulate must be 1 for this loss, whose terms weigh elements differently, got "
            f"{trainer.accumulate}."
        )
    if trainer.class_weights != "none":
        bound.check_weights(f"trainer.class_weights={trainer.class_weights}")


def check_teachable(trial: Trial) -> None:
    """Refuse a trial for which training on soft targets has no meaning; reads no data.

    Raises:
        UserError: the task does not allow them, the labels are noisy, or the loss takes class indices alone.
    """
    if not trial.task.soft_targets:
        raise UserError(
            f"dataset.soft_targets must be null for a {trial.task.name} dataset: they are of one true class."
        )
    if trial.sampling["label_noise"] > 0:
        raise UserError(
            f"dataset.label_noise must be 0 where dataset.soft_targets takes the labels' place, got "
            f"{trial.sampling['label_noise']:g}."
        )
    _check_soft(trial, "dataset.soft_targets")


def _check_soft(trial: Trial, what: str) -> None:
    for function in trial.loss.functions:
        if not spec_of(function).float_targets:
            raise UserError(
                f"loss {function.func.__name__} has no meaning on {what}: it takes class indices, not distributions, "
                f"as ce and kl do."
            )


def dataset_of(node: Mapping[str, Any]) -> tuple[functools.partial[Dataset], dict[str, Any], dict[str, Any]]:
    """What `dataset` in a config says: the builder, how it is split, and its soft targets.

    Raises:
        UserError: a target or a knob is wrong.
    """
    sampling = {k: v for k, v in node.items() if k in knobs(split)}
    soft = {k: v for k, v in node.items() if k in knobs(soften)}
    builder = build_dataset("dataset", {k: v for k, v in node.items() if k not in {**sampling, **soft}})
    return builder, check_knobs("dataset", split, sampling), check_knobs("dataset", soften, soft)


def task_of(dataset: functools.partial[Any]) -> Task:
    """The task of a dataset before it is read: its `task` knob, or what its builder declares."""
    found: str | None = dataset.keywords.get("task") or getattr(dataset.func, "task", None)
    if found is None or found not in TASKS:
        raise UserError(
            f"dataset {dataset.func.__name__} must say its task: give it a `task` knob, or decorate it with "
            f'@xentlab.data.of_task("multiclass").'
        )
    return find(found)


def find_device(name: str) -> torch.device:
    """The device that `trainer.device` names; `auto` is CUDA where there is one, else the CPU.

    Raises:
        UserError: no such device here.
    """
    count = torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0
    available = ["cpu", *(f"cuda:{i}" for i in range(count))]
    if name == "auto":
        return torch.device("cuda:0" if count else "cpu")
    if name == "cuda" and count:
        return torch.device("cuda:0")
    if name in available:
        return torch.device(name)
    if name == "cuda" or name.startswith("cuda:"):
        raise UserError(f"trainer.device={name} is not available here: available are auto, {', '.join(available)}.")
    raise unknown("trainer.device", name, ["auto", "cuda", *available])

"""What a comparison was made of: its data, its protocol and its machine, as fields; `facts` puts them into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from xentlab.schema import Range

Axes = dict[str, float | int | str | bool | None]
"""Dotted key, or the name of a group -> the value of a cell there."""
Mode = Literal["tuned", "shared", "matched"]
Replicated = Literal["procedure", "point"]
SearchKind = Literal["grid", "sobol", "optuna", "halving"]


def axis_name(key: str) -> str:
    """What an axis is called: `label noise`."""
    return key.rpartition(".")[2].replace("_", " ")


def axis_word(key: str, value: object) -> str:
    """What a cell's label says of one axis: `mnist`, `label noise 0.2`."""
    return f"{axis_name(key)} {value}" if "." in key else str(value)


@dataclass(frozen=True)
class Rung:
    """A rung of halving: how many points of each loss are trained for how many epochs."""

    points: Annotated[int, Range(1, None)]
    epochs: Annotated[int, Range(1, None)]


@dataclass(frozen=True)
class Setup:
    """What was compared on what, and how. What an older record did not tell is missing.

    Attributes:
        dataset, model, optimizer: their names.
        epochs: of one final trial.
        batch_size: None: the task's own.
        mode: of fairness.
        axes: dotted key -> this cell's value on each axis of its study.
        search: what tuning searches with.
        points: of each loss that `sobol` and `optuna` draw.
        rungs: of `halving`.
        replicate: what each final seed repeats: the whole procedure, or the point that was chosen once; None in older
            records, which chose once.
        tuning_seeds, final_seeds: the latter before any loss's own offset.
        looks: numbers of final seeds at which verdicts were planned; empty for one look.
        added_after: numbers of seeds at which verdicts had been taken already, without a plan to add more.
        sizes: part (`train`, `val`, `test`) -> how many examples it holds.
        own_test: whether the source says which examples are the test set; None in older records.
        schedule: of the learning rate.
        augment: what is done to batches of training, with its knobs; empty for nothing.
        patience: epochs without a better value after which a trial stops with its best weights, or None.
        training: other knobs of the trainer that are not at their defaults.
        decay: the optimizer's weight decay, if it has one.
        parameters: how many numbers of the model are trained.
        start: what the model's file of weights gave, and what of it never moves; empty without.
        own_tests: of how many published test sets the seeds meet one each in turn; 0 where there is one for all.
        more: label -> text, of an older record, that has no field.
    """

    dataset: str = ""
    model: str = ""
    optimizer: str = ""
    epochs: int | None = None
    batch_size: int | None = None
    mode: Mode | None = None
    axes: Axes = field(default_factory=dict)
    search: SearchKind | None = None
    points: int | None = None
    rungs: list[Rung] = field(default_factory=list)
    tuning_seeds: list[int] = field(default_factory=list)
    final_seeds: list[int] = field(default_factory=list)
    replicate: Replicated | None = None
    looks: list[int] = field(default_factory=list)
    added_after: list[int] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    own_test: bool | None = None
    schedule: str = ""
    augment: str = ""
    patience: int | None = None
    training: dict[str, str] = field(default_factory=dict)
    decay: float | None = None
    parameters: int | None = None
    start: str = ""
    own_tests: int = 0
    more: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """On what it ran: versions, machine and code.

    Attributes:
        packages: name -> version.
        cores: of the processor.
        commit: of the checkout that it ran in, if it did; `changed`: with uncommitted changes.
        more: label -> text, of an older record, that has no field.
    """

    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    processor: str = ""
    cores: int | None = None
    devices: list[str] = field(default_factory=list)
    commit: str = ""
    changed: bool = False
    more: dict[str, str] = field(default_factory=dict)


def environment_of(facts: Mapping[str, Any]) -> Environment:
    """What a record keeps of `xentlab.environment.describe`."""
    git = facts["git"] or {}
    return Environment(
        python=facts["python"],
        packages={name: version for name, version in facts["packages"].items() if version},
        platform=facts["platform"],
        processor=facts["processor"],
        cores=facts["cores"],
        devices=list(facts["devices"]),
        commit=git.get("commit") or "",
        changed=bool(git.get("changed") or git.get("diff")),
    )


@dataclass(frozen=True)
class ImportedTrials:
    """How many of one loss's trials were not trained here, and the archives that they are from."""

    loss: str
    count: int
    trials: int
    files: list[str]

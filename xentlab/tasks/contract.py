"""What a task is: one object that knows all that is particular to it.

Every other room asks the object and never compares a task's name with a string. To add a task: one file here with its
`Task`, its line in `xentlab.tasks`, and what it measures in `xentlab.metrics`; then losses that declare it, datasets of
it and models with its kind of output.

Axes: R trials, N examples, B a chunk of them, C classes, K outputs, `...` the places inside an example (H W pixels).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from xentlab.metrics import Metric
from xentlab.step.objective import Facts

Link = str
"""How a loss's outputs become a prediction, by a word that its tasks know: softmax, sigmoid, identity."""

Form = Literal["index", "soft", "real"]
"""A target: int64 indices of classes, floats with an axis of classes, or the numbers that regression is about."""

Statistics = dict[str, Tensor]
"""What examples contribute to the metrics of R trials; each tensor has a leading axis R."""


class Examples(Protocol):
    """What a task looks at of a dataset."""

    @property
    def name(self) -> str: ...
    @property
    def targets(self) -> Tensor: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def ignore_index(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """All that is particular to one task."""

    name: str  # what configs, datasets, losses and records call it
    like: str = ""  # a task whose losses all have a meaning here too, or nothing

    # Refuses targets of a dataset that have the wrong type, shape or range, with a UserError.
    check: Callable[[Examples], None]
    # Whether targets enter the loss as floats of the training's precision; else as the integers they are.
    floats: bool = False
    # What the target columns of a table hold: one column of classes, columns of 0 and 1, or numbers; None where no
    # table can hold this task.
    columns: Literal["class", "labels", "numbers"] | None = None
    # A class for each example [N], every one of which gives its share to each part of a split; None draws from all
    # alike.
    strata: Callable[[Examples], Tensor] | None = None
    noise: tuple[str, ...] = ()  # the kinds of label noise that have a meaning, the plainest first
    # `(examples, train, rate, kind, draws) -> targets` of the examples `train`, each label disturbed with probability
    # `rate`; None where there is no label noise.
    disturb: Callable[[Examples, Tensor, float, str, torch.Generator], Tensor] | None = None
    soft_targets: bool = False  # whether distributions [N, C] may be trained on in the labels' place

    output: str  # the kind of model it needs, as `xentlab.models` declares them
    # How many numbers the model gives for each place, for a loss that needs one for each target.
    num_outputs: Callable[[Examples], int]

    link: Link  # of a loss that follows the task
    links: tuple[Link, ...]  # all that it understands
    exclusive: Callable[[Link], bool]  # whether, under a link, exactly one class is true of an element
    # Whether outputs of a loss of one link mean something to a loss of another: those of classes always do.
    alike: Callable[[Link, Link], bool] = lambda one, other: True  # noqa: ARG005
    # `(target, facts, ignore_index, link) -> (target, weight)`: the target as a loss takes it, and each element's
    # weight in the objective's mean, None where all are equal.
    weigh: Callable[[Tensor, Facts, int | None, Link], tuple[Tensor, Tensor | None]]
    # What a loss may ask to know of its training set, by the name of its argument: `(train targets, examples) ->
    # tensor`.
    facts: Mapping[str, Callable[[Tensor, Examples], Tensor]] = field(default_factory=dict)
    always: tuple[str, ...] = ()  # those that `weigh` and `predict` need, whatever the loss asks
    # `(kind, train targets, examples) -> [C]`, given to `weigh` as `class_weights`; None where `trainer.class_weights`
    # has no meaning.
    class_weights: Callable[[str, Tensor, Examples], Tensor] | None = None
    # `(outputs [R, B, K, ...], link, facts) -> prediction`, as `statistics` takes it; facts [R, ...].
    predict: Callable[[Tensor, Link, Facts], Any]
    # `(outputs, targets, link, facts) -> facts` more, for `predict`, fitted on all validation examples of trained
    # weights; None where nothing is fitted.
    fitted: Callable[[Tensor, Tensor, Link, Facts], Facts] | None = None

    metrics: tuple[Metric, ...]  # the yardstick, the primary one first
    # `(prediction, target, ignore_index)` of a chunk; targets with or without the axis R.
    statistics: Callable[[Any, Tensor, int | None], Statistics]
    combine: Callable[[Sequence[Statistics]], Statistics]  # the statistics of all examples from those of their chunks
    # Statistics -> a float64 [R] for every metric, NaN where one is undefined.
    finish: Callable[[Statistics], dict[str, Tensor]]
    # `(train targets, judged targets, examples) -> value` of every metric, of the best constant answer.
    trivial: Callable[[Tensor, Tensor, Examples], dict[str, float]]
    # Statistics -> the counts [R, bins] of a reliability diagram; None where there is none.
    reliability: Callable[[Statistics], dict[str, Tensor]] | None = None
    # `(prediction, target) -> {metric: [R, B]}`, what each example of a chunk came to, for metrics that are its mean or
    # the root of that; None where no metric is one of single examples. Beside them a regression's numbers, `true` and
    # `predicted`.
    answers: Callable[[Any, Tensor], dict[str, Tensor]] | None = None
    # Measured on test beside the others where a dataset knows the truth behind its targets.
    truth_metrics: tuple[Metric, ...] = ()
    # `(statistics, truth [N, ...]) -> {truth metric: float64 [R]}`.
    against_truth: Callable[[Statistics, Tensor], dict[str, Tensor]] | None = None

    batch_size: int = 64  # of a training that does not say
    # On how many training examples at most metrics are taken each epoch, where a training does not say.
    train_sample: int = 2000
    # `(inputs, target, outputs, examples) -> arrays` that picture a few test examples of one trial; None draws none.
    example: Callable[[Tensor, Tensor, Tensor, Examples], dict[str, np.ndarray]] | None = None

    axes: int = 0  # how many axes of places an element has: 2 of pixels
    forms: tuple[Form, ...] = ()  # of a target in the laws of losses, the task's own first
    # `(samples, classes, places, link, generator)`: random float targets for the laws, float64.
    draw: Callable[[int, int, tuple[int, ...], Link, torch.Generator], Tensor] | None = None

    @property
    def numeric(self) -> bool:
        """Whether its targets are numbers, not classes."""
        return "real" in self.forms

    @property
    def primary(self) -> Metric:
        """The metric by which trials are chosen and judged."""
        return self.metrics[0]

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(entry for entry in (*self.metrics, *self.truth_metrics) if entry.name == name)

"""From a loss and a task to what the training step needs: the bound function, its link, its targets and its weights.

Cross-entropy on multilabel data compares with the n-hot target divided by its sum (an example without a label weighs
0). One-vs-rest losses on a single true class see its one-hot target. Ignored pixels and class weights are weights of
the objective, for every loss alike.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xentlab.errors import UserError
from xentlab.losses.contract import Link, as_distribution, spec_of
from xentlab.schema import knobs
from xentlab.step import Facts, weighted_mean

DataTerm = Callable[[Tensor, Tensor, Facts, Mapping[str, Any]], Tensor]


@dataclass(frozen=True)
class Term:
    """One loss inside an objective.

    Attributes:
        name: of the function.
        function: `(logits, target[, weight][, class_counts], **float knobs) -> values`, structural knobs bound.
        data: the float knobs and their values; they may differ inside a stack.
        structure: everything else that decides what it computes, as plain data.
        asks: which of `weight` and `class_counts` it takes after the target.
    """

    name: str
    function: functools.partial[Tensor]
    data: dict[str, float]
    structure: dict[str, Any]
    asks: tuple[str, ...]

    def reduce(
        self, logits: Tensor, target: Tensor, weight: Tensor | None, facts: Facts, knob_values: Mapping[str, Any]
    ) -> Tensor:
        """The weighted mean of its values, a scalar. A set loss weighs inside, and its examples count alike."""
        asked = {"class_counts": facts.get("class_counts"), "weight": weight}
        values = self.function(logits, target, *(asked[name] for name in self.asks), **knob_values)
        if "weight" not in self.asks or weight is None:
            return weighted_mean(values, weight)
        return weighted_mean(values, (weight.flatten(1) > 0).any(1))


@dataclass(frozen=True)
class BoundLoss:
    """A loss as one task uses it: its terms, each with its factor in the sum.

    Attributes:
        terms: by their names in the config; a plain loss is one term called by the empty name.
        data: every float knob by its path below `loss`, factors included; they may differ inside a stack.
        link: from logits to probabilities, on this task.
        as_distribution: whether n-hot targets are divided by their sum.
    """

    terms: dict[str, Term]
    data: dict[str, float]
    link: Link
    as_distribution: bool

    @property
    def needs(self) -> list[str]:
        """Which facts about the training set it asks for."""
        return ["class_counts"] if any("class_counts" in t.asks for t in self.terms.values()) else []

    @property
    def structure(self) -> dict[str, Any]:
        """What two losses must share to train in one stack."""
        return {name: term.structure for name, term in self.terms.items()}

    @property
    def functions(self) -> list[functools.partial[Tensor]]:
        return [term.function for term in self.terms.values()]

    def data_term(self, ignore_index: int | None) -> DataTerm:
        """`(logits, target, facts, knobs) -> scalar` of one trial, with `knobs` as in `data`."""

        def data_term(logits: Tensor, target: Tensor, facts: Facts, values: Mapping[str, Any]) -> Tensor:
            target, weight = objective_weights(
                target,
                weights=facts.get("class_weights"),
                ignore_index=ignore_index,
                as_distribution=self.as_distribution,
            )
            if "" in self.terms:
                return self.terms[""].reduce(logits, target, weight, facts, values)
            if "smoothing" in values:
                target = smooth(target, values["smoothing"], logits)
            parts = []
            for name, term in self.terms.items():
                own = {knob: values[f"terms.{name}.{knob}"] for knob in term.data}
                parts.append(values[f"terms.{name}.weight"] * term.reduce(logits, target, weight, facts, own))
            return torch.stack(parts).sum()

        return data_term


def bind(loss: functools.partial[Any], task: str) -> BoundLoss:
    """What `loss` means on `task`.

    Raises:
        UserError: the loss declares that it has no meaning there.
    """
    term, link = bind_term(loss, task)
    return BoundLoss({"": term}, dict(term.data), link, as_distribution=task == "multilabel" and link == "softmax")


def bind_term(loss: functools.partial[Any], task: str) -> tuple[Term, Link]:
    """One loss as a term of an objective on `task`, and its link there."""
    spec, given = spec_of(loss), dict(loss.keywords)
    name = getattr(loss.func, "__name__", str(loss.func))
    if task not in spec.tasks:
        raise UserError(f"loss {name} has no meaning on {task}: it is defined for {', '.join(spec.tasks)} only.")
    link: Link = ("sigmoid" if task == "multilabel" else "softmax") if spec.link == "task" else spec.link
    schema = knobs(loss.func)
    if spec.link == "task" and "link" in schema:
        link = given["link"] = given["link"] or link
    data = {k: v for k, v in given.items() if schema[k].is_data}
    structure = {k: v for k, v in given.items() if k not in data}
    positional = list(inspect.signature(loss.func).parameters)[2:]
    asks = tuple(p for p in positional if p in ("weight", "class_counts"))
    function = functools.partial(loss.func, **structure)
    target = f"{loss.func.__module__}.{loss.func.__qualname__}"
    return Term(name, function, data, {"_target_": target, **structure}, asks), link


ClassWeights = Literal["none", "inverse", "median_frequency"]
FactKind = Literal["counts", "inverse", "median_frequency"]


def class_facts(kind: FactKind, targets: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """A number for each class [C], float64, from training `targets`: indices [N], maps [N, H, W] or n-hot [N, C].

    counts: how often it occurs. inverse: `total / (C count_c)`. median_frequency: `median(f) / f_c` with `f_c` the
    share of class c among the pixels of the images that contain it. A class that never occurs weighs 0.

    Reference: Eigen & Fergus, Predicting depth, surface normals and semantic labels, 2015 (median frequency).
    """
    if targets.ndim == 2:
        counts, totals = targets.double().sum(0), torch.full((num_classes,), float(len(targets)), dtype=torch.float64)
    else:
        per_image = _class_counts(targets, num_classes, ignore_index)
        counts = per_image.sum(0)
        present = (per_image > 0).double() if targets.ndim > 1 else torch.ones_like(per_image)
        totals = (present * per_image.sum(1, keepdim=True)).sum(0)
    if kind == "counts":
        return counts
    seen = counts > 0
    if kind == "inverse":
        weights = counts.sum() / (num_classes * counts.clamp_min(1.0))
    else:
        frequency = counts / totals.clamp_min(1.0)
        weights = torch.quantile(frequency[seen], 0.5) / frequency.clamp_min(1e-300)
    return torch.where(seen, weights, torch.zeros_like(weights))


def _class_counts(targets: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """How often each class occurs in each example [N, C], float64."""
    flat = targets.reshape(len(targets), -1)
    return torch.stack(
        [((flat == c) & (flat != (-1 if ignore_index is None else ignore_index))).sum(1) for c in range(num_classes)], 1
    ).double()


def objective_weights(
    target: Tensor, *, weights: Tensor | None, ignore_index: int | None, as_distribution: bool
) -> tuple[Tensor, Tensor | None]:
    """The target as a loss takes it, and each element's weight in the objective's mean (None: all equal).

    Args:
        target: class indices [N] or [N, H, W], or n-hot [N, C] as floats.
        weights: class weights [C] or None; an n-hot example weighs the mean weight of its labels.
        ignore_index: value of targets that count nowhere; they become class 0 with weight 0.
        as_distribution: divide n-hot targets by their sum; an example without labels then weighs 0.
    """
    if target.is_floating_point():
        labels = target.sum(1)
        distribution = target / labels.clamp_min(1.0).unsqueeze(1)
        weight = (distribution * weights.to(target.dtype)).sum(1) if weights is not None else None
        if not as_distribution:
            if weight is not None:
                weight = torch.where(labels > 0, weight, torch.ones_like(weight))
            return target, weight
        labelled = (labels > 0).to(target.dtype)
        return distribution, labelled if weight is None else weight
    target = target.long()
    if ignore_index is None:
        return target, None if weights is None else weights[target]
    valid = target != ignore_index
    target = target.masked_fill(~valid, 0)
    return target, valid if weights is None else weights[target] * valid


def smooth(target: Tensor, smoothing: float | Tensor, logits: Tensor) -> Tensor:
    """The target as a distribution like `logits` with its share `smoothing` spread evenly over all classes."""
    return (1.0 - smoothing) * as_distribution(target, logits) + smoothing / logits.shape[1]

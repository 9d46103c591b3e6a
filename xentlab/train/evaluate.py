"""Evaluation: every metric of a task over one part of the data, for all rows of a stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xentlab.data import Dataset
from xentlab.metrics import Metric
from xentlab.step import Facts, Lift
from xentlab.tasks import Link, find
from xentlab.train.batches import Batches

# What one evaluation batch may hold in tensors, whatever the model and the number of trials.
_BYTES = 2**28


class Evaluated(NamedTuple):
    """What one part of the data says of R trials, on the host.

    Attributes:
        metrics: every metric of the task, float64 [R].
        reliability: counts [R, bins]; of test alone.
        answers: what each example came to [R, N], see `Task.answers`; of test alone, where all examples count.
    """

    metrics: dict[str, Tensor]
    reliability: dict[str, Tensor]
    answers: dict[str, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """R trials and their data, ready to be evaluated.

    Attributes:
        lifts: which hold all rows of the stack, in order.
        batches: the data under each row's split.
        dataset: what the batches are of.
        link: of the loss.
        facts: of each row's training set [R, ...].
        batch_size: examples at most; less where a batch of all rows would be large.
    """

    lifts: Sequence[Lift]
    batches: Batches
    dataset: Dataset
    link: Link
    facts: Facts
    batch_size: int

    def of(self, part: str, limit: int | None = None) -> Evaluated:
        """Every metric of the task on `train` (with the labels trained on), `val` or `test`, and what else test says.

        Where the dataset knows the truth behind its targets, test metrics are also taken against that. What the task
        fits on predictions it fits on validation, on this part's own examples only while that is the training set.
        With a `limit` only that many examples count.
        """
        task, dataset, batches = find(self.dataset.task), self.dataset, self.batches
        rows: list[dict[str, Tensor]] = []
        bins: list[dict[str, Tensor]] = []
        answers: list[dict[str, Tensor]] = []
        for lift in self.lifts:
            known = self.known(lift, "train" if part == "train" else "val", limit)
            parts, given = [], []
            for outputs, target in predictions(lift, batches, part, self.batch_size, limit):
                prediction = task.predict(outputs, self.link, known)
                parts.append(task.statistics(prediction, target, dataset.ignore_index))
                if part == "test" and task.answers is not None and dataset.ignore_index is None:
                    given.append(task.answers(prediction, target))
            if given:
                answers.append({name: torch.cat([chunk[name] for chunk in given], 1).cpu() for name in given[0]})
            stats = task.combine(parts)
            rows.append(task.finish(stats))
            if part == "test":
                if task.reliability is not None:
                    bins.append(task.reliability(stats))
                if task.against_truth is not None and dataset.posterior is not None:
                    truth = dataset.posterior[batches.examples(lift.rows, part).cpu()]
                    rows[-1] |= task.against_truth(stats, truth.to(batches.device))
        names = list(rows[0])
        table = torch.cat([torch.stack([row[name] for name in names]) for row in rows], dim=1).cpu()
        return Evaluated(dict(zip(names, table, strict=True)), _rows(bins), _rows(answers))

    def known(self, lift: Lift, part: str, limit: int | None = None) -> Facts:
        """All that `Task.predict` is told of a lift's rows: their facts, and what the task fits on a part."""
        task = find(self.dataset.task)
        known = {name: value[lift.rows] for name, value in self.facts.items()}
        if task.fitted is None:
            return known
        chunks = list(predictions(lift, self.batches, part, self.batch_size, limit))
        outputs, targets = torch.cat([o for o, _ in chunks], 1), [t for _, t in chunks]
        places = 0 if targets[0].ndim == self.dataset.targets.ndim else 1
        return {**known, **task.fitted(outputs, torch.cat(targets, places), self.link, known)}


def _rows(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What the lifts gave, in one table for all rows, on the host."""
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in (parts[0] if parts else ())}


def predictions(
    lift: Lift, batches: Batches, part: str, batch_size: int, limit: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs [rows, B, K, ...] and targets ([B, ...] or [rows, B, ...]) of a lift's rows, chunk after chunk."""
    if not batches.size[part]:
        raise ValueError(f"this trial has no {part} data")
    lift.enter()
    size = max(1, min(batch_size, _BYTES // lift.example_bytes(batches.peek(lift.rows, part))))
    for inputs, target in batches.evaluation(lift.rows, part, size, limit):
        yield lift.predict(inputs), target


def is_stuck(metric: Metric, best: float, constant: float) -> bool:
    """Whether `best` is less than 5 % of the way from the constant predictor's value to perfection.

    Where no value is perfect: whether it is no better than the constant predictor's.
    """
    if metric.perfect is None:
        return not metric.better(best, constant)
    if metric.direction == "min":
        return best > metric.perfect + 0.95 * (constant - metric.perfect)
    return best < constant + 0.05 * (metric.perfect - constant)

"""Which examples a seed trains on, chooses by and is tested on, and what is done to its training labels.

`split` is a pure function of (dataset, seed, knobs). Everything random comes from `generator(seed, purpose)`, one
stream per purpose, on the CPU: turning one knob leaves what the others draw unchanged, and the sizes of a split are
the same for every seed, so that trials of different seeds fit in one stack.

To add a kind of label noise: its name in `Noise`, and its rule in the tasks that it has a meaning on.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, Split
from xentlab.errors import UserError
from xentlab.schema import NonNegativeInt, Range
from xentlab.tasks import find

Noise = Literal["symmetric", "asymmetric", "pairs"]


def generator(seed: int, purpose: str) -> torch.Generator:
    """A fresh CPU generator for one purpose (`test`, `weights`, ...) of one seed, independent of every other."""
    digest = hashlib.sha256(f"{purpose}\n{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))


def split(
    dataset: Dataset,
    seed: int,
    *,
    val_fraction: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.2,
    test_fraction: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.2,
    train_fraction: Annotated[float, Range(0, 1, open_low=True)] = 1.0,
    label_noise: Annotated[float, Range(0, 1)] = 0.0,
    noise: Noise = "symmetric",
    imbalance: Annotated[float, Range(1, None)] = 1.0,
    outer_seed: NonNegativeInt | None = 0,
) -> Split:
    """The train, validation and test indices of one seed, and the training targets with their noise.

    What the source defines is honoured. A missing test set is drawn from all examples by `outer_seed`, before any
    trial's seed: no test example is ever trained on, or chosen by, under another seed. A missing validation set is
    drawn by the seed from what then is left for training, never from test. Multiclass draws are stratified: every class
    gives its share, to within one example; of pieces of one text it is one run of them. Imbalance, then the training
    fraction, thin the training set alone.

    Args:
        val_fraction: share of the examples outside test that is carved for validation, in (0, 1); unused where the
            source defines `val`.
        test_fraction: share of all examples that is carved for test, in (0, 1); unused where the source defines `test`.
        train_fraction: share of the remaining training examples that is kept, in (0, 1].
        label_noise: probability in [0, 1] with which a training label is disturbed. One draw per label of the source: a
            smaller probability disturbs a subset of what a larger one does.
        noise: what a disturbed class index becomes: `symmetric`, a uniformly drawn other class; `pairs`, the next class
            (the last becomes the first); `asymmetric`, the digit it is easily taken for where the classes are the ten
            digits, else as `pairs`. In segmentation each pixel that counts is disturbed on its own. In multilabel tasks
            only `symmetric` has a meaning: each of the C labels is flipped on its own. A number becomes an outlier: it
            moves by a normal draw of 5 standard deviations of the training targets, `asymmetric` upwards alone.
        imbalance: ratio between the most and the least frequent training class, >= 1, multiclass only: class c keeps a
            number proportional to imbalance^(-c / (C - 1)), as many as the source allows. 1 keeps the source's own
            frequencies.
        outer_seed: draws the test examples where the source defines none, the same ones for every seed; null lets each
            seed draw its own, as before there was an outer split.

    Returns:
        Sorted, disjoint indices and the training targets in their order; the same sizes for every seed.

    Raises:
        UserError: a part or a training class would be empty, or a knob has no meaning for the dataset's task.

    Reference:
        Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, 2019.
        Patrini et al., Making Deep Neural Networks Robust to Label Noise, 2017.
    """
    task = find(dataset.task)
    if imbalance > 1 and task.strata is None:
        raise UserError(f"dataset.imbalance must be 1 for a {task.name} dataset, got {imbalance:g}.")
    if label_noise > 0 and task.disturb is None:
        raise UserError(f"dataset.label_noise must be 0 for a {task.name} dataset, got {label_noise:g}.")
    if label_noise > 0 and noise not in task.noise:
        raise UserError(f"dataset.noise must be {' or '.join(task.noise)} for a {task.name} dataset, got '{noise}'.")

    labels = None if task.strata is None else task.strata(dataset)
    train, val, test = _parts(dataset, seed)
    if test is None:
        size = _size("test_fraction", test_fraction, train, dataset)
        outer = seed if outer_seed is None else outer_seed
        test, train = _draw(train, labels, size, generator(outer, "test"))
    if val is None:
        size = _size("val_fraction", val_fraction, train, dataset)
        if dataset.gap is None:
            val, train = _draw(train, labels, size, generator(seed, "val"))
        else:
            if size + 2 * dataset.gap >= len(train):
                raise UserError(
                    f"dataset.val_fraction must leave a training example beside a run of {size} and its neighbours, "
                    f"got {val_fraction:g} of {len(train)} examples of dataset '{dataset.name}'."
                )
            val, train = _run(train, size, dataset.gap, generator(seed, "val"))
    before = train
    if imbalance > 1 and labels is not None:
        train = _thin(train, labels, imbalance, generator(seed, "imbalance"))
    if train_fraction < 1:
        size = round(train_fraction * len(train))
        train, _ = _draw(train, labels, size, generator(seed, "train_fraction"))
    _check_training(dataset, before, train, labels, train_fraction, imbalance)

    train = train.sort().values
    train_targets = dataset.targets[train]
    if label_noise > 0 and task.disturb is not None:
        train_targets = task.disturb(dataset, train, label_noise, noise, generator(seed, "label_noise"))
    return Split(train, val.sort().values, test.sort().values, train_targets)


def _parts(dataset: Dataset, seed: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The source's own train, val and test for a seed; what it calls neither val nor test is train."""
    known, several = dataset.source_splits, dataset.test_sets
    val, test = known.get("val"), several[seed % len(several)] if several else known.get("test")
    if "train" in known:
        return known["train"], val, test
    free = torch.ones(len(dataset.targets), dtype=torch.bool)
    for taken in (val, test):
        if taken is not None:
            free[taken] = False
    return free.nonzero().flatten(), val, test


def _size(knob: str, fraction: float, pool: Tensor, dataset: Dataset) -> int:
    size = round(fraction * len(pool))
    if not 0 < size < len(pool):
        raise UserError(
            f"dataset.{knob} must leave at least one example on either side, got {fraction:g} of {len(pool)} "
            f"examples of dataset '{dataset.name}'."
        )
    return size


def _draw(pool: Tensor, labels: Tensor | None, size: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """`size` indices drawn from `pool`, and the rest; stratified where there are labels [N]."""
    if labels is None:
        shuffled = pool[torch.randperm(len(pool), generator=draws)]
        return shuffled[:size], shuffled[size:]
    return _draw_classes(pool, labels, _shares(torch.bincount(labels[pool]), size), draws)


def _run(pool: Tensor, size: int, gap: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """`size` neighbours drawn from `pool`, and the rest without `gap` more on either side of them."""
    start = int(torch.randint(len(pool) - size - 2 * gap + 1, (1,), generator=draws))
    end = start + gap + size
    return pool[start + gap : end], torch.cat([pool[:start], pool[end + gap :]])


def _draw_classes(pool: Tensor, labels: Tensor, quota: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """`quota[c]` indices of each class c drawn from `pool`, and the rest."""
    shuffled = pool[torch.randperm(len(pool), generator=draws)]
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    classes = labels[by_class]
    counts = torch.bincount(classes, minlength=len(quota))
    rank = torch.arange(len(pool)) - (counts.cumsum(0) - counts)[classes]
    taken = rank < quota[classes]
    return by_class[taken], by_class[~taken]


def _shares(counts: Tensor, total: int) -> Tensor:
    """`total` divided over the classes in proportion to `counts` [C], by largest remainder (ties: the first class)."""
    exact = counts * total
    quota = exact // counts.sum()
    missing = total - int(quota.sum())
    quota[(exact % counts.sum()).argsort(descending=True, stable=True)[:missing]] += 1
    return quota


def _thin(pool: Tensor, labels: Tensor, ratio: float, draws: torch.Generator) -> Tensor:
    counts = torch.bincount(labels[pool])
    present = counts.nonzero().flatten()
    if len(present) < 2:
        raise UserError(f"dataset.imbalance must be 1 for a dataset with one class, got {ratio:g}.")
    profile = ratio ** -torch.linspace(0, 1, len(present), dtype=torch.float64)
    most = (counts[present] / profile).min()
    quota = torch.zeros_like(counts)
    quota[present] = (most * profile + 1e-9).floor().long()
    return _draw_classes(pool, labels, quota, draws)[0]


def _check_training(
    dataset: Dataset, before: Tensor, train: Tensor, labels: Tensor | None, train_fraction: float, imbalance: float
) -> None:
    if len(train) == 0:
        raise UserError(
            f"dataset.train_fraction must leave at least one training example, got {train_fraction:g} of {len(before)} "
            f"examples of dataset '{dataset.name}'."
        )
    if labels is None:
        return
    had = torch.bincount(labels, minlength=dataset.num_classes)
    left = torch.bincount(labels[train], minlength=dataset.num_classes)
    empty = ((had > 0) & (left == 0)).nonzero().flatten().tolist()
    if empty:
        raise UserError(
            f"No training example of class '{dataset.class_names[empty[0]]}' of dataset '{dataset.name}' is left (the "
            f"source has {int(had[empty[0]])}): raise dataset.train_fraction ({train_fraction:g}), lower "
            f"dataset.imbalance ({imbalance:g}), or carve less for validation and test."
        )

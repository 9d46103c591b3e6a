"""What tasks with classes share: the form of targets, weights, facts of a training set, label noise."""

import functools

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.errors import UserError
from xentlab.tasks.contract import Examples, Facts, Link, Statistics, Task
from xentlab.tasks.links import probabilities

LINKS = ("softmax", "sigmoid", "identity")

# Digits that look alike: 2 -> 7, 3 -> 8, 5 <-> 6, 7 -> 1 (Patrini et al., 2017); the others keep their labels.
_DIGITS = tuple(str(digit) for digit in range(10))
_DIGIT_CONFUSION = (0, 1, 7, 8, 4, 6, 5, 1, 8, 9)


def num_classes(examples: Examples) -> int:
    """C: a model gives one score for each class."""
    return examples.num_classes


def check_indices(examples: Examples, axes: int) -> None:
    """Refuse targets that are no class indices with `axes` axes beside that of the examples.

    Raises:
        UserError: another type or shape, or a class that has no name.
    """
    targets, rule = examples.targets, f"Targets of dataset '{examples.name}' must be"
    if targets.dtype not in (torch.uint8, torch.int64) or targets.ndim != 1 + axes:
        shape = ("N", "N, T", "N, H, W")[axes]
        found = f"{str(targets.dtype).removeprefix('torch.')} {list(targets.shape)}"
        raise UserError(f"{rule} class indices [{shape}], uint8 or int64, got {found}.")
    counts = targets if examples.ignore_index is None else targets[targets != examples.ignore_index]
    if counts.numel() and not 0 <= int(counts.min()) <= int(counts.max()) < examples.num_classes:
        found = f"{int(counts.min())} to {int(counts.max())}"
        raise UserError(f"{rule} indices of its {examples.num_classes} classes, got {found}.")


def always(link: Link) -> bool:
    """Exactly one class is true, whatever the link."""
    return True


def predict_classes(outputs: Tensor, link: Link, facts: Facts, *, exclusive: bool = True) -> Tensor:
    """Probabilities [R, B, C, ...] of the one true class, or of each class."""
    return probabilities(outputs.flatten(0, 1), link, exclusive=exclusive).unflatten(0, outputs.shape[:2])


def weigh_indices(target: Tensor, facts: Facts, ignore_index: int | None, link: Link) -> tuple[Tensor, Tensor | None]:
    """Class indices [N, ...], int64, and each element's weight: that of its class, 0 where it is ignored.

    Weights of soft targets [N, C] weigh each class's share, `sum_c w_c t_c l_c` as in PyTorch. Its mean divides that by
    N; this one by the sum of the weights, so that a one-hot row counts as its index does.
    """
    weights = facts.get("class_weights")
    if target.is_floating_point():
        if weights is None:
            return target, None
        shares = target * weights.to(target.dtype).reshape(-1, *[1] * (target.ndim - 2))
        weight = shares.sum(1)
        return torch.where(weight.unsqueeze(1) > 0, shares / weight.unsqueeze(1).clamp_min(1e-30), target), weight
    target = target.long()
    if ignore_index is None:
        return target, None if weights is None else weights[target]
    valid = target != ignore_index
    target = target.masked_fill(~valid, 0)  # any class: its weight is 0
    return target, valid if weights is None else weights[target] * valid


def counts(targets: Tensor, examples: Examples) -> Tensor:
    """How often each class occurs [C], float64, in training `targets`: indices [N], maps [N, H, W] or n-hot [N, C]."""
    return _occurrences(targets, examples)[0]


def class_weights(kind: str, targets: Tensor, examples: Examples) -> Tensor:
    """A weight for each class [C], float64, from training `targets`: indices [N], maps [N, H, W] or n-hot [N, C].

    inverse: `total / (C count_c)`. median_frequency: `median(f) / f_c` with `f_c` the share of class c among the pixels
    of the images that contain it. A class that never occurs weighs 0.

    Reference: Eigen & Fergus, Predicting depth, surface normals and semantic labels, 2015 (median frequency).
    """
    found, totals = _occurrences(targets, examples)
    seen = found > 0
    if kind == "inverse":
        weights = found.sum() / (examples.num_classes * found.clamp_min(1.0))
    else:
        frequency = found / totals.clamp_min(1.0)
        weights = torch.quantile(frequency[seen], 0.5) / frequency.clamp_min(1e-300)
    return torch.where(seen, weights, torch.zeros_like(weights))


def _occurrences(targets: Tensor, examples: Examples) -> tuple[Tensor, Tensor]:
    """How often each class occurs, and how many elements the examples that contain it have: each [C], float64."""
    C = examples.num_classes
    if targets.ndim == 2:
        return targets.double().sum(0), torch.full((C,), float(len(targets)), dtype=torch.float64)
    if targets.ndim == 1:
        valid = targets if examples.ignore_index is None else targets[targets != examples.ignore_index]
        found = torch.bincount(valid.long(), minlength=C).double()
        return found, torch.full((C,), float(len(valid)), dtype=torch.float64)
    flat = targets.reshape(len(targets), -1)
    valid = flat != (-1 if examples.ignore_index is None else examples.ignore_index)
    per_image = torch.stack([((flat == c) & valid).sum(1) for c in range(C)], 1).double()
    present = (per_image > 0).double()
    return per_image.sum(0), (present * per_image.sum(1, keepdim=True)).sum(0)


def reliability(stats: Statistics) -> dict[str, Tensor]:
    """How often the predicted class had each stated probability, and how often it was right.

    Returns:
        `count` and `correct` (int64) and `confidence` (sums, float64), each [R, 16]: 15 bins of equal width on [0, 1),
        and one of exactly 1.
    """
    return {name: stats[f"bin_{name}"] for name in ("count", "correct", "confidence")}


def constant_answers(train: Tensor, judged: Tensor, examples: Examples) -> Statistics:
    """What always answering with each class's share of the training targets comes to."""
    valid = train if examples.ignore_index is None else train[train != examples.ignore_index]
    found = torch.bincount(valid.flatten().long(), minlength=examples.num_classes).double()
    return metrics.constant_counts(found / found.sum(), judged, ignore_index=examples.ignore_index)


def to_values(measured: dict[str, Tensor]) -> dict[str, float]:
    """Metrics of one row as plain numbers."""
    return {name: float(value) for name, value in measured.items()}


def disturb_indices(targets: Tensor, examples: Examples, rate: float, kind: str, draws: torch.Generator) -> Tensor:
    """Class indices of any shape, each one that counts disturbed on its own with probability `rate`.

    Raises:
        UserError: there is no other class.
    """
    if examples.num_classes < 2:
        raise UserError(f"dataset.label_noise must be 0 for a dataset with one class, got {rate:g}.")
    chosen = torch.rand(targets.shape, generator=draws) < rate
    step = torch.randint(1, examples.num_classes, targets.shape, generator=draws)
    clean = targets.long()
    if kind == "symmetric":
        other = (clean + step) % examples.num_classes
    elif kind == "asymmetric" and examples.class_names == _DIGITS:
        other = torch.tensor(_DIGIT_CONFUSION)[clean]
    else:
        other = (clean + 1) % examples.num_classes
    if examples.ignore_index is not None:
        chosen &= clean != examples.ignore_index
    return torch.where(chosen, other, clean).to(targets.dtype)


def draw_distributions(
    samples: int, classes: int, places: tuple[int, ...], link: Link, generator: torch.Generator
) -> Tensor:
    """Random distributions [N, C, ...]."""
    return torch.softmax(2.0 * torch.randn(samples, classes, *places, generator=generator, dtype=torch.float64), 1)


# A task in which exactly one class is true of an element.
exclusive_task = functools.partial(
    Task,
    num_outputs=num_classes,
    link="softmax",
    links=LINKS,
    exclusive=always,
    weigh=weigh_indices,
    facts={"class_counts": counts},
    class_weights=class_weights,
    predict=predict_classes,
    combine=metrics.add,
    reliability=reliability,
    forms=("index", "soft"),
    draw=draw_distributions,
)

"""Multilabel: any number of labels is true of each example. Targets n-hot uint8 [N, C].

A softmax loss cannot say that several labels hold: it compares with the n-hot target divided by its sum, as if one of
them were drawn.
"""

import functools

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.errors import UserError
from xentlab.tasks import classes
from xentlab.tasks.contract import Examples, Facts, Link, Statistics, Task


def _check(examples: Examples) -> None:
    targets = examples.targets
    if targets.dtype != torch.uint8 or targets.ndim != 2 or targets.shape[1] != examples.num_classes:
        found = f"{str(targets.dtype).removeprefix('torch.')} {list(targets.shape)}"
        raise UserError(
            f"Targets of dataset '{examples.name}' must be n-hot uint8 [N, {examples.num_classes}], got {found}."
        )
    if targets.numel() and int(targets.max()) > 1:
        raise UserError(f"Targets of dataset '{examples.name}' must be 0 or 1, got {int(targets.max())}.")


def _disturb(examples: Examples, train: Tensor, rate: float, kind: str, draws: torch.Generator) -> Tensor:
    flipped = torch.rand(examples.targets.shape, generator=draws)[train] < rate
    return examples.targets[train] ^ flipped.to(examples.targets.dtype)


def _exclusive(link: Link) -> bool:
    return link == "softmax"


def _weigh(target: Tensor, facts: Facts, ignore_index: int | None, link: Link) -> tuple[Tensor, Tensor | None]:
    """N-hot rows, where one label is drawn divided by their sum, and each example's weight: the mean of its labels'.

    Without a label it weighs 0 where one is drawn, else 1.
    """
    weights, drawn = facts.get("class_weights"), _exclusive(link)
    if weights is None and not drawn:
        return target, None
    labels = target.sum(1)
    distribution = target / labels.clamp_min(1.0).unsqueeze(1)
    if weights is None:
        return distribution, (labels > 0).to(target.dtype)
    weight = (distribution * weights.to(target.dtype)).sum(1)
    return (distribution, weight) if drawn else (target, torch.where(labels > 0, weight, torch.ones_like(weight)))


def _statistics(probs: Tensor, target: Tensor, ignore_index: int | None) -> Statistics:
    assert ignore_index is None, "an n-hot target has no ignored value"
    return {"probs": probs, "target": target if target.ndim == 3 else target[None]}


def _finish(stats: Statistics) -> dict[str, Tensor]:
    return metrics.multilabel_metrics(stats["probs"], stats["target"])


def _trivial(train: Tensor, judged: Tensor, examples: Examples) -> dict[str, float]:
    frequency = train.double().mean(0).to(judged.device)
    return classes.to_values(metrics.multilabel_metrics(frequency.expand(1, *judged.shape), judged))


def _reliability(stats: Statistics) -> dict[str, Tensor]:
    """As of classes, but of every label's probability."""
    probs = stats["probs"]
    truth = (stats["target"] > 0.5).expand(probs.shape)
    return classes.reliability(metrics.calibration_counts(probs.flatten(1), truth.flatten(1)))


def _against_truth(stats: Statistics, truth: Tensor) -> dict[str, Tensor]:
    return metrics.posterior_metrics(stats["probs"], truth)


def _draw(samples: int, labels: int, places: tuple[int, ...], link: Link, generator: torch.Generator) -> Tensor:
    """Random n-hot rows, or what the objective makes of them where one label is drawn."""
    rows = (torch.rand(samples, labels, generator=generator) < 0.5).double()
    if not _exclusive(link):
        return rows
    rows[rows.sum(1) == 0, 0] = 1.0
    return rows / rows.sum(1, keepdim=True)


MULTILABEL = Task(
    name="multilabel",
    check=_check,
    floats=True,
    columns="labels",
    noise=("symmetric",),
    disturb=_disturb,
    output="vector",
    num_outputs=classes.num_classes,
    link="sigmoid",
    links=classes.LINKS,
    exclusive=_exclusive,
    weigh=_weigh,
    facts={"class_counts": classes.counts},
    class_weights=classes.class_weights,
    predict=functools.partial(classes.predict_classes, exclusive=False),
    metrics=metrics.LABEL_METRICS,
    statistics=_statistics,
    combine=metrics.join,
    finish=_finish,
    trivial=_trivial,
    reliability=_reliability,
    truth_metrics=metrics.POSTERIOR_METRICS,
    against_truth=_against_truth,
    forms=("soft",),
    draw=_draw,
)

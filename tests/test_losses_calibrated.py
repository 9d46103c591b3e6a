"""Losses for calibration against their papers' definitions in loops, and numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab import losses
from xentlab.losses.compound import bind
from xentlab.schema import build

RTOL = 1e-9
CLASSES = 5


def draw() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(30, CLASSES, generator=generator, dtype=torch.float64)
    logits[0], logits[1, 2:], logits[2, :4] = 0.0, 1.0, -1.0  # ties: nothing, or something, lies below them
    soft = torch.softmax(torch.randn(30, CLASSES, generator=generator, dtype=torch.float64), 1)
    return logits, torch.arange(30) % CLASSES, soft


def flsd53(p: list[float], y: int, gamma_unlikely: float, gamma_likely: float, threshold: float) -> float:
    gamma = gamma_unlikely if p[y] < threshold else gamma_likely
    return -((1 - p[y]) ** gamma) * math.log(p[y])


def dual_focal(p: list[float], y: int, gamma: float) -> float:
    below = max([v for v in p if v < p[y]], default=0.0)
    return -((1 - p[y] + below) ** gamma) * math.log(p[y])


CASES: list[tuple[Callable[..., float], dict[str, Any]]] = [
    (flsd53, {"gamma_unlikely": 5.0, "gamma_likely": 3.0, "threshold": 0.21}),
    (flsd53, {"gamma_unlikely": 0.5, "gamma_likely": 1.5, "threshold": 0.6}),
    *((dual_focal, {"gamma": gamma}) for gamma in (0.0, 0.5, 5.0)),
]


@pytest.mark.parametrize(("reference", "knobs"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_values_are_those_of_the_definition(reference: Callable[..., float], knobs: dict[str, Any]) -> None:
    function = getattr(losses, reference.__name__)
    logits, index, soft = draw()
    rows = F.softmax(logits, 1).tolist()
    each = torch.tensor([[reference(p, c, **knobs) for c in range(CLASSES)] for p in rows], dtype=torch.float64)
    expected = each.gather(1, index[:, None])[:, 0]
    torch.testing.assert_close(function(logits, index, **knobs), expected, rtol=RTOL, atol=1e-14)
    torch.testing.assert_close(function(logits, soft, **knobs), (soft * each).sum(1), rtol=RTOL, atol=1e-14)
    maps = function(logits.reshape(2, 3, 5, CLASSES).movedim(-1, 1), index.reshape(2, 3, 5), **knobs)
    torch.testing.assert_close(maps.flatten(), expected, rtol=RTOL, atol=1e-14)


def test_brier_is_scikit_learns() -> None:
    logits, index, _ = draw()
    probs = torch.softmax(logits, 1).numpy()
    probs = probs / probs.sum(1, keepdims=True)
    theirs = sklearn.metrics.brier_score_loss(index.numpy(), probs, labels=list(range(CLASSES)), scale_by_half=False)
    assert losses.brier(logits, index).mean().item() == pytest.approx(theirs, rel=RTOL)


def test_brier_speaks_of_the_softmax_on_every_task() -> None:
    partial = build("loss", {"_target_": "xentlab.losses.brier"})
    assert {bind(partial, task).link for task in ("multiclass", "multilabel", "segmentation")} == {"softmax"}
    assert bind(build("loss", {"_target_": "xentlab.losses.mse"}), "multilabel").link == "sigmoid"


def test_worked_numbers() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log()
    ln2 = math.log(2)
    worked = {
        "brier": (losses.brier(logits, torch.tensor([0])), 0.25 + 0.09 + 0.0225 + 0.0025),
        "flsd53 likely": (losses.flsd53(logits, torch.tensor([0])), 0.125 * ln2),
        "flsd53 unlikely": (losses.flsd53(logits, torch.tensor([3])), -(0.95**5) * math.log(0.05)),
        "dual first": (losses.dual_focal(logits, torch.tensor([0]), gamma=2.0), 0.8**2 * ln2),
        "dual last": (losses.dual_focal(logits, torch.tensor([3]), gamma=2.0), -(0.95**2) * math.log(0.05)),
    }
    for name, (ours, expected) in worked.items():
        assert ours.item() == pytest.approx(expected, rel=1e-12), name


def test_the_defaults_are_the_published_ones() -> None:
    logits, index, _ = draw()
    published = {"gamma_unlikely": 5.0, "gamma_likely": 3.0, "threshold": 0.2}
    assert torch.equal(losses.flsd53(logits, index), losses.flsd53(logits, index, **published))
    assert torch.equal(losses.dual_focal(logits, index), losses.dual_focal(logits, index, gamma=5.0))


def test_the_choice_of_the_exponent_has_no_gradient() -> None:
    """Away from the threshold the slope is that of the focal loss with the exponent that was chosen."""
    for height, gamma in ((2.0, 3.0), (-2.0, 5.0)):
        logits = torch.tensor([[height, 0.0, 0.0]], dtype=torch.float64)
        true = torch.tensor([0])
        ours = torch.func.grad(lambda z, t=true: losses.flsd53(z, t).sum())(logits)
        expected = torch.func.grad(lambda z, t=true, g=gamma: losses.focal(z, t, gamma=g).sum())(logits)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)


def test_dual_focal_has_a_gradient_through_the_class_behind() -> None:
    """As in the authors' code: compared with finite differences of the definition, rival included."""
    logits, _, _ = draw()
    row, step = logits[7].clone(), 1e-6
    true = int(row.argsort()[2])
    slope = torch.func.grad(lambda z: losses.dual_focal(z[None], torch.tensor([true])).sum())(row)
    for c in range(CLASSES):
        nearby = [row.clone(), row.clone()]
        nearby[0][c] += step
        nearby[1][c] -= step
        ahead, behind = (dual_focal(F.softmax(z, 0).tolist(), true, 5.0) for z in nearby)
        assert slope[c].item() == pytest.approx((ahead - behind) / (2 * step), rel=1e-6, abs=1e-9)


def test_dual_focal_is_finite_where_every_class_ties() -> None:
    for height in (0.0, 1e4, -1e4):
        logits = torch.full((1, 3), height, requires_grad=True)
        value = losses.dual_focal(logits, torch.tensor([1]))
        (slope,) = torch.autograd.grad(value.sum(), logits)
        assert value.item() == pytest.approx((2 / 3) ** 5 * math.log(3), rel=1e-5)
        assert np.isfinite(slope.numpy()).all()

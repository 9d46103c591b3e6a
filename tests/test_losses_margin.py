"""Margin losses against torch, torchmetrics, scikit-learn and their formulas written as plain loops, in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import hinge_loss
from torch import Tensor
from torchmetrics.functional.classification import multiclass_hinge_loss

from xentlab import losses

Vector = NDArray[np.float64]
RTOL = 1e-9


def hinge(z: Vector, t: Vector, margin: float = 1.0) -> float:
    total = 0.0
    for y, weight in enumerate(t):
        total += weight * max(0.0, margin + max(a for c, a in enumerate(z) if c != y) - z[y])
    return total


def multi_margin(z: Vector, t: Vector, margin: float = 1.0) -> float:
    total = 0.0
    for y, c in itertools.permutations(range(len(z)), 2):
        total += t[y] * max(0.0, margin + z[c] - z[y])
    return total


def one_vs_rest(z: Vector, t: Vector, margin: float, power: int) -> float:
    total = 0.0
    for a, b in zip(z, t, strict=True):
        total += b * max(0.0, margin - a) ** power + (1 - b) * max(0.0, margin + a) ** power
    return total


def ovr_hinge(z: Vector, t: Vector, margin: float = 1.0) -> float:
    return one_vs_rest(z, t, margin, 1)


def squared_hinge(z: Vector, t: Vector, margin: float = 0.5) -> float:
    return one_vs_rest(z, t, margin, 2)


def cubed_hinge(z: Vector, t: Vector, margin: float = 0.5) -> float:
    return one_vs_rest(z, t, margin, 3)


def margin_smoothing(z: Vector, t: Vector, penalty: float = 0.1, margin: float = 10.0) -> float:
    normaliser = math.log(sum(math.exp(a) for a in z))
    cross_entropy = sum(b * (normaliser - a) for a, b in zip(z, t, strict=True))
    return cross_entropy + penalty * sum(max(0.0, max(z) - a - margin) for a in z)


REFERENCES: list[tuple[Callable[..., float], dict[str, float]]] = [
    (hinge, {}),
    (hinge, {"margin": 3.0}),
    (multi_margin, {}),
    (multi_margin, {"margin": 0.2}),
    (ovr_hinge, {}),
    (squared_hinge, {}),
    (squared_hinge, {"margin": 1.0}),
    (cubed_hinge, {}),
    (margin_smoothing, {}),
    (margin_smoothing, {"penalty": 0.7, "margin": 2.0}),
    (margin_smoothing, {"penalty": 1.0, "margin": 0.0}),
]
NAMES = sorted({reference.__name__ for reference, _ in REFERENCES})


def rows(count: int = 40, classes: int = 5) -> Tensor:
    return 2.5 * torch.randn(count, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def truths(kind: str, count: int = 40, classes: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if kind == "index":
        return torch.randint(classes, (count,), generator=generator)
    return torch.softmax(2 * torch.randn(count, classes, generator=generator, dtype=torch.float64), 1)


@pytest.mark.parametrize("kind", ["index", "one-hot", "soft"])
@pytest.mark.parametrize(("reference", "knobs"), REFERENCES)
def test_values_are_the_published_formula(reference: Callable[..., float], knobs: dict[str, float], kind: str) -> None:
    logits = rows()
    target = truths("soft") if kind == "soft" else truths("index")
    truth = target if kind == "soft" else F.one_hot(target, 5).double()
    expected = [reference(z, t, **knobs) for z, t in zip(logits.numpy(), truth.numpy(), strict=True)]
    got = getattr(losses, reference.__name__)(logits, target if kind == "index" else truth, **knobs)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["index", "soft"])
def test_a_map_is_its_pixels(name: str, kind: str) -> None:
    function, logits, target = getattr(losses, name), rows(24), truths(kind, 24)
    maps = logits.reshape(2, 3, 4, 5).movedim(-1, 1)
    masks = target.reshape(2, 3, 4) if kind == "index" else target.reshape(2, 3, 4, 5).movedim(-1, 1)
    torch.testing.assert_close(function(maps, masks).flatten(), function(logits, target))


@pytest.mark.parametrize("margin", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("form", ["index", "one-hot"])
def test_multi_margin_is_torchs(margin: float, form: str) -> None:
    index = truths("index")
    target = index if form == "index" else F.one_hot(index, 5).double()
    results = []
    for function in (
        lambda z: losses.multi_margin(z, target, margin=margin),
        lambda z: 5 * F.multi_margin_loss(z, index, margin=margin, reduction="none"),
    ):
        logits = rows().requires_grad_()
        values = function(logits)
        results.append((values.detach(), *torch.autograd.grad(values.sum(), logits)))
    torch.testing.assert_close(*results, rtol=RTOL, atol=1e-12)


def test_hinge_is_scikit_learns() -> None:
    logits, target = rows(), truths("index")
    expected = hinge_loss(target.numpy(), logits.numpy(), labels=np.arange(5))
    assert losses.hinge(logits, target).mean().item() == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize(("mode", "squared"), [("crammer-singer", False), ("one-vs-all", False), ("one-vs-all", True)])
def test_hinges_are_torchmetrics(mode: Literal["crammer-singer", "one-vs-all"], squared: bool) -> None:
    # Scores inside [0, 1] are left as they are by torchmetrics, others it turns into probabilities.
    scores, target = torch.sigmoid(rows()), truths("index")
    expected = multiclass_hinge_loss(scores, target, 5, squared=squared, multiclass_mode=mode)
    if mode == "crammer-singer":
        got = losses.hinge(scores, target).mean()
    else:
        got = (losses.squared_hinge if squared else losses.ovr_hinge)(scores, target, margin=1.0).mean()
        expected = expected.sum()
    torch.testing.assert_close(got, expected.double(), rtol=1e-6, atol=0.0)  # torchmetrics computes in float32


@pytest.mark.parametrize(
    ("name", "logits", "target", "expected"),
    [
        ("hinge", [2.0, 1.5, -1.0], 0, 0.5),
        ("hinge", [2.0, 1.0, -1.0], 0, 0.0),
        ("hinge", [0.0, 0.0, 0.0], 2, 1.0),
        ("multi_margin", [0.0, 0.0, 0.0], 2, 2.0),
        ("multi_margin", [2.0, 1.5, 3.0], 0, 0.5 + 2.0),
        ("ovr_hinge", [0.0, 0.0, 0.0], 0, 3.0),
        ("ovr_hinge", [1e4, -1e4, 1.0], 0, 2.0),
        ("squared_hinge", [0.0, 0.0, 0.0], 0, 0.75),
        ("squared_hinge", [-1.0, 0.5, -0.5], 0, 2.25 + 1.0),
        ("cubed_hinge", [0.0, 0.0], 0, 0.25),
        ("margin_smoothing", [0.0, 0.0, 0.0], 1, math.log(3)),
        ("margin_smoothing", [1e4, 0.0], 0, 0.1 * 9990.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_worked_by_hand(name: str, logits: list[float], target: int, expected: float, dtype: torch.dtype) -> None:
    value = getattr(losses, name)(torch.tensor([logits], dtype=dtype), torch.tensor([target]))
    assert value.dtype == dtype
    assert value.item() == pytest.approx(expected, rel=1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["index", "soft"])
def test_finite_in_float32_at_kinks_ties_and_extremes(name: str, kind: str) -> None:
    unit = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
    corners = torch.cat([size * unit for size in (0.0, 0.5, 1.0, 10.0, 1e4)])
    index = torch.arange(3).repeat_interleave(len(corners))
    logits = corners.repeat(3, 1).requires_grad_()
    values = getattr(losses, name)(logits, index if kind == "index" else F.one_hot(index, 3).float())
    (slope,) = torch.autograd.grad(values.sum(), logits)
    assert values.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("true", [0, 1, 2])
def test_at_a_tie_the_hinge_raises_the_true_logit_and_lowers_rivals(true: int) -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(losses.hinge(logits, torch.tensor([true])).sum(), logits)
    assert slope[0, true] == -1.0
    assert slope.sum() == 0.0
    assert (slope[0, [c for c in range(3) if c != true]] >= 0).all()


def test_a_sufficient_lead_costs_nothing_and_pulls_on_nothing() -> None:
    for function, needed in [(losses.hinge, 1.0), (losses.multi_margin, 1.0)]:
        logits = torch.tensor([[0.0, needed + 1e-3, 0.0]], requires_grad=True)
        value = function(logits, torch.tensor([1]))
        (slope,) = torch.autograd.grad(value.sum(), logits)
        assert value.item() == 0.0
        assert (slope == 0).all()


def test_margin_smoothing_leaves_the_margin_free() -> None:
    near = torch.tensor([[10.0, 0.0, 1.0]], dtype=torch.float64)
    far = torch.tensor([[12.5, 0.0, 1.0]], dtype=torch.float64)
    target = torch.tensor([0])
    assert losses.margin_smoothing(near, target) == losses.ce(near, target)
    extra = losses.margin_smoothing(far, target) - losses.ce(far, target)
    assert extra.item() == pytest.approx(0.1 * (2.5 + 1.5), rel=1e-12)


def test_margin_smoothing_of_the_authors_is_the_mean_over_classes() -> None:
    logits, target = 8 * rows(), truths("index")
    trailing = F.relu(logits.max(1, keepdim=True).values - logits - 6.0)
    expected = F.cross_entropy(logits, target, reduction="none") + 0.1 * trailing.mean(1)
    got = losses.margin_smoothing(logits, target, penalty=0.1 / 5, margin=6.0)
    torch.testing.assert_close(got, expected, rtol=RTOL, atol=1e-12)

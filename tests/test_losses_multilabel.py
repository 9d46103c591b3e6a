"""The losses of label sets against torch, torchvision and the papers' formulas written as plain loops, in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from xentlab import losses

Vector = NDArray[np.float64]
RTOL = 1e-9


def s(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def focal_bce(z: Vector, t: Vector, gamma: float = 2.0, alpha: float = 0.25) -> float:
    yes = [alpha * b * (1 - s(a)) ** gamma * -math.log(s(a)) for a, b in zip(z, t, strict=True)]
    no = [(1 - alpha) * (1 - b) * s(a) ** gamma * -math.log(1 - s(a)) for a, b in zip(z, t, strict=True)]
    return sum(yes) + sum(no)


def asl(z: Vector, t: Vector, gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05) -> float:
    total = 0.0
    for a, b in zip(z, t, strict=True):
        p, m = s(a), max(s(a) - clip, 0.0)
        total -= b * (1 - p) ** gamma_pos * math.log(p) + (1 - b) * m**gamma_neg * math.log(1 - m)
    return total


def zlpr(z: Vector, t: Vector) -> float:
    labels = 1.0 + sum(b * math.exp(-a) for a, b in zip(z, t, strict=True))
    others = 1.0 + sum((1 - b) * math.exp(a) for a, b in zip(z, t, strict=True))
    return math.log(labels) + math.log(others)


def bp_mll(z: Vector, t: Vector) -> float:
    total = pairs = 0.0
    for k, other in itertools.product(range(len(z)), repeat=2):
        total += t[k] * (1 - t[other]) * math.exp(-(math.tanh(z[k]) - math.tanh(z[other])))
        pairs += t[k] * (1 - t[other])
    return total / pairs if pairs else 0.0


def hill(z: Vector, t: Vector, lam: float = 1.5, margin: float = 1.0, gamma: float = 2.0) -> float:
    total = 0.0
    for a, b in zip(z, t, strict=True):
        p, m = s(a), s(a - margin)
        total += b * (1 - m) ** gamma * -math.log(m) + (1 - b) * (lam - p) * p**2
    return total


def multilabel_soft_margin(z: Vector, t: Vector) -> float:
    return -sum(b * math.log(s(a)) + (1 - b) * math.log(1 - s(a)) for a, b in zip(z, t, strict=True)) / len(z)


def sigmoid_f1(z: Vector, t: Vector, slope: float = 1.0, offset: float = 0.0) -> float:
    chosen = [s(slope * (a + offset)) for a in z]
    tp = sum(c * b for c, b in zip(chosen, t, strict=True))
    fp = sum(c * (1 - b) for c, b in zip(chosen, t, strict=True))
    fn = sum((1 - c) * b for c, b in zip(chosen, t, strict=True))
    return 1.0 - 2.0 * tp / (2.0 * tp + fp + fn)


REFERENCES: list[tuple[Callable[..., float], dict[str, float]]] = [
    (focal_bce, {}),
    (focal_bce, {"gamma": 0.4, "alpha": 0.7}),
    (asl, {}),
    (asl, {"gamma_pos": 0.5, "gamma_neg": 0.3, "clip": 0.2}),
    (asl, {"gamma_pos": 1.0, "gamma_neg": 2.0, "clip": 0.0}),
    (zlpr, {}),
    (bp_mll, {}),
    (hill, {}),
    (hill, {"lam": 2.0, "margin": 0.3, "gamma": 0.5}),
    (multilabel_soft_margin, {}),
    (sigmoid_f1, {}),
    (sigmoid_f1, {"slope": 3.0, "offset": -0.4}),
]
NAMES = sorted({reference.__name__ for reference, _ in REFERENCES})


def rows(count: int = 40, classes: int = 5) -> Tensor:
    return 2.5 * torch.randn(count, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def hot(kind: str, count: int = 40, classes: int = 5) -> Tensor:
    """Targets of each kind: n-hot with rows of no and of all labels, soft labels, or indices."""
    generator = torch.Generator().manual_seed(1)
    if kind == "index":
        return torch.randint(classes, (count,), generator=generator)
    draws = torch.rand(count, classes, generator=generator, dtype=torch.float64)
    if kind == "soft":
        return draws
    labels = (draws < 0.4).double()
    labels[0], labels[1] = 0.0, 1.0
    return labels


@pytest.mark.parametrize("kind", ["n-hot", "soft", "index"])
@pytest.mark.parametrize(("reference", "knobs"), REFERENCES)
def test_values_are_the_published_formula(reference: Callable[..., float], knobs: dict[str, float], kind: str) -> None:
    logits, target = rows(), hot(kind)
    truth = F.one_hot(target, 5).double() if kind == "index" else target
    expected = [reference(z, t, **knobs) for z, t in zip(logits.numpy(), truth.numpy(), strict=True)]
    got = getattr(losses, reference.__name__)(logits, target, **knobs)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_map_is_its_pixels(name: str) -> None:
    function, logits, target = getattr(losses, name), rows(24), hot("index", 24)
    maps = logits.reshape(2, 3, 4, 5).movedim(-1, 1)
    torch.testing.assert_close(function(maps, target.reshape(2, 3, 4)).flatten(), function(logits, target))


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.3, 0.9)])
def test_focal_bce_is_torchvisions(gamma: float, alpha: float) -> None:
    target = hot("n-hot")
    gradients = []
    for function in (
        lambda z: losses.focal_bce(z, target, gamma=gamma, alpha=alpha),
        lambda z: sigmoid_focal_loss(z, target, alpha=alpha, gamma=gamma).sum(1),
    ):
        logits = rows().requires_grad_()
        values = function(logits)
        gradients.append((values.detach(), *torch.autograd.grad(values.sum(), logits)))
    torch.testing.assert_close(*gradients, rtol=RTOL, atol=1e-12)


def test_multilabel_soft_margin_is_torchs() -> None:
    logits, target = rows(), hot("n-hot")
    expected = F.multilabel_soft_margin_loss(logits, target, reduction="none")
    torch.testing.assert_close(losses.multilabel_soft_margin(logits, target), expected, rtol=RTOL, atol=0.0)


def test_zlpr_of_one_label_is_cross_entropy_with_an_extra_class_and_more() -> None:
    """Its two sums are cross-entropies against a class whose logit is zero."""
    logits, index = rows(), hot("index")
    zero = torch.zeros(40, 1, dtype=torch.float64)
    negatives = torch.logsumexp(torch.cat([zero, logits.masked_fill(F.one_hot(index, 5).bool(), -math.inf)], 1), 1)
    label = F.softplus(-logits.gather(1, index[:, None]))[:, 0]
    torch.testing.assert_close(losses.zlpr(logits, index), label + negatives, rtol=RTOL, atol=0.0)


def test_zlpr_is_least_where_twice_the_logit_implies_the_soft_label() -> None:
    soft = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)
    best = (torch.logit(soft) / 2).requires_grad_()
    (slope,) = torch.autograd.grad(losses.zlpr(best, soft).sum(), best)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "logits", "target", "expected"),
    [
        ("focal_bce", [0.0, 0.0], [1.0, 0.0], (0.25 + 0.75) * 0.25 * math.log(2)),
        ("asl", [0.0, -4.0], [0.0, 0.0], 0.45**4 * -math.log(0.55)),  # the second lies below the clip
        ("zlpr", [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], math.log(2) + math.log(3)),
        ("bp_mll", [1e4, -1e4, -1e4], [1.0, 0.0, 0.0], math.exp(-2)),
        ("bp_mll", [0.3, -7.0], [0.0, 0.0], 0.0),
        ("bp_mll", [0.3, -7.0], [1.0, 1.0], 0.0),
        ("hill", [1.0, 0.0], [1.0, 0.0], 0.25 * math.log(2) + 0.25),
        ("multilabel_soft_margin", [0.0, 0.0], [1.0, 0.0], math.log(2)),
        ("sigmoid_f1", [0.0, 0.0, 0.0], [1.0, 1.0, 0.0], 1 - 2 / 3.5),
        ("sigmoid_f1", [-90.0, -1e4, 3.0], [0.0, 0.0, 0.0], 1.0),
        ("sigmoid_f1", [1e4, -1e4, 1e4], [1.0, 0.0, 1.0], 0.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_worked_by_hand(
    name: str, logits: list[float], target: list[float], expected: float, dtype: torch.dtype
) -> None:
    point = torch.tensor([logits], dtype=dtype, requires_grad=True)
    value = getattr(losses, name)(point, torch.tensor([target], dtype=dtype))
    (slope,) = torch.autograd.grad(value.sum(), point)
    assert slope.isfinite().all()
    assert value.item() == pytest.approx(expected, rel=1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0.0, 20.0, 90.0, 200.0, 1e4])
def test_finite_in_float32_for_every_label_set(name: str, size: float) -> None:
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    targets = torch.tensor(list(itertools.product([0.0, 0.5, 1.0], repeat=3)))
    logits = (size * signs).repeat(len(targets), 1).requires_grad_()
    values = getattr(losses, name)(logits, targets.repeat_interleave(len(signs), 0))
    (slope,) = torch.autograd.grad(values.sum(), logits)
    assert values.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("knobs", [{"gamma_neg": 0.0}, {"gamma_neg": 0.3}, {"gamma_neg": 0.3, "clip": 0.0}])
def test_asl_has_a_finite_gradient_at_and_below_its_clip(knobs: dict[str, float]) -> None:
    at_clip = math.log(0.05 / 0.95)
    logits = torch.tensor([[at_clip], [at_clip + 1e-6], [-9.0], [-100.0], [-1e4]], requires_grad=True)
    (slope,) = torch.autograd.grad(losses.asl(logits, torch.zeros(5, 1), **knobs).sum(), logits)
    assert slope.isfinite().all()
    assert (slope >= 0).all()
    if "clip" not in knobs:
        assert (slope[2:] == 0).all()


def test_hill_pulls_less_on_a_negative_that_looks_like_a_label() -> None:
    probs = torch.tensor([[0.5], [0.7], [0.99]], dtype=torch.float64)
    logits = torch.logit(probs).requires_grad_()
    (slope,) = torch.autograd.grad(losses.hill(logits, torch.zeros_like(probs)).sum(), logits)
    # d/dz (3/2 - p) p^2 = 3 p^2 (1 - p)^2
    torch.testing.assert_close(slope, 3 * probs**2 * (1 - probs) ** 2, rtol=RTOL, atol=0.0)


def test_asl_with_constant_focus_has_the_gradient_of_its_authors_training() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(20, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    truth = (torch.rand(20, 4, generator=generator) < 0.4).double()
    probs = torch.sigmoid(logits)
    shifted = (probs - 0.05).clamp_min(0.0)
    plain = truth * torch.log(probs) + (1 - truth) * torch.log(1 - shifted)
    focus = (truth * (1 - probs) ** 1.5 + (1 - truth) * shifted**3).detach()
    (wanted,) = torch.autograd.grad(-(plain * focus).sum(), logits)
    knobs = {"gamma_pos": 1.5, "gamma_neg": 3.0}
    values = losses.asl(logits, truth, constant_focus=True, **knobs)
    (slope,) = torch.autograd.grad(values.sum(), logits)
    torch.testing.assert_close(slope, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(values, losses.asl(logits, truth, **knobs), rtol=0, atol=0)

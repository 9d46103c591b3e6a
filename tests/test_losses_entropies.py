"""Divergences between target and prediction against torch, scipy, their definitions, and numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab import losses

RTOL = 1e-9
CLASSES = 5


def draw() -> tuple[Tensor, Tensor, Tensor]:
    """Logits [12, 5], class indices [12] and distributions [12, 5], of which the first hold zeros."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(12, CLASSES, generator=generator, dtype=torch.float64)
    soft = torch.softmax(2 * torch.randn(12, CLASSES, generator=generator, dtype=torch.float64), 1)
    soft[:4, 2] = 0.0
    return logits, torch.arange(12) % CLASSES, soft / soft.sum(1, keepdim=True)


def test_kl_is_torchs_and_scipys_and_ce_for_one_true_class() -> None:
    logits, index, soft = draw()
    expected = F.kl_div(F.log_softmax(logits, 1), soft, reduction="none").sum(1)
    torch.testing.assert_close(losses.kl(logits, soft), expected, rtol=RTOL, atol=1e-12)
    scipys = scipy.special.rel_entr(soft.numpy(), scipy.special.softmax(logits.numpy(), 1)).sum(1)
    np.testing.assert_allclose(losses.kl(logits, soft).numpy(), scipys, rtol=RTOL)
    torch.testing.assert_close(losses.kl(logits, index), losses.ce(logits, index), rtol=RTOL, atol=0)


def js_reference(t: np.ndarray, q: np.ndarray, pi: float) -> float:
    m = pi * t + (1 - pi) * q
    raw = pi * scipy.special.rel_entr(t, m).sum() + (1 - pi) * scipy.special.rel_entr(q, m).sum()
    return float(raw / (-(1 - pi) * math.log(1 - pi)))


@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_js_is_its_definition(pi: float) -> None:
    logits, index, soft = draw()
    for target in (F.one_hot(index, CLASSES).double(), soft):
        pairs = zip(target.numpy(), scipy.special.softmax(logits.numpy(), 1), strict=True)
        expected = [js_reference(t, q, pi) for t, q in pairs]
        np.testing.assert_allclose(losses.js(logits, target, pi=pi).numpy(), expected, rtol=RTOL)


def test_js_at_one_half_is_scipys_squared_distance() -> None:
    logits, _, soft = draw()
    distance = scipy.spatial.distance.jensenshannon(soft.numpy(), torch.softmax(logits, 1).numpy(), axis=1)
    np.testing.assert_allclose(losses.js(logits, soft).numpy(), distance**2 / (0.5 * math.log(2)), rtol=RTOL)


def test_js_of_one_true_class_approaches_half_the_absolute_error() -> None:
    logits, index, _ = draw()
    half = losses.linear(logits, index)
    gaps = [float((losses.js(logits, index, pi=pi) - half).abs().max()) for pi in (0.9, 0.999, 1 - 1e-7, 1 - 1e-13)]
    assert gaps == sorted(gaps, reverse=True)
    # The distance shrinks like 1 / -log(1 - pi).
    assert gaps[-1] < 0.05


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0, 3.7])
def test_tsallis_is_the_bregman_divergence_of_its_entropy(alpha: float) -> None:
    logits, index, soft = draw()
    for target in (F.one_hot(index, CLASSES).double(), soft):
        expected = []
        for t, q in zip(target.numpy(), scipy.special.softmax(logits.numpy(), 1), strict=True):
            potential = [(np.sum(x**alpha) - 1) / (alpha - 1) for x in (t, q)]
            slope = alpha * q ** (alpha - 1) / (alpha - 1)
            expected.append(potential[0] - potential[1] - slope @ (t - q))
        np.testing.assert_allclose(losses.tsallis(logits, target, alpha=alpha).numpy(), expected, rtol=1e-9, atol=1e-14)


def test_worked_numbers() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    first, ln2 = torch.tensor([0]), math.log(2)
    worked = {
        "kl": (losses.kl(logits, torch.tensor([[0.5, 0.5, 0.0]]).double()), 0.5 * ln2),
        "js": (losses.js(logits, first), math.log(4 / 3) / ln2 + (0.5 * math.log(2 / 3) + 0.5 * ln2) / ln2),
        "tsallis": (losses.tsallis(logits, first, alpha=3.0), (1 - 3 / 4 + 2 * (1 / 8 + 2 / 64)) / 2),
    }
    for name, (ours, expected) in worked.items():
        assert ours.item() == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("name", ["kl", "js", "tsallis"])
def test_a_divergence_vanishes_with_its_gradient_where_the_prediction_is_the_target(name: str) -> None:
    function, logits = getattr(losses, name), draw()[0]
    target = torch.softmax(logits, 1)
    torch.testing.assert_close(function(logits, target), torch.zeros(12).double(), rtol=0, atol=1e-14)
    slope = torch.func.grad(lambda z: function(z, target).sum())(logits)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-14)
    assert (function(logits + 0.1 * draw()[0].roll(1, 1), target) > 0).all()


def test_js_keeps_its_digits_in_every_precision_and_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = 3 * torch.randn(50, 4, generator=generator), torch.randint(4, (50,), generator=generator)
    for pi in (1e-9, 1e-3, 0.5, 1 - 1e-9):
        wanted = losses.js(logits.double(), target, pi=pi)
        for given in (target, torch.nn.functional.one_hot(target, 4).double()):
            got = losses.js(logits, given, pi=pi)
            assert got.dtype == torch.float32
            torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)
    half = logits.half()
    wanted = losses.js(half.double(), target)
    torch.testing.assert_close(losses.js(half, target).double(), wanted, rtol=2e-3, atol=1e-4)

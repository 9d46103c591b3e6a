"""Losses for noisy labels against their papers' definitions in loops, and numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab import losses

RTOL = 1e-9
CLASSES = 4
LOG_ZERO = math.log(1e-4)


def draw() -> tuple[Tensor, Tensor, Tensor]:
    """Logits [24, 4], class indices [24] and distributions [24, 4], of which the first hold zeros."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(24, CLASSES, generator=generator, dtype=torch.float64)
    soft = torch.softmax(2 * torch.randn(24, CLASSES, generator=generator, dtype=torch.float64), 1)
    soft[:8, 1] = 0.0
    return logits, torch.arange(24) % CLASSES, soft / soft.sum(1, keepdim=True)


def probs(z: np.ndarray) -> list[float]:
    weights = [math.exp(v - max(z)) for v in z]
    return [w / sum(weights) for w in weights]


# Each definition for one element and a target distribution t.


def linear(z: np.ndarray, t: np.ndarray) -> float:
    return sum(a * (1 - p) for a, p in zip(t, probs(z), strict=True))


def gce(z: np.ndarray, t: np.ndarray, q: float) -> float:
    return sum(a * (1 - p**q) / q for a, p in zip(t, probs(z), strict=True))


def rce(z: np.ndarray, t: np.ndarray, log_zero: float) -> float:
    logs = [max(math.log(a), log_zero) if a > 0 else log_zero for a in t]
    return -sum(p * v for p, v in zip(probs(z), logs, strict=True))


def ce(z: np.ndarray, t: np.ndarray) -> float:
    return -sum(a * math.log(p) for a, p in zip(t, probs(z), strict=True))


def sce(z: np.ndarray, t: np.ndarray, alpha: float, beta: float, log_zero: float) -> float:
    return alpha * ce(z, t) + beta * rce(z, t, log_zero)


def nce(z: np.ndarray, t: np.ndarray) -> float:
    """The expected loss under t of `ce(z, y) / sum_k ce(z, k)`."""
    all_labels = [ce(z, row) for row in np.eye(len(z))]
    return sum(a * v / sum(all_labels) for a, v in zip(t, all_labels, strict=True))


def nce_rce(z: np.ndarray, t: np.ndarray, alpha: float, beta: float, log_zero: float) -> float:
    return alpha * nce(z, t) + beta * rce(z, t, log_zero)


def nce_mae(z: np.ndarray, t: np.ndarray, alpha: float, beta: float) -> float:
    return alpha * nce(z, t) + beta * linear(z, t)


def phuber_ce(z: np.ndarray, t: np.ndarray, tau: float) -> float:
    def one(p: float) -> float:
        return -tau * p + math.log(tau) + 1 if p <= 1 / tau else -math.log(p)

    return sum(a * one(p) for a, p in zip(t, probs(z), strict=True))


def phuber_gce(z: np.ndarray, t: np.ndarray, q: float, tau: float) -> float:
    edge = tau ** (1 / (q - 1))

    def one(p: float) -> float:
        return -tau * p + tau * edge + (1 - edge**q) / q if p <= edge else (1 - p**q) / q

    return sum(a * one(p) for a, p in zip(t, probs(z), strict=True))


def bootstrap_soft(z: np.ndarray, t: np.ndarray, beta: float) -> float:
    return -sum((beta * a + (1 - beta) * p) * math.log(p) for a, p in zip(t, probs(z), strict=True))


def bootstrap_hard(z: np.ndarray, t: np.ndarray, beta: float) -> float:
    p = probs(z)
    return -sum((beta * a + (1 - beta) * (c == np.argmax(z))) * math.log(p[c]) for c, a in enumerate(t))


CASES: list[tuple[Callable[..., float], dict[str, Any]]] = [
    (linear, {}),
    *((gce, {"q": q}) for q in (0.1, 0.7, 1.0)),
    *((rce, {"log_zero": floor}) for floor in (-4.0, LOG_ZERO, -0.5)),
    (sce, {"alpha": 0.1, "beta": 1.0, "log_zero": -4.0}),
    (nce, {}),
    (nce_rce, {"alpha": 1.0, "beta": 10.0, "log_zero": LOG_ZERO}),
    (nce_mae, {"alpha": 1.0, "beta": 10.0}),
    *((phuber_ce, {"tau": tau}) for tau in (1.0, 2.0, 10.0)),
    *((phuber_gce, {"q": q, "tau": tau}) for q, tau in ((0.7, 10.0), (0.7, 1.5), (0.2, 3.0))),
    *((bootstrap_soft, {"beta": beta}) for beta in (0.95, 0.3)),
    *((bootstrap_hard, {"beta": beta}) for beta in (0.8, 0.3)),
]


@pytest.mark.parametrize(("reference", "knobs"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_values_are_those_of_the_definition(reference: Callable[..., float], knobs: dict[str, Any]) -> None:
    function = getattr(losses, reference.__name__)
    logits, index, soft = draw()
    one_hot = F.one_hot(index, CLASSES).double()
    for target, rows in ((index, one_hot), (soft, soft)):
        expected = [reference(z, t, **knobs) for z, t in zip(logits.numpy(), rows.numpy(), strict=True)]
        np.testing.assert_allclose(function(logits, target, **knobs).numpy(), expected, rtol=RTOL, atol=1e-14)
    maps = logits.reshape(2, 3, 4, CLASSES).movedim(-1, 1)
    got = function(maps, index.reshape(2, 3, 4), **knobs)
    torch.testing.assert_close(got.flatten(), function(logits, index, **knobs), rtol=RTOL, atol=1e-14)


def test_the_defaults_are_the_published_ones() -> None:
    logits, index, _ = draw()
    defaults: list[tuple[Callable[..., float], dict[str, Any]]] = [
        (gce, {"q": 0.7}),
        (sce, {"alpha": 0.1, "beta": 1.0, "log_zero": -4.0}),
        (rce, {"log_zero": LOG_ZERO}),
        (nce_rce, {"alpha": 1.0, "beta": 10.0, "log_zero": LOG_ZERO}),
        (nce_mae, {"alpha": 1.0, "beta": 10.0}),
        (phuber_ce, {"tau": 10.0}),
        (phuber_gce, {"q": 0.7, "tau": 10.0}),
        (bootstrap_soft, {"beta": 0.95}),
        (bootstrap_hard, {"beta": 0.8}),
    ]
    for reference, knobs in defaults:
        function = getattr(losses, reference.__name__)
        assert torch.equal(function(logits, index), function(logits, index, **knobs)), reference.__name__


def test_worked_numbers() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    first, ln2 = torch.tensor([0]), math.log(2)
    worked = {
        "linear": (losses.linear(logits, first), 0.5),
        "gce": (losses.gce(logits, first, q=0.5), 2 * (1 - math.sqrt(0.5))),
        "rce": (losses.rce(logits, first, log_zero=-4.0), 2.0),
        "sce": (losses.sce(logits, first), 0.1 * ln2 + 2.0),
        "nce": (losses.nce(logits, first), 1 / 5),
        "nce_rce": (losses.nce_rce(logits, first, log_zero=-4.0), 1 / 5 + 20.0),
        "nce_mae": (losses.nce_mae(logits, first), 1 / 5 + 5.0),
        "phuber_ce above": (losses.phuber_ce(logits, first, tau=4.0), ln2),
        "phuber_ce below": (losses.phuber_ce(logits, first + 1, tau=2.0), ln2 + 0.5),
        "phuber_gce below": (
            losses.phuber_gce(logits, first + 1, q=0.5, tau=1.5),
            2 * (1 - 2 / 3) + 1.5 * (4 / 9 - 0.25),
        ),
        "bootstrap_soft": (losses.bootstrap_soft(logits, first, beta=0.5), 0.5 * ln2 + 0.5 * 1.5 * ln2),
        "bootstrap_hard": (losses.bootstrap_hard(logits, first + 1, beta=0.75), 0.75 * 2 * ln2 + 0.25 * ln2),
    }
    for name, (ours, expected) in worked.items():
        assert ours.item() == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("name", ["rce", "linear", "nce", "nce_rce", "nce_mae"])
def test_symmetric_losses_sum_to_one_constant_over_the_labels(name: str) -> None:
    """The condition under which uniform label noise does not move the minimiser."""
    logits, _, _ = draw()
    function = getattr(losses, name)
    sums = torch.stack([function(logits, torch.full((len(logits),), c)) for c in range(CLASSES)]).sum(0)
    torch.testing.assert_close(sums, sums[:1].expand_as(sums), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "knobs"), [("phuber_ce", {}), ("phuber_gce", {}), ("phuber_gce", {"q": 0.3})])
def test_partial_huberisation_bounds_the_slope_in_the_probability_and_keeps_it_continuous(
    name: str, knobs: dict[str, float]
) -> None:
    tau = 5.0
    p = torch.linspace(1e-4, 0.9999, 4001, dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()], 1).requires_grad_()
    values = getattr(losses, name)(logits, torch.zeros(len(p), dtype=torch.int64), tau=tau, **knobs)
    slopes = values.detach().diff() / p.diff()
    assert slopes.min().item() >= -tau * (1 + 1e-9)
    assert slopes.diff().abs().max().item() < 0.1  # a jump of the value by 1e-4 would give 0.4
    assert slopes[0].item() == pytest.approx(-tau, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "bound"), [("linear", 1.0), ("gce", 1 / 0.7), ("nce", 1.0), ("phuber_ce", 1 + math.log(10))]
)
def test_bounded_losses_end_at_their_bound(name: str, bound: float) -> None:
    wrong = torch.tensor([[-1e4, 1e4]])
    value = getattr(losses, name)(wrong, torch.tensor([0]))
    assert value.item() == pytest.approx(bound, rel=1e-6)


def test_bootstrapping_lets_gradients_through_the_soft_belief_only() -> None:
    logits, index, _ = draw()
    soft, hard = (
        torch.func.grad(lambda z, f=f: f(z, index, beta=0.0).sum())(logits)
        for f in (losses.bootstrap_soft, losses.bootstrap_hard)
    )
    p = torch.softmax(logits, 1)
    entropy = -(p * p.log()).sum(1, keepdim=True)
    torch.testing.assert_close(soft, -p * (p.log() + entropy), rtol=RTOL, atol=1e-12)
    torch.testing.assert_close(hard, p - F.one_hot(logits.argmax(1), CLASSES), rtol=RTOL, atol=1e-12)

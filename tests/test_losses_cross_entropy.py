"""Cross-entropy's family against definitions written out in loops, other libraries, and numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from xentlab import losses

RTOL = 1e-9
CLASSES = 5
COUNTS = (3.0, 1.0, 40.0, 200.0, 16.0)
Reference = Callable[..., float]


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [12, 5], class indices [12] and distributions [12, 5], of which the first hold zeros."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(12, CLASSES, generator=generator, dtype=torch.float64)
    index = torch.arange(12) % CLASSES
    soft = torch.softmax(2 * torch.randn(12, CLASSES, generator=generator, dtype=torch.float64), 1)
    soft[:4, 2] = 0.0
    return logits, index, soft / soft.sum(1, keepdim=True)


def probs(z: np.ndarray) -> list[float]:
    weights = [math.exp(v - max(z)) for v in z]
    return [w / sum(weights) for w in weights]


def facts(name: str) -> tuple[Tensor, ...]:
    return (torch.tensor(COUNTS, dtype=torch.float64),) if name in ("logit_adjusted", "ldam", "class_balanced") else ()


# Each definition for one element and one true class y, from the paper.


def label_smoothing(z: np.ndarray, y: int, smoothing: float) -> float:
    p = probs(z)
    target = [smoothing / len(z) + (1 - smoothing) * (c == y) for c in range(len(z))]
    return -sum(t * math.log(q) for t, q in zip(target, p, strict=True))


def focal(z: np.ndarray, y: int, gamma: float) -> float:
    p = probs(z)[y]
    return -((1 - p) ** gamma) * math.log(p)


def poly1(z: np.ndarray, y: int, epsilon: float) -> float:
    p = probs(z)[y]
    return -math.log(p) + epsilon * (1 - p)


def taylor_ce(z: np.ndarray, y: int, order: int) -> float:
    p = probs(z)[y]
    return sum((1 - p) ** k / k for k in range(1, order + 1))


def z_loss(z: np.ndarray, y: int, z_weight: float) -> float:
    return -math.log(probs(z)[y]) + z_weight * math.log(sum(math.exp(v) for v in z)) ** 2


def logit_norm(z: np.ndarray, y: int, temperature: float) -> float:
    length = math.sqrt(sum(v * v for v in z)) + 1e-7
    return -math.log(probs(z / (length * temperature))[y])


def topk_ce(z: np.ndarray, y: int, k: int) -> float:
    rivals = sorted(v for c, v in enumerate(z) if c != y)
    return math.log(1 + sum(math.exp(v - z[y]) for v in rivals[: len(z) - k]))


def logit_adjusted(z: np.ndarray, y: int, tau: float) -> float:
    prior = [n / sum(COUNTS) for n in COUNTS]
    return math.log(sum((prior[c] / prior[y]) ** tau * math.exp(z[c] - z[y]) for c in range(len(z))))


def ldam(z: np.ndarray, y: int, max_margin: float, scale: float) -> float:
    margins = [n**-0.25 for n in COUNTS]
    margins = [m * max_margin / max(margins) for m in margins]
    shifted = np.array([v - margins[y] * (c == y) for c, v in enumerate(z)])
    return float(scipy.special.logsumexp(scale * shifted) - scale * shifted[y])


def class_balanced(z: np.ndarray, y: int, beta: float) -> float:
    weights = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    return -weights[y] * len(z) / sum(weights) * math.log(probs(z)[y])


CASES: list[tuple[Reference, dict[str, Any]]] = [
    (label_smoothing, {"smoothing": 0.1}),
    (label_smoothing, {"smoothing": 0.6}),
    (focal, {"gamma": 2.0}),
    (focal, {"gamma": 0.5}),
    (poly1, {"epsilon": 1.0}),
    (poly1, {"epsilon": -0.7}),
    *((taylor_ce, {"order": order}) for order in (1, 2, 3, 6)),
    (z_loss, {"z_weight": 1e-4}),
    (z_loss, {"z_weight": 0.3}),
    (logit_norm, {"temperature": 0.04}),
    (logit_norm, {"temperature": 1.0}),
    *((topk_ce, {"k": k}) for k in (1, 2, 3, 4)),
    (logit_adjusted, {"tau": 1.0}),
    (logit_adjusted, {"tau": 0.3}),
    (ldam, {"max_margin": 0.5, "scale": 30.0}),
    (ldam, {"max_margin": 2.0, "scale": 1.5}),
    (class_balanced, {"beta": 0.9}),
    (class_balanced, {"beta": 0.999}),
]


@pytest.mark.parametrize(("reference", "knobs"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_values_are_those_of_the_definition(reference: Reference, knobs: dict[str, Any]) -> None:
    function = getattr(losses, reference.__name__)
    logits, index, soft = draw()
    each = torch.tensor(
        [[reference(z, c, **knobs) for c in range(CLASSES)] for z in logits.numpy()], dtype=torch.float64
    )
    extra = facts(reference.__name__)
    expected = each.gather(1, index[:, None])[:, 0]
    torch.testing.assert_close(function(logits, index, *extra, **knobs), expected, rtol=RTOL, atol=1e-13)
    # Every one of them is linear in the target: the expected loss.
    torch.testing.assert_close(function(logits, soft, *extra, **knobs), (soft * each).sum(1), rtol=RTOL, atol=1e-13)
    maps, classes = logits.reshape(2, 2, 3, CLASSES).movedim(-1, 1), index.reshape(2, 2, 3)
    torch.testing.assert_close(function(maps, classes, *extra, **knobs).flatten(), expected, rtol=RTOL, atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_is_torchs(smoothing: float) -> None:
    logits, index, soft = draw()
    for target in (index, soft):
        expected = F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="none")
        torch.testing.assert_close(
            losses.label_smoothing(logits, target, smoothing=smoothing), expected, rtol=RTOL, atol=0
        )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_two_classes_is_torchvisions_of_their_difference(gamma: float) -> None:
    logits = draw()[0][:, :2]
    index = torch.arange(len(logits)) % 2
    difference, positive = logits[:, 1] - logits[:, 0], index.double()
    expected = torchvision.ops.sigmoid_focal_loss(difference, positive, alpha=-1, gamma=gamma)
    torch.testing.assert_close(losses.focal(logits, index, gamma=gamma), expected, rtol=RTOL, atol=1e-15)


def test_class_balanced_is_torchs_weighted_cross_entropy() -> None:
    logits, index, _ = draw()
    beta = 0.97
    weight = torch.tensor([(1 - beta) / (1 - beta**n) for n in COUNTS], dtype=torch.float64)
    weight = weight / weight.mean()
    expected = F.cross_entropy(logits, index, weight=weight, reduction="none")
    ours = losses.class_balanced(logits, index, *facts("class_balanced"), beta=beta)
    torch.testing.assert_close(ours, expected, rtol=RTOL, atol=0)


def test_worked_numbers() -> None:
    q = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    logits, first = q.log(), torch.tensor([0])
    counts = torch.tensor([1.0, 16.0, 81.0], dtype=torch.float64)
    ln2 = math.log(2)
    worked = {
        "label_smoothing": (losses.label_smoothing(logits, first, smoothing=0.3), 0.8 * ln2 + 0.1 * 4 * ln2),
        "focal": (losses.focal(logits, first), 0.25 * ln2),
        "poly1": (losses.poly1(logits, first), ln2 + 0.5),
        "taylor": (losses.taylor_ce(logits, first), 0.5 + 0.125),
        "z_loss": (losses.z_loss(logits + 3.0, first, z_weight=0.1), ln2 + 0.9),
        "logit_norm": (losses.logit_norm(torch.tensor([[3.0, 4.0]]).double(), first, temperature=1.0), 0.798139),
        "topk": (losses.topk_ce(logits, first), math.log(1.5)),
        "topk_last": (losses.topk_ce(logits, first + 1), math.log(2)),
        "adjusted": (losses.logit_adjusted(logits, first, counts), math.log(49.5)),
        "ldam": (losses.ldam(logits, first + 1, counts, max_margin=2 * ln2, scale=1.0), math.log(1 + 2 * 3)),
        "balanced": (losses.class_balanced(logits, first + 1, counts[:3].clamp_max(2), beta=0.5), 6 / 7 * 2 * ln2),
    }
    for name, (ours, expected) in worked.items():
        assert ours.item() == pytest.approx(expected, rel=1e-6 if name == "logit_norm" else 1e-12), name


def test_a_class_that_never_occurs_counts_as_seen_once() -> None:
    logits, index, _ = draw()
    never = torch.tensor([0.0, 5.0, 7.0, 100.0, 2.0], dtype=torch.float64)
    once = never.clamp_min(1.0)
    for function in (losses.logit_adjusted, losses.ldam):
        values = function(logits, index, never)
        assert values.isfinite().all()
        torch.testing.assert_close(values, function(logits, index, once), rtol=RTOL, atol=0)


def test_class_balanced_weights_average_one_over_the_classes_that_occur() -> None:
    counts = torch.tensor([0.0, 5.0, 7.0, 100.0, 2.0], dtype=torch.float64)
    even, every = torch.zeros(5, CLASSES, dtype=torch.float64), torch.arange(CLASSES)
    weights = losses.class_balanced(even, every, counts) / math.log(CLASSES)
    assert weights[1:].mean().item() == pytest.approx(1.0, rel=1e-12)
    assert weights[0].item() == weights.max().item()


def test_priors_take_whole_numbers_and_the_weight_by_inverse_frequency_is_approached() -> None:
    even, every = torch.zeros(3, 3, dtype=torch.float64), torch.arange(3)
    weights = losses.class_balanced(even, every, torch.tensor([10, 20, 40]), beta=1 - 1e-12) / math.log(3)
    inverse = torch.tensor([1 / 10, 1 / 20, 1 / 40], dtype=torch.float64)
    torch.testing.assert_close(weights, inverse / inverse.mean(), rtol=1e-4, atol=0)


def test_logit_norm_sees_the_direction_alone() -> None:
    logits, index, _ = draw()
    torch.testing.assert_close(
        losses.logit_norm(100 * logits, index), losses.logit_norm(logits, index), rtol=1e-5, atol=0
    )
    zero = torch.zeros(1, CLASSES, requires_grad=True)
    value = losses.logit_norm(zero, torch.tensor([2]))
    (slope,) = torch.autograd.grad(value.sum(), zero)
    assert value.item() == pytest.approx(math.log(CLASSES), rel=1e-6)
    assert slope.isfinite().all()
    assert slope.argmin().item() == 2


def test_topk_ce_forgives_stronger_rivals_only_up_to_k() -> None:
    logits = torch.tensor([[9.0, 8.0, 5.0, 0.0]], dtype=torch.float64)
    true = torch.tensor([2])
    values = [losses.topk_ce(logits, true, k=k).item() for k in (1, 2, 3, 7)]
    expected = [math.exp(4) + math.exp(3), math.exp(3), 0.0, 0.0]
    expected = [math.log(1 + rivals + math.exp(-5)) for rivals in expected]
    assert values == pytest.approx(expected, rel=1e-12)


def test_topk_ce_is_continuous_where_ranks_change() -> None:
    true = torch.tensor([1])
    for k in (1, 2):
        low, tie, high = (
            losses.topk_ce(torch.tensor([[1.0, v, 0.3]], dtype=torch.float64), true, k=k).item()
            for v in (1 - 1e-9, 1.0, 1 + 1e-9)
        )
        assert low == pytest.approx(tie, abs=1e-8)
        assert high == pytest.approx(tie, abs=1e-8)


def test_one_true_class_makes_the_linear_losses_half_the_absolute_error() -> None:
    logits, index, _ = draw()
    absolute = (torch.softmax(logits, 1) - F.one_hot(index, CLASSES)).abs().sum(1)
    for half in (
        losses.linear(logits, index),
        losses.gce(logits, index, q=1.0),
        losses.taylor_ce(logits, index, order=1),
    ):
        torch.testing.assert_close(half, absolute / 2, rtol=RTOL, atol=1e-14)
    torch.testing.assert_close(losses.rce(logits, index, log_zero=-2.0), absolute, rtol=RTOL, atol=1e-14)


@pytest.mark.parametrize("name", ["focal", "ldam", "js", "tsallis", "topk_ce"])
def test_certainty_costs_no_precision(name: str) -> None:
    """Where the true class is all but certain, and where it is all but excluded, float32 follows float64."""
    function = getattr(losses, name)
    logits = torch.tensor([[12.0, 0.0, -1.0], [-12.0, 0.0, 1.0], [60.0, 0.0, -1.0], [-60.0, 0.0, 1.0]])
    true = torch.zeros(4, dtype=torch.int64)
    extra = (torch.tensor([5.0, 50.0, 500.0]),) if name == "ldam" else ()
    single = function(logits, true, *extra).double()
    double = function(logits.double(), true, *extra)
    torch.testing.assert_close(single, double, rtol=1e-5, atol=1e-7)

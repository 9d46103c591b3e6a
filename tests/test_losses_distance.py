"""Squared losses and distances against torch and the papers' formulas written as plain loops, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xentlab import losses
from xentlab.tasks import simplex_projection

Vector = NDArray[np.float64]
RTOL = 1e-9


def softmax(z: Vector) -> list[float]:
    weights = [math.exp(a) for a in z]
    return [w / sum(weights) for w in weights]


def dot(a: Vector | list[float], b: Vector | list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def mse_logits(z: Vector, t: Vector, k: float = 1.0, M: float = 1.0) -> float:
    return sum((1 + (k - 1) * b) * (a - M * b) ** 2 for a, b in zip(z, t, strict=True))


def simplex_square(z: Vector, t: Vector, scale: float = 1.0) -> float:
    """The distance in C - 1 dimensions, through an orthonormal basis of the hyperplane whose coordinates sum to 0."""
    size = len(z)
    basis = np.linalg.svd(np.eye(size) - 1.0 / size)[0][:, : size - 1]
    vertices = scale * basis
    return float(((basis.T @ z - vertices.T @ t) ** 2).sum())


def quadratic_sigmoid(z: Vector, t: Vector) -> float:
    return sum((1 / (1 + math.exp(-a)) - b) ** 2 for a, b in zip(z, t, strict=True)) / 2


def mae(z: Vector, t: Vector) -> float:
    return sum(abs(p - b) for p, b in zip(softmax(z), t, strict=True))


def huber(z: Vector, t: Vector, delta: float = 1.0) -> float:
    errors = [abs(a - b) for a, b in zip(z, t, strict=True)]
    return sum(r * r / 2 if r <= delta else delta * (r - delta / 2) for r in errors)


def log_cosh(z: Vector, t: Vector) -> float:
    return sum(math.log(math.cosh(a - b)) for a, b in zip(z, t, strict=True))


def cauchy_schwarz(z: Vector, t: Vector) -> float:
    p = softmax(z)
    return -math.log(dot(p, t) / (math.sqrt(dot(p, p)) * math.sqrt(dot(t, t))))


def expectation(z: Vector, t: Vector) -> float:
    """The 1-norm of the error, averaged over classes drawn from the target."""
    total = 0.0
    for y, weight in enumerate(t):
        total += weight * sum(abs(p - (c == y)) for c, p in enumerate(softmax(z)))
    return total


def tanimoto(z: Vector, t: Vector) -> float:
    p = softmax(z)
    return -dot(p, t) / (dot(p, p) + dot(t, t) - dot(p, t))


def cosine(z: Vector, t: Vector) -> float:
    return 1 - dot(z, t) / math.sqrt(dot(z, z) * dot(t, t))


REFERENCES: list[tuple[Callable[..., float], dict[str, float]]] = [
    (mse_logits, {}),
    (mse_logits, {"k": 5.0, "M": 15.0}),
    (simplex_square, {}),
    (simplex_square, {"scale": math.sqrt(5 / 4)}),
    (quadratic_sigmoid, {}),
    (mae, {}),
    (huber, {}),
    (huber, {"delta": 0.3}),
    (log_cosh, {}),
    (cauchy_schwarz, {}),
    (expectation, {}),
    (tanimoto, {}),
    (cosine, {}),
]
NAMES = sorted({reference.__name__ for reference, _ in REFERENCES})


def rows(count: int = 40, classes: int = 5) -> Tensor:
    return 2.5 * torch.randn(count, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def truths(kind: str, count: int = 40, classes: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if kind == "index":
        return torch.randint(classes, (count,), generator=generator)
    scores = 2 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    scores[:5, 0] = -math.inf  # a class that is certainly not true
    return torch.softmax(scores, 1)


@pytest.mark.parametrize("kind", ["index", "soft"])
@pytest.mark.parametrize(("reference", "knobs"), REFERENCES)
def test_values_are_the_published_formula(reference: Callable[..., float], knobs: dict[str, float], kind: str) -> None:
    logits, target = rows(), truths(kind)
    truth = F.one_hot(target, 5).double() if kind == "index" else target
    expected = [reference(z, t, **knobs) for z, t in zip(logits.numpy(), truth.numpy(), strict=True)]
    got = getattr(losses, reference.__name__)(logits, target, **knobs)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_map_is_its_pixels(name: str) -> None:
    function, logits, target = getattr(losses, name), rows(24), truths("index", 24)
    maps = logits.reshape(2, 3, 4, 5).movedim(-1, 1)
    torch.testing.assert_close(function(maps, target.reshape(2, 3, 4)).flatten(), function(logits, target))


def one_hot(target: Tensor) -> Tensor:
    return F.one_hot(target, 5).double()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (losses.mse_logits, lambda z, y: F.mse_loss(z, one_hot(y), reduction="none").sum(1)),
        (losses.huber, lambda z, y: F.huber_loss(z, one_hot(y), reduction="none").sum(1)),
        (
            lambda z, y: losses.huber(z, y, delta=0.4),
            lambda z, y: F.huber_loss(z, one_hot(y), reduction="none", delta=0.4).sum(1),
        ),
        (losses.mae, lambda z, y: F.l1_loss(torch.softmax(z, 1), one_hot(y), reduction="none").sum(1)),
        (losses.quadratic_sigmoid, lambda z, y: 0.5 * F.mse_loss(z.sigmoid(), one_hot(y), reduction="none").sum(1)),
        (losses.cosine, lambda z, y: 1 - F.cosine_similarity(z, one_hot(y), dim=1)),
        (losses.cosine, lambda z, y: F.cosine_embedding_loss(z, one_hot(y), torch.ones_like(y), reduction="none")),
        (losses.cauchy_schwarz, lambda z, y: F.cross_entropy(2 * z, y, reduction="none") / 2),
    ],
)
def test_values_and_gradients_are_torchs(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Tensor, Tensor], Tensor]
) -> None:
    target, results = truths("index"), []
    for function in (ours, theirs):
        logits = rows().requires_grad_()
        values = function(logits, target)
        results.append((values.detach(), *torch.autograd.grad(values.sum(), logits)))
    torch.testing.assert_close(*results, rtol=RTOL, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "logits", "target", "knobs", "expected"),
    [
        ("mse_logits", [2.0, 1.0], [1.0, 0.0], {"k": 3.0, "M": 5.0}, 3 * 9 + 1),
        ("simplex_square", [7.0, 7.0, 7.0], [1.0, 0.0, 0.0], {}, 2 / 3),
        ("simplex_square", [1.5, 0.5], [1.0, 0.0], {}, 0.0),
        ("quadratic_sigmoid", [0.0, 1e4], [1.0, 0.0], {}, 0.625),
        ("mae", [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], {}, 4 / 3),
        ("mae", [1e4, 0.0], [0.0, 1.0], {}, 2.0),
        ("huber", [3.0, 0.5], [1.0, 0.0], {"delta": 1.0}, 1.5 + 0.125),
        ("log_cosh", [1.0, 0.0], [1.0, 0.0], {}, 0.0),
        ("log_cosh", [1e4, 0.0], [0.0, 0.0], {}, 1e4 - math.log(2)),
        ("cauchy_schwarz", [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], {}, math.log(3) / 2),
        ("cauchy_schwarz", [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], {}, 0.0),
        ("cauchy_schwarz", [0.3, 9.0, -1.0], [0.0, 0.0, 0.0], {}, 0.0),
        ("expectation", [0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], {}, 1.5),
        ("tanimoto", [1e4, 0.0], [1.0, 0.0], {}, -1.0),
        ("tanimoto", [0.0, 0.0], [1.0, 0.0], {}, -0.5),
        ("cosine", [3.0, 4.0], [1.0, 0.0], {}, 0.4),
        ("cosine", [-7.0, 0.0], [1.0, 0.0], {}, 2.0),
        ("cosine", [0.0, 0.0], [1.0, 0.0], {}, 0.5),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_worked_by_hand(
    name: str,
    logits: list[float],
    target: list[float],
    knobs: dict[str, float],
    expected: float,
    dtype: torch.dtype,
) -> None:
    point = torch.tensor([logits], dtype=dtype, requires_grad=True)
    value = getattr(losses, name)(point, torch.tensor([target], dtype=dtype), **knobs)
    (slope,) = torch.autograd.grad(value.sum(), point)
    assert slope.isfinite().all()
    exact = dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=1e-12 if exact else 1e-6, abs=1e-15 if exact else 1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_finite_in_float32_for_every_target(name: str) -> None:
    unit = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
    corners = torch.cat([size * unit for size in (0.0, 30.0, 200.0, 1e4)])
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0, 0]])
    logits = corners.repeat(len(targets), 1).requires_grad_()
    values = getattr(losses, name)(logits, targets.repeat_interleave(len(corners), 0))
    (slope,) = torch.autograd.grad(values.sum(), logits)
    assert values.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("truth", [[0.7, 0.2, 0.1], [0.01, 0.01, 0.98]])
def test_the_best_logits_of_the_simplex_code_project_onto_the_truth(truth: list[float]) -> None:
    p = torch.tensor([truth], dtype=torch.float64)
    best = (p - 1 / 3 + 4.2).requires_grad_()
    risk = (p[0] * losses.simplex_square(best.expand(3, 3), torch.arange(3))).sum()
    (slope,) = torch.autograd.grad(risk, best)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0.0, atol=1e-14)
    torch.testing.assert_close(simplex_projection(best.detach()), p, rtol=RTOL, atol=1e-14)


def test_vertices_of_length_one_are_a_scale() -> None:
    scale = math.sqrt(5 / 4)
    centre = torch.zeros(1, 5, dtype=torch.float64)
    distance = losses.simplex_square(centre, torch.tensor([2]), scale=scale)
    torch.testing.assert_close(distance, torch.ones(1, dtype=torch.float64), rtol=RTOL, atol=0.0)


def test_mae_sums_to_a_constant_over_all_targets() -> None:
    logits = rows()
    total = torch.stack([losses.mae(logits, torch.full((40,), y)) for y in range(5)]).sum(0)
    torch.testing.assert_close(total, torch.full_like(total, 2.0 * 4), rtol=RTOL, atol=0.0)


def test_squared_errors_of_saturated_sigmoids_have_no_gradient() -> None:
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(losses.quadratic_sigmoid(logits, torch.tensor([0])).sum(), logits)
    assert (slope == 0).all()


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_cosine_sees_the_direction_only(length: float) -> None:
    logits, target = rows(), truths("soft")
    torch.testing.assert_close(losses.cosine(length * logits, target), losses.cosine(logits, target), rtol=RTOL, atol=0)
    torch.testing.assert_close(losses.cosine(logits, 3 * target), losses.cosine(logits, target), rtol=RTOL, atol=0)


def test_log_cosh_keeps_its_digits_near_zero() -> None:
    errors = torch.tensor([[1e-3, 0.0]], dtype=torch.float32)
    value = losses.log_cosh(errors, torch.zeros(1, 2)).item()
    assert value == pytest.approx(0.5e-6, rel=1e-3)

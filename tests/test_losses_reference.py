"""The first five losses against PyTorch's own, in float64: values, gradients, weights, ignored pixels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab import losses
from xentlab.losses.compound import bind
from xentlab.schema import build
from xentlab.tasks import classes, find, probabilities, simplex_projection

RTOL = 1e-9


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(classes: int = 5, count: int = 7) -> tuple[Tensor, Tensor]:
    draws = seeded()
    logits = torch.randn(count, classes, generator=draws, dtype=torch.float64) * 3
    return logits, torch.randint(0, classes, (count,), generator=draws)


def maps() -> tuple[Tensor, Tensor]:
    draws = seeded()
    logits = torch.randn(2, 4, 3, 5, generator=draws, dtype=torch.float64)
    return logits, torch.randint(0, 4, (2, 3, 5), generator=draws)


def soft(logits: Tensor) -> Tensor:
    return torch.softmax(torch.randn(logits.shape, generator=seeded(1), dtype=logits.dtype), 1)


def same(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], logits: Tensor) -> None:
    """Equal values, and equal gradients of a random combination of them."""
    results = []
    for function in (ours, theirs):
        point = logits.clone().requires_grad_()
        values = function(point)
        direction = torch.linspace(0.5, 1.5, values.numel(), dtype=values.dtype).reshape(values.shape)
        (gradient,) = torch.autograd.grad((values * direction).sum(), point)
        results.append((values.detach(), gradient))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("shape", [flat, maps])
@pytest.mark.parametrize("kind", ["index", "soft"])
def test_ce_is_torch_cross_entropy(shape: Callable[[], tuple[Tensor, Tensor]], kind: str) -> None:
    logits, index = shape()
    target = index if kind == "index" else soft(logits)
    same(lambda z: losses.ce(z, target), lambda z: F.cross_entropy(z, target, reduction="none"), logits)
    same(lambda z: losses.custom_ce(z, target), lambda z: F.cross_entropy(z, target, reduction="none"), logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("kind", ["index", "soft"])
def test_custom_ce_smooths_as_torch_does(smoothing: float, kind: str) -> None:
    logits, index = flat()
    target = index if kind == "index" else soft(logits)
    same(
        lambda z: losses.custom_ce(z, target, smoothing=smoothing),
        lambda z: F.cross_entropy(z, target, label_smoothing=smoothing, reduction="none"),
        logits,
    )


def test_every_knob_of_custom_ce_is_its_formula() -> None:
    logits, index = flat()
    one_hot = F.one_hot(index, 5).double()

    def by_definition(z: Tensor) -> Tensor:
        q = torch.softmax(z / 1.7, 1)
        truth = 0.8 * one_hot + 0.2 / 5
        terms = -((1 - q) ** 1.5) * torch.log(q) / torch.log(torch.tensor(2.0, dtype=z.dtype)) + 0.3 * (1 - q)
        return (truth * terms).sum(1) + 0.05 * torch.logsumexp(z / 1.7, 1) ** 2

    same(
        lambda z: losses.custom_ce(
            z, index, smoothing=0.2, temperature=1.7, gamma=1.5, epsilon=0.3, z_weight=0.05, base=2.0
        ),
        by_definition,
        logits,
    )


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 2.0, 5.0])
def test_custom_ce_is_finite_at_certainty(gamma: float) -> None:
    for scale in (0.0, 20.0, 100.0, 1e4):
        logits = torch.tensor([[scale, -scale, 0.0], [-scale, scale, 0.0]], requires_grad=True)
        values = losses.custom_ce(logits, torch.tensor([0, 0]), gamma=gamma, smoothing=0.1)
        values.sum().backward()
        assert torch.isfinite(values).all()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("pos_weight", [1.0, 2.5])
def test_bce_is_torch_bce_summed_over_classes(pos_weight: float) -> None:
    logits, _ = flat()
    n_hot = torch.randint(0, 2, logits.shape, generator=seeded(1)).double()
    weight = torch.full((5,), pos_weight, dtype=torch.float64)

    def theirs(z: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z, n_hot, pos_weight=weight, reduction="none").sum(1)

    same(lambda z: losses.bce(z, n_hot, pos_weight=pos_weight), theirs, logits)


def test_bce_of_an_index_is_one_vs_rest() -> None:
    logits, index = maps()
    one_hot = F.one_hot(index, 4).movedim(-1, 1).double()
    same(
        lambda z: losses.bce(z, index),
        lambda z: F.binary_cross_entropy_with_logits(z, one_hot, reduction="none").sum(1),
        logits,
    )


@pytest.mark.parametrize("shape", [flat, maps])
def test_squared_errors_are_torch_mse_summed_over_classes(shape: Callable[[], tuple[Tensor, Tensor]]) -> None:
    logits, index = shape()
    one_hot = F.one_hot(index, logits.shape[1]).movedim(-1, 1).double()

    def squared(link: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: F.mse_loss(link(z), one_hot, reduction="none").sum(1)

    same(lambda z: losses.mse(z, index), squared(functools.partial(torch.softmax, dim=1)), logits)
    same(lambda z: losses.mse(z, index, link="sigmoid"), squared(torch.sigmoid), logits)
    same(lambda z: losses.mse_logits(z, index), squared(lambda z: z), logits)


def data_term(name: str, task: str, ignore_index: int | None = None, **knobs: Any) -> Callable[..., Tensor]:
    bound = bind(build("loss", {"_target_": f"xentlab.losses.{name}", **knobs}), task)
    term = bound.data_term(ignore_index)
    return lambda logits, target, **facts: term(logits, target, facts, bound.data)


@pytest.mark.parametrize("with_weight", [False, True])
@pytest.mark.parametrize("with_ignored", [False, True])
def test_the_mean_equals_torch_with_weight_and_ignore_index(with_weight: bool, with_ignored: bool) -> None:
    logits, index = maps()
    weight = torch.rand(4, generator=seeded(1), dtype=torch.float64) + 0.1
    if with_ignored:
        index[0, 1] = 255
    facts = {"class_weights": weight} if with_weight else {}
    same(
        lambda z: data_term("ce", "segmentation", 255)(z, index, **facts),
        lambda z: F.cross_entropy(z, index, weight=weight if with_weight else None, ignore_index=255),
        logits,
    )


def test_class_weights_of_soft_targets_weigh_each_share_as_torch_does() -> None:
    logits, _ = maps()
    weight = torch.rand(4, generator=seeded(1), dtype=torch.float64) + 0.1
    soft = torch.softmax(torch.randn(logits.shape, generator=seeded(2), dtype=torch.float64), 1)
    elements = soft.numel() / soft.shape[1]
    total = torch.einsum("nchw,c->", soft, weight)
    same(
        lambda z: data_term("ce", "segmentation")(z, soft, class_weights=weight),
        lambda z: F.cross_entropy(z, soft, weight=weight) * elements / total,
        logits,
    )


def test_a_batch_without_a_valid_pixel_moves_nothing() -> None:
    logits, index = maps()
    logits.requires_grad_()
    value = data_term("mse", "segmentation", 9)(logits, torch.full_like(index, 9))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


def test_ce_on_multilabel_compares_with_the_normalised_labels() -> None:
    logits, _ = flat(4, 6)
    n_hot = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0]]).double()
    labelled = n_hot.sum(1) > 0
    distribution = n_hot[labelled] / n_hot[labelled].sum(1, keepdim=True)
    same(
        lambda z: data_term("ce", "multilabel")(z, n_hot),
        lambda z: F.cross_entropy(z[labelled], distribution),
        logits,
    )
    same(
        lambda z: data_term("bce", "multilabel")(z, n_hot),
        lambda z: F.binary_cross_entropy_with_logits(z, n_hot, reduction="none").sum(1).mean(),
        logits,
    )


def test_links_follow_the_task() -> None:
    assert bind(build("loss", {"_target_": "xentlab.losses.mse"}), "multiclass").link == "softmax"
    assert bind(build("loss", {"_target_": "xentlab.losses.mse"}), "multilabel").link == "sigmoid"
    chosen = bind(build("loss", {"_target_": "xentlab.losses.mse", "link": "softmax"}), "multilabel")
    assert chosen.link == "softmax"
    assert chosen.task.exclusive(chosen.link)
    assert bind(build("loss", {"_target_": "xentlab.losses.mse_logits"}), "multiclass").link == "identity"


def test_class_facts_are_their_formulas() -> None:
    targets, four = torch.tensor([0, 0, 0, 1, 1, 3]), SimpleNamespace(num_classes=4, ignore_index=None)
    assert classes.counts(targets, four).tolist() == [3, 2, 0, 1]
    torch.testing.assert_close(
        classes.class_weights("inverse", targets, four), torch.tensor([6 / 12, 6 / 8, 0, 6 / 4], dtype=torch.float64)
    )
    frequency = torch.tensor([3 / 6, 2 / 6, 1 / 6], dtype=torch.float64)
    expected = (2 / 6) / frequency
    found = classes.class_weights("median_frequency", targets, four)
    torch.testing.assert_close(found[[0, 1, 3]], expected)
    assert found[2] == 0
    masks = torch.tensor([[[0, 0], [1, 9]], [[0, 0], [0, 0]]])
    # Class 0: 6 of the 7 valid pixels of both images; class 1: 1 of the 3 valid pixels of the first.
    shares = torch.tensor([6 / 7, 1 / 3], dtype=torch.float64)
    found = classes.class_weights("median_frequency", masks, SimpleNamespace(num_classes=2, ignore_index=9))
    torch.testing.assert_close(found, torch.quantile(shares, 0.5) / shares)


def test_an_n_hot_example_weighs_the_mean_weight_of_its_labels() -> None:
    n_hot = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])
    facts = {"class_weights": torch.tensor([1.0, 2.0, 4.0])}
    weigh = find("multilabel").weigh
    _, weight = weigh(n_hot, facts, None, "sigmoid")
    assert weight is not None
    assert weight.tolist() == [2.5, 1.0, 2.0]
    target, weight = weigh(n_hot, facts, None, "softmax")
    assert weight is not None
    assert weight.tolist() == [2.5, 0.0, 2.0]
    assert target[0].tolist() == [0.5, 0, 0.5]


@pytest.mark.parametrize("shape", [(6, 5), (2, 4, 3, 3)])
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_links_give_probabilities(shape: tuple[int, ...], link: Any) -> None:
    logits = torch.randn(shape, generator=seeded(), dtype=torch.float64) * 4
    exclusive = probabilities(logits, link, exclusive=True)
    torch.testing.assert_close(exclusive.sum(1), torch.ones_like(exclusive.sum(1)))
    assert (exclusive >= 0).all()
    assert torch.equal(exclusive.argmax(1), logits.argmax(1))
    free = probabilities(logits, link, exclusive=False)
    assert ((free >= 0) & (free <= 1)).all()


def test_sigmoid_probabilities_are_normalised_without_underflow() -> None:
    logits = torch.tensor([[-800.0, -801.0], [800.0, 0.0]], dtype=torch.float64)
    found = probabilities(logits, "sigmoid", exclusive=True)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[0, 0] / found[0, 1], torch.tensor(torch.e, dtype=torch.float64))
    moderate = torch.tensor([[1.0, -1.0, 0.5]], dtype=torch.float64)
    s = torch.sigmoid(moderate)
    torch.testing.assert_close(probabilities(moderate, "sigmoid", exclusive=True), s / s.sum(1, keepdim=True))


def test_the_simplex_projection_is_the_nearest_distribution() -> None:
    from scipy.optimize import minimize

    for point in torch.randn(5, 4, generator=seeded(), dtype=torch.float64) * 2:
        z = point.numpy()
        nearest = minimize(
            lambda p, z=z: ((p - z) ** 2).sum(),
            [0.25] * 4,
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-15},
        ).x
        # The optimiser, not the projection, limits the tolerance.
        torch.testing.assert_close(simplex_projection(point[None])[0], torch.from_numpy(nearest), rtol=0, atol=1e-6)

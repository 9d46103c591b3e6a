"""The losses of whole images, against loops written from their papers, limits, goldens worked by hand, and weights."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.segmentation import dice_score, generalized_dice_score

from xentlab import losses
from xentlab.losses.compound import bind
from xentlab.losses.contract import as_distribution

RTOL = 1e-9
BY_CLASS = ("dice", "squared_dice", "jaccard", "tversky", "focal_tversky", "log_cosh_dice")
NAMES = (*BY_CLASS, "generalised_dice", "lovasz_softmax")


def draw(kind="index", n=3, c=4, h=5, w=6, seed=0):
    """Logits, targets and weights; the last class is absent from the truth of the first image."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, c, h, w, generator=generator, dtype=torch.float64)
    target = torch.randint(c, (n, h, w), generator=generator)
    target[0] = target[0].clamp_max(c - 2)
    weight = torch.rand(n, h, w, generator=generator, dtype=torch.float64) * 2
    weight[weight < 0.5] = 0
    if kind == "soft":
        target = torch.softmax(torch.randn(n, c, h, w, generator=generator, dtype=torch.float64), 1)
    return logits, target, weight


def counted(q, t, w):
    """Sums over the pixels of one class, written as loops: TP, FP, FN, sum (q - t)^2, sum q^2 + t^2, sum t."""
    sums = np.zeros(6)
    for qi, ti, wi in zip(q.flat, t.flat, w.flat, strict=True):
        sums += wi * np.array([min(qi, ti), max(qi - ti, 0), max(ti - qi, 0), (qi - ti) ** 2, qi**2 + ti**2, ti])
    return sums


def by_class(name, q, t, w, smooth):
    """Each paper's formula for one class."""
    tp, fp, fn, distance, squares, _ = counted(q, t, w)
    if name in ("dice", "log_cosh_dice"):
        return 1 - (2 * tp + smooth) / (tp + fp + tp + fn + smooth)
    if name == "squared_dice":
        return distance / (squares + smooth)
    if name == "jaccard":
        return 1 - (tp + smooth) / (tp + fp + fn + smooth)
    index = (tp + smooth) / (tp + 0.3 * fp + 0.7 * fn + smooth)
    return 1 - index if name == "tversky" else (1 - index) ** 0.75


def sudre(q, t, w):
    """One image [C, H, W]: volumes of absent classes are infinite, and become the largest finite one."""
    tp, fp, fn, _, _, area = np.transpose([counted(q[c], t[c], w) for c in range(len(q))])
    volume = np.divide(1, area**2, out=np.full(len(q), np.inf), where=area > 0)
    volume[np.isinf(volume)] = volume[np.isfinite(volume)].max()
    return 1 - 2 * (volume @ tp) / (volume @ (2 * tp + fp + fn))


def berman(q, t, w, *, only_present):
    """Algorithm 1 of the paper for each class of one image, on its valid pixels; a pixel of weight k is k pixels."""
    values = []
    for c in range(len(q)):
        truth = np.repeat(t[c].ravel(), w.ravel().astype(int))
        probs = np.repeat(q[c].ravel(), w.ravel().astype(int))
        if only_present and truth.sum() == 0:
            continue
        error = np.where(truth == 1, 1 - probs, probs)
        order = np.argsort(-error, kind="stable")
        ground = truth[order]
        gradient, before = np.empty(len(ground)), 0.0
        for i in range(len(ground)):
            intersection = ground.sum() - ground[: i + 1].sum()
            union = ground.sum() + (1 - ground[: i + 1]).sum()
            gradient[i], before = 1 - intersection / union - before, 1 - intersection / union
        values.append(float(error[order] @ gradient))
    return np.mean(values)


def arrays(logits, target, weight):
    q, t = torch.softmax(logits, 1).numpy(), as_distribution(target, logits).numpy()
    return q, t, (torch.ones_like(logits[:, 0]) if weight is None else weight).numpy()


@pytest.mark.parametrize("kind", ["index", "soft"])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("classes", ["all", "present"])
@pytest.mark.parametrize("name", BY_CLASS)
def test_agrees_with_loops(name, classes, weighed, kind):
    logits, target, weight = draw(kind)
    weight = weight if weighed else None
    got = getattr(losses, name)(logits, target, weight, smooth=0.7, classes=classes)
    expected = []
    for q, t, w in zip(*arrays(logits, target, weight), strict=True):
        kept = [c for c in range(len(q)) if classes == "all" or (w * t[c]).sum() > 0]
        value = np.mean([by_class(name, q[c], t[c], w, 0.7) for c in kept])
        expected.append(math.log(math.cosh(value)) if name == "log_cosh_dice" else value)
    np.testing.assert_allclose(got.numpy(), expected, rtol=RTOL)


@pytest.mark.parametrize("kind", ["index", "soft"])
@pytest.mark.parametrize("weighed", [False, True])
def test_generalised_dice_agrees_with_loops(weighed, kind):
    logits, target, weight = draw(kind)
    weight = weight if weighed else None
    expected = [sudre(*image) for image in zip(*arrays(logits, target, weight), strict=True)]
    np.testing.assert_allclose(losses.generalised_dice(logits, target, weight).numpy(), expected, rtol=RTOL)


@pytest.mark.parametrize("classes", ["all", "present"])
@pytest.mark.parametrize("weighed", [False, True])
def test_lovasz_agrees_with_the_papers_algorithm(weighed, classes):
    logits, target, weight = draw()
    weight = weight.round() if weighed else None
    images = zip(*arrays(logits, target, weight), strict=True)
    expected = [berman(*image, only_present=classes == "present") for image in images]
    got = losses.lovasz_softmax(logits, target, weight, classes=classes)
    np.testing.assert_allclose(got.numpy(), expected, rtol=RTOL)
    one_hot = losses.lovasz_softmax(logits, torch.from_numpy(arrays(logits, target, None)[1]), weight, classes=classes)
    torch.testing.assert_close(one_hot, got, rtol=RTOL, atol=0)


def test_hard_predictions_give_the_metrics_of_torchmetrics():
    logits, target = (x[1:] for x in draw(n=6, h=9, w=9)[:2])  # where every class is present
    choice = logits.max(1).indices
    hard = 1e4 * torch.nn.functional.one_hot(choice, 4).movedim(-1, 1).double()
    score = dice_score(choice, target, num_classes=4, include_background=True, average="none", input_format="index")
    for name in ("dice", "squared_dice"):
        got = getattr(losses, name)(hard, target, smooth=0.0)
        # torchmetrics counts in float32.
        torch.testing.assert_close(got, 1 - score.double().mean(1), rtol=1e-6, atol=0)
    general = generalized_dice_score(choice, target, num_classes=4, weight_type="square", input_format="index")
    torch.testing.assert_close(losses.generalised_dice(hard, target), 1 - general.double(), rtol=1e-5, atol=0)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss():
    logits, target, _ = draw()
    hard = 1e4 * torch.nn.functional.one_hot(logits.max(1).indices, 4).movedim(-1, 1).double()
    expected = losses.jaccard(hard, target, smooth=0.0, classes="present")
    torch.testing.assert_close(losses.lovasz_softmax(hard, target), expected, rtol=RTOL, atol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighed", [False, True])
def test_limits(name, weighed):
    function = getattr(losses, name)
    logits, target, weight = draw()
    for limit in function.spec.limits:
        got = function(logits, target, weight if weighed else None, **limit.knobs)
        other = getattr(losses, limit.equals)(logits, target, weight if weighed else None, **limit.other_knobs)
        torch.testing.assert_close(got, limit.factor * other, rtol=limit.rtol, atol=0)
    assert bool(function.spec.limits) == (name in ("dice", "jaccard", "tversky", "focal_tversky"))


def test_generalised_dice_without_volumes_is_the_mean_of_one_minus_the_true_probability():
    logits, target, weight = draw()
    true = torch.softmax(logits, 1).gather(1, target[:, None])[:, 0]
    expected = (weight * (1 - true)).sum((1, 2)) / weight.sum((1, 2))
    torch.testing.assert_close(losses.generalised_dice(logits, target, weight, power=0.0), expected, rtol=RTOL, atol=0)


def test_goldens_worked_by_hand():
    # Two pixels, two classes, both of class 0; probabilities of class 0 are 3/4 and 1/4.
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]], dtype=torch.float64).reshape(1, 2, 1, 2)
    target = torch.zeros(1, 1, 2, dtype=torch.long)
    # Class 0: TP 1, FP 0, FN 1. Class 1: TP 0, FP 1, FN 0.
    cases = {
        "dice": (1 / 4 + 1 / 2) / 2,
        "squared_dice": ((0.0625 + 0.5625) / (0.625 + 2 + 1) + 0.625 / 1.625) / 2,
        "generalised_dice": 2 / 4,
        "jaccard": (1 / 3 + 1 / 2) / 2,
        "tversky": (0.7 / 2.7 + 0.3 / 1.3) / 2,
        "focal_tversky": ((0.7 / 2.7) ** 0.75 + (0.3 / 1.3) ** 0.75) / 2,
        "log_cosh_dice": math.log(math.cosh(0.375)),
        # Class 0 alone is present: errors 3/4 and 1/4, each half of the Jaccard loss.
        "lovasz_softmax": 0.5,
    }
    assert cases.keys() == set(NAMES)
    for name, value in cases.items():
        got = getattr(losses, name)(logits, target)
        np.testing.assert_allclose(got.numpy(), [value], rtol=RTOL, err_msg=name)
    np.testing.assert_allclose(
        losses.lovasz_softmax(logits, target, classes="all").numpy(), [(0.5 + 0.75) / 2], rtol=RTOL
    )


@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_change_nothing_at_all(name):
    function = getattr(losses, name)
    logits, target, weight = draw(h=7)

    def run(z, t):
        leaf = z.float().requires_grad_()
        values = function(leaf, t, weight.float())
        return values, *torch.autograd.grad(values.sum(), leaf)

    values, slope = run(logits, target)
    generator = torch.Generator().manual_seed(1)
    junk = torch.where(weight[:, None] == 0, 1e4 * torch.randn(logits.shape, generator=generator).double(), logits)
    other = torch.where(weight == 0, torch.randint(4, target.shape, generator=generator), target)
    assert all(torch.equal(a, b) for a, b in zip(run(junk, other), (values, slope), strict=True))
    assert not slope[(weight[:, None] == 0).expand_as(slope)].any()
    valid = weight > 0
    assert torch.equal(function(logits, target, valid), function(logits, target, valid.double()))
    cut = function(logits[:, :, 2:], target[:, 2:])
    masked = (torch.arange(7) >= 2).view(1, 7, 1).expand_as(weight)
    torch.testing.assert_close(function(logits, target, masked), cut, rtol=RTOL, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_finite_where_everything_is_ignored_right_wrong_or_tied(name):
    function = getattr(losses, name)
    _, target, weight = draw(n=4)
    truth = torch.nn.functional.one_hot(target, 4).movedim(-1, 1).float()
    for logits in (1e4 * truth, -1e4 * truth, torch.zeros_like(truth), 90 * truth, truth * torch.tensor(3e4).log()):
        for pixels in (None, torch.zeros_like(weight), weight):
            leaf = logits.clone().requires_grad_()
            values = function(leaf, target, None if pixels is None else pixels.float())
            (slope,) = torch.autograd.grad(values.sum(), leaf)
            assert values.isfinite().all()
            assert slope.isfinite().all()
            assert (values >= 0).all()
    assert not function(1e4 * truth, target).any()
    assert not function(truth, target, torch.zeros_like(weight).float()).any()


@pytest.mark.parametrize("name", BY_CLASS)
def test_without_smoothing_a_class_absent_from_both_costs_nothing(name):
    function = getattr(losses, name)
    target = torch.tensor([[[0, 1], [1, 0]]])
    truth = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    for size in (1e4, 87.0):  # exp(-87) is near the smallest float32
        leaf = (size * truth).requires_grad_()
        values = function(leaf, target, smooth=0.0)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
        assert slope.isfinite().all()
        assert size < 1e4 or values.item() == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_gradient_and_vmap(name):
    function = getattr(losses, name)
    logits, target, weight = draw(n=2, c=3, h=2, w=3)
    assert torch.autograd.gradcheck(lambda z: function(z, target, weight), logits.requires_grad_())
    stacked = torch.stack([logits.detach(), -logits.detach()])
    got = torch.vmap(function, in_dims=(0, None, None))(stacked, target, weight)
    torch.testing.assert_close(got, torch.stack([function(z, target, weight) for z in stacked]), rtol=RTOL, atol=0)
    for knob in ("smooth", "alpha", "beta", "gamma", "power"):
        if knob in (function.__kwdefaults__ or {}):
            grid = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
            got = torch.vmap(lambda k, knob=knob: function(stacked[0], target, weight, **{knob: k}))(grid)
            looped = torch.stack([function(stacked[0], target, weight, **{knob: k}) for k in grid.tolist()])
            torch.testing.assert_close(got, looped, rtol=RTOL, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_objective_weighs_inside_and_counts_images_alike(name):
    function = getattr(losses, name)
    bound = bind(functools.partial(function, **function.__kwdefaults__), "segmentation")
    logits, target, _ = draw()
    target[1, 2:] = 11
    target[2] = 11
    class_weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    got = bound.data_term(11)(logits, target, {"class_weights": class_weights}, bound.data)
    values = function(logits, target.clamp_max(3), target != 11, class_weights)
    torch.testing.assert_close(got, values[:2].mean(), rtol=RTOL, atol=0)
    assert bound.terms[""].asks == ("weight", "class_weights")


def test_sums():
    logits, target, _ = draw()
    got = losses.compound(logits, target, terms={"ce": {}, "dice": {"weight": 0.5}, "lovasz_softmax": {"weight": 2}})
    dice, lovasz = losses.dice(logits, target).mean(), losses.lovasz_softmax(logits, target).mean()
    torch.testing.assert_close(got, losses.ce(logits, target).mean() + 0.5 * dice + 2 * lovasz, rtol=RTOL, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_descent_on_free_logits_finds_the_truth(name):
    _, target, weight = draw(n=2)
    logits = torch.zeros(2, 4, 5, 6, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        getattr(losses, name)(logits, target, weight.float()).sum().backward()
        optimizer.step()
    assert bool((logits.argmax(1) == target)[weight > 0].all())
    assert not logits.detach()[(weight[:, None] == 0).expand_as(logits)].any()


@pytest.mark.parametrize("name", NAMES)
def test_zero_where_a_soft_truth_is_met_and_nowhere_else(name):
    logits, _, weight = draw()
    at = {size: getattr(losses, name)(size * logits, torch.softmax(logits, 1), weight) for size in (1, 0.1, 0.9, 5.0)}
    assert at[1].abs().max() < 1e-12
    assert min(at[size].min() for size in (0.1, 0.9, 5.0)) > 1e-4

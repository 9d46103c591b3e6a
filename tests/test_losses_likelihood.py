"""The fused log-likelihood and `custom_ce` on it: equal to PyTorch's cross-entropy and to the unfused form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from xentlab.losses import ce, class_balanced, custom_ce
from xentlab.losses.likelihood import log_likelihood, log_odds, set_apart
from xentlab.tasks.links import log_softmax

RTOL = 1e-9
SHAPES = ((5, 4), (2, 3, 4, 5))


def draw(shape, kind, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == "index":
        return logits, torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, scores.softmax(1) if kind == "soft" else (scores > 0).double()


def value_and_slope(function, logits, *rest):
    """Values, and the gradient of their sum under unequal weights."""
    leaf = logits.clone().requires_grad_()
    values = function(leaf, *rest)
    weight = torch.linspace(0.5, 2.0, values.numel(), dtype=values.dtype).reshape(values.shape)
    return values.detach(), *torch.autograd.grad((weight * values).sum(), leaf)


@pytest.mark.parametrize("kind", ["index", "soft", "n-hot"])
@pytest.mark.parametrize("shape", SHAPES)
def test_neutral_custom_ce_is_cross_entropy(shape, kind):
    logits, target = draw(shape, kind)
    for scale in (1.0, 1e4):
        got, expected = (value_and_slope(f, scale * logits, target) for f in (custom_ce, ce))
        torch.testing.assert_close(got, expected, rtol=RTOL, atol=1e-300)
        assert all(x.isfinite().all() for x in value_and_slope(custom_ce, scale * logits.float(), target))


@pytest.mark.parametrize("kind", ["index", "soft", "n-hot"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"smoothing": 0.2},
        {"temperature": 2.5, "z_weight": 0.1},
        {"smoothing": 0.3, "temperature": 0.5, "z_weight": 0.2, "base": 2.0},
        {"gamma": 0.0, "epsilon": 0.5},
        {"gamma": 1.5, "smoothing": 0.1, "base": 10.0},
    ],
)
def test_numbers_and_tensors_agree(knobs, shape, kind):
    logits, target = draw(shape, kind)
    every = custom_ce.__kwdefaults__ | knobs
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in every.items()}
    got = value_and_slope(lambda z: custom_ce(z, target, **every), logits)
    expected = value_and_slope(lambda z: custom_ce(z, target, **tensors), logits)
    torch.testing.assert_close(got, expected, rtol=RTOL, atol=1e-14)
    if knobs.keys() <= {"smoothing"} and kind != "n-hot":
        values = F.cross_entropy(logits, target, reduction="none", label_smoothing=every["smoothing"])
        torch.testing.assert_close(got[0], values, rtol=RTOL, atol=0)


@pytest.mark.parametrize("kind", ["index", "soft"])
def test_derivatives_of_any_order_and_of_the_target(kind):
    logits, target = draw((3, 4), kind)
    leaf = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: log_likelihood(z, target), leaf, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(lambda z: log_likelihood(z, target), leaf)
    if kind == "soft":
        wanted = target.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda z, t: log_likelihood(z, t)[0], (leaf, wanted))
    hessian, expected = (
        torch.func.jacrev(torch.func.jacrev(lambda z, f=f: f(z, target).sum()))(logits.detach())
        for f in (custom_ce, ce)
    )
    torch.testing.assert_close(hessian, expected, rtol=RTOL, atol=1e-14)


@pytest.mark.parametrize("kind", ["index", "soft"])
@pytest.mark.parametrize("shape", SHAPES)
def test_vmap_equals_the_loop(shape, kind):
    logits, target = draw(shape, kind)
    more, others = draw(shape, kind, seed=1)
    stack, targets = torch.stack([logits, more, logits - more]), torch.stack([target, others, target])
    for z, t, axes in ((stack, targets, (0, 0)), (stack, target, (0, None)), (logits, targets, (None, 0))):
        got = value_and_slope(torch.vmap(custom_ce, in_dims=axes), z, t)
        for r in range(3):
            row = (z[r] if axes[0] == 0 else z, t[r] if axes[1] == 0 else t)
            torch.testing.assert_close(got[0][r], custom_ce(*row), rtol=RTOL, atol=0)
    got = torch.vmap(torch.func.grad(lambda z, t: custom_ce(z, t).mean()))(stack, targets)
    for r in range(3):
        expected = torch.func.grad(lambda z, t: ce(z, t).mean())(stack[r], targets[r])
        torch.testing.assert_close(got[r], expected, rtol=RTOL, atol=1e-16)
    smoothing = torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64)
    got = torch.vmap(lambda s: custom_ce(logits, target, smoothing=s))(smoothing)
    looped = torch.stack([custom_ce(logits, target, smoothing=s) for s in smoothing.tolist()])
    torch.testing.assert_close(got, looped, rtol=RTOL, atol=0)


@pytest.mark.parametrize("kind", ["index", "soft"])
def test_a_second_backward_pass_gives_the_same(kind):
    logits, target = draw((4, 3), kind)
    leaf = logits.requires_grad_()
    total = custom_ce(leaf, target).sum()
    first = torch.autograd.grad(total, leaf, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(total, leaf), first, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["index", "soft"])
def test_a_stack_of_gradients_of_one_pass(kind):
    logits, target = draw((4, 3), kind)
    leaf = logits.requires_grad_()
    wanted = torch.eye(4, dtype=torch.float64)
    for knobs in ({}, {"smoothing": 0.1}):
        values = custom_ce(leaf, target, **knobs)
        (got,) = torch.autograd.grad(values, leaf, wanted, is_grads_batched=True, retain_graph=True)
        rows = [torch.autograd.grad(values, leaf, row, retain_graph=True)[0] for row in wanted]
        torch.testing.assert_close(got, torch.stack(rows), rtol=RTOL, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_odds_against_probabilities_and_at_certainty(shape):
    logits, target = draw(shape, "index")
    true = logits.softmax(1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(log_odds(logits, target).squeeze(1), torch.logit(true), rtol=RTOL, atol=1e-12)
    leaf = logits.detach().requires_grad_()
    index = logits.detach().topk(2, dim=1).indices
    for function in (lambda z: log_odds(z, target), lambda z: torch.mul(*set_apart(z, index))):
        assert torch.autograd.gradcheck(function, leaf, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(function, leaf)
    certain = torch.tensor([[1e4, -1e4, 0.0], [-60.0, 40.0, 0.0]])
    odds = log_odds(certain, torch.tensor([0, 1])).squeeze(1)
    torch.testing.assert_close(odds, torch.tensor([1e4, 40.0]), rtol=0, atol=0)


@pytest.mark.parametrize("target", [torch.zeros(2).long(), torch.zeros(1, 4), torch.zeros(3, 1), torch.zeros(3)])
def test_a_target_that_does_not_fit_is_refused(target):
    for knobs in ({}, {"gamma": 2.0}):
        if not knobs or not target.is_floating_point():
            with pytest.raises(ValueError, match=r"^the target of logits \[3, 4\] must be \[3(, 4)?\], got \["):
                custom_ce(torch.zeros(3, 4), target, **knobs)


def test_class_balanced_keeps_its_digits_up_to_inverse_frequency():
    logits, target = torch.zeros(2, 2), torch.tensor([0, 1])
    counts = torch.tensor([90.0, 10.0])
    for beta in (0.999, 1 - 1e-7, 1 - 1e-9, torch.tensor(1.0)):
        wanted = class_balanced(logits.double(), target, counts.double(), beta=beta)
        torch.testing.assert_close(
            class_balanced(logits, target, counts, beta=beta).double(), wanted, rtol=1e-5, atol=0
        )
    torch.testing.assert_close(
        wanted / torch.log(torch.tensor(2.0).double()), torch.tensor([0.2, 1.8]).double(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("classes", [1, 10, 16])
@pytest.mark.parametrize("examples", [0, 7, 32])
def test_the_log_softmax_of_few_classes_is_that_of_torch_alone_and_in_any_stack(classes, examples):
    logits = draw((examples, classes), "soft")[0]
    logits[:1, 1:], logits[1:2, :1] = -torch.inf, torch.nan
    torch.testing.assert_close(log_softmax(logits), logits.log_softmax(1), rtol=1e-12, atol=0, equal_nan=True)
    leaf, slope = logits[2:].requires_grad_(), draw((examples, classes), "soft", 1)[0][2:]
    got, expected = (torch.autograd.grad(f(leaf), leaf, slope)[0] for f in (log_softmax, lambda z: z.log_softmax(1)))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    rows = torch.vmap(log_softmax)(logits.float().expand(3, -1, -1))
    assert all(torch.equal(row.nan_to_num(), log_softmax(logits.float()).nan_to_num()) for row in rows)

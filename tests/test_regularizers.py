"""Laws of the regularizers, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from xentlab import regularizers, schema
from xentlab.errors import UserError

RTOL = 1e-9


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (2, 3, 2, 2), (1, 5)]
    return [torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes]


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def test_none_is_a_zero_of_the_weights_kind():
    for given in (weights(), []):
        zero = regularizers.none(given)
        assert zero.shape == ()
        assert zero == 0
    assert regularizers.none(weights()).dtype == torch.float64


def test_values_against_torch_norms():
    w = weights()
    one, two = torch.linalg.vector_norm(flat(w), 1), torch.linalg.vector_norm(flat(w), 2)
    torch.testing.assert_close(regularizers.l1(w, strength=0.3), 0.3 * one, rtol=RTOL, atol=0)
    torch.testing.assert_close(regularizers.l2(w, strength=0.3), 0.15 * two**2, rtol=RTOL, atol=0)
    mixed = regularizers.elastic(w, strength=0.3, ratio=0.2)
    torch.testing.assert_close(mixed, 0.06 * one + 0.8 * 0.15 * two**2, rtol=RTOL, atol=0)


def test_elastic_ends_are_l1_and_l2():
    w = weights()
    for ratio, end in ((1.0, regularizers.l1), (0.0, regularizers.l2)):
        torch.testing.assert_close(
            regularizers.elastic(w, strength=0.7, ratio=ratio), end(w, strength=0.7), rtol=RTOL, atol=0
        )


def test_gradient_of_l2_is_that_of_sgd_weight_decay():
    w, strength, lr = weights(), 0.37, 0.1
    plain = [t.detach().clone().requires_grad_() for t in w]
    regularizers.l2(w, strength=strength).backward()
    for t in plain:
        t.grad = torch.zeros_like(t)
    torch.optim.SGD(plain, lr=lr, weight_decay=strength).step()
    for ours, theirs in zip(w, plain, strict=True):
        torch.testing.assert_close(ours.detach() - lr * ours.grad, theirs.detach(), rtol=RTOL, atol=0)


def test_gradient_of_l1_is_the_sign_and_zero_at_zero():
    w = weights()
    with torch.no_grad():
        w[0][0] = 0
    regularizers.l1(w, strength=0.5).backward()
    for t in w:
        assert torch.equal(t.grad, 0.5 * t.detach().sign())


@pytest.mark.parametrize("ratio", [None, torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)])
@pytest.mark.parametrize("name", ["l1", "l2", "elastic"])
def test_lifts_over_weights_and_knobs(name, ratio):
    if (name == "elastic") == (ratio is None):
        ratio = torch.full((3,), 0.5, dtype=torch.float64) if name == "elastic" else None
    function = getattr(regularizers, name)
    rows = [weights(seed) for seed in range(3)]
    stacked = [torch.stack([row[i].detach() for row in rows]) for i in range(3)]
    knobs = {"strength": torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)}
    knobs |= {"ratio": ratio} if ratio is not None else {}

    def penalty(tensors, values):
        return function(tensors, **values)

    grads, values = torch.vmap(torch.func.grad_and_value(penalty))(stacked, knobs)
    for r, row in enumerate(rows):
        alone = partial(function, **{k: v[r].item() for k, v in knobs.items()})(row)
        torch.testing.assert_close(values[r], alone.detach(), rtol=RTOL, atol=0)
        for stack, one in zip(grads, torch.autograd.grad(alone, row), strict=True):
            torch.testing.assert_close(stack[r], one, rtol=RTOL, atol=0)


@pytest.mark.parametrize(("name", "knob", "value"), [("l1", "strength", -1), ("elastic", "ratio", 1.5)])
def test_values_out_of_range_are_refused(name, knob, value):
    with pytest.raises(UserError, match=rf"^regularizer\.{knob} must be .*got {value}\.$"):
        schema.build("regularizer", {"_target_": f"xentlab.regularizers.{name}", knob: value})

"""The optimizers and schedules against `torch.optim` in float64."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from xentlab import optim, schema
from xentlab.errors import UserError

RTOL, STEPS, SIZE = 1e-9, 50, 7


@pytest.mark.parametrize(
    ("target", "knob", "value"),
    [("sgd", "lr", -1), ("sgd", "lr", 0), ("sgd", "momentum", 1), ("adam", "beta2", 1.0), ("cosine", "warmup", 1)],
)
def test_values_out_of_range_are_refused(target, knob, value):
    with pytest.raises(UserError, match=rf"^here\.{knob} must be .*got {value}\.$"):
        schema.build("here", {"_target_": f"xentlab.optim.{target}", knob: value})


SGD = [
    {"momentum": m, "nesterov": n, "weight_decay": w}
    for m, n, w in itertools.product((0.0, 0.8), (False, True), (0.0, 0.03))
    if m > 0 or not n
]
ADAM = [
    {"beta1": b1, "beta2": b2, "eps": eps, "weight_decay": w}
    for b1, b2, eps, w in itertools.product((0.0, 0.9), (0.95, 0.999), (1e-8, 1e-3), (0.0, 0.03))
]
MORE = [("rmsprop", {"alpha": a, "momentum": m, "eps": 1e-6, "weight_decay": w})
        for a, m, w in ((0.9, 0.0, 0.0), (0.99, 0.5, 0.03), (0.0, 0.9, 0.01))]  # fmt: skip
MORE += [("adagrad", {"eps": eps, "weight_decay": w}) for eps, w in ((1e-10, 0.0), (1e-3, 0.03))]
MORE += [("lion", {"beta1": b1, "beta2": b2, "weight_decay": w})
         for b1, b2, w in ((0.9, 0.99, 0.0), (0.95, 0.98, 0.1), (0.0, 0.0, 0.1))]  # fmt: skip
CASES = [("sgd", k) for k in SGD] + [(name, k) for name in ("adam", "adamw") for k in ADAM] + MORE


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al., Symbolic discovery of optimization algorithms, 2023, line by line."""

    def __init__(self, params, **knobs):
        super().__init__(params, knobs)

    @torch.no_grad()
    def step(self):
        (group,) = self.param_groups
        ((theta,), (beta1, beta2)), eta = (group["params"], group["betas"]), group["lr"]
        m = self.state[theta].setdefault("m", torch.zeros_like(theta))
        c = beta1 * m + (1 - beta1) * theta.grad
        theta -= eta * (torch.sign(c) + group["weight_decay"] * theta)
        m.copy_(beta2 * m + (1 - beta2) * theta.grad)


def torch_optimizer(name, parameter, knobs):
    knobs = dict(knobs)
    if "beta1" in knobs:
        knobs["betas"] = (knobs.pop("beta1"), knobs.pop("beta2"))
    known = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "lion": Lion}
    known |= {"rmsprop": torch.optim.RMSprop, "adagrad": torch.optim.Adagrad}
    return known[name]([parameter], **knobs)


def rate(step):
    # A factor that changes, and is 0 once, as a schedule's may be.
    return 1.0 - step / 40 if step <= 40 else 0.3


def gradient(params, row):
    """Of a quadratic with its own curvatures and centre for each row."""
    curvature = torch.linspace(0.2, 3.0, SIZE, dtype=torch.float64) * (row + 1)
    return curvature * (params - 0.5 * row - 1)


def start(rows):
    # A draw for each row, since PyTorch's values depend on how many it draws at once.
    draws = [torch.randn(SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(r)) for r in range(rows)]
    return torch.stack(draws)


def reference(name, row, knobs):
    parameter = start(row + 1)[row].clone().requires_grad_()
    optimizer = torch_optimizer(name, parameter, knobs)
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = knobs["lr"] * rate(step)
        parameter.grad = gradient(parameter.detach(), row)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize(("name", "knobs"), CASES[::3], ids=str)  # all of them are rows below
def test_floats_equal_torch(name, knobs):
    knobs = {"lr": 0.02, **knobs}
    function, params = getattr(optim, name), start(1)
    state = optim.optimizer_state(partial(function, **knobs), params)
    for step in range(1, STEPS + 1):
        now = {**knobs, "lr": knobs["lr"] * rate(step)}
        function(params, gradient(params, 0), state, step, **now)
    torch.testing.assert_close(params[0], reference(name, 0, knobs), rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "nesterov"),
    [("sgd", True), *((n, False) for n in ("sgd", "adam", "adamw", "lion", "rmsprop", "adagrad"))],
)
def test_rows_with_their_own_knobs_equal_torch(name, nesterov):
    rows = [{"lr": 0.02 * (r + 1), **knobs} for r, (n, knobs) in enumerate(c for c in CASES if c[0] == name)]
    if name == "sgd":
        rows = [{**row, "nesterov": nesterov} for row in rows if row["momentum"] > 0]
    floats = [k for k in rows[0] if k != "nesterov"]
    stacked = {k: torch.tensor([[row[k]] for row in rows], dtype=torch.float64) for k in floats}
    rest = {"nesterov": nesterov} if name == "sgd" else {}
    function, params = getattr(optim, name), start(len(rows))
    state = optim.optimizer_state(function, params, stacked)
    for step in range(1, STEPS + 1):
        grads = torch.stack([gradient(p, r) for r, p in enumerate(params)])
        now = {**stacked, "lr": stacked["lr"] * rate(step)}
        function(params, grads, state, step, **now, **rest)
    for r, row in enumerate(rows):
        torch.testing.assert_close(params[r], reference(name, r, row), rtol=RTOL, atol=1e-12)


def test_rows_of_sgd_without_momentum_beside_rows_with():
    momentum = torch.tensor([[0.0], [0.9]], dtype=torch.float64)
    params, state = start(2), optim.optimizer_state(optim.sgd, start(2), {"momentum": momentum})
    for step in range(1, STEPS + 1):
        grads = torch.stack([gradient(p, r) for r, p in enumerate(params)])
        optim.sgd(params, grads, state, step, lr=0.02 * rate(step), momentum=momentum)
    for r in range(2):
        expected = reference("sgd", r, {"lr": 0.02, "momentum": momentum[r].item()})
        torch.testing.assert_close(params[r], expected, rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_float32_with_float64_knobs_equals_float32_with_floats(name):
    function, knobs = getattr(optim, name), {"lr": 0.02, "weight_decay": 0.01}
    knobs |= {"momentum": 0.8} if name == "sgd" else {"beta1": 0.8, "beta2": 0.98, "eps": 1e-6}
    rows = {k: torch.full((3, 1), v, dtype=torch.float64) for k, v in knobs.items()}
    one, many = start(1).float(), start(1).float().expand(3, -1).clone()
    states = [optim.optimizer_state(function, p) for p in (one, many)]
    for step in range(1, STEPS + 1):
        function(one, gradient(one, 0).float(), states[0], step, **knobs)
        function(many, gradient(many, 0).float(), states[1], step, **rows)
    assert many.dtype == torch.float32
    assert torch.equal(many, one.expand(3, -1))


def test_state_holds_only_what_is_needed():
    params = torch.ones(2, 3)
    state = partial(optim.optimizer_state, params=params)
    assert set(state(optim.sgd)) == {"momentum_buffer"}
    assert state(partial(optim.sgd, momentum=0.0)) == {}
    assert state(optim.sgd, knobs={"momentum": 0.0}) == {}
    assert set(state(partial(optim.sgd, momentum=0.0), knobs={"momentum": 0.5})) == {"momentum_buffer"}
    assert set(state(partial(partial(optim.sgd, momentum=0.0), momentum=torch.zeros(2, 1)))) == {"momentum_buffer"}
    for name, buffer in state(optim.adam).items():
        assert name in optim.adam.buffers
        assert torch.equal(buffer, torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_row_that_diverges_leaves_its_neighbour(name):
    function, both, alone = getattr(optim, name), start(2), start(1)
    states = [optim.optimizer_state(function, p) for p in (both, alone)]
    for step in range(1, 6):
        grads = torch.stack([gradient(both[0], 0), torch.full((SIZE,), float("nan"), dtype=torch.float64)])
        function(both, grads, states[0], step)
        function(alone, gradient(alone, 0), states[1], step)
    assert torch.equal(both[0], alone[0])
    assert both[1].isnan().all()


@pytest.mark.parametrize("max_norm", [0.5, 3.0, torch.tensor([[0.1], [1e9], [2.0], [1.0]], dtype=torch.float64)])
def test_clip_norm_equals_torch(max_norm):
    grads = torch.cat([start(3), torch.zeros(1, SIZE, dtype=torch.float64)])
    before = grads.clone()
    norms = optim.clip_norm(grads, max_norm)
    for r in range(4):
        parts = [torch.zeros(n, dtype=torch.float64) for n in (3, SIZE - 3)]
        for part, grad in zip(parts, before[r].clone().split([3, SIZE - 3]), strict=True):
            part.grad = grad
        limit = max_norm if isinstance(max_norm, float) else max_norm[r].item()
        total = torch.nn.utils.clip_grad_norm_(parts, limit)
        torch.testing.assert_close(norms[r], total, rtol=RTOL, atol=0)
        torch.testing.assert_close(grads[r], torch.cat([p.grad for p in parts]), rtol=RTOL, atol=0)


def torch_factors(total, make):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for step in range(total):
        if step > 0:
            optimizer.step()
            scheduler.step()
        factors.append(optimizer.param_groups[0]["lr"])
    return np.array(factors)


lr_scheduler = torch.optim.lr_scheduler
SCHEDULES = [
    (partial(optim.constant), lambda o, T: lr_scheduler.ConstantLR(o, factor=1.0, total_iters=T)),
    (partial(optim.cosine), lambda o, T: lr_scheduler.CosineAnnealingLR(o, T)),
    (partial(optim.cosine, floor=0.2), lambda o, T: lr_scheduler.CosineAnnealingLR(o, T, eta_min=0.2)),
    (partial(optim.exponential, end=0.03), lambda o, T: lr_scheduler.ExponentialLR(o, 0.03 ** (1 / T))),
]


@pytest.mark.parametrize("total", [1, 10, 97])
@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
def test_schedules_equal_torch(ours, theirs, total):
    expected = torch_factors(total, partial(theirs, T=total))
    np.testing.assert_allclose(ours(np.arange(total), total), expected, rtol=RTOL, atol=1e-15)


@pytest.mark.parametrize(("warmup", "rising"), [(0.1, 10), (0.504, 50)])
@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
def test_warm_up_is_a_ramp_before_the_schedule(ours, theirs, warmup, rising):
    total = 100
    ramp = torch_factors(rising, lambda o: lr_scheduler.LinearLR(o, start_factor=1 / (rising + 1), total_iters=rising))
    rest = torch_factors(total - rising, partial(theirs, T=total - rising))
    factors = ours(np.arange(total), total, warmup=warmup)
    np.testing.assert_allclose(factors, np.concatenate([ramp, rest]), rtol=RTOL, atol=1e-15)


@pytest.mark.parametrize("total", [1, 10, 97])
@pytest.mark.parametrize("milestones", [(0.5, 0.75), (0.9, 0.3, 0.61), (), (1.0,), (0.5, 0.5)])
def test_step_decay_equals_torch(milestones, total):
    def theirs(optimizer):
        return lr_scheduler.MultiStepLR(optimizer, [round(m * total) for m in milestones], gamma=0.3)

    ours = optim.step_decay(np.arange(total), total, milestones=milestones, factor=0.3)
    np.testing.assert_allclose(ours, torch_factors(total, theirs), rtol=RTOL)


def test_step_decay_counts_its_milestones_in_the_whole_training():
    factors = optim.step_decay(np.arange(10), 10, milestones=(0.5,), factor=0.1, warmup=0.2)
    np.testing.assert_allclose(factors, [1 / 3, 2 / 3, 1, 1, 1, *[0.1] * 5], rtol=RTOL)


@pytest.mark.parametrize("total", [2, 5, 10, 97])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.55])
def test_one_cycle_equals_torch(warmup, total):
    def theirs(optimizer):
        return lr_scheduler.OneCycleLR(
            optimizer, 1.0, total, pct_start=warmup, div_factor=20.0, final_div_factor=50.0, cycle_momentum=False
        )

    ours = optim.one_cycle(np.arange(total), total, warmup=warmup, start=1 / 20, end=1 / 1000)
    np.testing.assert_allclose(ours, torch_factors(total, theirs), rtol=RTOL)
    assert ours[-1] == pytest.approx(1e-3, rel=RTOL)


@pytest.mark.parametrize("name", ["constant", "cosine", "step_decay", "exponential", "one_cycle"])
def test_factors_are_finite_positive_and_at_most_one(name):
    for total, warmup in itertools.product([1, 2, 3, 100], [0.0, 0.25, 0.5, 0.99]):
        factors = getattr(optim, name)(np.arange(total), total, warmup=warmup)
        assert factors.shape == (total,)
        assert factors.dtype == np.float64
        assert ((factors > 0) & (factors <= 1)).all(), (total, warmup)

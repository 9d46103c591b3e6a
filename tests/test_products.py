"""Products of stacked matrices: the same values in the quicker order, and the same bits for one trial as for many."""

from __future__ import annotations

import pytest
import torch
from support import compose_train
from torch import Tensor

from xentlab.step.products import Products
from xentlab.train import Fit, prepare


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("high", "wide", "is_turned"), [(64, 10, True), (10, 10, True), (10, 64, False), (64, 1, True)]
)
def test_a_gradient_is_the_product_in_either_order(high: int, wide: int, is_turned: bool) -> None:
    inputs, given = draw(3, 16, high), draw(3, 16, wide)
    weights = draw(3, high, wide).requires_grad_()
    with Products():
        (gradient,) = torch.autograd.grad(inputs @ weights, weights, given)
        forward = torch.bmm(inputs.mT, inputs)
    torch.testing.assert_close(gradient, torch.einsum("rbi,rbo->rio", inputs, given), rtol=1e-13, atol=1e-13)
    assert gradient.mT.is_contiguous() == is_turned
    assert forward.is_contiguous()  # a model may view it as it likes


@pytest.mark.parametrize(
    "overrides",
    [("dataset=diabetes",), ("dataset=diabetes", "model.hidden=[60]"), ("dataset=digits", "model.hidden=[2]")],
)
def test_a_trial_alone_has_the_bits_of_its_row_in_a_stack(overrides: tuple[str, ...]) -> None:
    texts = ("model=mlp", "trainer.batch_size=30", "trainer.epochs=2", "loss=mse", *overrides)
    trials = [prepare(compose_train(*texts, f"seed={seed}")) for seed in range(4)]
    data = trials[0].dataset()

    def trained(rows: slice) -> tuple[Tensor, Tensor]:
        fit = Fit(trials[rows], data)
        list(fit.epochs())
        (lift,) = fit.rig.lifts
        inputs, _ = next(fit.rig.batches.evaluation(lift.rows, "val", 50))
        return fit.rig.state.params, lift.predict(inputs)

    whole = trained(slice(0, 4))
    for rows in (slice(0, 1), slice(2, 4), slice(3, 4)):
        for alone, beside in zip(trained(rows), whole, strict=True):
            assert torch.equal(alone, beside[rows])

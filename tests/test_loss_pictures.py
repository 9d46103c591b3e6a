"""Losses drawn: the curves are closed forms, over the probabilities of each loss's own link."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xentlab import losses
from xentlab.losses.contract import catalogue, spec_of
from xentlab.losses.laws.curves import curve
from xentlab.report.loss_curves import loss_curves

CATALOGUE = catalogue()
Run = Callable[..., tuple[int, str, str]]


def test_a_curve_is_the_closed_form() -> None:
    entropy, square = curve(losses.ce), curve(losses.mse)
    p = torch.tensor(entropy.probability, dtype=torch.float64)
    assert entropy.logit[0] == -8.0
    assert entropy.logit[-1] == 8.0
    torch.testing.assert_close(p, torch.sigmoid(torch.tensor(entropy.logit, dtype=torch.float64)), rtol=1e-9, atol=0)
    same(entropy.value, -torch.log(p))
    same(entropy.gradient_norm, math.sqrt(2) * (1 - p))
    same(square.value, 2 * (1 - p) ** 2)
    # The squared error of a saturated output has no gradient.
    same(square.gradient_norm, 4 * math.sqrt(2) * p * (1 - p) ** 2)


def test_a_loss_of_both_is_drawn_beside_losses_of_numbers() -> None:
    drawn = curve(losses.mse, numbers=True)
    assert drawn.probability == []
    same(drawn.value, torch.tensor(drawn.logit, dtype=torch.float64) ** 2)
    assert curve(losses.ce, numbers=True).probability


def same(values: list[float], wanted: Tensor) -> None:
    torch.testing.assert_close(torch.tensor(values, dtype=torch.float64), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_loss_can_be_drawn(name: str) -> None:
    drawn = curve(CATALOGUE[name], classes=3, points=41)
    numbers = spec_of(CATALOGUE[name]).tasks == ("regression",)
    columns = (drawn.logit, drawn.value, drawn.gradient_norm, *([] if numbers else [drawn.probability]))
    assert {len(c) for c in columns} == {41}
    assert bool(drawn.probability) == (not numbers)
    assert all(math.isfinite(x) for c in columns for x in c)
    assert all(0.0 <= p <= 1.0 for p in drawn.probability)


def test_plot_loss_writes_png_and_svg(run: Run, here: Path) -> None:
    code, out, _ = run("plot-loss", "ce", "mse", "dice")
    assert (code, out) == (0, "Wrote losses.png.\n")
    assert (here / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert run("plot-loss", "ce", "mse", "--classes", "10", "-o", "pictures/two.svg")[0] == 0
    text = (here / "pictures" / "two.svg").read_text()
    for word in ("ce", "mse", "norm of the gradient", "10 classes", "probability of the true class"):
        assert f">{word}" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cee"], "Unknown loss 'cee'."),
        (["ce", "-o", "ce.pdf"], "the picture's file must end in .png or .svg, got 'ce.pdf'."),
        (["ce", "quantile"], "losses of classes and of numbers have no picture in common; of numbers: quantile."),
        (["ce", "--classes", "1"], "classes must be >= 2, got 1."),
    ],
)
def test_plot_loss_refuses(run: Run, arguments: list[str], sentence: str) -> None:
    code, _, err = run("plot-loss", *arguments)
    assert code == 2
    assert err.startswith(f"xentlab: {sentence}")


def test_a_picture_of_one_flat_loss(tmp_path: Path) -> None:
    flat = curve(functools.partial(losses.custom_ce, base=1e300))
    assert loss_curves([flat], 2, tmp_path / "flat.png").stat().st_size > 1000


def test_a_loss_is_drawn_over_all_probabilities_of_its_own_link(run: Run, here: Path) -> None:
    binary, plain = curve(losses.bce), curve(losses.mse_logits)
    assert min(binary.probability) < 0.01
    assert max(binary.probability) > 0.99
    assert min(binary.value) < 0.001, "it falls to 0"
    assert (plain.probability[0], plain.probability[-1]) == (0.0, 1.0)
    assert max(plain.value) <= 2.0
    assert run("plot-loss", "custom_ce:{gamma:[0,2]}", "-o", "family.svg")[1] == "Wrote family.svg.\n"
    assert ">custom_ce gamma 2<" in (here / "family.svg").read_text()
    assert run("plot-loss", "ce", "-o", "family.svg")[1] == "Replaced family.svg.\n"
    assert "Unknown knob of focal 'x'" in run("plot-loss", "focal:{x:1}")[2]

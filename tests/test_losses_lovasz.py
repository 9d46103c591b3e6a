"""The Lovasz loss with errors counted in bins, against the one that sorts them."""

from __future__ import annotations

import pytest
import torch

from xentlab import losses
from xentlab.losses.lovasz import _Order


@pytest.mark.parametrize("kind", ["index", "soft"])
@pytest.mark.parametrize("bins", [1, 10, 1000])
def test_bins_are_at_most_one_bin_off(bins: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 4, 16, 16, generator=generator, dtype=torch.float64)
    target = torch.randint(4, (3, 16, 16), generator=generator)
    if kind == "soft":
        target = torch.softmax(torch.randn(3, 4, 16, 16, generator=generator, dtype=torch.float64), 1)
    weight = (torch.rand(3, 16, 16, generator=generator) < 0.8).double()
    off = losses.lovasz_softmax(logits, target, weight, bins=bins) - losses.lovasz_softmax(logits, target, weight)
    assert off.abs().max() <= 1 / bins
    changed = torch.where(weight.unsqueeze(1) > 0, logits, -logits)
    torch.testing.assert_close(
        losses.lovasz_softmax(changed, target, weight, bins=bins),
        losses.lovasz_softmax(logits, target, weight, bins=bins),
        rtol=0,
        atol=1e-12,
    )


def test_the_bits_of_float32_sort_as_its_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 5, 16, 16, generator=generator)
    target = torch.randint(5, (2, 16, 16), generator=generator)
    wanted = losses.lovasz_softmax(logits.double(), target)
    torch.testing.assert_close(losses.lovasz_softmax(logits, target).double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(2, 1, 70_000), (1, 40, 2_000), (3, 2, 5), (0, 2, 5), (2, 3, 0)])
def test_rows_sorted_in_one_call_are_ordered_as_each_alone(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.randint(-1, 1000, shape, generator=generator).float() / 999  # with many alike
    errors = torch.where(errors < 0, -1.0, errors)
    assert torch.equal(_Order.apply(errors), errors.argsort(dim=-1, descending=True, stable=True))

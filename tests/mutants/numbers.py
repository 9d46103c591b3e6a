"""Mistakes of losses on numbers: what they are least at, and what moving and stretching the numbers does."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from mutants.contract import breaks
from xentlab.losses.contract import loss, per_target
from xentlab.schema import Range

REGRESSION = ("regression",)
Level = Annotated[float, Range(0, 1, open_low=True, open_high=True)]


def residual_of(outputs: Tensor, target: Tensor) -> Tensor:
    (point,), truth = per_target(outputs, target, 1)
    return truth - point


@breaks("translation", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True)
def relative_called_absolute(outputs: Tensor, target: Tensor) -> Tensor:
    return (residual_of(outputs, target).square() / (1.0 + target.to(outputs.dtype).square())).sum(1)


@breaks("translation", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION)
def fixed_in_words_only(outputs: Tensor, target: Tensor) -> Tensor:
    return residual_of(outputs, target).square().sum(1)


@breaks("scale", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True, degree=2.0)
def huber_called_square(outputs: Tensor, target: Tensor) -> Tensor:
    return F.huber_loss(outputs, residual_of(outputs, target) + outputs, reduction="none").sum(1)


@breaks("functional", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True, degree=1.0, elicits="quantile")
def levels_swapped(outputs: Tensor, target: Tensor, *, level: Level = 0.5) -> Tensor:
    residual = residual_of(outputs, target)
    return torch.maximum((1.0 - level) * residual, -level * residual).sum(1)


@breaks("functional", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True, elicits="mean")
def log_cosh_called_mean(outputs: Tensor, target: Tensor) -> Tensor:
    residual = residual_of(outputs, target).abs()
    return (residual + torch.log1p(0.5 * torch.expm1(-2.0 * residual))).sum(1)


@breaks("proper", "regression")
@loss(family="mutants", link="gaussian", tasks=REGRESSION, moves=True, outputs=2, minimum=None, elicits="distribution")
def scale_for_variance(outputs: Tensor, target: Tensor) -> Tensor:
    (location, raw), truth = per_target(outputs, target, 2)
    variance = F.softplus(raw) + 1e-3
    return (0.5 * (truth - location).square() / variance + 0.5 * torch.log(2 * math.pi * variance)).sum(1)


@breaks("proper", "regression")
@loss(family="mutants", link="laplace", tasks=REGRESSION, moves=True, outputs=2, minimum=None, elicits="distribution")
def slightly_too_wide(outputs: Tensor, target: Tensor) -> Tensor:
    (location, raw), truth = per_target(outputs, target, 2)
    scale = F.softplus(raw) + 1e-3
    return ((truth - location).abs() / scale + 0.9 * torch.log(scale)).sum(1)


@breaks("gradient", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True, slope=False)
def stops_in_words_only(outputs: Tensor, target: Tensor) -> Tensor:
    return residual_of(outputs, target).square().sum(1)


@breaks("renaming", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True)
def first_target_alone(outputs: Tensor, target: Tensor) -> Tensor:
    return residual_of(outputs, target).square()[:, 0]


@breaks("nan", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True)
def outliers_by_choice(outputs: Tensor, target: Tensor) -> Tensor:
    square = residual_of(outputs, target).square()
    return torch.where(square < 4.0, square, 4.0).sum(1)


@breaks("finite", "regression")
@loss(family="mutants", link="log", tasks=REGRESSION, minimum=None, elicits="mean")
def exp_without_a_bound(outputs: Tensor, target: Tensor) -> Tensor:
    (z,), truth = per_target(outputs, target, 1)
    return (torch.exp(z) - truth * z).sum(1)


@breaks("refusal", "regression")
@loss(family="mutants", link="identity", tasks=REGRESSION, moves=True)
def broadcasts_its_target(outputs: Tensor, target: Tensor) -> Tensor:
    return (outputs - target.to(outputs.dtype)).square().sum(1)

"""Regularizers: the second half of an objective, a penalty on the weights of one trial.

A regularizer is `regularizer(weights, *, strength, knobs) -> penalty`. `weights` are the tensors of one trial that have
two axes or more (biases and normalisation are not penalised); the penalty is a scalar tensor, differentiable, and lifts
with `torch.vmap` over weights and knobs.

To add one: write the function here and name it in `configs/regularizer/<name>.yaml` with its knobs.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from xentlab.schema import Range

Strength = Annotated[float | Tensor, Range(0, None)]


def none(weights: Sequence[Tensor]) -> Tensor:
    """No penalty: a scalar zero."""
    return weights[0].new_zeros(()) if weights else torch.zeros(())


def l1(weights: Sequence[Tensor], *, strength: Strength = 1e-5) -> Tensor:
    """The scalar strength * sum |w|, which drives weights to exactly zero.

    Args:
        strength: >= 0.

    Reference: Tibshirani, Regression shrinkage and selection via the lasso, 1996.
    """
    return strength * sum((w.abs().sum() for w in weights), start=none(weights))


def l2(weights: Sequence[Tensor], *, strength: Strength = 1e-4) -> Tensor:
    """The scalar strength / 2 * sum w^2, whose gradient strength * w is that of SGD's weight decay.

    Args:
        strength: >= 0.

    Reference: Hoerl, Kennard, Ridge regression: biased estimation for nonorthogonal problems, 1970.
    """
    return 0.5 * strength * sum((w.square().sum() for w in weights), start=none(weights))


def elastic(
    weights: Sequence[Tensor],
    *,
    strength: Strength = 1e-4,
    ratio: Annotated[float | Tensor, Range(0, 1)] = 0.5,
) -> Tensor:
    """The scalar ratio * l1 + (1 - ratio) * l2, both at the same strength.

    Args:
        strength: >= 0.
        ratio: the part of l1, in [0, 1].

    Reference: Zou, Hastie, Regularization and variable selection via the elastic net, 2005.
    """
    return ratio * l1(weights, strength=strength) + (1 - ratio) * l2(weights, strength=strength)

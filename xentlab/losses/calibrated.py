"""Losses chosen for honest probabilities. Link: softmax. Obeys `xentlab.losses.contract`."""

import functools
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, bounded, fitting, loss, of_truth
from xentlab.losses.likelihood import focal_terms, leading, log_complement, set_apart
from xentlab.schema import NonNegativeFloat, Range
from xentlab.tasks.links import log_softmax

_OUT = -1e30

_calibrated = functools.partial(loss, family="calibrated", link="softmax", shift_invariant=True)


@_calibrated(
    reference="Brier 1950",
    values="in [0, 2]",
    proper=True,
    limits=(Limit({}, "mse", {"link": "softmax"}), Limit({}, "tsallis", {"alpha": 2.0})),
)
def brier(logits: Tensor, target: Tensor) -> Tensor:
    """Brier score of the softmax on every task: `sum_c (softmax(z)_c - t_c)^2`; `mse` takes the task's own link.

    Reference: Brier, Verification of forecasts expressed in terms of probability, 1950.
    """
    return (torch.softmax(logits, 1) - as_distribution(target, logits)).square().sum(1)


@_calibrated(
    reference="Mukhoti 2020",
    limits=(
        Limit({"gamma_unlikely": 0.0, "gamma_likely": 0.0}, "ce"),
        Limit({"gamma_unlikely": 2.0, "gamma_likely": 2.0}, "focal", {"gamma": 2.0}),
        Limit({"threshold": 0.0}, "focal", {"gamma": 3.0}),
    ),
)
def flsd53(
    logits: Tensor,
    target: Tensor,
    *,
    gamma_unlikely: NonNegativeFloat = 5.0,
    gamma_likely: NonNegativeFloat = 3.0,
    threshold: Annotated[float, Range(0, 1)] = 0.2,
) -> Tensor:
    """Focal loss whose exponent depends on the sample, with `q = softmax(z)`:

        -sum_c t_c (1 - q_c)^g(q_c) log q_c,   g(q) = gamma_unlikely for q < threshold, else gamma_likely

    The choice of the exponent has no gradient; at the threshold the value jumps.

    Args:
        gamma_unlikely: exponent where the true class is unlikely, >= 0.
        gamma_likely: exponent where it is likely, >= 0.
        threshold: probability from which on it is likely, in [0, 1].

    Reference: Mukhoti et al., Calibrating deep neural networks using focal loss, 2020.
    """
    truth, log_q, log_rest = focal_terms(logits, target)
    unlikely = torch.exp(log_q.detach()) < threshold
    focus = torch.exp(torch.where(unlikely, gamma_unlikely * log_rest, gamma_likely * log_rest))
    return -(truth * focus * log_q).sum(1)


@_calibrated(reference="Tao 2023", limits=(Limit({"gamma": 0.0}, "ce"),))
def dual_focal(logits: Tensor, target: Tensor, *, gamma: NonNegativeFloat = 5.0) -> Tensor:
    """Focal loss that also looks at the strongest class behind the true one, with `q = softmax(z)`:

        -sum_c t_c (1 - q_c + r_c)^gamma log q_c,   r_c = max { q_j : q_j < q_c }, or 0 where there is none

    Gradients flow through `r_c`, as in the authors' code.

    Args:
        gamma: exponent, >= 0; 5 as in most of the paper's experiments.

    Reference: Tao, Dong & Xu, Dual focal loss for calibration, 2023.
    """
    log_q = log_softmax(logits)
    truth: Tensor | float
    if target.is_floating_point():
        truth, log_q, log_rest, log_next = of_truth(
            target, logits, log_q, log_complement(logits, log_q), _next_lower(log_q)
        )
    else:
        truth, (own, log_rest) = 1.0, set_apart(log_q, fitting(target, logits).unsqueeze(1))
        # No class at or above the true one leads what is left, but where nothing is.
        below, at = leading(torch.add(log_q, log_q >= own, alpha=_OUT))
        log_next = bounded(log_q.gather(1, at).masked_fill(below <= _OUT, -torch.inf))
        log_q = own
    log_base = torch.logaddexp(log_rest, log_next)
    return -(truth * torch.exp(gamma * log_base) * log_q).sum(1)


def _next_lower(values: Tensor) -> Tensor:
    """For every class the largest value strictly below its own, shaped like `values` [N, C, ...]; -inf for the least.

    In ascending order that is the last neighbour across a step, hence a running maximum over the steps.
    """
    ascending, order = values.sort(dim=1)
    below, above = ascending[:, :-1], ascending[:, 1:]
    steps = torch.where(below < above, below, -torch.inf)
    first = torch.full_like(ascending[:, :1], -torch.inf)
    return torch.cat([first, steps.cummax(1).values], 1).gather(1, order.argsort(dim=1))

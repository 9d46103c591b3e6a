"""Schedules: the factor on the learning rate at each step of a training, computed once on the host in float64.

`warmup` is a fraction of the training, or so many steps or epochs, which who trains turns into one. Over its W steps
the factor rises in equal parts, (step + 1) / (W + 1), so that no step has rate 0; then the schedule itself takes the
rest of the training, from its beginning. All take `step`, 0 .. total - 1, and `total`, the steps of the training, and
give the factors [total].
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from xentlab.schema import Pattern, Range

Factors = NDArray[np.float64]
Steps = NDArray[np.int64]
Warmup = (
    Annotated[float, Range(0, 1, open_high=True)]
    | Annotated[str, Pattern(r"[1-9]\d{0,8} (steps?|epochs?)", "so many steps or epochs, such as '2 epochs'")]
)


def constant(step: Steps, total: int, *, warmup: Warmup = 0.0) -> Factors:
    """The factor 1 at every `step` [total] after the warm-up.

    Args:
        warmup: the part of the training with a rising rate: a fraction in [0, 1), or such as '2 epochs'.
    """
    ramp, _, _ = _warm(step, total, warmup)
    return ramp


def cosine(step: Steps, total: int, *, floor: Annotated[float, Range(0, 1)] = 0.0, warmup: Warmup = 0.0) -> Factors:
    """Half a cosine from 1 towards `floor`, which the step after the last would reach.

    Args:
        floor: the factor at the end, in [0, 1].
        warmup: the part of the training with a rising rate: a fraction in [0, 1), or such as '2 epochs'.

    Reference: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts, 2017.
    """
    ramp, done, left = _warm(step, total, warmup)
    return ramp * (floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * done / left)))


def step_decay(
    step: Steps,
    total: int,
    *,
    milestones: Annotated[tuple[float, ...], Range(0, 1)] = (0.5, 0.75),
    factor: Annotated[float, Range(0, 1, open_low=True)] = 0.1,
    warmup: Warmup = 0.0,
) -> Factors:
    """The rate times `factor` at each milestone.

    Args:
        milestones: fractions of the whole training, warm-up included, each in [0, 1], in any order.
        factor: in (0, 1].
        warmup: the part of the training with a rising rate: a fraction in [0, 1), or such as '2 epochs'.
    """
    ramp, _, _ = _warm(step, total, warmup)
    passed = sum((step >= round(milestone * total) for milestone in milestones), start=np.zeros(step.shape))
    return ramp * factor**passed


def exponential(
    step: Steps, total: int, *, end: Annotated[float, Range(0, 1, open_low=True)] = 0.01, warmup: Warmup = 0.0
) -> Factors:
    """A constant ratio from step to step, from 1 towards `end`, which the step after the last would reach.

    Args:
        end: the factor at the end, in (0, 1].
        warmup: the part of the training with a rising rate: a fraction in [0, 1), or such as '2 epochs'.
    """
    ramp, done, left = _warm(step, total, warmup)
    return ramp * end ** (done / left)


def one_cycle(
    step: Steps,
    total: int,
    *,
    warmup: Warmup = 0.3,
    start: Annotated[float, Range(0, 1, open_low=True)] = 0.04,
    end: Annotated[float, Range(0, 1)] = 4e-6,
) -> Factors:
    """Half a cosine up from `start` to 1 over the warm-up, then half a cosine down to `end` at the last step.

    Args:
        warmup: the part of the training with a rising rate: a fraction in [0, 1), or such as '2 epochs'.
        start: the first factor, in (0, 1].
        end: the last factor, in [0, 1].

    Returns:
        Factors [total], equal to torch's OneCycleLR with pct_start = warmup, div_factor = 1 / start and
        final_div_factor = start / end.

    Reference: Smith, Topin, Super-convergence: very fast training of neural networks using large learning rates, 2018.
    """
    peak = float(warmup) * total - 1  # not rounded: the highest factor lies between two steps
    up = np.clip(step / peak, 0, 1) if peak > 0 else np.ones(step.shape)
    down = np.clip((step - peak) / (total - 1 - peak), 0, 1)
    rising = 1 + (start - 1) * 0.5 * (1 + np.cos(np.pi * up))
    falling = end + (1 - end) * 0.5 * (1 + np.cos(np.pi * down))
    return np.where(step <= peak, rising, falling)


def plateau(
    step: Steps,
    total: int,
    *,
    factor: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.1,  # noqa: ARG001 - `lowered` has it
    patience: Annotated[int, Range(0, None)] = 10,  # noqa: ARG001
    warmup: Warmup = 0.0,
) -> Factors:
    """The factor 1 after the warm-up; who trains multiplies it by `factor` whenever validation gets no better.

    Args:
        factor: in (0, 1).
        patience: epochs without a better value of `trainer.monitor` that are borne, >= 0; then the rate falls, and the
            count begins anew, as in torch's ReduceLROnPlateau with a threshold and a cooldown of 0.
        warmup: the part of the training with a rising rate: a fraction in [0, 1), or such as '2 epochs'.
    """
    return constant(step, total, warmup=warmup)


def _warm(step: Steps, total: int, warmup: float | str) -> tuple[Factors, Factors, int]:
    """The warm-up's factors [total], the steps done after it [total], and how many there are in all, >= 1."""
    rising = min(round(float(warmup) * total), total - 1)
    ramp = np.minimum(1.0, (step + 1) / (rising + 1))
    return ramp, np.maximum(0.0, step - rising), total - rising

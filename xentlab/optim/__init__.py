"""Optimizers and learning-rate schedules over stacked parameters.

An optimizer is `optimizer(params, grads, state, step, *, lr, knobs) -> None`. It acts in place on `params` [R, P], all
parameters of R trials, flat; may overwrite `grads` [R, P]; keeps its buffers in `state`, made by `optimizer_state`;
`step` counts from 1. Knobs are Python floats or tensors [R, 1], one value a row; `lr` already holds the schedule's
factor.

A schedule is `schedule(step, total, *, knobs) -> factors`, arrays [total] in NumPy, for steps 0 .. total - 1.

To add one: write the function in `optimizers` (with `@optimizer(names of its buffers)`) or `schedules`, list it here,
and name it in `configs/optimizer/<name>.yaml` or `configs/schedule/<name>.yaml` with its knobs.
"""

from xentlab.optim.contract import optimizer, optimizer_state
from xentlab.optim.optimizers import adagrad, adam, adamw, clip_norm, lion, rmsprop, sgd
from xentlab.optim.schedules import constant, cosine, exponential, one_cycle, plateau, step_decay

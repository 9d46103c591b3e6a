"""One sigmoid neuron learning to answer 0 to the input 1: the smallest case in which the cost decides the speed.

Its gradients are those of the session's own losses in float64, so that the traces hold them to the published account.

Reference: M. Nielsen, Neural Networks and Deep Learning, chapter 3, 2015.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from xentlab.losses import bce, quadratic_sigmoid

COSTS = {"quadratic": quadratic_sigmoid, "cross-entropy": bce}


@dataclass(frozen=True)
class Neuron:
    """What is traced.

    Attributes:
        epochs: steps of gradient descent; the only example is the whole batch.
        starts: first weight and bias of each trace.
        rates: cost -> the source's learning rate, > 0.
        equal_rate: the learning rate under which both costs are compared, > 0.
        below: an output under this has learned.
        limit: epochs at most until then.
    """

    epochs: int
    starts: list[list[float]]
    rates: dict[str, float]
    equal_rate: float
    below: float
    limit: int


@dataclass(frozen=True)
class Trace:
    """One training: `output` and `cost` before each epoch and after the last, [epochs + 1] each."""

    cost: list[float]
    output: list[float]


def steps(name: str, weight: float, bias: float, rate: float) -> Iterator[tuple[float, float]]:
    """Cost and output of one neuron with input 1 and target 0, before and after each step of gradient descent.

    Args:
        name: `quadratic`, (a - y)^2 / 2, or `cross-entropy`.
        rate: learning rate, > 0.
    """
    loss, target = COSTS[name], torch.zeros(1, 1, dtype=torch.float64)
    state = torch.tensor([weight, bias], dtype=torch.float64, requires_grad=True)
    while True:
        logit = state.sum().reshape(1, 1)
        value = loss(logit, target).sum()
        yield value.item(), torch.sigmoid(logit).item()
        (slope,) = torch.autograd.grad(value, state)
        with torch.no_grad():
            state -= rate * slope


def trace(name: str, weight: float, bias: float, rate: float, epochs: int) -> Trace:
    """The first `epochs` >= 0 of `steps`, and what stood before them."""
    pairs = list(itertools.islice(steps(name, weight, bias, rate), epochs + 1))
    return Trace([cost for cost, _ in pairs], [output for _, output in pairs])


def traces(neuron: Neuron) -> dict[str, Trace]:
    """`COST from (w, b)` -> its trace at the source's learning rate."""
    return {
        f"{name} from {pair(start)}": trace(name, start[0], start[1], neuron.rates[name], neuron.epochs)
        for name in COSTS
        for start in neuron.starts
    }


def epochs_until(neuron: Neuron, name: str, start: Sequence[float]) -> int | None:
    """The first epoch after which the output is below `below` at the equal rate, or None within the limit."""
    walk = itertools.islice(steps(name, start[0], start[1], neuron.equal_rate), neuron.limit + 1)
    return next((epoch for epoch, (_, output) in enumerate(walk) if output < neuron.below), None)


def quantities(neuron: Neuron) -> dict[str, float | None]:
    """Every exact number that a claim may name."""
    found: dict[str, float | None] = {}
    for label, t in traces(neuron).items():
        found[f"first output, {label}"] = t.output[0]
        found[f"last output, {label}"] = t.output[-1]
        half = len(t.cost) // 2
        found[f"share of the first cost left after {half} epochs, {label}"] = t.cost[half] / t.cost[0]
    for start in neuron.starts:
        needed = {name: epochs_until(neuron, name, start) for name in COSTS}
        for name, epochs in needed.items():
            found[f"epochs until the output is below {neuron.below:g} at one rate, {name} from {pair(start)}"] = epochs
        quadratic, entropy = needed["quadratic"], needed["cross-entropy"]
        found[f"epochs at one rate, quadratic over cross-entropy, from {pair(start)}"] = (
            quadratic / entropy if quadratic and entropy else None
        )
    return found


def pair(start: Sequence[float]) -> str:
    """What a start is called."""
    return f"({start[0]:g}, {start[1]:g})"

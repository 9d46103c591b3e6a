"""Datasets drawn from a stated model, so that the true posterior of every label is known.

With P(y | x) known, excess risk over Bayes and calibration error are exact instead of estimated. To add one: state
the model in the docstring, draw from `generator(draw_seed, purpose)`, and store the `posterior` of the inputs as they
are stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, of_task
from xentlab.data.splits import generator
from xentlab.errors import UserError
from xentlab.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range

NUM_REFERENCE = 4096  # examples on which the model is scaled; drawn apart from the dataset's own


@of_task("multilabel")
def multilabel_synthetic(
    *,
    samples: Annotated[int, Range(10, None)] = 2000,
    features: PositiveInt = 20,
    labels: Annotated[int, Range(2, None)] = 8,
    hidden: PositiveInt = 32,
    labels_per_example: PositiveFloat = 2.5,
    strength: NonNegativeFloat = 3.0,
    temperature: PositiveFloat = 1.0,
    draw_seed: NonNegativeInt = 0,
) -> Dataset:
    """N examples of C labels from a model with known posterior: inputs float32 [N, F], targets n-hot uint8 [N, C].

    x ~ N(0, I); s(x) = standardised V tanh(W x) with fixed random W and V; P(y_c = 1 | x) =
    sigmoid((strength s_c(x) + a_c) / temperature + b), independently for each label given x. a_c ~ N(0, 1) makes some
    labels rarer than others; the common b is set so that the expected number of labels is `labels_per_example`. The
    `posterior` [N, C] is exact for the inputs as stored.

    Args:
        samples: N, number of examples.
        features: F, number of inputs.
        labels: C, number of labels.
        hidden: width of the model's hidden layer: how crooked the label boundaries are.
        labels_per_example: expected number of labels of an example, in (0, C).
        strength: standard deviation of the part of the logits that x decides; 0 makes x useless.
        temperature: > 0; towards 0 x decides the labels, with large values chance does.
        draw_seed: draws the model and the examples; a trial's seed changes neither.

    Raises:
        UserError: `labels_per_example` is not below `labels`.
    """
    if labels_per_example >= labels:
        raise UserError(f"dataset.labels_per_example must be < dataset.labels ({labels}), got {labels_per_example:g}.")
    # float64 throughout: single-precision draws differ in the last bit from one kind of processor to another.
    model = generator(draw_seed, "multilabel_synthetic model")
    score = crooked(features, hidden, labels, model)
    offset = torch.randn(labels, generator=model, dtype=torch.float64)
    reference = score(torch.randn(NUM_REFERENCE, features, generator=model, dtype=torch.float64))

    def logits(scores: Tensor) -> Tensor:
        return (strength * (scores - reference.mean(0)) / reference.std(0) + offset) / temperature

    shift = _shift(logits(reference), labels_per_example)
    draws = generator(draw_seed, "multilabel_synthetic examples")
    inputs = torch.randn(samples, features, generator=draws, dtype=torch.float64).float()
    posterior = torch.sigmoid(logits(score(inputs.double())) + shift)
    targets = torch.rand(samples, labels, generator=draws, dtype=torch.float64) < posterior
    return Dataset(
        name="multilabel_synthetic",
        task="multilabel",
        inputs=inputs,
        targets=targets.to(torch.uint8),
        class_names=tuple(f"label_{c}" for c in range(labels)),
        posterior=posterior,
    )


def crooked(features: int, hidden: int, outputs: int, draws: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A drawn function of inputs float64 [N, features] to [N, outputs]: tanh of one random layer, summed by another."""
    inward = torch.randn(features, hidden, generator=draws, dtype=torch.float64) * (1.5 / features**0.5)
    outward = torch.randn(hidden, outputs, generator=draws, dtype=torch.float64)
    return lambda x: torch.tanh(x @ inward) @ outward


def _shift(logits: Tensor, count: float) -> float:
    """The number b for which the mean over rows of sum_c sigmoid(logits + b) is `count`, by bisection."""
    low, high = -float(logits.max()) - 50.0, -float(logits.min()) + 50.0
    for _ in range(100):
        middle = (low + high) / 2
        if float(torch.sigmoid(logits + middle).sum(1).mean()) < count:
            low = middle
        else:
            high = middle
    return (low + high) / 2

"""Numbers to predict: a small real table that comes with scikit-learn, and examples of a stated distribution.

To add one: a builder with `@of_task("regression")`, float targets [N] or [N, D], and a word for each of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, of_task
from xentlab.data.splits import generator
from xentlab.metrics.noise import SHAPES, Shape, draw_noise
from xentlab.schema import Range

_REFERENCE = 4096  # examples on which the mean is scaled; drawn apart from the dataset's own
# How the logarithm of the noise's scale varies where it varies.
_VARIES = 0.8


@of_task("regression")
def diabetes() -> Dataset:
    """The 442 patients of scikit-learn's diabetes table: how far the disease went in a year, from ten measurements.

    Returns:
        A regression dataset: inputs float32 [442, 10] as measured, targets float64 [442] from 25 to 346.

    Reference: Efron, Hastie, Johnstone & Tibshirani, Least angle regression, 2004.
    """
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    return Dataset(
        name="diabetes",
        task="regression",
        inputs=torch.from_numpy(found.data).float(),
        targets=torch.from_numpy(found.target).double(),
        class_names=("progression",),
        standardize=True,
    )


@of_task("regression")
def regression_synthetic(
    *,
    kind: Literal["homoscedastic", "heteroscedastic", "skewed", "heavy_tailed", "bimodal"] = "homoscedastic",
    samples: Annotated[int, Range(10, None)] = 2000,
    features: Annotated[int, Range(1, None)] = 8,
    hidden: Annotated[int, Range(1, None)] = 16,
    strength: Annotated[float, Range(0, None)] = 3.0,
    noise_scale: Annotated[float, Range(0, None, open_low=True)] = 1.0,
    draw_seed: Annotated[int, Range(0, None)] = 0,
) -> Dataset:
    """N examples of a number whose distribution given the inputs is known: inputs float32 [N, F], targets float64 [N].

    x ~ N(0, I); m(x) = strength times standardised v tanh(W x) with fixed random v and W; y = m(x) + noise_scale s(x) e
    with e of mean 0 and variance 1: normal, or by its kind skewed (exponential), heavy_tailed (Student's t of three
    degrees of freedom) or bimodal (two normal humps). s(x) is 1, of the heteroscedastic kind exp(0.8 u(x)) with u made
    as m is. Outliers among the training targets are `dataset.label_noise`.

    Args:
        kind: of the noise.
        samples: N, number of examples.
        features: F, number of inputs.
        hidden: width of the model's hidden layer: how crooked m is.
        strength: standard deviation of m; 0 makes x useless.
        noise_scale: standard deviation of the noise, > 0 (the median one where it varies).
        draw_seed: draws the model and the examples; a trial's seed changes neither.

    Returns:
        A regression dataset with `posterior` [N, 3] float64, exact for the inputs as stored: the true mean, the
        noise's scale, and which of the shapes of `metrics.noise` it has.
    """
    model = generator(draw_seed, "regression_synthetic model")
    inward = torch.randn(features, hidden, generator=model, dtype=torch.float64) * (1.5 / features**0.5)
    outward = torch.randn(hidden, 2, generator=model, dtype=torch.float64)
    reference = torch.randn(_REFERENCE, features, generator=model, dtype=torch.float64)

    def score(x: Tensor) -> Tensor:
        return torch.tanh(x @ inward) @ outward

    centre, spread = score(reference).mean(0), score(reference).std(0)
    draws = generator(draw_seed, "regression_synthetic examples")
    inputs = torch.randn(samples, features, generator=draws, dtype=torch.float64).float()
    mean, varies = ((score(inputs.double()) - centre) / spread).unbind(1)
    mean = strength * mean
    scale = noise_scale * (torch.exp(_VARIES * varies) if kind == "heteroscedastic" else torch.ones_like(mean))
    shape: Shape = next((shape for shape in SHAPES if shape == kind), "normal")
    return Dataset(
        name="regression_synthetic",
        task="regression",
        inputs=inputs,
        targets=mean + scale * draw_noise(shape, samples, draws),
        class_names=("y",),
        posterior=torch.stack([mean, scale, torch.full_like(mean, SHAPES.index(shape))], 1),
    )

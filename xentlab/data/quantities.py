"""Numbers to predict: a small real table that comes with scikit-learn, and examples of a stated distribution.

To add one: a builder with `@of_task("regression")`, float targets [N] or [N, D], and a word for each of them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, of_task
from xentlab.data.images import digits, mnist
from xentlab.data.places import find_folder
from xentlab.data.splits import generator
from xentlab.data.synthetic import NUM_REFERENCE, crooked
from xentlab.errors import UserError
from xentlab.metrics.noise import SHAPES, Shape, draw_noise
from xentlab.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range

# How the logarithm of the noise's scale varies where it varies.
_VARIES = 0.8


@of_task("regression")
def diabetes() -> Dataset:
    """The 442 patients of scikit-learn's diabetes table: how far the disease went in a year, from ten measurements.

    Inputs are float32 [442, 10] as measured, targets float64 [442] from 25 to 346.

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
def sinusoid(
    *,
    samples: Annotated[int, Range(10, None)] = 1000,
    periods: PositiveFloat = 12.0,
    amplitude: PositiveFloat = 0.4,
    noise_scale: PositiveFloat = 0.01,
    draw_seed: NonNegativeInt = 0,
) -> Dataset:
    """N points of a sine with normal noise: inputs float32 [N, 1], targets float64 [N].

    x ~ U(0, periods); y = amplitude sin(2 pi x) + noise_scale e, with e ~ N(0, 1). Its `posterior` [N, 3] is exact.

    Args:
        samples: N, number of examples.
        periods: how many periods x covers.
        amplitude: of the sine, > 0.
        noise_scale: standard deviation of the noise, > 0.
        draw_seed: draws the examples; a trial's seed does not change them.

    Reference: Seitzer et al., On the pitfalls of heteroscedastic uncertainty estimation, 2022.
    """
    draws = generator(draw_seed, "sinusoid")
    inputs = (periods * torch.rand(samples, 1, generator=draws, dtype=torch.float64)).float()
    mean = amplitude * torch.sin(2 * math.pi * inputs.double()[:, 0])
    scale = torch.full_like(mean, noise_scale)
    return replace(_drawn("sinusoid", inputs, mean, scale, "normal", draws), standardize=True)


def _drawn(name: str, inputs: Tensor, mean: Tensor, scale: Tensor, shape: Shape, draws: torch.Generator) -> Dataset:
    """Inputs with a number each, drawn around its `mean` [N] with its `scale` [N]."""
    return Dataset(
        name=name,
        task="regression",
        inputs=inputs,
        targets=mean + scale * draw_noise(shape, len(inputs), draws),
        class_names=("y",),
        posterior=torch.stack([mean, scale, torch.full_like(mean, SHAPES.index(shape))], 1),
    )


@of_task("regression")
def uci(
    *,
    table: Literal["concrete", "energy", "kin8nm", "power-plant", "wine-quality-red", "yacht"] = "yacht",
    root: str | None = None,
) -> Dataset:
    """One of six UCI tables with its 20 published test sets, of which each seed meets one in turn.

    Inputs are float32 [N, F] as they are, targets float64 [N].

    Args:
        table: the folder in `root` with `data.txt`, `index_features.txt`, `index_target.txt`, `index_test_K.txt`.
        root: the folder of all tables; None looks for a folder called `uci` in XENTLAB_DATA and in the user's cache.

    Raises:
        UserError: a file is missing, or holds something else.

    Reference: Hernandez-Lobato & Adams, Probabilistic backpropagation, 2015.
    """
    folder = find_folder(root, "uci") / table
    try:
        rows, features, target = (np.loadtxt(folder / f"{name}.txt", ndmin=2) for name in
                                  ("data", "index_features", "index_target"))  # fmt: skip
        tests = [np.loadtxt(folder / f"index_test_{k}.txt").astype(np.int64) for k in range(20)]
        inputs, targets = rows[:, features.ravel().astype(int)], rows[:, int(target.ravel()[0])]
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{folder} must hold a published table and its 20 test sets ({error}).") from error
    return Dataset(
        name=f"uci {table}",
        task="regression",
        inputs=torch.from_numpy(inputs).float(),
        targets=torch.from_numpy(targets.copy()),
        class_names=("target",),
        test_sets=tuple(torch.from_numpy(test) for test in tests),
        standardize=True,
        notes=(f"{len(rows)} rows, {inputs.shape[1]} columns of numbers, 20 published test sets",),
    )


@of_task("regression")
def rotated_digits(
    *,
    source: Literal["digits", "mnist"] = "digits",
    most: Annotated[float, Range(0, 180, open_low=True)] = 45.0,
    draw_seed: NonNegativeInt = 0,
    root: str | None = None,
    download: bool = False,
) -> Dataset:
    """Images of digits, each turned by an angle that is to be predicted: inputs uint8 [N, 1, H, W], targets in degrees.

    Angles are uniform over [-most, most], counter-clockwise; pixels are bilinear, what turns in from outside is black.

    Args:
        source: which digits; MNIST's own test set stays one.
        most: the largest angle in degrees, in (0, 180].
        draw_seed: draws the angles; a trial's seed does not change them.
        root: as of `mnist`.
        download: as of `mnist`.
    """
    upright = digits() if source == "digits" else mnist(root=root, download=download)
    draws = generator(draw_seed, "rotated_digits")
    angles = most * (2 * torch.rand(len(upright.inputs), generator=draws, dtype=torch.float64) - 1)
    inputs = _turned(upright.inputs, angles)
    return replace(
        upright, name=f"rotated {source}", task="regression", inputs=inputs, targets=angles, class_names=("angle",)
    )


def _turned(images: Tensor, degrees: Tensor) -> Tensor:
    """Images uint8 [N, 1, H, W], each turned counter-clockwise by its angle [N]; bilinear, black outside."""
    turned = torch.empty_like(images)
    for some in torch.arange(len(images)).split(4096):
        cos, sin = torch.cos(torch.deg2rad(degrees[some])), torch.sin(torch.deg2rad(degrees[some]))
        matrix = torch.stack([cos, -sin, 0 * cos, sin, cos, 0 * cos], 1).reshape(-1, 2, 3)
        pixels = images[some].double()
        grid = torch.nn.functional.affine_grid(matrix, list(pixels.shape), align_corners=False)
        turned[some] = torch.nn.functional.grid_sample(pixels, grid, align_corners=False).round().to(torch.uint8)
    return turned


@of_task("regression")
def regression_synthetic(
    *,
    kind: Literal["homoscedastic", "heteroscedastic", "skewed", "heavy_tailed", "bimodal"] = "homoscedastic",
    samples: Annotated[int, Range(10, None)] = 2000,
    features: PositiveInt = 8,
    hidden: PositiveInt = 16,
    strength: NonNegativeFloat = 3.0,
    noise_scale: PositiveFloat = 1.0,
    draw_seed: NonNegativeInt = 0,
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
    score = crooked(features, hidden, 2, model)
    reference = score(torch.randn(NUM_REFERENCE, features, generator=model, dtype=torch.float64))
    draws = generator(draw_seed, "regression_synthetic examples")
    inputs = torch.randn(samples, features, generator=draws, dtype=torch.float64).float()
    mean, varies = ((score(inputs.double()) - reference.mean(0)) / reference.std(0)).unbind(1)
    mean = strength * mean
    scale = noise_scale * (torch.exp(_VARIES * varies) if kind == "heteroscedastic" else torch.ones_like(mean))
    shape: Shape = next((shape for shape in SHAPES if shape == kind), "normal")
    return _drawn("regression_synthetic", inputs, mean, scale, shape, draws)

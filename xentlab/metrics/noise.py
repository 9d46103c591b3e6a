"""Noise of mean 0 and variance 1 of several shapes: drawn for data, and known exactly where predictions are judged."""

from typing import Literal, get_args

import torch
from torch import Tensor

from xentlab.metrics.predictive import student_cdf

Shape = Literal["normal", "skewed", "heavy_tailed", "bimodal"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

# Student's t of three degrees of freedom has variance 3; two normal humps lie 0.9 to either side.
_DF, _HUMP = 3.0, 0.9
_HUMP_SCALE = (1 - _HUMP**2) ** 0.5


def draw_noise(shape: Shape, count: int, draws: torch.Generator) -> Tensor:
    """Independent draws [count], float64."""
    normal = torch.randn(count, 4, generator=draws, dtype=torch.float64)
    if shape == "skewed":
        # The sum of two squared normals, halved, is exponential.
        return normal[:, :2].square().sum(1) / 2 - 1
    if shape == "heavy_tailed":
        return normal[:, 0] / normal[:, 1:].square().sum(1).sqrt()
    if shape == "bimodal":
        return torch.where(normal[:, 1] > 0, _HUMP, -_HUMP) + _HUMP_SCALE * normal[:, 0]
    return normal[:, 0]


def noise_cdf(shape: Shape, z: Tensor) -> Tensor:
    """The probability that the noise lies below each `z`."""
    if shape == "skewed":
        return -torch.expm1(-(z + 1).clamp_min(0))
    if shape == "heavy_tailed":
        return student_cdf(z * _DF**0.5, torch.full_like(z, _DF))
    if shape == "bimodal":
        humps = ((z - side) / _HUMP_SCALE for side in (-_HUMP, _HUMP))
        return torch.stack([torch.special.ndtr(hump) for hump in humps]).mean(0)
    return torch.special.ndtr(z)

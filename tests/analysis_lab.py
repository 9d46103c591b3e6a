"""What the tests of the statistics share: noise of known shape, and small tables."""

from __future__ import annotations

import math

import numpy as np

NOISE = {
    "normal": lambda g, shape: g.standard_normal(shape),
    "skewed": lambda g, shape: g.standard_exponential(shape) - 1.0,
    "heavy": lambda g, shape: g.standard_t(3, shape),
}


SD = {"normal": 1.0, "skewed": 1.0, "heavy": math.sqrt(3.0)}


def sample(n, seed=0, noise="normal"):
    return NOISE[noise](np.random.default_rng(seed), n)


def allowed(share, tables):
    """The share plus three Monte-Carlo standard errors."""
    return share + 3 * math.sqrt(share * (1 - share) / tables)


# Verdicts


def table(*rows):
    return {name: dict(enumerate(values)) for name, values in zip("abcdefgh", rows, strict=False)}

"""Information theory in its definitions: information, entropy, cross-entropy, Kullback-Leibler divergence.

What lives here is arithmetic on one small distribution in numpy and float64, for explaining and for checking; what
trains is in `xentlab.losses`.

Contract: distributions are one-dimensional, non-negative and sum to one within 1e-6; a distribution that is not raises
a `UserError`. Results are in nats unless `base` says otherwise (2: bits, 10: hartleys), and 0 log 0 = 0. To add a
quantity, write it from its definition, and give it a column in `Row`.

Reference: Shannon, "A Mathematical Theory of Communication", 1948; Kullback and Leibler, "On Information and
Sufficiency", 1951.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from xentlab.errors import UserError

Vector = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[np.floating] | NDArray[np.integer]

SUM_TOLERANCE = 1e-6  # absolute; what typed decimals and float32 probabilities keep


@dataclass(frozen=True)
class Row:
    """One outcome: its probability, its information, and its share of each total, all in units of the base.

    `q` and what follows it are None where there is no second distribution.
    """

    outcome: int
    p: float
    information: float
    entropy: float
    q: float | None = None
    q_information: float | None = None
    cross_entropy: float | None = None
    kl_divergence: float | None = None


@dataclass(frozen=True)
class Explanation:
    """The rows of all outcomes and the totals of their columns, in units of log `base` (`unit` names it)."""

    rows: tuple[Row, ...]
    base: float
    unit: str
    entropy: float
    cross_entropy: float | None = None
    kl_divergence: float | None = None


def softmax(logits: Numbers) -> Vector:
    """Probabilities [C] that sum to one, of finite logits [C]: exp(z) / sum exp(z)."""
    return np.asarray(special.softmax(_vector("logits", logits)))


def sigmoid(logits: Numbers) -> Vector:
    """Probability of every label [C], of finite logits [C]: 1 / (1 + exp(-z)); they need not sum to one."""
    return np.asarray(special.expit(_vector("logits", logits)))


def binary_cross_entropy(n_hot: Numbers, probs: Numbers, *, base: float = math.e) -> float:
    """`-sum [y log p + (1 - y) log(1 - p)]` over independent labels y [C] and their probabilities p [C], 0 log 0 = 0.

    Both lie in [0, 1]; in units of log `base`, inf where a certainty is wrong.

    Raises:
        UserError: a value lies outside [0, 1], the lengths differ, or `base` is out of range.
    """
    y, p = _vector("n_hot", n_hot), _vector("probs", probs)
    for name, vector in (("n_hot", y), ("probs", p)):
        if vector.min() < 0 or vector.max() > 1:
            raise UserError(f"{name} must be in [0, 1], got {vector[(vector < 0) | (vector > 1)][0]:g}.")
    _same_length("n_hot", y, "probs", p)
    shares = special.xlogy(y, p) + special.xlog1py(1.0 - y, -p)
    return 0.0 - float(shares.sum()) / _log_base(base)


def explain(p: Numbers, q: Numbers | None = None, *, base: float = math.e) -> Explanation:
    """Lay out how every outcome of p [C] adds to the entropy and, against q [C], to cross-entropy and divergence.

    Both are probabilities, non-negative, that sum to one; the base of the logarithm is > 0 and not 1.

    Raises:
        UserError: `p` or `q` is no distribution, their lengths differ, or `base` is out of range.
    """
    log_base = _log_base(base)
    unit = {math.e: "nats", 2: "bits", 10: "hartleys"}.get(base, f"log base {base:g}")

    def weighed(weight: Vector | float, probs: Vector) -> Vector:
        # Not a bare minus: a sure outcome has information 0, not -0.
        return np.asarray(0.0 - special.xlogy(weight, probs) / log_base)

    p = _distribution("p", p)
    columns = [p, weighed(1.0, p), weighed(p, p)]
    if q is not None:
        q = _distribution("q", q)
        _same_length("p", p, "q", q)
        columns += [q, weighed(1.0, q), weighed(p, q), special.rel_entr(p, q) / log_base]
    rows = tuple(Row(i, *map(float, row)) for i, row in enumerate(zip(*columns, strict=True)))
    totals = [float(columns[i].sum()) for i in (2, 5, 6) if i < len(columns)]
    return Explanation(rows, base, unit, *totals)


def parse_distribution(text: str) -> Vector:
    """Read a distribution [C] as people type it: `0.7,0.2,0.1`.

    Raises:
        UserError: a part is no number, or the numbers are no distribution.
    """
    return _distribution(f"The distribution '{text}'", parse_numbers(text))


def parse_numbers(text: str) -> list[float]:
    """Read numbers as people type them, separated by commas.

    Raises:
        UserError: a part is none.
    """
    numbers = []
    for part in text.split(","):
        try:
            numbers.append(float(part))
        except ValueError:
            rule = "A distribution must be numbers separated by commas, such as 0.7,0.2,0.1"
            raise UserError(f"{rule}; got '{part.strip()}' in '{text}'.") from None
    return numbers


def _vector(name: str, values: Numbers) -> Vector:
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a list of numbers, got {values!r}.") from None
    if vector.ndim != 1 or vector.size == 0:
        raise UserError(f"{name} must be one list of at least one number, got the shape {list(vector.shape)}.")
    if not np.isfinite(vector).all():
        raise UserError(f"{name} must hold finite numbers, got {vector[~np.isfinite(vector)][0]:g}.")
    return vector


def _distribution(name: str, values: Numbers) -> Vector:
    vector = _vector(name, values)
    if vector.min() < 0:
        raise UserError(f"{name} must be non-negative, got {vector.min():g}.")
    if abs(vector.sum() - 1.0) > SUM_TOLERANCE:
        raise UserError(f"{name} must sum to 1 within {SUM_TOLERANCE:g}, got a sum of {vector.sum():.9g}.")
    return vector


def _same_length(name: str, first: Vector, other: str, second: Vector) -> None:
    if first.size != second.size:
        raise UserError(f"{name} and {other} must have the same length, got {first.size} and {second.size}.")


def _log_base(base: float) -> float:
    if not (math.isfinite(base) and base > 0 and base != 1):
        raise UserError(f"base must be > 0 and not 1, got {base:g}.")
    return math.log(base)

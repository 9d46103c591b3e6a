"""Predictive distributions over a number, as values: their point, density, distribution function, quantiles and CRPS.

Contract: parameters are float64 tensors of one shape [...] (a `Histogram` has an axis of knots or bins more); every
method is elementwise. What a loss's outputs mean in these terms, the task says.

Reference: Gneiting & Raftery, Strictly proper scoring rules, prediction, and estimation, 2007; Jordan, Krüger & Lerch,
Evaluating probabilistic forecasts with scoringRules, 2019 (closed forms of the CRPS).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Predictive(Protocol):
    """A distribution over the reals."""

    def log_density(self, y: Tensor) -> Tensor: ...
    def cdf(self, y: Tensor) -> Tensor: ...
    def crps(self, y: Tensor) -> Tensor: ...
    def quantile(self, level: float) -> Tensor: ...


@dataclass(frozen=True)
class Normal:
    """N(loc, scale^2)."""

    loc: Tensor
    scale: Tensor

    def log_density(self, y: Tensor) -> Tensor:
        return -0.5 * ((y - self.loc) / self.scale).square() - self.scale.log() - 0.5 * math.log(2 * math.pi)

    def cdf(self, y: Tensor) -> Tensor:
        return torch.special.ndtr((y - self.loc) / self.scale)

    def crps(self, y: Tensor) -> Tensor:
        z = (y - self.loc) / self.scale
        density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
        return self.scale * (z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))

    def quantile(self, level: float) -> Tensor:
        return self.loc + self.scale * torch.special.ndtri(torch.tensor(level, dtype=torch.float64)).to(self.loc.device)


@dataclass(frozen=True)
class Laplace:
    """Density `exp(-|y - loc| / scale) / (2 scale)`."""

    loc: Tensor
    scale: Tensor

    def log_density(self, y: Tensor) -> Tensor:
        return -(y - self.loc).abs() / self.scale - (2 * self.scale).log()

    def cdf(self, y: Tensor) -> Tensor:
        z = (y - self.loc) / self.scale
        tail = 0.5 * torch.exp(-z.abs())
        return torch.where(z < 0, tail, 1 - tail)

    def crps(self, y: Tensor) -> Tensor:
        z = (y - self.loc).abs() / self.scale
        return self.scale * (z + torch.exp(-z) - 0.75)

    def quantile(self, level: float) -> Tensor:
        side = math.log(2 * level) if level < 0.5 else -math.log(2 * (1 - level))
        return self.loc + self.scale * side


@dataclass(frozen=True)
class StudentT:
    """Student's t with `df` > 1 degrees of freedom, moved to `loc` and stretched by `scale`."""

    loc: Tensor
    scale: Tensor
    df: Tensor

    def log_density(self, y: Tensor) -> Tensor:
        z = (y - self.loc) / self.scale
        constant = torch.lgamma((self.df + 1) / 2) - torch.lgamma(self.df / 2) - 0.5 * (self.df * math.pi).log()
        return constant - (self.df + 1) / 2 * torch.log1p(z.square() / self.df) - self.scale.log()

    def cdf(self, y: Tensor) -> Tensor:
        return student_cdf((y - self.loc) / self.scale, self.df)

    def crps(self, y: Tensor) -> Tensor:
        df, z = self.df, (y - self.loc) / self.scale
        density = (self.log_density(y) + self.scale.log()).exp()
        spread = 2 * df.sqrt() / (df - 1) * (_log_beta(0.5, df - 0.5) - 2 * _log_beta(0.5, df / 2)).exp()
        bend = z * (2 * student_cdf(z, df) - 1) + 2 * density * (df + z.square()) / (df - 1)
        return self.scale * (bend - spread)

    def quantile(self, level: float) -> Tensor:
        from scipy.special import stdtrit

        standard = stdtrit(self.df.cpu().numpy(), level)
        return self.loc + self.scale * torch.as_tensor(standard, device=self.loc.device)


def student_cdf(z: Tensor, df: Tensor) -> Tensor:
    """P(T <= z) of a Student's t with `df` degrees of freedom; on the host, since PyTorch has no such function."""
    from scipy.special import stdtr

    return torch.as_tensor(stdtr(df.cpu().numpy(), z.cpu().numpy()), device=z.device)


def _log_beta(a: float, b: Tensor) -> Tensor:
    first = torch.as_tensor(a, dtype=b.dtype, device=b.device)
    return torch.lgamma(first) + torch.lgamma(b) - torch.lgamma(first + b)


@dataclass(frozen=True)
class Histogram:
    """Even density between neighbouring knots, and an exponential tail on either side."""

    knots: Tensor  # [..., M + 1], increasing
    mass: Tensor  # [..., M + 2], of the left tail, of each piece, of the right tail; sums to one
    tails: Tensor  # [..., 2], the mean distance of the left and the right tail from its knot

    def _below(self) -> Tensor:
        """The distribution function at the knots [..., M + 1]."""
        return self.mass.cumsum(-1)[..., :-1]

    def log_density(self, y: Tensor) -> Tensor:
        left, right = self._outside(y)
        inner = self.mass[..., 1:-1] / (self.knots[..., 1:] - self.knots[..., :-1])
        place = torch.searchsorted(self.knots.contiguous(), y.unsqueeze(-1).contiguous(), right=True).squeeze(-1) - 1
        within = inner.gather(-1, place.clamp(0, inner.shape[-1] - 1).unsqueeze(-1)).squeeze(-1).log()
        low = self.mass[..., 0].log() - self.tails[..., 0].log() - left / self.tails[..., 0]
        high = self.mass[..., -1].log() - self.tails[..., 1].log() - right / self.tails[..., 1]
        return torch.where(y < self.knots[..., 0], low, torch.where(y >= self.knots[..., -1], high, within))

    def cdf(self, y: Tensor) -> Tensor:
        left, right = self._outside(y)
        low = self.mass[..., 0] * torch.exp(-left / self.tails[..., 0])
        high = self.mass[..., -1] * torch.exp(-right / self.tails[..., 1])
        width = self.knots[..., 1:] - self.knots[..., :-1]
        share = ((y.unsqueeze(-1) - self.knots[..., :-1]) / width).clamp(0, 1)
        within = self.mass[..., 0] + (self.mass[..., 1:-1] * share).sum(-1)
        return torch.where(y < self.knots[..., 0], low, torch.where(y >= self.knots[..., -1], 1 - high, within))

    def crps(self, y: Tensor) -> Tensor:
        """`int (F(x) - 1[x >= y])^2 dx`, piece by piece."""
        start, end, below = self.knots[..., :-1], self.knots[..., 1:], self._below()
        at = torch.minimum(torch.maximum(y.unsqueeze(-1), start), end)
        first, last = below[..., :-1], below[..., 1:]
        here = first + (last - first) * (at - start) / (end - start)
        inside = (at - start) * _mean_square(first, here) + (end - at) * _mean_square(1 - here, 1 - last)
        left, right = self._outside(y)
        return (
            inside.sum(-1)
            + _tail(self.mass[..., 0], self.tails[..., 0], left)
            + _tail(self.mass[..., -1], self.tails[..., 1], right)
        )

    def quantile(self, level: float) -> Tensor:
        below = self._below()
        low = self.knots[..., 0] + self.tails[..., 0] * (level / self.mass[..., 0]).log().clamp_max(0)
        high = self.knots[..., -1] - self.tails[..., 1] * ((1 - level) / self.mass[..., -1]).log().clamp_max(0)
        sought = torch.full_like(below[..., :1], level)
        place = (torch.searchsorted(below.contiguous(), sought, right=True) - 1).clamp(0, below.shape[-1] - 2)
        start, end = self.knots.gather(-1, place), self.knots.gather(-1, place + 1)
        first, last = below.gather(-1, place), below.gather(-1, place + 1)
        share = ((level - first) / (last - first).clamp_min(1e-300)).clamp(0, 1)
        within = (start + (end - start) * share).squeeze(-1)
        return torch.where(level < below[..., 0], low, torch.where(level >= below[..., -1], high, within))

    def _outside(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """How far `y` lies left of the first knot, and right of the last; 0 on the other side of it."""
        return (self.knots[..., 0] - y).clamp_min(0), (y - self.knots[..., -1]).clamp_min(0)


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    """The mean of the squares between `a` and `b` on a straight line."""
    return (a.square() + a * b + b.square()) / 3


def _tail(mass: Tensor, scale: Tensor, beyond: Tensor) -> Tensor:
    """A tail's part of the CRPS of what lies `beyond` its knot by so much: 0 is inside."""
    left = mass * torch.exp(-beyond / scale)
    outer = left.square() * scale / 2
    inner = beyond - 2 * scale * (mass - left) + scale / 2 * (mass.square() - left.square())
    return outer + inner

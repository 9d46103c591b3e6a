"""Distances between outputs and targets: of logits, of probabilities, of directions. Obeys `losses.contract`."""

import functools
from typing import Literal

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, loss
from xentlab.losses.cross_entropy import ce
from xentlab.losses.residual import absolute_error, squared_error
from xentlab.losses.robust import linear
from xentlab.schema import PositiveFloat
from xentlab.tasks.links import log_softmax, sigmoid

# A distance to a target is one on regression too, where outputs and target are numbers [N, D].
_WITH_NUMBERS = ("multiclass", "multilabel", "segmentation", "regression")

_distance = functools.partial(loss, family="distance")
_squared = functools.partial(loss, family="squared", proper=True)


@_squared(
    link="task",
    tasks=_WITH_NUMBERS,
    reference="Brier 1950",
    values="in [0, 2] for softmax and [0, C] for sigmoid",
    shift_invariant=True,
    elsewhere=(squared_error,),
)
def mse(logits: Tensor, target: Tensor, *, link: Literal["softmax", "sigmoid"] | None = None) -> Tensor:
    """Squared error of the probabilities, summed over classes: `sum_c (link(z)_c - t_c)^2`, the Brier score.

    On regression the outputs are the prediction itself: `sum_d (z_d - t_d)^2`, least at the mean.

    Args:
        logits: [N, C] or [N, C, H, W]; points [N, D] in regression.
        target: class indices [N] or [N, H, W], or floats shaped like `logits`.
        link: softmax or sigmoid; None is the task's own (sigmoid on multilabel) and softmax outside a task.
            It has no meaning on regression.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> mse(logits, torch.tensor([0, 0]))
        tensor([0.0284, 1.5516])

    Reference: Brier, Verification of forecasts expressed in terms of probability, 1950.
    """
    probs = sigmoid(logits) if link == "sigmoid" else torch.softmax(logits, 1)
    return (probs - as_distribution(target, logits)).square().sum(1)


@_squared(link="identity", reference="Hui & Belkin 2021", limits=(Limit({}, "huber", {"delta": 1e6}, factor=2.0),))
def mse_logits(logits: Tensor, target: Tensor, *, k: PositiveFloat = 1.0, M: PositiveFloat = 1.0) -> Tensor:
    """Squared error of the logits themselves, summed over classes. Link: identity.

        sum_c (1 + (k - 1) t_c) (z_c - M t_c)^2

    so that the true class costs `k (z - M)^2` and every other one `z^2`. The paper takes the mean over classes, 1/C of
    this, and raises `k` and `M` above 1 where there are many.

    Args:
        k: weight of the true class's term, > 0.
        M: target of the true class's logit, > 0; proper at 1 (with k = 1) only.

    Reference: Hui & Belkin, Evaluation of neural architectures trained with square loss vs cross-entropy in
    classification tasks, 2021.
    """
    truth = as_distribution(target, logits)
    return ((1.0 + (k - 1.0) * truth) * (logits - M * truth).square()).sum(1)


@_distance(
    link="identity",
    tasks=("multiclass", "segmentation"),
    reference="Mroueh 2012, Hu 2022",
    shift_invariant=True,
    proper=True,
)
def simplex_square(logits: Tensor, target: Tensor, *, scale: PositiveFloat = 1.0) -> Tensor:
    """Squared distance to the target's vertex of a regular simplex centred at the origin. Link: identity.

        sum_c (z_c - mean(z) - scale (t_c - 1/C))^2

    The simplex code of C classes lives in C - 1 dimensions. Here it lies in the hyperplane of C dimensions whose
    coordinates sum to zero, onto which the logits are projected; the vertex of class c is `scale (e_c - 1/C)`. At scale
    1 the projection of the best logits onto the simplex of probabilities is the true distribution; the papers' vertices
    of length 1 are `scale = sqrt(C / (C - 1))`. It has no meaning on label sets, which have no vertex.

    Args:
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits` (a point inside the simplex).
        scale: size of the simplex, > 0; proper at 1 only.

    Reference: Mroueh, Poggio, Rosasco & Slotine, Multiclass learning with simplex coding, 2012; Hu, Wang, Lin & Cheng,
    Understanding square loss in training overparametrized neural network classifiers, 2022.
    """
    centred = logits - logits.mean(1, keepdim=True)
    vertex = as_distribution(target, logits) - 1.0 / logits.shape[1]
    return (centred - scale * vertex).square().sum(1)


@_distance(
    link="sigmoid", reference="Nielsen 2015", proper=True, limits=(Limit({}, "mse", {"link": "sigmoid"}, factor=0.5),)
)
def quadratic_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    """Half the squared distance of sigmoid outputs to the target, `1/2 sum_c (s(z_c) - t_c)^2`: the quadratic cost.

    Its gradient vanishes where a sigmoid is saturated, even at the wrong end.

    Returns:
        [N] or [N, H, W], in [0, C / 2].

    Reference: Nielsen, Neural networks and deep learning, 2015, chapter 1.
    """
    return 0.5 * (sigmoid(logits) - as_distribution(target, logits)).square().sum(1)


@_distance(
    link="softmax",
    tasks=_WITH_NUMBERS,
    reference="Ghosh 2017",
    values="in [0, 2]",
    shift_invariant=True,
    elsewhere=(absolute_error,),
    limits=(Limit({}, "linear", factor=2.0),),
)
def mae(logits: Tensor, target: Tensor) -> Tensor:
    """Absolute error of the probabilities, summed over classes: `sum_c |softmax(z)_c - t_c|`.

    For one true class y it is `2 (1 - p_y)`, symmetric in the sense of the reference: its sum over all targets is
    constant.

    Reference: Ghosh, Kumar & Sastry, Robust loss functions under label noise for deep neural networks, 2017.
    """
    return (torch.softmax(logits, 1) - as_distribution(target, logits)).abs().sum(1)


@_distance(
    link="identity",
    tasks=_WITH_NUMBERS,
    reference="Huber 1964",
    moves=True,
    proper=True,
    raises_truth=False,  # where every error is large, every logit is pulled alike
    limits=(Limit({"delta": 1e6}, "mse_logits", factor=0.5),),
)
def huber(logits: Tensor, target: Tensor, *, delta: PositiveFloat = 1.0) -> Tensor:
    """Huber's distance of the logits themselves to the target, summed over classes. Link: identity.

        sum_c h(z_c - t_c),   h(r) = r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2)

    Like `mse_logits`, but an outlier pulls with `delta` at most: equal logits below `-delta` all rise alike.

    Args:
        delta: where the parabola becomes a line, in units of logits, > 0; proper from 1 on.

    Reference: Huber, Robust estimation of a location parameter, 1964.
    """
    residual = (logits - as_distribution(target, logits)).abs()
    parabola = residual.clamp_max(delta)
    return (parabola * (residual - 0.5 * parabola)).sum(1)


@_distance(link="identity", tasks=_WITH_NUMBERS, reference="Green 1990", moves=True)
def log_cosh(logits: Tensor, target: Tensor) -> Tensor:
    """Log-cosh of the logits' errors, summed over classes: `sum_c log cosh(z_c - t_c)`. Link: identity.

    A parabola `r^2 / 2` near zero and a line `|r| - log 2` far away, smooth everywhere.

    Reference: Green, Bayesian reconstructions from emission tomography data using a modified EM algorithm, 1990.
    """
    residual = (logits - as_distribution(target, logits)).abs()
    return (residual + torch.log1p(0.5 * torch.expm1(-2.0 * residual))).sum(1)


@_distance(
    link="softmax",
    reference="Janocha & Czarnecki 2017",
    shift_invariant=True,
    limits=(Limit({}, "custom_ce", {"temperature": 0.5}, factor=0.5),),
)
def cauchy_schwarz(logits: Tensor, target: Tensor) -> Tensor:
    """Cauchy-Schwarz divergence of the probabilities `p = softmax(z)` and the target:

        -log( sum_c p_c t_c / (|p| |t|) )

    On one true class it is half the cross-entropy of `softmax(2 z)`: its best logits are half those of cross-entropy.
    A target without mass gives 0.

    Args:
        target: class indices [N] or [N, H, W], or non-negative floats shaped like `logits`; their scale is irrelevant.

    Reference: Janocha & Czarnecki, On loss functions for deep neural networks in classification, 2017.
    """
    if not target.is_floating_point():
        return 0.5 * ce(2.0 * logits, target)
    truth = as_distribution(target, logits)
    has_mass = truth.sum(1, keepdim=True) > 0
    truth = torch.where(has_mass, truth, torch.ones_like(truth))
    log_p = log_softmax(logits)
    log_overlap = torch.logsumexp(log_p + torch.log(truth), dim=1)
    log_norms = 0.5 * (torch.logsumexp(2.0 * log_p, dim=1) + torch.log(truth.square().sum(1)))
    divergence = log_norms - log_overlap
    return torch.where(has_mass.squeeze(1), divergence, 0.0 * divergence)


@_distance(
    link="softmax",
    reference="Janocha & Czarnecki 2017",
    values="in [0, 2]",
    shift_invariant=True,
    limits=(Limit({}, "linear", factor=2.0), Limit({}, "mae")),
)
def expectation(logits: Tensor, target: Tensor) -> Tensor:
    """Expectation loss, twice the expected probability of a wrong answer: `2 sum_c t_c (1 - softmax(z)_c)`.

    The authors write the 1-norm `|p - e_y|`, which is `mae` on one true class, and show that it is this expectation. On
    soft targets the two part: this one is linear in the target, and best at certainty in its largest class.

    Reference: Janocha & Czarnecki, On loss functions for deep neural networks in classification, 2017.
    """
    return 2.0 * linear(logits, target)


@_distance(link="softmax", reference="Janocha & Czarnecki 2017", shift_invariant=True, minimum=-1.0)
def tanimoto(logits: Tensor, target: Tensor) -> Tensor:
    """Minus the Tanimoto similarity of the probabilities `p = softmax(z)` and the target:

        -(p . t) / (|p|^2 + |t|^2 - p . t)

    Returns:
        [N] or [N, H, W], in [-1, 0].

    Reference: Janocha & Czarnecki, On loss functions for deep neural networks in classification, 2017.
    """
    truth, probs = as_distribution(target, logits), torch.softmax(logits, 1)
    overlap = (probs * truth).sum(1)
    return -overlap / (probs.square().sum(1) + truth.square().sum(1) - overlap)


# The square of the length below which a vector is scaled up no further, as in the authors' code.
_SHORTEST = 1e-12


@_distance(link="identity", tasks=("multiclass", "segmentation"), reference="Barz & Denzler 2020", values="in [0, 2]")
def cosine(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the cosine between the logits and the target: `1 - z . t / (|z| |t|)`. Link: identity.

    Computed as half the squared distance of the unit vectors, which keeps its digits near 0. The length of the logits
    is free, so that they imply no probabilities, and no threshold on label sets. At logits of exactly zero, which have
    no direction, the value is 1/2 and the gradient is finite but large.

    Args:
        target: class indices [N] or [N, H, W], or floats shaped like `logits`; their scale is irrelevant.

    Reference: Barz & Denzler, Deep learning on small datasets without pre-training using cosine loss, 2020.
    """
    return 0.5 * (_unit(logits) - _unit(as_distribution(target, logits))).square().sum(1)


def _unit(vectors: Tensor) -> Tensor:
    """`vectors` [N, C, ...] scaled to length 1 along axis 1."""
    return vectors * torch.rsqrt(vectors.square().sum(1, keepdim=True).clamp_min(_SHORTEST))

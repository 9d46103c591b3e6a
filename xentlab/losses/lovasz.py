"""The Lovasz extension of the Jaccard loss. Link: softmax. Its contract is that of `dense`."""

from typing import Any

import torch
from torch import Tensor

from xentlab.losses.dense import Classes, class_mean, maps, of_images, ratio, weighed_area
from xentlab.schema import NonNegativeInt

# Numbers whose order is found in one call: as many as stay in a CPU's cache with their places.
_SORTED_AT_ONCE = 2**16


@of_images(reference="Berman 2018")
def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    classes: Classes = "present",
    bins: NonNegativeInt = 0,
) -> Tensor:
    """Lovasz-Softmax loss of each image: the Jaccard loss of a set of wrong pixels, extended to errors between 0 and 1.

    With the errors of class c, `m = |q_c - t_c|`, `q = softmax(z)`, sorted over pixels so that `m_1 >= m_2 >= ...`, and
    the Jaccard loss `J(S) = |S| / |truth or S|` of having the pixels S wrong:

        mean_c sum_i m_i [ J({1..i}) - J({1..i-1}) ]

    Areas are sums of pixel weights, so an ignored pixel has none. The paper knows sets only; where the target is
    a distribution, a pixel belongs to a class by its share, and the loss is still 0 where q = t.

    Args:
        classes: average over those present in the image's truth, or over all; an absent class then costs its largest
            error.
        bins: 0 sorts the errors of every class, which is most of the loss's time; from 1 on they are counted in so many
            bins instead, whose pixels share their slope: at most `1 / bins` off the exact value.

    Example:
        >>> target = torch.tensor([[[0, 0, 1]]])
        >>> logits = torch.tensor([[[[2.0, 2.0, 0.0]], [[0.0, 0.0, 2.0]]]])
        >>> lovasz_softmax(logits, target)
        tensor([0.1192])

    Reference: Berman et al., The Lovasz-Softmax loss: a tractable surrogate for the optimization of the
    intersection-over-union measure in neural networks, 2018.
    """
    probs, truth = maps(logits, target)
    errors = (probs - truth).abs()
    pixels = None if weight is None else weight.to(errors.dtype).flatten(1).unsqueeze(1).expand_as(truth)
    slopes = (_binned_slopes if bins else _jaccard_slopes)(errors.detach(), truth, pixels, bins)
    return class_mean((errors * slopes).sum(2), weighed_area(truth, weight), classes, class_weights)


def _jaccard_slopes(errors: Tensor, truth: Tensor, pixels: Tensor | None, _: int) -> Tensor:
    """What each pixel adds to its class's Jaccard loss when pixels turn wrong from the largest error down.

    Args and the result are [N, C, pixels].
    """
    # Ignored pixels come last, so that not even the order of the others hangs on them.
    order = _Order.apply(errors if pixels is None else errors.masked_fill(pixels == 0, -1.0))
    truth = truth.gather(2, order)
    if pixels is None:
        slopes = _steps(truth, 1.0 - truth)
    else:
        pixels = pixels.gather(2, order)
        slopes = _steps(pixels * truth, pixels * (1.0 - truth)).masked_fill(pixels == 0, 0.0)
    return torch.empty_like(slopes).scatter_(2, order, slopes)


class _Order(torch.autograd.Function):
    """Where along the last axis the largest number stands, the next, and so on; numbers are in [0, 1], or -1."""

    @staticmethod
    def forward(keys: Tensor) -> Tensor:
        if keys.dtype != torch.float32:
            return keys.argsort(dim=-1, descending=True, stable=True)
        # The bits of numbers >= 0 are ordered as the numbers are, and whole numbers sort faster: on a CPU by far where
        # they are many along one axis, whose digits are counted. So some rows are one, each above the row before.
        bits = keys.view(torch.int32)
        if keys.device.type != "cpu":
            return bits.argsort(dim=-1, descending=True, stable=True)
        rows, places = bits.flatten(0, -2), bits.shape[-1]
        order = []
        for part in rows.split(max(_SORTED_AT_ONCE // max(places, 1), 1)):
            first = torch.arange(len(part)).unsqueeze(1)
            sortable = (first << 32) - part if len(part) > 1 else -part
            order.append(sortable.flatten().argsort(stable=True).view(part.shape).sub_(first * places))
        return torch.cat(order).view(keys.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG004
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, keys: Tensor) -> tuple[Tensor, int]:  # noqa: ARG004
        return _Order.apply(keys.movedim(in_dims[0], 0)), 0  # a view as other numbers has no rule of its own


def _binned_slopes(errors: Tensor, truth: Tensor, pixels: Tensor | None, bins: int) -> Tensor:
    """The same with errors of one bin taken as equal, so that their pixels share what they add."""
    place = bins - 1 - (errors * bins).long().clamp(0, bins - 1)
    nothing = errors.new_zeros((*errors.shape[:2], bins))
    areas = (truth, 1.0 - truth) if pixels is None else (pixels * truth, pixels * (1.0 - truth))
    inside, outside = (nothing.scatter_add(2, place, area) for area in areas)
    slopes = ratio(_steps(inside, outside), inside + outside).gather(2, place)
    return slopes if pixels is None else slopes * pixels


def _steps(inside: Tensor, outside: Tensor) -> Tensor:
    """What each further wrong group adds to the Jaccard loss, by its area in and outside the truth [N, C, groups]."""
    union = inside.sum(2, keepdim=True) + outside.cumsum(2)
    jaccard = ratio((inside + outside).cumsum(2), union)
    return torch.cat([jaccard[..., :1], jaccard.diff(dim=2)], dim=2)

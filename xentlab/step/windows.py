"""Maps of images that are larger than what a network is shown at once: from windows that overlap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor


def in_windows(forward: Callable[[Tensor], Tensor], images: Tensor, side: int | None) -> Tensor:
    """The outputs [..., K, H, W] of `forward` for images [..., C, H, W], shown whole or in windows.

    Windows lie at most half of their side apart and reach every edge; where several show a pixel, its output is the
    mean of theirs. One after another, so beside the outputs no more is held than for a batch of windows.

    Args:
        forward: from [..., C, h, w] to [..., K, h, w].
        images: [..., C, H, W].
        side: of a window, in pixels; an axis that is shorter is shown whole. None: the whole images.
    """
    height, width = images.shape[-2:]
    if side is None or side >= max(height, width):
        return forward(images)
    total, shown = None, images.new_zeros(height, width)
    for rows, columns in product(_spans(height, side), _spans(width, side)):
        outputs = forward(images[..., rows, columns].contiguous())
        total = outputs.new_zeros(*outputs.shape[:-2], height, width) if total is None else total
        total[..., rows, columns] += outputs
        shown[rows, columns] += 1
    assert total is not None
    return total / shown


def _spans(length: int, side: int) -> list[slice]:
    """Where windows begin and end along an axis."""
    count = 1 + max(0, -(-2 * (length - side) // side))
    starts = torch.linspace(0, max(0, length - side), count).round().int().tolist()
    return [slice(start, start + side) for start in starts]

"""RandAugment on a batch, whose every image draws its own operations; torchvision has these and no say in the draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from xentlab.data.augmentation import Augmented, augmentation
from xentlab.schema import Range


@augmentation(masks=False)
def randaugment(
    inputs: Tensor,
    target: Tensor,
    generator: torch.Generator,
    *,
    operations: Annotated[int, Range(1, 20)] = 2,
    magnitude: Annotated[int, Range(0, 30)] = 9,
) -> Augmented:
    """So many of fourteen operations on each image [B, 1 or 3, H, W]: torchvision's RandAugment, drawn for each image.

    Args:
        operations: for each image, in [1, 20].
        magnitude: of each, in [0, 30].

    Reference: Cubuk, Zoph, Shlens, Le, RandAugment: practical automated data augmentation, 2020.
    """
    table = _operations(magnitude / 30, inputs.shape[-2], inputs.shape[-1])
    for _ in range(operations):
        drawn = torch.randint(len(table), (len(inputs),), generator=generator)
        signs = torch.rand(len(inputs), generator=generator) < 0.5
        result = inputs.clone()
        for place, (operate, strength, signed) in enumerate(table):
            for sign in (1, -1) if signed else (1,):
                chosen = (drawn == place) & ((signs == (sign < 0)) | (not signed))
                if chosen.any():  # of a tensor on the CPU: the device is not waited for
                    at = chosen.nonzero().flatten().to(inputs.device)
                    result[at] = operate(inputs[at], sign * strength)
        inputs = result
    return inputs, target


def _operations(share: float, height: int, width: int) -> list[tuple[Callable[[Tensor, float], Tensor], float, bool]]:
    """RandAugment's operations at a share of their range: `(images, strength) -> images`, strength, has it a sign."""
    from torchvision.transforms.v2 import functional as tv

    def affine(images: Tensor, angle: float = 0.0, move: tuple[int, int] = (0, 0), **more: Any) -> Tensor:
        return tv.affine(images, angle, list(move), 1.0, **{"shear": [0.0, 0.0], **more})

    def slant(strength: float) -> float:
        return math.degrees(math.atan(strength))

    colour = 0.9 * share
    return [
        (lambda x, _: x, 0.0, False),
        (lambda x, s: affine(x, shear=[slant(s), 0.0], center=[0, 0]), 0.3 * share, True),
        (lambda x, s: affine(x, shear=[0.0, slant(s)], center=[0, 0]), 0.3 * share, True),
        (lambda x, s: affine(x, move=(int(s), 0)), 150 / 331 * width * share, True),
        (lambda x, s: affine(x, move=(0, int(s))), 150 / 331 * height * share, True),
        (lambda x, s: tv.rotate(x, s), 30 * share, True),
        (lambda x, s: tv.adjust_brightness(x, 1 + s), colour, True),
        (lambda x, s: tv.adjust_saturation(x, 1 + s), colour, True),
        (lambda x, s: tv.adjust_contrast(x, 1 + s), colour, True),
        (lambda x, s: tv.adjust_sharpness(x, 1 + s), colour, True),
        (lambda x, s: tv.posterize(x, round(s)), 8 - 4 * share, False),
        (lambda x, s: tv.solarize(x, s), 1 - share, False),
        (lambda x, _: tv.autocontrast(x), 0.0, False),
        (lambda x, _: tv.equalize(x), 0.0, False),
    ]

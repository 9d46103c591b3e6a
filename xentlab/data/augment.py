"""Augmentations: what is done to a batch of training images, anew in every step, drawn from the trial's own generator.

An augmentation is `augment(inputs, target, generator, *, knobs) -> (inputs, target)`. `inputs` [B, C, H, W] are floats
as the model sees them, [0, 1] for photographs, on the step's device; `target` is class indices [B], n-hot labels [B, C]
or masks [B, H, W], which move with their images. All that is random comes from `generator`, which is on the CPU: a seed
draws alike on every device, for every loss and in every stack. Validation and test see none of it.

To add one: a function here, or in a module of its own, with `@augmentation`, and `configs/augment/<name>.yaml` with its
knobs. A function from elsewhere (`augment._target_`) needs no declaration; where it blends targets, `mixes=True`.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xentlab.data.augmentation import Augmented, augmentation
from xentlab.schema import Range

Chance = Annotated[float, Range(0, 1)]


@augmentation(images=False)
def unchanged(inputs: Tensor, target: Tensor, generator: torch.Generator) -> Augmented:  # noqa: ARG001
    """The batch as it is."""
    return inputs, target


@augmentation()
def flip(inputs: Tensor, target: Tensor, generator: torch.Generator, *, chance: Chance = 0.5) -> Augmented:
    """Mirror images and masks left and right.

    Args:
        chance: of each image, in [0, 1].
    """
    return crop_flip(inputs, target, generator, pad=0, chance=chance)


@augmentation()
def crop_flip(
    inputs: Tensor,
    target: Tensor,
    generator: torch.Generator,
    *,
    pad: Annotated[int, Range(0, 1000)] = 4,
    chance: Chance = 0.5,
) -> Augmented:
    """Move by up to `pad` pixels in both directions, with the pixels of its edges repeated, and mirror left and right.

    Args:
        pad: pixels, >= 0.
        chance: of each image to be mirrored, in [0, 1].

    Reference: He, Zhang, Ren, Sun, Deep residual learning for image recognition, 2016.
    """
    count, (height, width) = len(inputs), inputs.shape[-2:]
    moves = torch.randint(-pad, pad + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < chance
    rows, columns = ((torch.arange(n) + by).clamp(0, n - 1) for n, by in zip((height, width), moves, strict=True))
    columns = torch.where(mirrored, columns.flip(1), columns)
    every = torch.arange(count).view(-1, 1, 1)
    places = [part.to(inputs.device) for part in (every, rows.unsqueeze(2), columns.unsqueeze(1))]

    def moved(values: Tensor) -> Tensor:
        return values.movedim(1, -1)[places[0], places[1], places[2]].movedim(-1, 1).contiguous()

    return moved(inputs), moved(target.unsqueeze(1)).squeeze(1) if _is_mask(target) else target


@augmentation()
def cifar(
    inputs: Tensor,
    target: Tensor,
    generator: torch.Generator,
    *,
    pad: Annotated[int, Range(0, 1000)] = 4,
    chance: Chance = 0.5,
    cutout: Annotated[int, Range(0, 1000)] = 8,
) -> Augmented:
    """As `crop_flip`, then a square of each image becomes its mean colour.

    Args:
        pad: pixels, >= 0.
        chance: of each image to be mirrored, in [0, 1].
        cutout: side of the square in pixels, whose centre may lie anywhere; 0 for none. The paper has 16.

    Reference: DeVries, Taylor, Improved regularization of convolutional neural networks with cutout, 2017.
    """
    inputs, target = crop_flip(inputs, target, generator, pad=pad, chance=chance)
    centres = torch.rand(2, len(inputs), 1, generator=generator)
    down, across = (
        (torch.arange(n) - (centre * n).floor() + cutout // 2).to(inputs.device)
        for n, centre in zip(inputs.shape[-2:], centres, strict=True)
    )
    inside = ((down >= 0) & (down < cutout)).unsqueeze(2) & ((across >= 0) & (across < cutout)).unsqueeze(1)
    return torch.where(inside.unsqueeze(1), inputs.mean((2, 3), keepdim=True), inputs), target


@augmentation(masks=False, mixes=True)
def mixup(
    inputs: Tensor,
    target: Tensor,
    generator: torch.Generator,
    *,
    alpha: Annotated[float, Range(0, None, open_low=True)] = 0.2,
) -> Augmented:
    """Blend each input [B, ...] and its target [B, C] with another of the batch, all in one proportion.

    Args:
        alpha: the proportion is drawn from Beta(alpha, alpha), > 0.

    Reference: Zhang, Cisse, Dauphin, Lopez-Paz, mixup: beyond empirical risk minimization, 2018.
    """
    kept = _beta(alpha, generator)
    other = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    return torch.lerp(inputs[other], inputs, kept), torch.lerp(target[other], target, kept)


@augmentation(masks=False, mixes=True)
def cutmix(
    inputs: Tensor,
    target: Tensor,
    generator: torch.Generator,
    *,
    alpha: Annotated[float, Range(0, None, open_low=True)] = 1.0,
) -> Augmented:
    """Put a rectangle of another image of the batch into each, and blend the targets by its area.

    Args:
        alpha: the area is drawn from Beta(alpha, alpha), > 0.

    Reference: Yun et al., CutMix: regularization strategy to train strong classifiers with localizable features, 2019.
    """
    side = math.sqrt(1 - _beta(alpha, generator))
    centre = torch.rand(2, generator=generator).tolist()
    other = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    spans = [
        slice(max(0, round(n * (c - side / 2))), min(n, round(n * (c + side / 2))))
        for n, c in zip(inputs.shape[-2:], centre, strict=True)
    ]
    mixed = inputs.clone()
    mixed[..., spans[0], spans[1]] = inputs[other][..., spans[0], spans[1]]
    area = math.prod(max(0, s.stop - s.start) for s in spans) / math.prod(inputs.shape[-2:])
    return mixed, torch.lerp(target, target[other], area)


@augmentation()
def segmentation(
    inputs: Tensor,
    target: Tensor,
    generator: torch.Generator,
    *,
    smallest: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    side: Annotated[int, Range(8, None)] | None = None,
    chance: Chance = 0.5,
    brightness: Annotated[float, Range(0, 1, open_high=True)] = 0.2,
) -> Augmented:
    """A random part of each image, enlarged, mirrored and made brighter or darker, with its mask (nearest pixels).

    Args:
        smallest: share of the sides that is left at least, in (0, 1].
        side: of the square that is trained on, pixels, >= 8; None: the whole image's size. Evaluated are whole images.
        chance: of each image to be mirrored, in [0, 1].
        brightness: values are multiplied by a factor within 1 - brightness and 1 + brightness, in [0, 1).
    """
    count, shape = len(inputs), inputs.shape[-2:]
    drawn = torch.rand(5, count, generator=generator)
    size = shape if side is None else [min(side, n) for n in shape]
    scale = smallest + (1 - smallest) * drawn[0]
    part = torch.stack([scale * s / n for s, n in zip(size, shape, strict=True)])  # of height and width
    middle = (1 - part) * (2 * drawn[1:3] - 1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = torch.where(drawn[3] < chance, -part[1], part[1]), part[0]
    theta[:, 0, 2], theta[:, 1, 2] = middle[1], middle[0]
    grid = functional.affine_grid(theta, [count, 1, *size], align_corners=False).to(inputs)

    def seen(values: Tensor, mode: str) -> Tensor:
        return functional.grid_sample(values, grid, mode, "border", align_corners=False)

    light = (1 + brightness * (2 * drawn[4] - 1)).view(-1, 1, 1, 1).to(inputs)
    if _is_mask(target):
        target = seen(target.unsqueeze(1).to(inputs.dtype), "nearest").squeeze(1).to(target.dtype)
    return seen(inputs, "bilinear") * light, target


def _is_mask(target: Tensor) -> bool:
    return target.ndim == 3


def _beta(alpha: float, generator: torch.Generator) -> float:
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))

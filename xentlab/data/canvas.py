"""Scenes: several real digits on one canvas, with a mask per pixel or the set of visible digits per image.

A small stand-in for real segmentation and multilabel data that needs no download. Scenes of one split are made of
digits that appear in no other split.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, consecutive
from xentlab.data.images import digits, mnist
from xentlab.data.splits import generator, split
from xentlab.errors import UserError
from xentlab.schema import NonNegativeInt, PositiveInt, Range
from xentlab.tasks import find

_INK = 0.25  # ink of at least this value, in [0, 1], belongs to the digit; fainter ink is drawn but labelled background
_VISIBLE = 0.25  # a digit counts as visible where at least this share of its ink lies on top
_ENDS = (0.6, 0.8)  # where the training scenes end, and those of validation


def scenes(
    *,
    task: Literal["segmentation", "multilabel"] = "segmentation",
    source: Literal["digits", "mnist"] = "digits",
    samples: Annotated[int, Range(10, None)] = 2000,
    canvas: Annotated[int, Range(8, None)] = 32,
    min_objects: PositiveInt = 1,
    max_objects: Annotated[int, Range(1, 100)] = 4,
    draw_seed: NonNegativeInt = 0,
    root: str | None = None,
    download: bool = True,
) -> Dataset:
    """N canvases with several real digits each, later ones on top: inputs uint8 [N, 1, H, W] with H = W = canvas.

    The digits are first divided into train, val and test (MNIST's own test digits stay test), then 60, 20 and 20
    percent of the scenes are made from them: no digit of a test scene is ever seen in training or validation. All
    three splits are therefore the source's, equal for every seed of a trial.

    Args:
        task: `segmentation` has masks uint8 [N, H, W], 0 for background and 1 + d for digit d; `multilabel` has n-hot
            uint8 [N, 10], the digits of which at least a quarter of the ink is visible.
        source: whose digits: `digits` are 8 x 8 pixels, `mnist` 28 x 28.
        samples: N, number of scenes.
        canvas: H and W in pixels, at least the digits' size.
        min_objects: fewest digits in a scene.
        max_objects: most digits in a scene.
        draw_seed: draws the scenes; a trial's seed does not change them.
        root: where MNIST is looked for, see `mnist`; unused with `digits`.
        download: whether MNIST may be downloaded; unused with `digits`.

    Raises:
        UserError: the canvas is smaller than a digit, or `min_objects` exceeds `max_objects`.
    """
    if min_objects > max_objects:
        raise UserError(f"dataset.min_objects must be <= dataset.max_objects ({max_objects}), got {min_objects}.")
    side = {"digits": 8, "mnist": 28}[source]
    if canvas < side:
        raise UserError(f"dataset.canvas must be >= {side}, the size of a digit of source={source}, got {canvas}.")
    pixels = find(task).axes == 2
    stamps = digits() if source == "digits" else mnist(root=root, download=download)
    of_digits = split(stamps, draw_seed)
    first, second = (round(samples * share) for share in _ENDS)
    sizes = {"train": first, "val": second - first, "test": samples - second}
    images, targets = [], []
    for part, count in sizes.items():
        draws, pool = generator(draw_seed, f"scenes {part}"), getattr(of_digits, part)
        number = torch.randint(min_objects, max_objects + 1, (count,), generator=draws)
        choice = pool[torch.randint(len(pool), (count, max_objects), generator=draws)]
        corner = torch.randint(canvas - side + 1, (count, max_objects, 2), generator=draws)
        image, owner, ink = _paste(stamps, canvas, number, choice, corner)
        classes = stamps.targets[choice]
        images.append(image)
        targets.append(_masks(owner, classes) if pixels else _visible(owner, classes, ink))
    return Dataset(
        name="scenes",
        task=task,
        inputs=torch.cat(images).unsqueeze(1),
        targets=torch.cat(targets),
        class_names=("background", *stamps.class_names) if pixels else stamps.class_names,
        scale=stamps.scale,
        source_splits=consecutive(sizes),
    )


def _paste(
    stamps: Dataset, canvas: int, number: Tensor, choice: Tensor, corner: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Paste K digits onto N canvases, from how many of them count [N], which [N, K], and where [N, K, 2].

    Returns:
        The images [N, H, W]; which of the K lies on top of each pixel [N, H, W], K where none does; and the pixels of
        ink that each had [N, K].
    """
    count, most = choice.shape
    span = torch.arange(stamps.input_shape[-1])
    faintest = math.ceil(_INK / stamps.scale)
    image = torch.zeros(count * canvas * canvas, dtype=torch.uint8)
    owner = torch.full_like(image, most)
    ink = torch.zeros(count, most, dtype=torch.int64)
    for k in range(most):
        scene = (number > k).nonzero().flatten()
        rows = scene[:, None] * canvas + corner[scene, k, 0][:, None] + span
        pixels = (rows * canvas + corner[scene, k, 1][:, None])[:, :, None] + span
        stamp = stamps.inputs[choice[scene, k], 0]
        solid = stamp >= faintest
        below = image[pixels]
        image[pixels] = torch.where(solid, stamp, torch.maximum(stamp, below))
        owner[pixels[solid]] = k
        ink[scene, k] = solid.sum((1, 2))
    return image.reshape(count, canvas, canvas), owner.reshape(count, canvas, canvas), ink


def _masks(owner: Tensor, classes: Tensor) -> Tensor:
    """Class indices [N, H, W], 0 for background, from who lies on top [N, H, W] and the digits' classes [N, K]."""
    mask = torch.zeros_like(owner)
    for k in range(classes.shape[1]):
        mask += (owner == k) * (classes[:, k, None, None] + 1)
    return mask


def _visible(owner: Tensor, classes: Tensor, ink: Tensor) -> Tensor:
    """N-hot [N, 10] of the digits of which enough of the `ink` [N, K] lies on top."""
    labels = torch.zeros(len(owner), 10, dtype=torch.uint8)
    for k in range(classes.shape[1]):
        shown = (ink[:, k] > 0) & ((owner == k).sum((1, 2)) >= _VISIBLE * ink[:, k])
        labels[shown, classes[shown, k].long()] = 1
    return labels

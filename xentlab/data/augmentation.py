"""What an augmentation declares, and how a batch that one made looks. What one is: see `xentlab.data.augment`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Augmented = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class augmentation:  # noqa: N801 - a decorator
    """What an augmentation declares.

    Attributes:
        images: whether it needs images.
        masks: whether masks move with their images.
        mixes: whether it blends targets: it is then given distributions [B, C] in place of class indices.
    """

    images: bool = True
    masks: bool = True
    mixes: bool = False

    def __call__(self, function: Callable[..., Augmented]) -> Callable[..., Augmented]:
        """`function` itself, which from now on declares this."""
        function.declared = self  # type: ignore[attr-defined]
        return function


def declared(function: Callable[..., Any]) -> augmentation | None:
    """What it declares; None of one that declares nothing."""
    return getattr(function, "declared", None)


def sheet(images: Tensor) -> bytes:
    """A picture of images [N, C, H, W], four in a row, as PNG: its darkest value is black, its brightest white."""
    import io

    from PIL import Image

    values = images.detach().float().cpu()[:, : 3 if images.shape[1] >= 3 else 1]
    low, high = values.min(), values.max()
    pixels = functional.pad((values - low) / (high - low).clamp_min(1e-12), (1, 1, 1, 1))
    pixels = functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, -len(pixels) % 4))
    rows = [torch.cat(list(row), 2) for row in pixels.split(4)]
    whole = (torch.cat(rows, 1) * 255).round().to(torch.uint8).movedim(0, -1).squeeze(-1).numpy()
    picture = Image.fromarray(whole)
    times = max(1, 256 // picture.width)
    file = io.BytesIO()
    picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()

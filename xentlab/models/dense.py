"""Models with one score per class and pixel: unet, segnet_basic. Logits [B, C, H, W] of images [B, channels, H, W]."""

from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xentlab.models.contract import image_shape, outputs
from xentlab.schema import Range


@outputs("map")
def unet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    width: Annotated[int, Range(1, None)] = 16,
    depth: Annotated[int, Range(1, 6)] = 3,
) -> nn.Module:
    """Logits [B, C, H, W] from a small U-Net with batch normalisation.

    Each level down halves the image and doubles the channels. On the way up a 1x1 convolution halves the channels and
    the image is enlarged (nearest pixel) to the size of the level's skip connection, so that any H and W work.

    Args:
        input_shape: (channels, H, W) with H, W >= 2^depth.
        width: channels of the first level, >= 1.
        depth: how many times the image is halved, 1 to 6.

    Reference: Ronneberger, Fischer, Brox, U-Net: convolutional networks for biomedical image segmentation, 2015.
    """
    channels, _, _ = image_shape(f"unet of depth {depth}", input_shape, 2**depth)
    return _UNet(channels, num_outputs, [width * 2**level for level in range(depth + 1)])


class _UNet(nn.Module):
    def __init__(self, channels: int, num_outputs: int, widths: list[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise((channels, *widths)))
        self.shrink = nn.ModuleList(_conv(deep, skip, 1) for skip, deep in pairwise(widths))
        self.up = nn.ModuleList(_double(2 * skip, skip) for skip in widths[:-1])
        self.scores = nn.Conv2d(widths[0], num_outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.down[0](images)
        skips = []
        for level in self.down[1:]:
            skips.append(features)
            features = level(F.max_pool2d(features, 2))
        for skip, shrink, up in zip(reversed(skips), reversed(self.shrink), reversed(self.up), strict=True):
            features = F.interpolate(shrink(features), size=skip.shape[-2:], mode="nearest")
            features = up(torch.cat([skip, features], dim=-3))
        return self.scores(features)


def _conv(before: int, after: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(_conv(before, after, 3), _conv(after, after, 3))


@outputs("map")
def segnet_basic(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    width: Annotated[int, Range(1, None)] = 64,
    kernel: Literal[3, 5, 7] = 7,
) -> nn.Module:
    """Logits [B, C, H, W] from four encoders and four decoders that unpool to where each maximum was.

    An encoder is convolution, batch normalisation, ReLU and 2x2 max pooling; a decoder is unpooling, convolution and
    batch normalisation, without a non-linearity, as in the paper. Any H and W from 16 on work.

    Args:
        input_shape: (channels, H, W) with H, W >= 16.
        width: channels of every layer, >= 1; the paper has 64.
        kernel: side of the convolutions in pixels: 3, 5 or 7; the paper has 7.

    Reference: Badrinarayanan, Kendall, Cipolla, SegNet: a deep convolutional encoder-decoder architecture for image
    segmentation, 2017.
    """
    channels, _, _ = image_shape("segnet_basic", input_shape, 16)
    return _SegNet(channels, num_outputs, width, kernel)


class _SegNet(nn.Module):
    def __init__(self, channels: int, num_outputs: int, width: int, kernel: int) -> None:
        super().__init__()
        same = kernel // 2

        def normed(before: int) -> list[nn.Module]:
            return [nn.Conv2d(before, width, kernel, padding=same, bias=False), nn.BatchNorm2d(width)]

        self.encoders = nn.ModuleList(nn.Sequential(*normed(n), nn.ReLU()) for n in (channels, width, width, width))
        self.decoders = nn.ModuleList(nn.Sequential(*normed(width)) for _ in range(4))
        self.scores = nn.Conv2d(width, num_outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        features, places = images, []
        for encoder in self.encoders:
            features = encoder(features)
            size = features.shape[-2:]
            features, maxima = F.max_pool2d(features, 2, return_indices=True)
            places.append((maxima, size))
        for decoder, (maxima, size) in zip(self.decoders, reversed(places), strict=True):
            features = decoder(unpool(features, maxima, size))
        return self.scores(features)


def unpool(pooled: Tensor, maxima: Tensor, size: torch.Size) -> Tensor:
    """Put each pooled value [B, C, H // 2, W // 2] back where its 2x2 window had its maximum, zeros elsewhere.

    Equal to `torch.nn.functional.max_unpool2d`, but deterministic on CUDA, since no value is scattered.

    Args:
        pooled: [B, C, H // 2, W // 2].
        maxima: int64 positions h * W + w of the maxima, shaped like `pooled`.
        size: (H, W) of the result.

    Returns:
        [B, C, H, W].
    """
    height, width = size
    rows, columns = 2 * pooled.shape[-2], 2 * pooled.shape[-1]
    places = torch.arange(height * width, device=pooled.device).view(height, width)[:rows, :columns]
    full = torch.where(_twice(maxima) == places, _twice(pooled), 0.0)
    return F.pad(full, (0, width - columns, 0, height - rows))


def _twice(tensor: Tensor) -> Tensor:
    *front, rows, columns = tensor.shape
    spread = tensor[..., :, None, :, None].expand(*front, rows, 2, columns, 2)
    return spread.reshape(*front, 2 * rows, 2 * columns)

"""Models with one score per class: linear, mlp, lenet, convnet. Logits [B, C] of inputs of one fixed shape."""

import math
from itertools import pairwise
from typing import Annotated, Literal

from torch import nn

from xentlab.models.contract import image_shape, outputs
from xentlab.schema import Range

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


@outputs("vector")
def linear(
    input_shape: tuple[int, ...], num_outputs: int, *, init: Literal["default", "zero"] = "default"
) -> nn.Module:
    """Logits [B, C] as an affine function of the flattened input.

    Args:
        input_shape: the shape of one input, any number of axes.
        init: `default` draws as `nn.Linear` does; `zero` starts at equal scores for all classes.
    """
    layer = nn.Linear(math.prod(input_shape), num_outputs)
    if init == "zero":
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer)


@outputs("vector")
def mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    hidden: Annotated[tuple[int, ...], Range(1, None)] = (64,),
    activation: Activation = "relu",
    init: Literal["default", "normal"] = "default",
) -> nn.Module:
    """Logits [B, C] from fully connected layers over the flattened input.

    Args:
        input_shape: the shape of one input, any number of axes.
        hidden: units of each hidden layer, each >= 1; an empty list gives a linear model.
        activation: the non-linearity after each hidden layer.
        init: `default` draws as `nn.Linear` does; `normal` draws all weights and biases from N(0, 1).

    Reference: `init: normal` is the large start of M. Nielsen, Neural Networks and Deep Learning, chapter 3, 2015.
    """
    widths = (math.prod(input_shape), *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), _ACTIVATIONS[activation]()]
    layers.append(nn.Linear(widths[-1], num_outputs))
    if init == "normal":
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    return nn.Sequential(*layers)


@outputs("vector")
def lenet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    activation: Activation = "relu",
    pooling: Literal["avg", "max"] = "max",
    init: Literal["default", "truncated_normal"] = "default",
) -> nn.Module:
    """Logits [B, C] from LeNet-5: two 5x5 convolutions (6 and 16 channels) with pooling, then 120, 84 and C units.

    The first convolution is padded to keep the size, so that 28x28 works as the original's 32x32 does. The second is
    padded only where fewer than 3 pixels a side would remain after it (sides under 20), which makes 8x8 work too.

    Args:
        input_shape: (channels, H, W) with H, W >= 4.
        activation: the non-linearity after each hidden layer.
        pooling: what a 2x2 window becomes, its average (as in the original) or its maximum.
        init: `default` draws as PyTorch's layers do; `truncated_normal` draws weights from N(0, 0.1^2) cut at two
            standard deviations, with biases 0.

    Reference: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, 1998.
    """
    channels, height, width = image_shape("lenet", input_shape, 4)
    act, pool = _ACTIVATIONS[activation], {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}[pooling]
    padding = [0 if side >= 20 else 2 for side in (height, width)]
    rows, columns = ((side // 2 - 4 + 2 * pad) // 2 for side, pad in zip((height, width), padding, strict=True))
    net = nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        act(),
        pool(2),
        nn.Conv2d(6, 16, 5, padding=(padding[0], padding[1])),
        act(),
        pool(2),
        nn.Flatten(),
        nn.Linear(16 * rows * columns, 120),
        act(),
        nn.Linear(120, 84),
        act(),
        nn.Linear(84, num_outputs),
    )
    if init == "truncated_normal":
        for layer in net:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return net


@outputs("vector")
def convnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    widths: Annotated[tuple[int, ...], Range(1, None)] = (32, 64),
    hidden: Annotated[int, Range(0, None)] = 128,
) -> nn.Module:
    """Logits [B, C] from blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 max pooling.

    Args:
        input_shape: (channels, H, W) with H, W >= 2^len(widths), since each block halves them.
        widths: channels of each block, each >= 1.
        hidden: units of the fully connected layer (with batch normalisation and ReLU) before the scores; 0 for none.
    """
    channels, height, width = image_shape(f"convnet with {len(widths)} blocks", input_shape, 2 ** len(widths))
    layers: list[nn.Module] = []
    for before, after in pairwise((channels, *widths)):
        # A bias before batch normalisation would be subtracted again.
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    layers.append(nn.Flatten())
    features = (channels, *widths)[-1] * (height >> len(widths)) * (width >> len(widths))
    if hidden > 0:
        layers += [nn.Linear(features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        features = hidden
    return nn.Sequential(*layers, nn.Linear(features, num_outputs))

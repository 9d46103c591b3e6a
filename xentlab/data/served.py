"""The examples of a dataset as torchvision serves them, one at a time: the way that resident tensors replace."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from xentlab.data.dataset import Dataset
from xentlab.errors import UserError


def as_torchvision(dataset: Dataset, examples: Tensor) -> Any:
    """Grey images as `torchvision.datasets.MNIST` with `ToTensor` gives them, each by way of PIL, for a DataLoader.

    Raises:
        UserError: it holds no such images.
    """
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    classes = dataset.targets.ndim == 1 and not dataset.targets.is_floating_point()
    if not classes or dataset.inputs.element_size() != 1 or dataset.inputs.shape[1:2] != (1,):
        raise UserError(f"dataset must hold grey images of classes to be served one at a time, got '{dataset.name}'.")
    served = MNIST.__new__(MNIST)
    served.data, served.targets = dataset.inputs[examples, 0], dataset.targets[examples].long()
    served.transform, served.target_transform, served.transforms = ToTensor(), None, None
    return served

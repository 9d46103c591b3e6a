"""Small images that torchvision knows: CIFAR-10 and 100, SVHN, KMNIST and EMNIST, found on disk or downloaded.

torchvision reads the files, and checks those that it has a checksum of. To add a set: a function that calls `_read`.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, consecutive, of_task
from xentlab.data.places import downloaded, first_line, path_list, search_folders
from xentlab.errors import UserError

_TRAIN_TEST = ({"train": True}, {"train": False})


@of_task("multiclass")
def cifar10(*, root: str | None = None, download: bool = True) -> Dataset:
    """The 60,000 photographs of CIFAR-10: inputs uint8 [60000, 3, 32, 32], 10 classes; the last 10,000 are test.

    Args:
        root: the folder that holds `cifar-10-batches-py`; None looks in XENTLAB_DATA and in the user's cache.
        download: whether torchvision may download what is missing.

    Raises:
        UserError: the files are missing and cannot be had, or one of them is not what it should be.

    Reference:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _read("cifar10", "CIFAR10", root, download)


@of_task("multiclass")
def cifar100(*, root: str | None = None, download: bool = True) -> Dataset:
    """The 60,000 photographs of CIFAR-100: as CIFAR-10, with 100 classes.

    Arguments and refusals are those of `cifar10`; its files lie in `cifar-100-python`.

    Reference:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _read("cifar100", "CIFAR100", root, download)


@of_task("multiclass")
def svhn(*, root: str | None = None, download: bool = True) -> Dataset:
    """The 99,289 house numbers of SVHN: inputs uint8 [99289, 3, 32, 32], 10 classes; the last 26,032 are its test set.

    Arguments and refusals are those of `cifar10`; its files lie in `train_32x32.mat`.

    Reference:
        Netzer, Wang, Coates, Bissacco, Wu and Ng, Reading Digits in Natural Images with Unsupervised Feature Learning,
        2011.
    """
    return _read("svhn", "SVHN", root, download, [{"split": "train"}, {"split": "test"}])


@of_task("multiclass")
def kmnist(*, root: str | None = None, download: bool = True) -> Dataset:
    """The 70,000 cursive characters of KMNIST: inputs uint8 [70000, 1, 28, 28], 10 classes; the last 10,000 are test.

    Arguments and refusals are those of `cifar10`; its files lie in `KMNIST/raw`.

    Reference:
        Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto and Ha, Deep Learning for Classical Japanese Literature, 2018.
    """
    return _read("kmnist", "KMNIST", root, download)


@of_task("multiclass")
def emnist(
    *,
    root: str | None = None,
    download: bool = True,
    part: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = "balanced",
) -> Dataset:
    """The handwritten letters and digits of EMNIST, upright: inputs uint8 [N, 1, 28, 28]; the set's own test images.

    Args:
        root: the folder that holds `EMNIST/raw`; None looks in XENTLAB_DATA and in the user's cache.
        download: whether torchvision may download what is missing.
        part: which of its six sets: `balanced` has 131,600 images of 47 classes, `letters` 145,600 of 26.

    Raises:
        UserError: the files are missing and cannot be had, or one of them is not what it should be.

    Reference:
        Cohen, Afshar, Tapson and van Schaik, EMNIST: an Extension of MNIST to Handwritten Letters, 2017.
    """
    ways = [{"split": part, "train": train} for train in (True, False)]
    return _read("emnist", "EMNIST", root, download, ways)


def _read(
    name: str, kind: str, root: str | None, download: bool, ways: Sequence[Mapping[str, Any]] = _TRAIN_TEST
) -> Dataset:
    parts = parts_found(name, kind, root, download, ways)
    inputs = torch.cat([_channels_first(part.data) for part in parts])
    labels = [part.labels if hasattr(part, "labels") else part.targets for part in parts]
    targets = torch.cat([torch.as_tensor(np.asarray(of_part)).long() for of_part in labels])
    names = [str(word) for word in getattr(parts[0], "classes", range(10))]
    if names[0] == "N/A":  # the letters count from 1
        names, targets = names[1:], targets - 1
    if name == "emnist":
        inputs = inputs.transpose(2, 3).contiguous()
    return Dataset(
        name=name,
        task="multiclass",
        inputs=inputs,
        targets=targets,
        class_names=tuple(names),
        scale=1 / 255,
        source_splits=consecutive({"train": len(parts[0].data), "test": len(parts[1].data)}),
    )


def parts_found(name: str, kind: str, root: str | None, download: bool, ways: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The training and the test part of the set that torchvision calls `kind`, by two `ways` of calling it.

    Raises:
        UserError: the files are missing and cannot be had, or one of them is not what it should be.
    """
    from torchvision import datasets

    source = getattr(datasets, kind)
    sought = search_folders(root)
    for place in sought:
        try:
            return [source(place, download=False, **way) for way in ways]
        except (RuntimeError, OSError, ValueError, AssertionError, EOFError, pickle.UnpicklingError) as error:
            if "not found" in str(error):
                continue  # the next place may have it; if none does, the sentence below names them all
            sentence = f"The files of {name} in {place} cannot be read ({first_line(error)}): get them anew."
            raise UserError(sentence) from error

    def fetch(target: Path) -> list[Any]:
        return [source(target, download=True, **way) for way in ways]

    missing = f"The files of {name} were looked for in {path_list(sought)} and not found, or are damaged"
    advice = "set dataset.root to the folder that holds them"
    return downloaded(fetch, sought, missing, advice, allowed=download)


def _channels_first(images: Any) -> Tensor:
    stored = torch.as_tensor(images)
    if stored.ndim == 3:
        return stored.unsqueeze(1)
    return stored.permute(0, 3, 1, 2).contiguous() if stored.shape[-1] == 3 else stored

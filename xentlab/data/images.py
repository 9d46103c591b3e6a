"""Small real images that everyone knows: scikit-learn's digits, MNIST and Fashion-MNIST.

The digits come with scikit-learn. The MNIST family is four idx files; torchvision downloads them where they are
missing, and they are checked to the last byte before use. To add a set of the family: a function that calls
`_idx_dataset`.
"""

from __future__ import annotations

import gzip
import importlib.util
import math
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, consecutive, of_task
from xentlab.data.places import downloaded, path_list, search_folders
from xentlab.errors import UserError

_DIGIT_NAMES = tuple(str(digit) for digit in range(10))
_FASHION_NAMES = (
    "t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot",
)  # fmt: skip

# An idx file begins with two zeros, the type (8 = uint8) and the number of axes; then the axes' lengths, big-endian.
_TRAIN, _TEST, _SIDE = 60_000, 10_000, 28
_FILES = {
    "train-images-idx3-ubyte": (_TRAIN, _SIDE, _SIDE),
    "train-labels-idx1-ubyte": (_TRAIN,),
    "t10k-images-idx3-ubyte": (_TEST, _SIDE, _SIDE),
    "t10k-labels-idx1-ubyte": (_TEST,),
}


@of_task("multiclass")
def digits() -> Dataset:
    """The 1,797 real handwritten digits that come with scikit-learn: inputs uint8 [1797, 1, 8, 8] with values 0..16.

    Reference:
        Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    # Importing scikit-learn takes over a second; its file alone takes hundredths.
    spec = importlib.util.find_spec("sklearn")
    folder = spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else ""
    file = Path(folder, "datasets", "data", "digits.csv.gz")
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        values, labels = table[:, :-1], table[:, -1]
    else:  # an installation that keeps its data elsewhere knows where
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
    return Dataset(
        name="digits",
        task="multiclass",
        inputs=torch.from_numpy(values.astype(np.uint8)).reshape(-1, 1, 8, 8),
        targets=torch.from_numpy(labels.astype(np.uint8)),
        class_names=_DIGIT_NAMES,
        scale=1 / 16,
    )


@of_task("multiclass")
def mnist(*, root: str | None = None, download: bool = True) -> Dataset:
    """The 70,000 handwritten digits of MNIST: inputs uint8 [70000, 1, 28, 28]; the last 10,000 are its test set.

    Args:
        root: the folder that holds `MNIST/raw`; None looks in XENTLAB_DATA and in the user's cache.
        download: whether torchvision may download what is missing.

    Raises:
        UserError: the files are missing and cannot be had, or one of them is not what it should be.

    Reference:
        LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition, 1998.
    """
    return _idx_dataset("mnist", "MNIST", _DIGIT_NAMES, root, download)


@of_task("multiclass")
def fashion_mnist(*, root: str | None = None, download: bool = True) -> Dataset:
    """The 70,000 clothes of Fashion-MNIST: inputs uint8 [70000, 1, 28, 28]; the last 10,000 are its test set.

    Arguments, result and refusals are those of `mnist`; its files lie in `FashionMNIST/raw`.

    Reference:
        Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning, 2017.
    """
    return _idx_dataset("fashion_mnist", "FashionMNIST", _FASHION_NAMES, root, download)


def _idx_dataset(name: str, folder: str, class_names: tuple[str, ...], root: str | None, download: bool) -> Dataset:
    raw = _find(name, folder, root, download)
    found = {file: read_idx(raw / file, shape) for file, shape in _FILES.items()}
    images, labels = ([file for file in _FILES if kind in file] for kind in ("images", "labels"))
    for file in labels:
        if (most := int(found[file].max())) >= len(class_names):
            rule = f"labels 0 to {len(class_names) - 1}, found {most}"
            raise UserError(f"{raw / file} must hold {rule}: remove it and get it anew.")
    return Dataset(
        name=name,
        task="multiclass",
        inputs=torch.cat([found[file] for file in images]).unsqueeze(1),
        targets=torch.cat([found[file] for file in labels]),
        class_names=class_names,
        scale=1 / 255,
        source_splits=consecutive({"train": _TRAIN, "test": _TEST}),
    )


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


def read_idx(file: Path, shape: tuple[int, ...]) -> Tensor:
    """The uint8 tensor in an idx file of exactly this shape, or in `<file>.gz` beside it.

    Raises:
        UserError: the magic number, a declared length or the number of bytes is not what it should be.
    """
    source = file if file.is_file() else file.with_name(file.name + ".gz")
    expected = np.array([0x0800 + len(shape), *shape], dtype=">u4")
    size = expected.nbytes + math.prod(shape)
    advice = "remove it and get it anew"
    try:
        content = bytearray(source.read_bytes() if source == file else gzip.decompress(source.read_bytes()))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{source} cannot be read to its end ({error}): {advice}.") from error
    header = np.frombuffer(content[: expected.nbytes].ljust(expected.nbytes, b"\0"), dtype=">u4")
    if header[0] != expected[0]:
        raise UserError(f"{source} must begin with the idx magic number {expected[0]}, found {header[0]}: {advice}.")
    if (header != expected).any():
        raise UserError(f"{source} must declare {_by(expected[1:])} values, found {_by(header[1:])}: {advice}.")
    if len(content) != size:
        raise UserError(f"{source} must hold {size:,} bytes, found {len(content):,}: {advice}.")
    return torch.frombuffer(content, dtype=torch.uint8, offset=expected.nbytes).reshape(shape)


def _by(lengths: np.ndarray) -> str:
    return " x ".join(str(length) for length in lengths)


def _find(name: str, folder: str, root: str | None, download: bool) -> Path:
    """The folder that holds the four files, downloaded if they are nowhere and `download` allows it."""
    candidates, begun = [place / folder / "raw" for place in search_folders(root)], ""
    for raw in candidates:
        missing = [file for file in _FILES if not any((raw / f"{file}{end}").is_file() for end in ("", ".gz"))]
        if not missing:
            return raw
        if len(missing) < len(_FILES):
            begun = f" ({', '.join(missing)} is missing there)"

    def fetch(target: Path) -> Path:
        from torchvision import datasets

        # Elsewhere first, then moved file by file: a broken or a parallel download never leaves half a file in place.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as temporary:
            getattr(datasets, folder)(temporary, download=True)
            raw = target / folder / "raw"
            raw.mkdir(parents=True, exist_ok=True)
            for file in _FILES:
                shutil.move(Path(temporary, folder, "raw", file), raw / file)
        return raw

    sought = f"The files of {name} were looked for in {path_list(candidates)} and not found{begun}"
    advice = f"put the four idx files into {candidates[0]}, or set dataset.root to the folder that holds {folder}/raw"
    return downloaded(fetch, search_folders(root), sought, advice, allowed=download)

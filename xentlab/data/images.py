"""Small real images that everyone knows: scikit-learn's digits, MNIST and Fashion-MNIST.

The digits come with scikit-learn. The MNIST family is four idx files; torchvision downloads them where they are
missing, and they are checked to the last byte before use. To add a set of the family: a function that calls
`_idx_dataset`.
"""

from __future__ import annotations

import gzip
import importlib.util
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, of_task
from xentlab.data.places import path_list, search_folders, writable
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

    Returns:
        A multiclass dataset of 10 classes with scale 1/16 and no splits of its own.

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

    Returns:
        A multiclass dataset of 10 classes with scale 1/255.

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
    inputs = torch.empty(_TRAIN + _TEST, 1, _SIDE, _SIDE, dtype=torch.uint8)
    targets = torch.empty(_TRAIN + _TEST, dtype=torch.uint8)
    for part, where in (("train", slice(0, _TRAIN)), ("t10k", slice(_TRAIN, None))):
        read_idx(raw / f"{part}-images-idx3-ubyte", inputs[where].squeeze(1))
        labels = raw / f"{part}-labels-idx1-ubyte"
        read_idx(labels, targets[where])
        if int(targets[where].max()) >= len(class_names):
            raise UserError(
                f"{labels} must hold labels 0 to {len(class_names) - 1}, found {int(targets[where].max())}: "
                "remove it and get it anew."
            )
    return Dataset(
        name=name,
        task="multiclass",
        inputs=inputs,
        targets=targets,
        class_names=class_names,
        scale=1 / 255,
        source_splits={"train": torch.arange(_TRAIN), "test": torch.arange(_TRAIN, _TRAIN + _TEST)},
    )


def read_idx(file: Path, out: Tensor) -> None:
    """Fill the contiguous uint8 tensor `out` from an idx file of exactly its shape, or from `<file>.gz` beside it.

    Raises:
        UserError: the magic number, a declared length or the number of bytes is not what it should be.
    """
    packed = file.with_name(file.name + ".gz")
    source = file if file.is_file() else packed
    expected = np.array([0x0800 + out.ndim, *out.shape], dtype=">u4")
    size = expected.nbytes + out.numel()
    advice = "remove it and get it anew"
    try:
        with source.open("rb") if source == file else gzip.open(source, "rb") as stream:
            header = np.frombuffer(stream.read(expected.nbytes).ljust(expected.nbytes, b"\0"), dtype=">u4")
            if header[0] != expected[0]:
                raise UserError(
                    f"{source} must begin with the idx magic number {expected[0]}, found {header[0]}: {advice}."
                )
            if (header != expected).any():
                raise UserError(f"{source} must declare {_by(expected[1:])} values, found {_by(header[1:])}: {advice}.")
            values, filled = out.numpy().data.cast("B"), 0
            while filled < len(values) and (count := stream.readinto(values[filled:])):
                filled += count
            got = expected.nbytes + filled
            while chunk := stream.read(1 << 20):
                got += len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{source} cannot be read to its end ({error}): {advice}.") from error
    if got != size:
        raise UserError(f"{source} must hold {size:,} bytes, found {got:,}: {advice}.")


def _by(lengths: np.ndarray) -> str:
    return " x ".join(str(length) for length in lengths)


def _missing(raw: Path) -> list[str]:
    return [name for name in _FILES if not (raw / name).is_file() and not (raw / f"{name}.gz").is_file()]


def _find(name: str, folder: str, root: str | None, download: bool) -> Path:
    """The folder that holds the four files, downloaded if they are nowhere and `download` allows it."""
    candidates = [place / folder / "raw" for place in search_folders(root)]
    for raw in candidates:
        if not _missing(raw):
            return raw
    begun = [f"{', '.join(_missing(raw))} is missing there" for raw in candidates if len(_missing(raw)) < len(_FILES)]
    sought = f"The files of {name} were looked for in {path_list(candidates)} and not found"
    if begun:
        sought += f" ({'; '.join(begun)})"
    advice = f"put the four idx files into {candidates[0]}, or set dataset.root to the folder that holds {folder}/raw"
    if not download:
        raise UserError(f"{sought}, and dataset.download is false: {advice}.")
    target = writable(search_folders(root))
    try:
        _download(folder, target)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{sought}, and downloading failed ({reason.rstrip('.:')}): {advice}.") from error
    return target / folder / "raw"


def _download(folder: str, target: Path) -> None:
    from torchvision import datasets

    # Elsewhere first, then moved file by file: a broken or a parallel download never leaves half a file in place.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as temporary:
        getattr(datasets, folder)(temporary, download=True)
        raw = target / folder / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.move(Path(temporary, folder, "raw", name), raw / name)

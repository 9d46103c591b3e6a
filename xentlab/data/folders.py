"""Images on disk: folders with masks (segmentation) and folders named after classes (multiclass).

Everything is listed and paired before anything is read, and read by a few threads straight into one tensor. A file
that is unreadable, unpaired or of another size stops the reading with its name. To add a layout: list its files, then
call `_read_all`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, of_task
from xentlab.data.places import find_folder
from xentlab.errors import UserError
from xentlab.schema import Range

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_SPLITS = ("train", "val", "test")
_THREADS = 4  # PIL decodes outside the interpreter's lock


@of_task("segmentation")
def segmentation_folder(
    *,
    name: str = "segmentation_folder",
    root: str | None = None,
    class_names: tuple[str, ...] = (),
    ignore_index: Annotated[int | None, Range(0, 255)] = None,
    height: Annotated[int | None, Range(1, None)] = None,
    width: Annotated[int | None, Range(1, None)] = None,
) -> Dataset:
    """Images with a mask each from `train|val|test/{images,masks}`: inputs uint8 [N, 3, H, W], targets uint8 [N, H, W].

    An image and its mask share their stem (`a.jpg`, `a.png`). Masks are PNG files whose pixel values (or palette
    indices) are class indices. `val` and `test` may be absent: they are then carved from train by the trial's seed.

    Args:
        name: what the dataset is called.
        root: its folder; None looks for a folder called `name` in XENTLAB_DATA and in the user's cache.
        class_names: the classes in the order of their indices; empty reads `classes.txt` in `root`, one name per line.
        ignore_index: the mask value of pixels that count nowhere, 0 to 255, or None.
        height: H in pixels to which images (bilinear) and masks (nearest) are resized; None keeps the files' size.
        width: W in pixels, given together with `height`.

    Returns:
        A segmentation dataset with scale 1/255 and the splits that the folder has.

    Raises:
        UserError: a folder, image or mask is missing, unreadable, of another size, or holds a value beyond the classes.
    """
    if (height is None) != (width is None):
        raise UserError(f"dataset.height and dataset.width must be given together, got {height} and {width}.")
    folder = find_folder(root, name)
    names = class_names or _names_in(folder)
    if not (folder / "train").is_dir():
        raise UserError(f"{folder} must hold a folder train with images and masks, found {_contents(folder)}.")
    pairs: list[tuple[Path, Path]] = []
    splits: dict[str, Tensor] = {}
    for part in _SPLITS:
        if (folder / part).is_dir():
            found = _pairs(folder / part)
            splits[part] = torch.arange(len(pairs), len(pairs) + len(found))
            pairs += found
    size = (height, width) if height is not None and width is not None else None
    H, W = size or _size_of(pairs[0][0])
    inputs = torch.empty(len(pairs), 3, H, W, dtype=torch.uint8)
    targets = torch.empty(len(pairs), H, W, dtype=torch.uint8)

    def read(index: int) -> None:
        image, mask = pairs[index]
        pixels = _pixels(image, "RGB")
        values = _mask_values(mask, len(names), ignore_index)
        if pixels.shape[:2] != values.shape:
            raise UserError(f"{mask} must be as large as its image ({_wh(pixels)} pixels), found {_wh(values)} pixels.")
        if size is None and values.shape != (H, W):
            raise UserError(
                f"{image} must be as large as the first image ({W} x {H} pixels), found {_wh(values)} pixels: set "
                "dataset.height and dataset.width to resize all images."
            )
        inputs[index] = torch.from_numpy(_resized(pixels, (H, W), "bilinear")).permute(2, 0, 1)
        targets[index] = torch.from_numpy(_resized(values, (H, W), "nearest"))

    _read_all(read, len(pairs))
    return Dataset(
        name=name,
        task="segmentation",
        inputs=inputs,
        targets=targets,
        class_names=names,
        scale=1 / 255,
        ignore_index=ignore_index,
        source_splits=splits,
    )


@of_task("multiclass")
def image_folder(
    *,
    name: str = "image_folder",
    root: str | None = None,
    size: Annotated[int, Range(1, None)] = 64,
    fit: Literal["crop", "stretch"] = "crop",
    grayscale: bool = False,
) -> Dataset:
    """Images in folders named after their classes: inputs uint8 [N, 3 or 1, size, size], targets int64 [N].

    The layout is that of torchvision's `ImageFolder`: `root/<class>/**/image`, classes in alphabetical order. Where
    `root` has a folder `train`, then `train`, `val` and `test` each have this layout and are the source's splits.

    Args:
        name: what the dataset is called.
        root: its folder; None looks for a folder called `name` in XENTLAB_DATA and in the user's cache.
        size: height and width in pixels to which every image is brought (bilinear, antialiased).
        fit: `crop` brings the shorter side to `size` and keeps the centre; `stretch` distorts.
        grayscale: one channel instead of three.

    Returns:
        A multiclass dataset with scale 1/255.

    Raises:
        UserError: a folder is missing or has no classes, a class has no image, or an image is unreadable.
    """
    folder = find_folder(root, name)
    parts = [part for part in _SPLITS if (folder / part).is_dir()] if (folder / "train").is_dir() else []
    classes = _classes(folder / "train" if parts else folder)
    files: list[tuple[Path, int]] = []
    splits: dict[str, Tensor] = {}
    for part in parts or ["."]:
        base = folder / part
        strange = [c for c in _classes(base) if c not in classes]
        if strange:
            raise UserError(
                f"{base / strange[0]} must be a class of the training folder, which has {', '.join(classes)}."
            )
        found = [(file, classes.index(c)) for c in _classes(base) for file in _images(base / c, deep=True)]
        splits[part] = torch.arange(len(files), len(files) + len(found))
        files += found
    inputs = torch.empty(len(files), 1 if grayscale else 3, size, size, dtype=torch.uint8)

    def read(index: int) -> None:
        pixels = _pixels(files[index][0], "L" if grayscale else "RGB")
        if fit == "crop":
            side = min(pixels.shape[:2])
            top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
            pixels = pixels[top : top + side, left : left + side]
        pixels = _resized(pixels, (size, size), "bilinear")
        inputs[index] = torch.from_numpy(pixels.reshape(size, size, -1)).permute(2, 0, 1)

    _read_all(read, len(files))
    return Dataset(
        name=name,
        task="multiclass",
        inputs=inputs,
        targets=torch.tensor([label for _, label in files]),
        class_names=classes,
        scale=1 / 255,
        source_splits=splits if parts else {},
    )


def _contents(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8] + ["..."] * (len(names) > 8)) or "nothing"


def _names_in(folder: Path) -> tuple[str, ...]:
    listing = folder / "classes.txt"
    names = tuple(listing.read_text().split()) if listing.is_file() else ()
    if not names:
        raise UserError(f"dataset.class_names must list the classes, or {listing} must, one per line; neither does.")
    return names


def _images(folder: Path, *, deep: bool = False) -> list[Path]:
    """The images in `folder` (with `deep`, in its subfolders too) in order of their names; at least one."""
    if not folder.is_dir():
        raise UserError(f"{folder} must be a folder with images, found no such folder.")
    found = [
        path for path in folder.glob("**/*" if deep else "*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]  # fmt: skip
    if not found:
        raise UserError(f"{folder} must hold images ({', '.join(IMAGE_SUFFIXES)}), found {_contents(folder)}.")
    return sorted(found)


def _classes(folder: Path) -> tuple[str, ...]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(f"{folder} must hold one folder of images per class, found {_contents(folder)}.")
    return tuple(names)


def _pairs(part: Path) -> list[tuple[Path, Path]]:
    images, masks = _images(part / "images"), _images(part / "masks")
    by_stem = {}
    for kind, files in (("images", images), ("masks", masks)):
        stems = {file.stem: file for file in reversed(files)}
        twice = [file for file in files if stems[file.stem] != file]
        if twice:
            raise UserError(f"{twice[0]} and {stems[twice[0].stem].name} must have different stems: which one counts?")
        by_stem[kind] = stems
    for image in images:
        if image.stem not in by_stem["masks"]:
            raise UserError(f"{image} must have a mask {part / 'masks' / image.stem}.png, found none.")
    for mask in masks:
        if mask.stem not in by_stem["images"]:
            raise UserError(f"{mask} must have an image of the same stem in {part / 'images'}, found none.")
        if mask.suffix.lower() != ".png":
            raise UserError(f"{mask} must be a PNG file, which keeps class indices as they are, found {mask.suffix}.")
    return [(image, by_stem["masks"][image.stem]) for image in images]


def _read_all(read: Callable[[int], None], count: int) -> None:
    """Run `read` on every index in a few threads; the error of the lowest index that failed is raised."""
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for _ in pool.map(read, range(count)):
                pass
        except UserError:
            pool.shutdown(cancel_futures=True)
            raise


def _open(file: Path, modes: Sequence[str], convert: str | None) -> np.ndarray:
    """A file's pixels [H, W] or [H, W, channels]; its mode must be among `modes`."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            if image.mode not in modes:
                raise UserError(f"{file} must be an image of mode {', '.join(modes)}, found {image.mode}.")
            return np.array(image.convert(convert) if convert else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as an image ({str(error).rstrip('.')}).") from error


def _pixels(file: Path, mode: str) -> np.ndarray:
    return _open(file, ("RGB", "L", "P", "1", "RGBA", "LA", "PA", "CMYK", "YCbCr"), mode)


def _size_of(file: Path) -> tuple[int, int]:
    H, W = _pixels(file, "L").shape
    return H, W


def _wh(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def _mask_values(file: Path, num_classes: int, ignore_index: int | None) -> np.ndarray:
    values = _open(file, ("L", "P", "1", "I", "I;16"), None)
    counts = np.bincount(values.ravel(), minlength=num_classes)
    found = counts.nonzero()[0]
    strange = found[(found >= num_classes) & (found != (-1 if ignore_index is None else ignore_index))]
    if len(strange):
        ignored = "" if ignore_index is None else f" or the ignored {ignore_index}"
        raise UserError(
            f"{file} must hold class indices 0 to {num_classes - 1} ({num_classes} classes){ignored}, found "
            f"{strange[0]} in {counts[strange[0]]} of its {values.size} pixels."
        )
    return values.astype(np.uint8)


def _resized(pixels: np.ndarray, size: tuple[int, int], how: Literal["bilinear", "nearest"]) -> np.ndarray:
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels
    method = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}[how]
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), method))

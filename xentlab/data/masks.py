"""Images with masks on disk (segmentation): class indices, palettes, colours, black and white.

The masks are read first and together, since only all of them tell what their values are. What was recognised by a rule
stands in the dataset's notes; what no rule tells is refused with the way on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xentlab.data.class_lists import listed_classes, listing_in
from xentlab.data.columns import few
from xentlab.data.dataset import Dataset, consecutive, of_task
from xentlab.data.folders import split_folders
from xentlab.data.pixels import Remarks, by, contents, images_in, read_all, read_mask, read_pixels, resized, seen_size
from xentlab.data.places import find_folder
from xentlab.data.stream import images_of
from xentlab.errors import UserError
from xentlab.schema import Range

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
_MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annot", "gt", "ground_truth", "groundtruth",
    "segmentationclass", "segmentation", "segmentations", "targets",
)  # fmt: skip
_LOSSY = (".jpg", ".jpeg", ".jfif", ".jpe", ".webp")


@of_task("segmentation")
def segmentation_folder(
    *,
    name: str = "segmentation_folder",
    root: str | None = None,
    class_names: tuple[str, ...] = (),
    colors: tuple[str, ...] = (),
    ignore_index: Annotated[int | None, Range(0, 255)] = None,
    height: Annotated[int | None, Range(1, None)] = None,
    width: Annotated[int | None, Range(1, None)] = None,
    resident: Literal["auto"] | bool = "auto",
) -> Dataset:
    """Images with a mask each from `train|val|test/{images,masks}`: inputs uint8 [N, 3, H, W], targets uint8 [N, H, W].

    An image and its mask share their stem (`a.jpg`, `a.png`), but for what all masks end in (`a_mask.png`). Splits may
    have any of their usual names (see `image_folder`), masks may lie in `masks`, `mask`, `labels` or `annotations`;
    `val` and `test` may be absent and are then carved from train by the trial's seed. Mask values (or palette indices)
    are class indices; with `colors` they are colours. Masks of 0 and 255 alone are two classes; 255 among class indices
    counts nowhere; values 1 to C without a 0 are classes counted from one.

    Args:
        name: what the dataset is called.
        root: its folder; None looks for a folder called `name` in XENTLAB_DATA and in the user's cache.
        class_names: the classes in the order of their indices; empty reads `classes.txt` in `root`, one name per line,
            which may also say their colours (`sky 128 128 128`, `road #804080`).
        colors: the colour of each class as `#rrggbb`, in the order of the classes, where masks are coloured.
        ignore_index: the mask value of pixels that count nowhere, 0 to 255, or None.
        height: H in pixels to which images (bilinear) and masks (nearest) are resized; None keeps the files' size.
        width: W in pixels, given together with `height`.
        resident: as of `image_folder`; masks are held in any case.

    Raises:
        UserError: a folder, image or mask is missing, unreadable, of another size, or holds a value beyond the classes.
    """
    if (height is None) != (width is None):
        raise UserError(f"dataset.height and dataset.width must be given together, got {height} and {width}.")
    folder, remarks = find_folder(root, name), Remarks()
    above = _image_and_mask_folders(folder) if _inside(folder, _IMAGE_FOLDERS) else None
    if above and (inside := split_folders(above[0], remarks)):  # images/train beside masks/train
        other = split_folders(above[1], Remarks())
        if inside.keys() - other:
            raise UserError(f"{above[1]} must hold the splits of {above[0]}, found {contents(above[1])}.")
        by_part = {part: _pairs(base, other[part], remarks) for part, base in inside.items()}
    else:
        parts = {"train": folder} if above else split_folders(folder, remarks)
        if "train" not in parts:
            raise UserError(f"{folder} must hold a folder train with images and masks, found {contents(folder)}.")
        by_part = {part: _pairs(*_image_and_mask_folders(base), remarks) for part, base in parts.items()}
    listed_names, listed_colors = listed_classes(folder)
    if listed_colors and not colors:
        colors = listed_colors
        colored = f"such as {colors[0]} for {listed_names[0]}"
        remarks.notes.append(f"colours of the classes from {listing_in(folder).name}, {colored}")
    size = (height, width) if height is not None and width is not None else None
    names = class_names or listed_names
    return of_pairs(name, folder, by_part, names, colors, ignore_index, size, resident, remarks)


def of_pairs(
    name: str, folder: Path, by_part: Mapping[str, Sequence[tuple[Path, Path]]], names: tuple[str, ...],
    colors: Sequence[str], ignore_index: int | None, size: tuple[int, int] | None, resident: str | bool,
    remarks: Remarks,
) -> Dataset:  # fmt: skip
    """The dataset of images with their masks, by parts; the rest is as of `segmentation_folder`, `size` [H, W].

    Raises:
        UserError: an image or mask is unreadable, of another size, or holds a value beyond the classes.
    """
    pairs = [pair for part in by_part.values() for pair in part]
    shape = size or seen_size(pairs[0][0])
    raw: list[NDArray[Any]] = [np.empty(0)] * len(pairs)

    def picture(file: Path) -> torch.Tensor:
        return torch.from_numpy(resized(read_pixels(file, "RGB", remarks), shape, "bilinear")).permute(2, 0, 1)

    def read(index: int) -> None:
        image, mask = pairs[index]
        seen, values = seen_size(image), read_mask(mask, image, remarks)
        if seen != values.shape[:2]:
            raise UserError(
                f"{mask} must be as large as its image ({by(seen)} pixels), found {by(values.shape)} pixels."
            )
        if size is None and seen != shape:
            raise UserError(
                f"{image} must be as large as the first image ({by(shape)} pixels), found {by(seen)} pixels: set "
                "dataset.height and dataset.width to resize all images."
            )
        if colors:
            values = _of_colors(mask, values, colors)
        raw[index] = resized(values, shape, "nearest")

    read_all(read, len(pairs))
    images = [image for image, _ in pairs]
    inputs, stream = images_of(folder, images, (3, *shape), picture, f"RGB {shape}", resident, remarks)
    if colors and names and len(colors) != len(names):
        raise UserError(f"dataset.colors must name a colour for each of {len(names)} classes, got {len(colors)}.")
    masks, names, ignored = _indices(folder, [mask for _, mask in pairs], raw, names, ignore_index, remarks)
    counts = np.bincount(masks.ravel(), minlength=256)
    shares = [f"{word} {100 * counts[k] / masks.size:.3g} %" for k, word in enumerate(names)]
    return Dataset(
        name=name,
        task="segmentation",
        inputs=inputs,
        targets=torch.from_numpy(masks),
        class_names=names,
        scale=1 / 255,
        ignore_index=ignored,
        source_splits=consecutive({part: len(inside) for part, inside in by_part.items()}),
        notes=(f"{len(pairs)} images with masks, {by(shape)} pixels; {few(shares)}", *remarks.clauses()),
        stream=stream,
    )


def _indices(
    folder: Path, files: Sequence[Path], raw: Sequence[NDArray[Any]], names: tuple[str, ...],
    ignore_index: int | None, remarks: Remarks,
) -> tuple[NDArray[np.uint8], tuple[str, ...], int | None]:  # fmt: skip
    """The masks as class indices uint8 [N, H, W], the classes, and the value that counts nowhere."""
    for file, values in zip(files, raw, strict=True):
        if values.ndim == 3:
            raise UserError(
                f"{file} holds colours, so dataset.colors must say the colour of each class, such as "
                f"{_hex(values[0, 0])}, or classes.txt must, after its name."
            )
    stack = np.stack(list(raw))
    present = set(np.unique(stack).tolist()) - ({ignore_index} if ignore_index is not None else set())
    if present == {0, 255} and ignore_index is None and len(names) in (0, 2):
        remarks.notes.append("masks of 0 and 255: classes 0 and 1")
        return (stack == 255).astype(np.uint8), names or ("background", "foreground"), None
    if not names:
        place = listing_in(folder)
        raise UserError(f"dataset.class_names must list the classes, or {place} must, one per line; neither does.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"dataset.class_names must be different from each other, got {twice[0]} more than once.")
    beyond = sorted(value for value in present if value >= len(names))
    if beyond[-1:] == [255] and ignore_index is None and len(present) > 1:
        remarks.notes.append("mask value 255 counts nowhere (ignored)")
        present, beyond, ignore_index = present - {255}, beyond[:-1], 255
    if beyond == [len(names)] and 0 not in present:
        remarks.notes.append(f"masks count their classes from one: 1 is {names[0]}")
        apart = 255 if ignore_index is not None and ignore_index < len(names) else ignore_index
        return np.where(stack == ignore_index, apart or 255, stack - 1).astype(np.uint8), names, apart
    if beyond:
        first = next(i for i, values in enumerate(raw) if (values == beyond[0]).any())
        ignored = "" if ignore_index is None else f" or the ignored {ignore_index}"
        hint = ": is 0 a class without a name, or dataset.ignore_index=0?" if beyond == [len(names)] else ""
        raise UserError(
            f"{files[first]} must hold class indices 0 to {len(names) - 1} ({len(names)} classes){ignored}, found "
            f"{beyond[0]} in {(raw[first] == beyond[0]).sum()} of its {raw[first].size} pixels{hint}."
        )
    return stack.astype(np.uint8), names, ignore_index


def _of_colors(file: Path, values: NDArray[Any], colors: Sequence[str]) -> NDArray[np.uint8]:
    """Class indices [H, W] of a mask of colours [H, W, 3], black and white ones included."""
    values = values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)
    found = np.full(values.shape[:2], -1, dtype=np.int64)
    for index, color in enumerate(colors):
        text = color.removeprefix("#")
        try:
            wanted = np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)] if len(text) == 6 else None, dtype=np.int64)
        except (TypeError, ValueError) as error:
            raise UserError(f"dataset.colors must be colours such as #ff8000, got '{color}'.") from error
        found[(values == wanted).all(2)] = index
    if (found < 0).any():
        strange = values[found < 0][0]
        raise UserError(
            f"{file} must hold the colours of dataset.colors alone, found {_hex(strange)} in {int((found < 0).sum())} "
            f"of its {found.size} pixels."
        )
    return found.astype(np.uint8)


def _hex(color: NDArray[Any]) -> str:
    return "#" + "".join(f"{int(channel):02x}" for channel in color)


def _inside(folder: Path, names: Sequence[str]) -> list[Path]:
    """The folders in `folder` of one of these names, in any case."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name.lower() in names)


def _image_and_mask_folders(part: Path) -> tuple[Path, Path]:
    """The folder of images and the folder of masks in another."""
    pictures, claims = _inside(part, _IMAGE_FOLDERS), _inside(part, _MASK_FOLDERS)
    if len(claims) > 1:
        raise UserError(f"{part} must hold one folder of masks, found {claims[0].name} and {claims[1].name}.")
    if not pictures or not claims:
        raise UserError(
            f"{part} must hold a folder of images ({', '.join(_IMAGE_FOLDERS)}) and one of masks "
            f"({', '.join(_MASK_FOLDERS)}), found {contents(part)}."
        )
    return pictures[0], claims[0]


def _pairs(pictures: Path, where: Path, remarks: Remarks) -> list[tuple[Path, Path]]:
    """Every image of a split with its mask."""
    by_stem = {}
    for base in (pictures, where):
        files = images_in(base, remarks)
        if not files:
            raise UserError(f"{base} must hold images, found {contents(base)}.")
        stems = {file.stem: file for file in reversed(files)}
        twice = [file for file in files if stems[file.stem] != file]
        if twice:
            raise UserError(f"{twice[0]} and {stems[twice[0].stem].name} must have different stems: which one counts?")
        by_stem[base.name] = stems
    images, masks = by_stem[pictures.name], by_stem[where.name]
    ends = {stem.removeprefix(image) for stem, image in zip(sorted(masks), sorted(images), strict=False)}
    if len(masks) == len(images) and len(ends) == 1 and set(masks) != set(images):
        end = ends.pop()
        if all(f"{stem}{end}" in masks for stem in images):
            remarks.notes.append(f"masks are called as their images, with {end} behind")
            masks = {stem: masks[f"{stem}{end}"] for stem in images}
    for stem, image in images.items():
        if stem not in masks:
            raise UserError(f"{image} must have a mask {where / stem}.png, found none.")
    for stem, mask in masks.items():
        if stem not in images:
            raise UserError(f"{mask} must have an image of the same stem in {pictures}, found none.")
        if mask.suffix.lower() in _LOSSY:
            raise UserError(f"{mask} must be a PNG file, which keeps class indices as they are, found {mask.suffix}.")
    return [(images[stem], masks[stem]) for stem in sorted(images)]

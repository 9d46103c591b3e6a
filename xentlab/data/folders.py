"""Images on disk in folders named after their classes; the folders of splits by any of their usual names.

Everything is listed before anything is read, and read by a few threads straight into one tensor, or as training asks
for it (see `stream`). What was recognised and what was passed over stands in the dataset's notes. Images with masks:
`masks`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from xentlab.data.columns import few
from xentlab.data.dataset import Dataset, consecutive, of_task
from xentlab.data.pixels import Remarks, centred, contents, images_in, is_hidden, read_pixels, resized
from xentlab.data.places import find_folder
from xentlab.data.stream import images_of
from xentlab.errors import UserError
from xentlab.schema import PositiveInt

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_WORDS = {name for names in SPLIT_NAMES.values() for name in names}


@of_task("multiclass")
def image_folder(
    *,
    name: str = "image_folder",
    root: str | None = None,
    size: PositiveInt = 64,
    fit: Literal["crop", "stretch"] = "crop",
    grayscale: bool = False,
    resident: Literal["auto"] | bool = "auto",
) -> Dataset:
    """Images in folders named after their classes: inputs uint8 [N, 3 or 1, size, size], targets int64 [N].

    The layout is that of torchvision's `ImageFolder`: `root/<class>/**/image`, classes in alphabetical order. Where
    `root` has a folder `train` (or `training`, in any case), then it, `val` (`valid`, `validation`, `dev`) and `test`
    (`testing`) each have this layout and are the source's splits. Images are turned as their EXIF orientation says,
    brought to 8 bits, and laid on white where they are transparent.

    Args:
        name: what the dataset is called.
        root: its folder; None looks for a folder called `name` in XENTLAB_DATA and in the user's cache.
        size: height and width in pixels to which every image is brought (bilinear, antialiased).
        fit: `crop` brings the shorter side to `size` and keeps the centre; `stretch` distorts.
        grayscale: one channel instead of three.
        resident: whether all images are decoded once and held, or a `Stream` decodes them as training asks for them;
            auto holds them where they take at most a quarter of this computer's memory.

    Raises:
        UserError: a folder is missing or has fewer than two classes with images, or an image is unreadable.
    """
    folder, remarks = find_folder(root, name), Remarks()
    splits = split_folders(folder, remarks)
    parts = splits or {"train": folder}
    images = [(part, *one) for part, base in parts.items() for one in _images_by_class(base, remarks)]
    names = sorted({label for part, _, label in images if part == "train"})
    if len(names) < 2:
        raise UserError(
            f"{parts['train']} must hold one folder of images per class and at least two of them, found "
            f"{contents(parts['train'])}."
        )
    if strange := [parts[part] / label for part, _, label in images if label not in names]:
        raise UserError(f"{strange[0]} must be a class of the training folder, which has {', '.join(names)}.")
    shape = (1 if grayscale else 3, size, size)

    def read(file: Path) -> Tensor:
        pixels = read_pixels(file, "L" if grayscale else "RGB", remarks)
        pixels = resized(centred(pixels) if fit == "crop" else pixels, (size, size), "bilinear")
        return torch.from_numpy(pixels.reshape(size, size, -1)).permute(2, 0, 1)

    files = [file for _, file, _ in images]
    inputs, stream = images_of(folder, files, shape, read, f"{fit} {grayscale} {shape}", resident, remarks)
    if stream is None:
        _say_twins(inputs, folder, images, remarks)
    place = {label: number for number, label in enumerate(names)}
    every = Counter(label for *_, label in images)
    trained = Counter(label for part, _, label in images if part == "train")
    if lonely := [label for label in names if trained[label] == 1]:
        remarks.notes.append(f"one image only, so never in both training and validation: {few(lonely)}")
    head = f"{len(images)} images of {len(names)} classes: {few([f'{label} {every[label]}' for label in names])}"
    sizes = Counter(part for part, *_ in images)
    return Dataset(
        name=name,
        task="multiclass",
        inputs=inputs,
        targets=torch.tensor([place[label] for *_, label in images]),
        class_names=tuple(names),
        scale=1 / 255,
        source_splits=consecutive({part: sizes[part] for part in splits}),
        notes=(head, *remarks.clauses()),
        stream=stream,
    )


def _images_by_class(base: Path, remarks: Remarks) -> list[tuple[Path, str]]:
    """The images in a folder of classes, with the class of each."""
    labels = sorted(path.name for path in base.iterdir() if path.is_dir() and not is_hidden(path.name))
    if not labels:
        raise UserError(f"{base} must hold one folder of images per class, found {contents(base)}.")
    like = [label for label in labels if _WORDS.intersection(re.split(r"[^a-z]+", label.lower()))]
    if len(like) > 1:
        raise UserError(
            f"{base} must hold folders of classes, or of splits called train, val and test, found {few(like)}: "
            "name them so, or set dataset.root to a folder below."
        )
    found = {label: images_in(base / label, remarks, deep=True) for label in labels}
    if empty := [f"{base.name}/{label}" for label in labels if not found[label]]:
        remarks.notes.append(f"without an image, left out: {few(empty)}")
    if stray := [path.name for path in sorted(base.iterdir()) if path.is_file() and not is_hidden(path.name)]:
        remarks.notes.append(f"files beside the folders of classes, not read: {few(stray)}")
    _say_subfolders(base, found, remarks)
    return [(file, label) for label in labels for file in found[label]]


def _say_twins(inputs: Tensor, folder: Path, images: Sequence[tuple[str, Path, str]], remarks: Remarks) -> None:
    """Say which images are one and the same to the last pixel, where they stand in two classes or in two splits."""
    known: dict[bytes, tuple[str, Path, str]] = {}
    twins: dict[str, list[str]] = {"two classes": [], "two splits": []}
    for image, (part, file, label) in zip(inputs.numpy(), images, strict=True):
        digest = hashlib.blake2b(image.data, digest_size=16).digest()
        other = known.setdefault(digest, (part, file, label))
        pair = f"{other[1].relative_to(folder)} and {file.relative_to(folder)}"
        if other[2] != label:
            twins["two classes"].append(pair)
        elif other[0] != part:
            twins["two splits"].append(pair)
    for where, pairs in twins.items():
        if pairs:
            more = f" ({len(pairs)} such pairs)" if len(pairs) > 1 else ""
            remarks.notes.append(f"the same image in {where}: {pairs[0]}{more}")


def _say_subfolders(base: Path, images: Mapping[str, Sequence[Path]], remarks: Remarks) -> None:
    """Say which folders inside classes are taken as part of them."""
    inside = []
    for label, files in images.items():
        start = len(str(base / label)) + 1  # paths are cut as text: there may be many
        below = {first for first, deeper, _ in (str(file)[start:].partition(os.sep) for file in files) if deeper}
        inside += [below] if files else []
    names = sorted(set().union(*inside))
    if _WORDS & {name.lower() for name in names} or (len(names) > 1 and all(len(own) == len(names) for own in inside)):
        raise UserError(
            f"{base} must hold classes, in which folders {few(names)} would be one: which of them are the classes? Lay "
            "them first, below the splits where there are some."
        )
    if names:
        remarks.notes.append(f"folders inside classes, taken as part of them: {few(names)}")


def split_folders(folder: Path, remarks: Remarks) -> dict[str, Path]:
    """The folders of the splits of `folder` by `train`, `val`, `test`; empty where it has no folder for training.

    Raises:
        UserError: two folders claim to be the same split, or there is a test folder and none for training.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} must be a folder, found no such folder.")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
    found: dict[str, Path] = {}
    for part, names in SPLIT_NAMES.items():
        claims = [path for path in inside if path.name.lower() in names]
        if len(claims) > 1:
            raise UserError(f"{folder} must hold one folder for {part}, found {claims[0].name} and {claims[1].name}.")
        if claims:
            found[part] = claims[0]
    if "train" not in found:
        if found and (len(found) == len(inside) or {path.name.lower() for path in found.values()} - {"valid", "dev"}):
            raise UserError(f"{folder} must hold a folder train beside {contents(folder)}.")
        return {}
    others = [path.name for path in inside if path not in found.values()]
    if others:
        remarks.notes.append(f"folders that are no split, left out: {few(others)}")
    said = ", ".join(f"{part} {path.name}" for part, path in found.items() if path.name != part)
    if said:
        remarks.notes.append(f"splits recognised by their names: {said}")
    return found

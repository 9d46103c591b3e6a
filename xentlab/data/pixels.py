"""Image files as pixels: whatever Pillow opens, upright, in eight bits, on white where it is transparent.

What had to be brought into that form is said: a `Remarks` collects it over the files of a folder.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xentlab.errors import UserError

_THREADS = 4  # PIL decodes outside the interpreter's lock
_PLAIN = ("RGB", "L", "P", "1", "CMYK", "YCbCr", "LAB", "HSV")
_ORIENTATION = 0x0112  # of EXIF
_SWAPPED = (5, 6, 7, 8)  # orientations that make width of height


class Remarks:
    """How many files needed what, counted from any thread, and what else is to be said of a folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self.notes: list[str] = []

    def count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def clauses(self) -> list[str]:
        """What is to be said, one clause each."""
        return [*self.notes, *(f"{number} images {what}" for what, number in sorted(self._counts.items()))]


@functools.cache
def suffixes() -> frozenset[str]:
    """The endings, in lower case, of all that Pillow opens."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN and kind not in ("PDF", "MPEG"))


def images_in(folder: Path, remarks: Remarks, *, deep: bool = False) -> list[Path]:
    """The images in `folder` (with `deep`, in its subfolders too) in order of their names; other files are said.

    Hidden files and folders, and those of editors and archivers, are passed over at every depth.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} must be a folder with images, found no such folder.")
    found: list[Path] = []
    strange: list[str] = []
    for path, hidden in _files_in(str(folder), deep=deep):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in suffixes():
            if hidden:
                remarks.count("in hidden folders were not read")
            else:
                found.append(Path(path))
        elif not hidden:
            strange.append(os.path.splitext(path)[1] or os.path.basename(path))
    if strange:
        kinds = ", ".join(sorted(set(strange)))
        remarks.notes.append(f"{len(strange)} files in {folder.name} are no images and were not read: {kinds}")
    return found


def _files_in(folder: str, *, deep: bool, hidden: bool = False) -> Iterator[tuple[str, bool]]:
    """Every file in order of the paths, and whether it or a folder above it is hidden: a second for 200,000."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        unseen = hidden or is_hidden(entry.name)
        if not entry.is_dir() or (deep and entry.is_symlink()):  # a link to nowhere is a file that cannot be read
            yield entry.path, unseen
        elif deep:
            yield from _files_in(entry.path, deep=True, hidden=unseen)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith((".", "__", "@", "$")) or name in ("Thumbs.db", "desktop.ini", "lost+found")


def contents(folder: Path) -> str:
    """What lies in a folder, in a few words."""
    names = sorted(path.name for path in folder.iterdir() if not is_hidden(path.name))
    return ", ".join(names[:8] + ["..."] * (len(names) > 8)) or "nothing"


def read_all(read: Callable[[int], object], count: int) -> None:
    """Run `read` on every index in a few threads; the error of the lowest index that failed is raised."""
    with warnings.catch_warnings(action="ignore", category=UserWarning), ThreadPoolExecutor(_THREADS) as pool:
        try:
            for _ in pool.map(read, range(count)):
                pass
        except UserError:
            pool.shutdown(cancel_futures=True)
            raise


def read_pixels(file: Path, mode: Literal["RGB", "L"], remarks: Remarks) -> NDArray[np.uint8]:
    """A file's pixels, uint8 [H, W, 3] or [H, W], upright."""

    def convert(image: Any) -> NDArray[np.uint8]:
        from PIL import Image

        if getattr(image, "n_frames", 1) > 1:
            remarks.count("have several frames: the first is read")
        if image.mode.startswith(("I", "F")):
            values, what = _eight_bits(file, np.asarray(image))
            remarks.count(what)
            image = Image.fromarray(values)
        if image.has_transparency_data:
            remarks.count("are transparent: laid on white")
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image.convert("RGBA"))
            image = white
        elif image.mode not in (*_PLAIN, "RGBA", "LA", "PA"):
            raise UserError(f"{file} must be an image of mode {', '.join(_PLAIN)}, found {image.mode}.")
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            remarks.count(f"are {image.mode}: turned into {mode}")
        return np.array(image.convert(mode))

    return _opened(file, convert, remarks)


def read_mask(file: Path, image: Path, remarks: Remarks) -> NDArray[Any]:
    """A mask's values [H, W] (palette indices where it has a palette), or its colours [H, W, 3], upright.

    Where its image was turned and the mask has no orientation of its own, its size says whether it was drawn on the
    image as stored, and is turned alike, or as seen; where both are possible it counts as drawn on the image as seen.
    """

    def convert(image: Any) -> NDArray[Any]:
        if image.mode in ("RGB", "RGBA"):
            colors = np.array(image.convert("RGB"))
            if image.mode == "RGBA" and image.getextrema()[3][0] < 255:
                remarks.count("have masks with transparent pixels: their colours count")
            if (colors == colors[..., :1]).all():
                remarks.count("have masks of three equal channels: read as one")
                return colors[..., 0]
            return colors
        if image.mode not in ("L", "P", "1", "I", "I;16", "LA", "PA"):
            raise UserError(f"{file} must be a mask of class indices, a palette or colours, found mode {image.mode}.")
        values = np.array(image.getchannel(0) if image.mode in ("LA", "PA") else image)
        return values.astype(np.uint8) * 255 if image.mode == "1" else values

    values = _opened(file, convert, remarks)
    turn, stored = _orientation(image)
    if turn == 1 or _orientation(file)[0] != 1:
        return values
    if values.shape[:2] == stored != (stored[::-1] if turn in _SWAPPED else stored):
        remarks.count("have a mask drawn before they were turned: turned alike")
        return _turned(values, turn)
    remarks.count("are turned, their masks taken as drawn on what is seen")
    return values


def resized(pixels: NDArray[Any], size: tuple[int, int], how: Literal["bilinear", "nearest"]) -> NDArray[Any]:
    """The pixels brought to `size` (height, width)."""
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels
    method = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}[how]
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), method))


def centred(pixels: NDArray[Any]) -> NDArray[Any]:
    """The largest square around the middle."""
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def seen_size(file: Path) -> tuple[int, int]:
    """Height and width of an image as one sees it, turned as its camera says; its pixels are not decoded."""
    turn, stored = _orientation(file)
    return stored[::-1] if turn in _SWAPPED else stored


def by(size: Sequence[int]) -> str:
    """`width x height` of a size (height, width)."""
    return f"{size[1]} x {size[0]}"


@contextlib.contextmanager
def _opening(file: Path) -> Iterator[Any]:
    """An image while it is open; one that Pillow cannot read is refused."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).removesuffix(f" {str(file)!r}").rstrip(".:")
        raise UserError(f"{file} cannot be read as an image ({reason}), so mend it or take it away.") from error


def _opened(file: Path, convert: Callable[[Any], NDArray[Any]], remarks: Remarks) -> NDArray[Any]:
    """What `convert` makes of the opened image, turned as its camera says."""
    from PIL import ImageOps

    with _opening(file) as image:
        if ";16" in str(getattr(image, "tile", "")) and not image.mode.startswith("I"):  # before anything loads it
            remarks.count("have 16 bits a channel: read with 8")
        if image.getexif().get(_ORIENTATION, 1) != 1:
            remarks.count("are turned as their EXIF orientation says")
            return convert(ImageOps.exif_transpose(image))
        return convert(image)


def _orientation(file: Path) -> tuple[int, tuple[int, int]]:
    """The EXIF orientation of an image, 1 where it has none, and its height and width as stored."""
    with _opening(file) as image:
        return int(image.getexif().get(_ORIENTATION, 1)), (image.height, image.width)


def _turned(values: NDArray[Any], turn: int) -> NDArray[Any]:
    """Pixels turned and mirrored as an EXIF orientation of 5 to 8 says."""
    return {5: values.swapaxes(0, 1), 6: np.rot90(values, -1), 7: np.rot90(values, 2).swapaxes(0, 1)}.get(
        turn, np.rot90(values, 1)
    )


def _eight_bits(file: Path, values: NDArray[Any]) -> tuple[NDArray[np.uint8], str]:
    """Pixels of 16 bits or floats in 8 bits, and how."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise UserError(
                f"{file} must hold floats in [0, 1] or [0, 255], found {values.min():g} to {values.max():g}."
            )
        unit = values.max() <= 1
        what = "hold floats" + (" in [0, 1]: scaled to 8 bits" if unit else ": rounded to 8 bits")
        return np.round(values * (255 if unit else 1)).astype(np.uint8), what
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"{file} must hold pixels of at most 16 bits, found {values.min()} to {values.max()}.")
    dark = ", of which the upper ones are empty, so dark" if 255 < values.max() < 4096 else ""
    return np.round(values.astype(np.float64) / 257).astype(np.uint8), f"have 16 bits{dark}: scaled to 8"

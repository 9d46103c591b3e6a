"""Pictures of single trials, as PNG files: training curves, and segmentation masks beside their images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xentlab.errors import UserError
from xentlab.report import draw, theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IGNORED = (0.62, 0.62, 0.62)


def training_curves(history: Mapping[str, Sequence[float | None]], title: str) -> Figure:
    """One panel per metric of one trial over its epochs, at most three beside each other.

    Args:
        history: metric -> one value per epoch, from epoch 1; None, nan and inf leave a gap. Metrics that differ only
            in the part before "/" (`train/error`, `val/error`) share a panel.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    panels: dict[str, list[str]] = {}
    for key in history:
        panels.setdefault(key.split("/", 1)[-1], []).append(key)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with draw.settings():
        figure = Figure(figsize=(3.9 * columns, 2.7 * rows + 0.4), dpi=100, facecolor="white")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (name, keys) in zip(grid.flat, panels.items(), strict=False):
            draw.dress(axes, theme.FILE_INK, theme.FILE_GRID)
            for key in keys:
                part = key.split("/", 1)[0] if "/" in key else name
                place = {"train": 1, "test": 2}.get(part, 0)
                values = [math.nan if v is None or not math.isfinite(v) else v for v in history[key]]
                epochs = range(1, len(values) + 1)
                # A line of one epoch, or between two gaps, is only seen by its marker.
                style: dict[str, Any] = {"color": theme.colour(place), "linestyle": theme.dashes(place)}
                axes.plot(epochs, values, label=part, linewidth=1.6, marker=".", markersize=4, **style)
            axes.set_title(name, loc="left", color=theme.FILE_INK, fontsize=10)
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if len(axes.lines) > 1:
                axes.legend(loc="best", fontsize=8, framealpha=0.8, edgecolor="none", labelcolor=theme.FILE_INK)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        figure.suptitle(title, color=theme.FILE_INK, fontsize=11)
        # Fixed margins: measuring every text takes longer than drawing, and this runs once for every trial.
        width, height = figure.get_size_inches()
        figure.subplots_adjust(
            left=0.55 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - 0.7 / height, wspace=0.2, hspace=0.42
        )
    return figure


def save_curves(history: Mapping[str, Sequence[float | None]], path: Path | str, *, title: str = "") -> Path:
    """Draw `training_curves` into a PNG at `path` and return the path."""
    figure = training_curves(history, title)
    with draw.settings():
        return draw.png(figure, path)


def masks(
    images: NDArray[np.uint8],
    truth: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    path: Path | str,
    *,
    ignore_index: int | None = None,
) -> Path:
    """One row per example, `image | truth | prediction`, with a legend of the classes, as a PNG.

    Args:
        images: [n, H, W, 3] or [n, H, W, 1], uint8.
        truth: class indices [n, H, W].
        prediction: class indices [n, H, W].
        ignore_index: the index in `truth` that counts nowhere; shown grey in both masks.

    Returns:
        The path.

    Raises:
        UserError: shapes do not fit, or a mask holds an index without a name.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shape = images.shape
    if images.ndim != 4 or shape[3] not in (1, 3) or truth.shape != shape[:3] or prediction.shape != shape[:3]:
        raise UserError(
            "images must be [n, H, W, 3] or [n, H, W, 1] and both masks [n, H, W], "
            f"got {shape}, {truth.shape} and {prediction.shape}."
        )
    ignored = np.zeros(truth.shape, dtype=bool) if ignore_index is None else truth == ignore_index
    for name, mask in (("truth", truth), ("prediction", prediction)):
        strange = mask[~ignored & ((mask < 0) | (mask >= len(class_names)))]
        if strange.size:
            raise UserError(f"{name} must hold indices of {len(class_names)} classes, got {strange[0]}.")
    colours = class_colours(len(class_names))
    count, height, width = truth.shape
    with draw.settings():
        cell = (2.6, 2.6 * height / width)
        legend_lines = math.ceil(len(class_names) / 5)
        total = cell[1] * count + 0.4 + 0.28 * legend_lines
        figure = Figure(figsize=(cell[0] * 3, total), dpi=110, facecolor="white", layout="constrained")
        grid = figure.subplots(count, 3, squeeze=False)
        for k in range(count):
            picture = images[k] if shape[3] == 3 else np.repeat(images[k], 3, axis=2)
            shown = [picture, *(painted(m[k], ignored[k], colours) for m in (truth, prediction))]
            for axes, name, pixels in zip(grid[k], ("image", "truth", "prediction"), shown, strict=True):
                axes.imshow(pixels, interpolation="nearest")
                axes.set_axis_off()
                if k == 0:
                    axes.set_title(name, fontsize=10, color=theme.FILE_INK)
        patches = [
            Patch(facecolor=c, edgecolor=theme.FILE_INK, linewidth=0.6, label=n)
            for c, n in zip(colours, class_names, strict=True)
        ]
        if ignored.any():
            patches.append(Patch(color=IGNORED, label="ignored"))
        figure.legend(handles=patches, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
        return draw.png(figure, path)


def class_colours(count: int) -> NDArray[np.float64]:
    """`count` colours [count, 3] in [0, 1] for classes: black, the palette, white, a pale round, slate, a dark round.

    None comes near the grey of ignored pixels.
    """
    from matplotlib.colors import to_rgb

    hues = np.array([to_rgb(c) for c in theme.PALETTE[:-1]])
    rounds = [np.zeros((1, 3)), hues, np.ones((1, 3)), hues + (1 - hues) * 0.6, np.full((1, 3), 0.27), 0.5 * hues]
    several = np.concatenate(rounds)
    return several[np.arange(count) % len(several)]


def painted(
    mask: NDArray[np.integer[Any]], ignored: NDArray[np.bool_], colours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A mask of class indices [H, W] in its classes' colours [H, W, 3], grey where ignored."""
    picture = colours[np.where(ignored, 0, mask)]
    picture[ignored] = IGNORED
    return picture

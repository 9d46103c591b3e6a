"""Pictures of single trials."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from xentlab import report
from xentlab.errors import UserError
from xentlab.report import trial_pictures


def test_the_curves_of_one_trial(tmp_path):
    history = {
        "train/objective": [2.0, 1.0, 0.5],
        "train/error": [0.5, 0.2, 0.1],
        "val/error": [0.6, None, float("inf")],
    }
    figure = report.training_curves(history, "ce, lr 0.1 $x$")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}
    assert list(panels) == ["objective", "error"]
    [line] = panels["objective"].lines
    assert list(line.get_ydata()) == [2.0, 1.0, 0.5]
    assert list(line.get_xdata()) == [1, 2, 3]
    train, val = panels["error"].lines
    assert np.isnan(val.get_ydata()).tolist() == [False, True, True]
    assert train.get_color() != val.get_color()
    path = report.save_curves(history, tmp_path / "plots" / "curves.png", title="ce")
    with Image.open(path) as image:
        assert image.size[0] > 600
        assert len(image.convert("RGB").getcolors(1_000_000)) > 50


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib

    before, windows = dict(matplotlib.rcParams), set(sys.modules) & {"matplotlib.pyplot"}
    report.save_curves({"loss": [1.0]}, tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    assert set(sys.modules) & {"matplotlib.pyplot"} == windows


def test_masks_show_each_class_in_its_colour(tmp_path):
    truth = np.zeros((2, 12, 16), dtype=np.int64)
    truth[:, :6], truth[:, 10:] = 1, 9
    prediction = np.ones((2, 12, 16), dtype=np.int64)
    images = np.full((2, 12, 16, 1), 200, dtype=np.uint8)
    path = report.masks(images, truth, prediction, ["sky", "road"], tmp_path / "masks.png", ignore_index=9)
    with Image.open(path) as image:
        found = {colour for count, colour in image.convert("RGB").getcolors(1_000_000) if count > 2000}
    black, first = [tuple(np.round(c * 255).astype(int).tolist()) for c in trial_pictures.class_colours(2)]
    assert found >= {black, first, (200, 200, 200), (158, 158, 158)}


def test_masks_refuse_what_does_not_fit(tmp_path):
    images, mask = np.zeros((1, 4, 4, 3), dtype=np.uint8), np.zeros((1, 4, 4), dtype=np.int64)
    with pytest.raises(UserError, match="images must be"):
        report.masks(images[..., :2], mask, mask, ["a"], tmp_path / "m.png")
    with pytest.raises(UserError, match="prediction must hold indices of 1 classes, got 3"):
        report.masks(images, mask, mask + 3, ["a"], tmp_path / "m.png")
    assert len({tuple(c) for c in trial_pictures.class_colours(24)}) == 24

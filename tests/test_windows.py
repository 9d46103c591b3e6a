"""Whole images from overlapping windows: each pixel's output is the mean of those that show it, trained or streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import compose_train
from torch import Tensor, nn

from xentlab.metrics import segmentation_counts, segmentation_metrics
from xentlab.step import in_windows, peak_bytes
from xentlab.train import Fit, Trial, prepare

HEIGHT, WIDTH, SIDE = 14, 21, 8


def tiles(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """A net for images of one size alone: what it says of a pixel hangs on all of them."""
    _, height, width = input_shape
    pixels = height * width
    flat = nn.Linear(3 * pixels, num_outputs * pixels)
    return nn.Sequential(nn.Flatten(), flat, nn.Unflatten(1, (num_outputs, height, width)))


def by_hand(forward: Any, images: Tensor) -> Tensor:
    """Every pixel by itself, from the windows that show it, at the places that are written here."""
    corners = [(top, left) for top in (0, 3, 6) for left in (0, 3, 6, 10, 13)]
    maps = {corner: forward(images[..., corner[0] :, corner[1] :][..., :SIDE, :SIDE]) for corner in corners}
    means = torch.empty(*maps[0, 0].shape[:-2], HEIGHT, WIDTH, dtype=images.dtype)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            seen = [m[..., y - a, x - b] for (a, b), m in maps.items() if 0 <= y - a < SIDE and 0 <= x - b < SIDE]
            means[..., y, x] = torch.stack(seen).mean(0)
    return means


def test_an_output_is_the_mean_of_the_windows_that_show_its_pixel() -> None:
    torch.manual_seed(0)
    net, images = tiles((3, SIDE, SIDE), 4).double(), torch.rand(2, 3, HEIGHT, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(in_windows(net, images, SIDE), by_hand(net, images), rtol=1e-12, atol=1e-12)
        whole = tiles((3, HEIGHT, WIDTH), 4).double()
        assert torch.equal(in_windows(whole, images, WIDTH), whole(images))
        large = torch.rand(1, 3, 10 * HEIGHT, 10 * WIDTH)
        conv = nn.Conv2d(3, 32, 3, padding=1)
        most = [peak_bytes(lambda x, s=side: in_windows(lambda y: conv(y)[:, :1], x, s), [large]) for side in (14, 210)]
    assert most[0] < most[1] / 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draws = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for i in range(6):
            mask = draws.integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)
            image = mask[..., None] * 80 + draws.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            for kind, values in (("images", image), ("masks", mask)):
                (root / part / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(root / part / kind / f"{i}.png")
    return root


def trial(folder: Path, *overrides: str, model: str | None = None) -> Trial:
    data = ("dataset=segmentation_folder", f"dataset.root={folder}", "dataset.class_names=[a,b,c]")
    config = compose_train(*data, "model=unet", "model.width=2", "trainer.epochs=2", "trainer.batch_size=3", *overrides)
    return prepare({**config, "model": {"_target_": f"test_windows.{model}"}} if model else config)


def trained(one: Trial) -> tuple[Fit, list[dict[str, list[float | None]]]]:
    fit = Fit([one], one.dataset())
    epochs = list(fit.epochs())
    fit.finish()
    return fit, [{k: v for k, v in epoch.metrics.items() if not k.startswith("speed/")} for epoch in epochs]


def test_a_net_of_one_size_trains_on_crops_and_meets_whole_images_in_windows(folder: Path) -> None:
    knobs = ("augment=segmentation", f"augment.side={SIDE}", f"trainer.window={SIDE}", "trainer.precision=float64")
    held, numbers = trained(trial(folder, *knobs, "dataset.resident=true", model="tiles"))
    streamed, same = trained(trial(folder, *knobs, "dataset.resident=false", model="tiles"))
    assert same == numbers
    assert torch.equal(streamed.rig.state.params, held.rig.state.params)
    net = held.rig.module.eval()
    net.load_state_dict(held.rig.weights(0))
    val = held.rig.dataset.source_splits["val"]
    images, masks = held.rig.dataset.inputs[val].double() / 255, held.rig.dataset.targets[val]
    with torch.no_grad():
        probs = by_hand(net, images).softmax(1).unsqueeze(0)
    wanted = segmentation_metrics(segmentation_counts(probs, masks, ignore_index=None))
    found = held.rig.evaluate("val").metrics
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name].double(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_where_one_window_shows_the_image_it_is_the_image(folder: Path, lift: str) -> None:
    whole, one, several = (
        trained(trial(folder, f"trainer.lift={lift}", *window))[1]
        for window in ((), (f"trainer.window={WIDTH}",), ("trainer.window=16",))
    )
    assert one == whole
    assert several != whole

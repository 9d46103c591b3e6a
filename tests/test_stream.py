"""Streams: images decoded as training asks for them give what held ones give, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import compose_train

from xentlab import data
from xentlab.train import Fit, Trial, prepare

COUNT, SIZE = 120, 8


def photographs(root: Path) -> Path:
    """Three classes of noisy JPEGs of different sizes, some turned by their EXIF, and a PNG."""
    draws = np.random.default_rng(0)
    for i in range(COUNT):
        file = root / "abc"[i % 3] / f"photo_{i:03d}.{'png' if i == 7 else 'jpg'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        height, width = draws.integers(10, 40, 2)
        values = draws.integers(0, 128, (height, width, 3)) + 60 * np.eye(3, dtype=np.int64)[i % 3]
        exif = Image.Exif()
        exif[0x0112] = 6 if i % 5 == 0 else 1
        Image.fromarray(values.astype(np.uint8)).save(file, exif=exif)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def trial(folder: Path, *overrides: str) -> Trial:
    sizes = ("model=mlp", "model.hidden=[8]", "trainer.epochs=2", "trainer.batch_size=16", "dataset=image_folder")
    return prepare(compose_train(*sizes, f"dataset.root={folder}", f"dataset.size={SIZE}", *overrides))


def numbers(fit: Fit) -> list[dict[str, list[float | None]]]:
    epochs = list(fit.epochs())
    fit.finish()
    return [{k: v for k, v in epoch.metrics.items() if not k.startswith("speed/")} for epoch in epochs]


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_a_streamed_training_is_the_held_one(folder: Path, lift: str) -> None:
    held, streamed = (
        Fit([one, two], one.dataset())
        for one, two in (
            [trial(folder, f"dataset.resident={how}", f"trainer.lift={lift}", f"seed={s}") for s in (0, 1)]
            for how in ("true", "false")
        )
    )
    assert streamed.rig.dataset.stream is not None
    assert streamed.rig.dataset.inputs.is_meta
    assert numbers(streamed) == numbers(held)
    assert torch.equal(streamed.rig.state.params, held.rig.state.params)
    for name, answers in held.answers.items():
        assert torch.equal(streamed.answers[name], answers)


def test_every_image_is_decoded_as_where_it_is_held(folder: Path) -> None:
    for fit in ("crop", "stretch"):
        knobs = {"root": str(folder), "size": SIZE, "fit": fit}
        held = data.image_folder(**knobs, resident=True)
        streamed = data.image_folder(**knobs, resident=False)
        assert streamed.stream is not None
        assert torch.equal(streamed.stream.gather(torch.arange(COUNT)), held.inputs)
        assert torch.equal(streamed.targets, held.targets)
        assert streamed.notes[-1] == "decoded as training asks for them, not held (0 MB; dataset.resident=false)"

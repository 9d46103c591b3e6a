"""What several test modules share: composed configs, a small dataset, and which real data is at hand."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from xentlab.config.compose import config_dir
from xentlab.data import Dataset, digits
from xentlab.outcome import Outcome

TINY = ("trainer.batch_size=16", "trainer.train_sample=64", "trainer.checkpoint_every=0", "tracking=off")


@functools.cache
def _composed(root: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = OmegaConf.to_container(compose(root, list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {str(k): v for k, v in config.items()}


def compose_train(*overrides: str) -> dict[str, Any]:
    """The config of one training, small unless the overrides say otherwise."""
    return copy.deepcopy(_composed("train", (*TINY, *overrides)))


def small_digits(count: int = 440) -> Dataset:
    """Real digits of which the first 320 are for training: 20 steps of 16 in an epoch."""
    whole = digits()
    parts = {"train": torch.arange(320), "val": torch.arange(320, 400), "test": torch.arange(400, count)}
    return Dataset(
        "digits",
        "multiclass",
        whole.inputs[:count],
        whole.targets[:count],
        whole.class_names,
        scale=whole.scale,
        source_splits=parts,
    )


def an_outcome() -> Outcome:
    """How a trial of three epochs might have ended."""
    return Outcome(
        diverged=False, stuck=False, epochs=3, best_epoch=2, epochs_to_target=None, seconds=1.5, test={"error": 0.125}
    )


DATA = os.environ.get("XENTLAB_DATA")
needs_mnist = pytest.mark.skipif(
    not (DATA and (Path(DATA) / "MNIST" / "raw").is_dir()), reason="XENTLAB_DATA holds no MNIST here"
)
needs_camvid = pytest.mark.skipif(
    not (DATA and (Path(DATA) / "camvid").is_dir()), reason="XENTLAB_DATA holds no camvid here"
)

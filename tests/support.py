"""What several test modules share: composed configs, a small dataset, and which real data is at hand."""

from __future__ import annotations

import copy
import functools
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from torch import nn

from xentlab.config.compose import config_dir
from xentlab.data import Dataset, digits
from xentlab.models.contract import outputs
from xentlab.outcome import Outcome

TINY = ("trainer.batch_size=16", "trainer.train_sample=64", "trainer.checkpoint_every=0", "tracking=off")


@functools.cache
def _composed(root: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = OmegaConf.to_container(compose(root, list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {str(k): v for k, v in config.items()}


@functools.cache
def _value(override: str) -> tuple[list[str], Any] | None:
    """The way to a key and its plain value; None where an override does anything else."""
    key, _, text = override.partition("=")
    if (key not in ("seed",) and not re.fullmatch(r"[a-z]\w*(\.\w+)+", key)) or "${" in text or text.startswith("{"):
        return None
    parsed = OverridesParser.create().parse_override(override)
    return None if parsed.is_sweep_override() else (key.split("."), parsed.value())


def compose_train(*overrides: str) -> dict[str, Any]:
    """The config of one training, small unless the overrides say otherwise: values into what its choices compose."""
    values = [_value(override) for override in overrides]
    chosen = tuple(text for text, value in zip(overrides, values, strict=True) if value is None)
    config = copy.deepcopy(_composed("train", (*TINY, *chosen)))
    for way, value in filter(None, values):
        node = functools.reduce(lambda inner, part: inner.get(part) or {}, way[:-1], config)
        if way[-1] not in node or isinstance(node[way[-1]], dict):  # Hydra says what is wrong with it
            return copy.deepcopy(_composed("train", (*TINY, *overrides)))
        node[way[-1]] = copy.deepcopy(value)
    return config


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


@outputs("map")
def pixels(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """The smallest model of maps: a pixel's scores from it and its neighbours."""
    return nn.Conv2d(input_shape[0], num_outputs, 3, padding=1)


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

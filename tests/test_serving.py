"""Resident data against a DataLoader: the same examples are served, and what is measured is a ratio of seconds."""

from __future__ import annotations

import math

import pytest
import torch
from support import compose_train, small_digits

from xentlab.data import as_torchvision, multilabel_synthetic
from xentlab.errors import UserError
from xentlab.train import prepare
from xentlab.train.serving import resident_speedup


def test_the_same_examples_are_served() -> None:
    dataset = small_digits()
    examples = torch.tensor([3, 1, 400])
    served = as_torchvision(dataset, examples)
    assert len(served) == 3
    for i, example in enumerate(examples):
        image, label = served[i]
        assert torch.equal((image * 255).round().to(torch.uint8), dataset.inputs[example])
        assert label == dataset.targets[example]


def test_only_grey_images_of_classes_can_be_served() -> None:
    with pytest.raises(UserError, match=r"^dataset must hold grey images of classes"):
        as_torchvision(multilabel_synthetic(), torch.arange(3))


@pytest.mark.parametrize("model", ["mlp", "convnet"])
def test_a_ratio_of_seconds_is_measured(model: str) -> None:
    trial = prepare(compose_train(f"model={model}", *(["model.widths=[2]"] if model == "convnet" else [])))
    ratio = resident_speedup(trial, small_digits(), steps=2, turns=1)
    assert math.isfinite(ratio)
    assert ratio > 0

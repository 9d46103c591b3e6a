"""A folder as a user has one: `my_model.py`, `my_data.py` and `my_loss.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MODEL = """
from torch import nn


class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


class Net(nn.Sequential):
    def __init__(self, in_features, num_classes, width=8):
        super().__init__(nn.Flatten(), nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))
"""

DATA = """
import torch
from torch.utils.data import Dataset


class Rows(Dataset):
    classes = ["low", "middle", "high"]

    def __init__(self, count=150, start=0):
        x = torch.randn(start + count, 5, generator=torch.Generator().manual_seed(0))[start:]
        self.x, self.y = x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])
"""

LOSS = """
import torch.nn.functional as F
from torch import nn


class Focused(nn.Module):
    def __init__(self, gamma=2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits, target):
        values = F.cross_entropy(logits, target, reduction="none")
        return (1 - (-values).exp()) ** self.gamma * values


def averaged(logits, target):
    return F.cross_entropy(logits, target, label_smoothing=0.1)
"""


@contextmanager
def own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> Iterator[None]:
    """The files of a user, importable as they are from where a command is called."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    yield
    for name in files:
        sys.modules.pop(name, None)

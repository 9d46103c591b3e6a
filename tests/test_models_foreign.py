"""Models from outside: sizes go to the names that they have, the rest are knobs, and what is wrong is one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]

OWN = """
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(64, 10)

    def forward(self, x):
        return self.line(x.flatten(1))


class Sized(Bare):
    def __init__(self, in_features, num_classes, width=8):
        super().__init__()
        self.line = nn.Sequential(nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))


class Convolved(nn.Module):
    def __init__(self, in_chans=3, n_classes=1000):
        super().__init__()
        self.conv, self.line = nn.Conv2d(in_chans, 4, 3), nn.Linear(4, n_classes)

    def forward(self, x):
        return self.line(self.conv(x).mean((2, 3)))


def function(shape, count):
    return Sized(shape[0] * shape[1] * shape[2], count)


class Dict(Bare):
    def forward(self, x):
        return {"logits": super().forward(x), "features": x}


class Object(Bare):
    def forward(self, x):
        return SimpleNamespace(logits=super().forward(x), loss=None)


class Drops(Bare):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, self.training)


class Narrow(Bare):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(64, 7)


class Fails(Bare):
    def forward(self, x):
        raise RuntimeError("no forward today")


class Refuses(nn.Module):
    def __init__(self, num_classes):
        raise ValueError("not for me")


def number():
    return 3
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that holds `foreign_models.py`."""
    (tmp_path / "foreign_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("foreign_models", None)


ONE = ("trainer.epochs=1", "tracking=off", "dataset.train_fraction=0.2")


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("Bare", (), ""),
        ("Sized", ("+model.width=5",), ""),
        ("Convolved", (), ""),
        ("function", (), ""),
        ("Dict", (), ""),
        ("Object", (), ""),
        ("Drops", (), "model Drops: it draws random numbers, or does not stack: its trials train one by one."),
    ],
)
def test_a_model_of_a_user_trains(run: Run, name: str, knobs: tuple[str, ...], said: str) -> None:
    code, out, err = run("train", f"model._target_=foreign_models.{name}", *knobs, *ONE)
    assert code == 0
    assert err == (f"xentlab: {said}\n" if said else "")
    assert f"{name} on digits" in out


@pytest.mark.parametrize(
    ("name", "knobs", "sentence"),
    [
        ("Narrow", (), "model Narrow must return logits of shape (2, 10) for two inputs (1, 8, 8), got (2, 7)."),
        ("Fails", (), "model Fails on inputs of shape (1, 8, 8) failed: RuntimeError: no forward today (foreign_mo"),
        ("Refuses", (), "model Refuses failed: ValueError: not for me (foreign_models.py, line "),
        ("number", (), "model number must give a torch.nn.Module, got an int."),
        ("Sized", ("+model.widht=5",), "Unknown knob of model 'widht'. Did you mean 'width'? Available: in_features"),
        ("Sized", ("+model.in_features=5",), "model Sized on inputs of shape (1, 8, 8) failed: RuntimeError: "),
        ("Size", (), "Unknown name in foreign_models 'Size'. Did you mean 'Sized'?"),
    ],
)
def test_what_is_wrong_with_a_model_is_one_sentence(
    run: Run, here: Path, name: str, knobs: tuple[str, ...], sentence: str
) -> None:
    code, out, err = run("train", f"model._target_=foreign_models.{name}", *knobs, *ONE)
    assert (code, out) == (2, "")
    assert err.startswith(f"xentlab: {sentence}")
    assert err.count("\n") == 1
    assert not (here / "xentlab-runs").exists()

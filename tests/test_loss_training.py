"""Every loss of the catalogue trains on every task it declares; a user's own, from one function and one YAML, too."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import compose_train
from test_tape import CELLS, SETTINGS, data

from xentlab.train import Fit, prepare

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(("name", "task"), CELLS)
def test_every_loss_trains_and_ends_better_than_it_began(name: str, task: str) -> None:
    overrides = (*SETTINGS[task], f"loss={name}", "optimizer=adam", "optimizer.lr=0.01", "trainer.epochs=4")
    fit = Fit([prepare(compose_train(*overrides))], data(task))
    epochs = list(fit.epochs())
    assert len(epochs) == 4
    objectives = [e.metrics["train/objective"][0] for e in epochs]
    first, last = objectives[0], objectives[-1]
    assert first is not None
    assert last is not None
    assert last < first
    assert all(value is not None for metric, (value,) in epochs[-1].metrics.items() if metric.startswith("val/"))


OWN = '''
"""A loss of a user."""

from typing import Annotated

import torch
import torch.nn.functional as F

from xentlab.losses import loss
from xentlab.losses.contract import as_distribution
from xentlab.schema import Range


@loss(family="own", link="softmax", reference="here")
def tempered(logits, target, *, warmth: Annotated[float, Range(0, None, open_low=True)] = 2.0):
    return -(as_distribution(target, logits) * torch.log_softmax(logits / warmth, 1)).sum(1)
'''
CONFIG = """# cross-entropy at a temperature
_target_: my_losses.tempered
_partial_: true
warmth: 2.0   # divides the logits, > 0
"""


def test_a_loss_is_added_by_one_function_and_one_yaml(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "code" / "my_losses").mkdir(parents=True)
    (here / "code" / "my_losses" / "__init__.py").write_text(OWN)
    (here / "configs" / "loss").mkdir(parents=True)
    (here / "configs" / "loss" / "mine.yaml").write_text(CONFIG)
    monkeypatch.syspath_prepend(str(here / "code"))
    importlib.invalidate_caches()
    common = ("train", "--config-dir", str(here / "configs"), "loss=mine", "tracking=off", "trainer.epochs=2")
    try:
        code, out, err = run(*common, "loss.warmth=1.5")
        assert (code, err) == (0, "")
        assert "tempered" in out
        assert "error" in out
        code, _, err = run(*common, "loss.warmth=0")
        assert code == 2
        assert err == "xentlab: loss.warmth must be > 0, got 0.\n"
    finally:
        sys.modules.pop("my_losses", None)

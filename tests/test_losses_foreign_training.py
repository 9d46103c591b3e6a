"""Losses from outside in training: equal to the lab's own, refused what they cannot honour, said and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from foreign_losses_lab import OWN, batch
from support import compose_train, small_digits

from xentlab.losses.adapters import BoundLoss
from xentlab.losses.compound import bind
from xentlab.losses.foreign import build_loss
from xentlab.losses.laws import check
from xentlab.tasks import find
from xentlab.train import Fit, prepare

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that holds `foreign_losses.py`."""
    import sys

    (tmp_path / "foreign_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("foreign_losses", None)


def bound(name: str, task: str) -> BoundLoss:
    return bind(build_loss("loss", {"_target_": name}, find(task)), task)


def test_torchs_cross_entropy_is_ce_with_ignored_pixels_and_class_weights() -> None:
    logits, target = batch((3, 2))
    target[0, 0] = 255
    weights = torch.tensor([1.0, 2.0, 0.0, 4.0], dtype=torch.float64)
    for facts in ({}, {"class_weights": weights}):
        theirs, ours = (
            bound(name, "segmentation").data_term(255)(logits, target, facts, {})
            for name in ("torch.nn.CrossEntropyLoss", "xentlab.losses.ce")
        )
        given = facts.get("class_weights")
        wanted = F.cross_entropy(logits, target, weight=given, ignore_index=255)
        torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=0)
        torch.testing.assert_close(theirs, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_torchs_cross_entropy_trains_as_ce_does(lift: str) -> None:
    base = compose_train("trainer.precision=float64", "trainer.epochs=2", f"trainer.lift={lift}", "model.hidden=[8]")
    ends = []
    for target in ("torch.nn.CrossEntropyLoss", "xentlab.losses.ce"):
        config = base | {"loss": {"_target_": target, "_partial_": True}}
        fit = Fit([prepare(config | {"seed": seed}) for seed in (0, 1)], small_digits())
        assert fit.rig.lift == lift
        for _ in fit.epochs():
            pass
        ends.append(fit.rig.state.params.clone())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("trainer.class_weights=inverse",), "it cannot honour trainer.class_weights=inverse"),
        (("dataset=camvid", "dataset.root=nowhere", "model=unet"), "it cannot honour dataset.ignore_index=11"),
    ],
)
def test_a_mean_is_refused_what_it_cannot_honour(run: Run, here: Path, overrides: tuple[str, ...], words: str) -> None:
    code, out, err = run("train", "loss._target_=foreign_losses.averages", "tracking=off", *overrides)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert [p.name for p in here.iterdir() if p.name.startswith("xentlab")] == []


def test_what_was_found_is_said_and_recorded(run: Run, here: Path) -> None:
    code, _, err = run(
        "train", "loss._target_=foreign_losses.Module", "+loss.gamma=3", "trainer.epochs=1", "tracking=off"
    )
    assert code == 0
    said = "loss Module: one value per example of logits and class indices or distributions, link softmax"
    assert err == f"xentlab: {said}.\n"
    (segment,) = (here / "xentlab-runs" / "journal").iterdir()
    assert said in segment.read_text()
    code, _, err = run("train", "loss._target_=foreign_losses.loops", "trainer.epochs=1", "tracking=off")
    assert code == 0
    assert "does not stack: its trials train one by one" in err


@pytest.mark.parametrize("name", ["element", "averages", "indices", "one_hot", "Module", "of_probs"])
def test_the_laws_that_apply_hold(name: str) -> None:
    report = check(f"foreign_losses.{name}", "multiclass")
    assert report.probed
    rows = {row.law: row.verdict for row in report.rows}
    assert rows["gradient"] == rows["raises truth"] == rows["pure"] == "held"
    if name == "averages":
        assert rows["independence"] == rows["ignored"] == "skipped"
    assert check("foreign_losses.indices").tasks == ("multiclass", "segmentation")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["prints", "writes", "seeds", "Counts"])
def test_what_a_loss_does_beside_stays_inside_while_it_trains(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    from xentlab.cli import main

    quick = ("trainer.epochs=1", "tracking=off", "dataset.train_fraction=0.1")
    arguments = [f"loss._target_=foreign_losses.{name}", *quick]
    ends = []
    for count in (1, 2):
        assert main(["train", "-m", *arguments, f"output.root=runs{count}", f"seed={','.join('01'[-count:])}"]) == 0
        out, err = capfd.readouterr()
        assert "hello" not in out + err
        assert err.count("\n") == 1
        ends.append(out.partition("seed=1: ")[2].partition(",")[0])
    assert ends[0] == ends[1]

"""The cross-loss matrix: trained weights under every loss, by hand and by way of a comparison that grows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import compose_train, small_digits

from xentlab.data import multilabel_synthetic
from xentlab.train import Fit, Rig, Trial, prepare, under_losses

Run = Callable[..., tuple[int, str, str]]


def _trials(loss: str, *overrides: str) -> list[Trial]:
    common = ("model.hidden=[8]", "trainer.epochs=2", "trainer.precision=float64", *overrides)
    return [prepare(compose_train(f"loss={loss}", f"seed={seed}", *common)) for seed in (0, 1)]


def _trained(trials: list[Trial], dataset: Any) -> list[dict[str, torch.Tensor]]:
    fit = Fit(trials, dataset)
    list(fit.epochs())
    fit.finish()
    return [fit.weights(row, "final") for row in range(len(trials))]


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_values_are_those_of_the_losses_on_the_test_logits(lift: str) -> None:
    dataset, options = small_digits(), (f"trainer.lift={lift}", "trainer.eval_batch_size=7")
    trials = _trials("ce", *options)
    weights = _trained(trials, dataset)
    yardsticks = {"ce": trials, "mse": _trials("mse", *options), "focal": _trials("focal", *options)}
    found = under_losses(trials, dataset, weights, yardsticks)
    inputs, target = dataset.inputs[400:440].double() * dataset.scale, dataset.targets[400:440].long()
    for row, kept in enumerate(weights):
        module = Rig(trials[:1], dataset).module
        module.load_state_dict(kept)
        with torch.no_grad():
            logits = module.eval()(inputs)
        expected = {"ce": torch.nn.functional.cross_entropy(logits, target)}
        for name in ("mse", "focal"):
            loss = yardsticks[name][row].loss
            expected[name] = loss.functions[0](logits, target, **loss.data).mean()
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(float(value), rel=1e-9)


def test_examples_without_labels_weigh_nothing_under_cross_entropy() -> None:
    dataset = multilabel_synthetic(samples=150, labels_per_example=1.0)
    options = ("dataset=multilabel_synthetic", "trainer.eval_batch_size=4")
    trials = _trials("bce", *options)
    weights = _trained(trials, dataset)
    found = under_losses(trials, dataset, weights, {"ce": _trials("ce", *options)})
    for row, kept in enumerate(weights):
        fit = Fit(trials[row : row + 1], dataset)
        fit.rig.module.load_state_dict(kept)
        places = fit.rig.batches.examples(slice(0, 1), "test")
        with torch.no_grad():
            logits = fit.rig.module.eval()(dataset.inputs[places].double())
        target = dataset.targets[places].double()
        labelled = target.sum(1) > 0
        assert not labelled.all()
        shares = target[labelled] / target[labelled].sum(1, keepdim=True)
        expected = torch.nn.functional.cross_entropy(logits[labelled], shares)
        assert found["ce"][row] == pytest.approx(float(expected), rel=1e-9)


SMALL = (
    "compare", "tracking=off", "trainer.epochs=2", "dataset.train_fraction=0.3", "model.hidden=[8]",
    "comparison.replicate=point", "comparison.tuning_seeds=1", "comparison.final_seeds=2", "comparison.extensions=0",
    "comparison.tune.optimizer.lr=[0.1,0.3]",
)  # fmt: skip


def _latest(here: Path) -> dict[str, Any]:
    folder = sorted((here / "xentlab-runs" / "comparisons").iterdir())[-1]
    return json.loads((folder / "verdicts.json").read_text())


def test_a_loss_that_joins_later_meets_the_trials_that_were_there(run: Run, here: Path) -> None:
    assert run(*SMALL, "comparison.losses=[ce,mse]")[0] == 0
    first = {(e["loss"], e["under"]): e for e in _latest(here)["cross"]}
    assert set(first) == {(a, b) for a in ("ce", "mse") for b in ("ce", "mse")}
    record = _latest(here)
    nll = next(m for m in record["metrics"] if m["key"] == "test/nll")
    for row in nll["rows"]:  # on this task the value of ce is the negative log-likelihood of softmax
        if row["loss"] == "ce":
            assert first["ce", "ce"]["mean"] == pytest.approx(row["mean"], rel=1e-5)
    memories = sorted((here / "xentlab-runs" / "cross").iterdir())
    assert len(memories) == 4
    for path in memories:  # what is remembered is not evaluated again
        path.write_text(json.dumps({key: value + 1000 for key, value in json.loads(path.read_text()).items()}))
    assert run(*SMALL, "comparison.losses=[ce,mse,bce]")[0] == 0
    second = {(e["loss"], e["under"]): e for e in _latest(here)["cross"]}
    assert len(second) == 9
    assert all(entry["n"] == 2 for entry in second.values())
    for pair, entry in first.items():
        assert second[pair]["mean"] == pytest.approx(entry["mean"] + 1000)
    assert all(second[pair]["mean"] < 100 for pair in second.keys() - first.keys())
    shown = _latest(here)["reliability"]
    assert [entry["loss"] for entry in shown] == ["ce", "mse", "bce"]
    assert sum(shown[0]["share"]) == pytest.approx(1)
    assert {p.suffix for p in (here / "xentlab-runs" / "cross").iterdir()} == {".json"}  # nothing half-written stays


def test_a_diverged_loss_leaves_a_gap_and_without_weights_there_is_no_matrix(run: Run, here: Path) -> None:
    options = ("comparison.losses=[ce,mse_logits]", "comparison.tune.optimizer.lr=[1e3,1e4]")
    assert run(*SMALL, *options)[0] == 0
    record = _latest(here)
    entries = {(e["loss"], e["under"]): e for e in record["cross"]}
    for under in ("ce", "mse_logits"):
        gone = entries["mse_logits", under]
        assert (gone["mean"], gone["n"], gone["best"]) == (None, 0, False)
        assert entries["ce", under]["n"] == 2
    assert [entry["loss"] for entry in record["reliability"]] == ["ce"]
    assert run(*SMALL, *options, "output.weights=false", "output.root=bare")[0] == 0
    (folder,) = (here / "bare" / "comparisons").iterdir()
    assert json.loads((folder / "verdicts.json").read_text())["cross"] == []

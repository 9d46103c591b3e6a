"""Comparisons over axes and fairness modes: the same trials reused, every cell judged, and an estimate before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import compose_train, small_digits

from xentlab.journal import Records, TrialRecord
from xentlab.train import Fit, first_gradient_norm, prepare

Run = Callable[..., tuple[int, str, str]]
SMALL = (
    "compare", "tracking=off", "trainer.epochs=2", "dataset.train_fraction=0.3", "model.hidden=[8]",
    "comparison.losses=[ce,mse]",
    "comparison.replicate=point", "comparison.tuning_seeds=2", "comparison.final_seeds=3", "comparison.extensions=0",
    "comparison.tune.optimizer.lr=[0.03,0.1,0.3]",
)  # fmt: skip


def records(here: Path) -> list[TrialRecord]:
    found = Records(here / "xentlab-runs")
    found.update()
    return list(found.trials.values())


def final_rates(here: Path) -> dict[str, set[float]]:
    rates: dict[str, set[float]] = {}
    for trial in records(here):
        if trial.tags["phase"] == "final":
            rates.setdefault(trial.tags["loss"], set()).add(trial.config["optimizer"]["lr"])
    return rates


def test_the_mode_shared_gives_every_loss_one_rate(run: Run, here: Path) -> None:
    code, _, err = run(*SMALL, "comparison.modes=[shared]")
    assert (code, err) == (0, "")
    rates = final_rates(here)
    assert rates["ce"] == rates["mse"]
    assert len(rates["ce"]) == 1


def test_the_mode_matched_scales_rates_by_the_first_gradients(run: Run, here: Path) -> None:
    code, _, err = run(*SMALL, "comparison.modes=[matched]")
    assert (code, err) == (0, "")
    rates = {loss: next(iter(found)) for loss, found in final_rates(here).items()}
    sample = {t.tags["loss"]: t.config for t in records(here) if t.tags["phase"] == "final"}
    norms = {}
    for loss, config in sample.items():
        trials = [prepare({**config, "seed": seed}) for seed in (1000, 1001)]
        norms[loss] = sum(first_gradient_norm(t, t.dataset()) for t in trials) / 2
    assert rates["mse"] == pytest.approx(rates["ce"] * norms["ce"] / norms["mse"], rel=1e-3)


def test_the_first_gradient_norm_is_that_of_plain_autograd() -> None:
    import torch
    import torch.nn.functional as F

    trial = prepare(compose_train("model.hidden=[8]", "trainer.precision=float64", "seed=5"))
    data = small_digits()
    fit = Fit([trial], data)
    fit.rig.lifts[0].enter()
    inputs, target = next(fit.rig.batches.training(slice(0, 1), 1, 16))
    gradients = torch.autograd.grad(F.cross_entropy(fit.rig.module(inputs), target), list(fit.rig.module.parameters()))
    reference = torch.cat([g.flatten() for g in gradients]).norm()
    assert first_gradient_norm(trial, data) == pytest.approx(float(reference), rel=1e-9)


@pytest.mark.slow
def test_axes_and_modes_make_cells_that_share_their_tuning(run: Run, here: Path) -> None:
    code, out, err = run(
        *SMALL, "comparison.modes=[tuned,shared]", "+comparison.axes.dataset.label_noise=[0.0,0.4]"
    )  # fmt: skip
    assert (code, err) == (0, "")
    for cell in ("label noise 0.0 · tuned", "label noise 0.0 · shared", "label noise 0.4 · tuned"):
        assert cell in out
    trials = records(here)
    assert {t.config["dataset"]["label_noise"] for t in trials} == {0.0, 0.4}
    # Two cells, two losses, three rates, two seeds; the second mode adds none.
    assert sum(t.tags["phase"] == "tune" for t in trials) == 2 * 2 * 3 * 2
    (folder,) = (here / "xentlab-runs" / "comparisons").iterdir()
    assert {"report.html", "report.md", "verdicts.json"} <= {p.name for p in folder.iterdir()}


def test_axes_over_groups(run: Run, here: Path) -> None:
    code, out, err = run(*SMALL[:4], *SMALL[5:], "+comparison.axes.model=[linear,{mlp:{hidden:[4]}}]")
    assert (code, err) == (0, "")
    assert {t.tags["model"] for t in records(here)} == {"linear", "mlp"}
    assert {str(t.config["model"].get("hidden")) for t in records(here)} == {"None", "[4]"}
    assert "linear" in out


def test_a_loss_on_seeds_of_its_own(run: Run, here: Path) -> None:
    code, _, err = run(*SMALL, "comparison.losses=[ce,{again:{loss:ce,seed_offset:50}}]")
    assert (code, err) == (0, "")
    finals = [t for t in records(here) if t.tags["phase"] == "final"]
    assert {t.config["seed"] for t in finals} == {0, 1, 2, 50, 51, 52}
    (folder,) = (here / "xentlab-runs" / "comparisons").iterdir()
    record = json.loads((folder / "verdicts.json").read_text())
    rows: dict[str, Any] = {r["loss"]: r for r in record["metrics"][0]["rows"]}
    reached = {t.config["seed"]: t.outcome.test["error"] for t in finals}
    assert rows["again"]["values"] == {str(s): reached[s + 50] for s in range(3)}


def test_a_knob_of_one_loss_is_tuned_at_the_same_budget(run: Run, here: Path) -> None:
    losses = "comparison.losses=[ce,{custom_ce:{tune:{gamma:[0,4]}}}]"
    code, _, err = run(*SMALL, losses)
    assert code == 2
    assert "must give every loss the same number of trials, got ce 3, custom_ce 6" in err
    bounds = ("comparison.search=sobol", "comparison.trials=3", "comparison.tune.optimizer.lr=[0.01,1.0]")
    code, _, err = run(*SMALL, losses, *bounds)
    assert (code, err) == (0, "")
    tuning = [t for t in records(here) if t.tags["phase"] == "tune"]
    assert sum(t.tags["loss"] == "ce" for t in tuning) == sum(t.tags["loss"] == "custom_ce" for t in tuning) == 6
    assert len({t.config["loss"]["gamma"] for t in tuning if t.tags["loss"] == "custom_ce"}) == 3


def test_a_dry_run_counts_and_writes_nothing(run: Run, recorded: Run, here: Path) -> None:
    code, out, err = run(*SMALL, "--dry-run", "comparison.modes=[tuned,shared]")
    assert (code, err) == (0, "")
    assert "12" in out
    assert "about" in out
    assert not list(here.iterdir())
    recorded(*SMALL)
    code, out, _ = run(*SMALL, "--dry-run")
    assert code == 0
    assert "12 of 18 trials are recorded here and will be reused" in out


def test_fresh_ignores_the_record(run: Run, recorded: Run, here: Path) -> None:
    recorded(*SMALL)
    before = len(records(here))
    run(*SMALL, "--fresh")
    assert len(records(here)) == 2 * before


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("comparison.modes=[fair]",), "Unknown comparison.modes 'fair'."),
        (("comparison.modes=[]",), "comparison.modes must name at least one of tuned, shared, matched, got none."),
        (("comparison.search=random",), "comparison.search must be one of grid, sobol, optuna, halving, got 'random'."),
        (("+comparison.axes.model=[mpl]",), "Unknown model 'mpl'. Did you mean 'mlp'?"),
        (
            ("+comparison.axes.dataset.label_nois=[0]",),
            "Unknown knob of dataset 'label_nois'.",
        ),
        (("+comparison.axes.dataset.label_noise=2",), "comparison.axes.dataset.label_noise must be a list of values"),
        (("+comparison.axes.dataset.label_noise=[2]",), "dataset.label_noise must be in [0, 1], got 2."),
        (("+comparison.color=red",), "Unknown knob of comparison 'color'."),
    ],
)
def test_a_mistake_is_one_sentence(run: Run, here: Path, overrides: tuple[str, ...], sentence: str) -> None:
    code, _, err = run("compare", "tracking=off", *overrides)
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "xentlab-runs").exists()

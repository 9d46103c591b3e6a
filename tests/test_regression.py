"""Regression as a task: how targets are scaled, disturbed and refused, and trainings from the command line."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import DATA, compose_train
from torch import Tensor

from xentlab import losses
from xentlab.data import Dataset, diabetes, regression_synthetic, split, tabular
from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.losses.compound import bind
from xentlab.tasks import find
from xentlab.train import Fit, prepare

Run = Callable[..., tuple[int, str, str]]
REGRESSION = find("regression")


def test_training_rows_alone_say_how_targets_are_scaled() -> None:
    whole = diabetes()
    rows = split(whole, 3)
    facts = {name: kind(rows.train_targets, whole) for name, kind in REGRESSION.facts.items()}
    standard, weight = REGRESSION.weigh(rows.train_targets, facts, None, "identity")
    assert weight is None
    assert standard.shape == (len(rows.train), 1)
    assert float(standard.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(standard.std(correction=0)) == pytest.approx(1.0, rel=1e-9)
    relative, _ = REGRESSION.weigh(rows.train_targets, facts, None, "log")
    assert float(relative.mean()) == pytest.approx(1.0, rel=1e-9)


def test_outliers_are_a_share_of_the_training_targets() -> None:
    whole = diabetes()
    clean, plain, upward = (
        split(whole, 0, label_noise=rate, noise=kind)
        for rate, kind in ((0.0, "symmetric"), (0.2, "symmetric"), (0.2, "asymmetric"))
    )
    moved = plain.train_targets != clean.train_targets
    assert float(moved.double().mean()) == pytest.approx(0.2, abs=0.06)
    assert bool((upward.train_targets >= clean.train_targets).all())
    assert torch.equal(plain.test, clean.test)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.tensor([0, 1, 2]), "must be floats [N] or [N, D], got int64 [3]."),
        (torch.tensor([0.0, math.nan, 2.0]), "must be finite numbers, got nan."),
        (torch.tensor([0.0, math.inf, 2.0]), "must be finite numbers, got inf."),
        (torch.tensor([4.0, 4.0, 4.0]), "must be different from each other, got 4 throughout in 'y'."),
        (torch.zeros(3, 2), "must be 1 columns, as many as have names, got 2."),
    ],
)
def test_targets_of_another_form_are_refused(targets: Tensor, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Dataset("mine", "regression", torch.zeros(3, 2), targets, ("y",))
    assert words in str(caught.value)


@pytest.mark.parametrize("loss", ["poisson_nll", "gamma_deviance", "tweedie", "mape", "smape", "msle"])
def test_a_loss_of_amounts_asks_for_a_fact_that_refuses_negative_targets(loss: str) -> None:
    bound = bind(functools.partial(getattr(losses, loss)), "regression")
    whole = Dataset("mine", "regression", torch.zeros(3, 2), torch.tensor([1.0, 2.0, -0.5]), ("y",))
    (fact,) = [name for name in bound.needs if name not in REGRESSION.always]
    with pytest.raises(UserError, match=r"Targets of dataset 'mine' must be >=? 0 for this loss, got -0\.5\."):
        REGRESSION.facts[fact](whole.targets[:2], whole)


def outcomes(root: Path) -> dict[tuple[str, str], dict[str, float]]:
    records = Records(root)
    records.update()
    return {(t.tags["loss"], t.tags["seed"]): t.outcome.test for t in records.trials.values()}


@pytest.mark.parametrize("loss", ["huber", "quantiles", "hl_gauss", "student_t_nll", "tweedie", "msle"])
def test_a_stack_equals_its_trials_alone(loss: str) -> None:
    def ends(lift: str) -> list[dict[str, float]]:
        common = ("dataset=diabetes", "model.hidden=[8]", f"loss={loss}", "trainer.precision=float64")
        rows = [
            prepare(compose_train(*common, f"trainer.lift={lift}", f"seed={s}", "trainer.epochs=3")) for s in (0, 1)
        ]
        fit = Fit(rows, diabetes())
        assert len(list(fit.epochs())) == 3
        return [end.test for end in fit.finish()]

    for values, alone in zip(ends("vectorised"), ends("looped"), strict=True):
        assert set(values) == {metric.name for metric in REGRESSION.metrics}
        assert values == pytest.approx(alone, rel=1e-9)


def test_linear_mse_with_full_batches_is_least_squares(run: Run, here: Path) -> None:
    code, _, err = run(
        "train", "dataset=regression_synthetic", "dataset.samples=500", "model=linear", "loss=mse", "optimizer=sgd",
        "optimizer.lr=0.2", "optimizer.momentum=0", "schedule=constant", "trainer.batch_size=1000",
        "trainer.epochs=150", "trainer.precision=float64", "trainer.checkpoint_every=0", "tracking=off",
    )  # fmt: skip
    assert (code, err) == (0, "")
    whole = regression_synthetic(samples=500)
    rows = split(whole, 0)
    design = np.column_stack([whole.inputs.double().numpy(), np.ones(500)])
    y = whole.targets.numpy()
    solution, *_ = np.linalg.lstsq(design[rows.train], y[rows.train], rcond=None)
    wanted = np.sqrt(np.mean((design[rows.test] @ solution - y[rows.test]) ** 2))
    (found,) = outcomes(here / "xentlab-runs").values()
    assert found["rmse"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "knobs", "words"),
    [
        ("a,y\n1,low\n2,high\n3,low\n", {}, "must hold numbers, found high, low"),
        (
            "a,y\n1,2\n2,\n3,4\n",
            {},
            "must hold a value in every row of column 'y', found 1 missing, the first in row 2",
        ),
        ("a,y\n1,2\n2,inf\n3,4\n", {}, "must hold finite numbers: row 2 is infinite, inf"),
        ("a,y\n1,5\n2,5\n3,5\n", {}, "must be different from each other, got 5 throughout in 'y'"),
    ],
)
def test_a_bad_target_column_is_refused(tmp_path: Path, text: str, knobs: dict[str, Any], words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        tabular(path=str(tmp_path / "t.csv"), task="regression", **knobs)
    assert words in str(caught.value)


def test_a_table_of_two_numbers_trains_with_both(run: Run, here: Path) -> None:
    draws = np.random.default_rng(0)
    x = draws.normal(size=(80, 3))
    y = x @ draws.normal(size=(3, 2)) + [100.0, -5.0]
    rows = [",".join(f"{v:.6f}" for v in row) for row in np.column_stack([x, y])]
    (here / "t.csv").write_text("\n".join(["a,b,c,u,v", *rows]) + "\n")
    code, out, err = run(
        "train", "dataset=tabular", "dataset.path=t.csv", "dataset.task=regression", "dataset.targets=[u,v]",
        "model=linear", "loss=gaussian_nll", "optimizer=adam", "optimizer.lr=0.05", "trainer.epochs=40", "tracking=off",
    )  # fmt: skip
    assert code == 0, err
    (found,) = outcomes(here / "xentlab-runs").values()
    assert found["r2"] > 0.95
    assert "Root mean squared error" in out


def test_a_loss_of_classes_is_refused_with_those_that_do(run: Run, here: Path) -> None:
    code, _, err = run("train", "dataset=diabetes", "loss=ce", "tracking=off")
    assert code == 2
    assert "loss ce has no meaning on regression" in err
    assert "gaussian_nll" in err
    assert not (here / "xentlab-runs").exists()


@pytest.mark.parametrize(
    "extra",
    [
        "loss.link=softmax",
        "loss=quantile loss.level=1.5",
        "loss=hl_gauss loss.bins=1",
        "loss=quantiles loss.levels=[0.5,0.4]",
        "loss=compound loss.terms={mse:{},mae:{}} loss.smoothing=0.1",
        "loss=compound loss.terms={mse:{},gaussian_nll:{}} loss.smoothing=0",
    ],
)
def test_knobs_without_meaning_are_refused(run: Run, here: Path, extra: str) -> None:
    given = extra.split() if "loss=" in extra else ["loss=mse", *extra.split()]
    code, _, err = run("train", "dataset=diabetes", *given, "tracking=off")
    assert (code, len(err.strip().splitlines())) == (2, 1), err
    assert not (here / "xentlab-runs").exists()


@pytest.mark.skipif(not (DATA and (Path(DATA) / "uci").is_dir()), reason="XENTLAB_DATA holds no uci here")
def test_the_tables_of_uci_are_read_as_they_are() -> None:
    assert DATA is not None
    sizes = {}
    for folder in sorted((Path(DATA) / "uci").iterdir()):
        whole = tabular(path=str(folder / "data.txt"), task="regression")
        wanted = np.loadtxt(folder / "data.txt")
        np.testing.assert_allclose(whole.targets.numpy(), wanted[:, -1], rtol=1e-12)
        assert whole.input_shape == (wanted.shape[1] - 1,)
        sizes[folder.name] = len(whole.targets)
    assert sizes["yacht"] == 308
    assert sizes["kin8nm"] == 8192


def test_the_reliability_of_numbers_is_their_pit_histogram() -> None:
    pit = torch.tensor([[0.01, 0.02, 0.5, 0.99]], dtype=torch.float64).unsqueeze(-1)
    assert REGRESSION.reliability is not None
    bins = REGRESSION.reliability({"pit": pit})
    assert bins["count"][0].tolist() == [8, *[0] * 6, 4, *[0] * 6, 4, 0]
    assert bins["confidence"][0, 7].item() == pytest.approx(4 * 8 / 15)
    # Two, three and four of four targets lie below the upper quantiles of the bins that hold two, one and one.
    assert bins["correct"][0].tolist() == [4, *[0] * 6, 3, *[0] * 6, 4, 0]


def test_a_loss_reads_outputs_of_its_own_number_and_link_alone() -> None:
    bound = {name: bind(functools.partial(getattr(losses, name)), "regression")
             for name in ("mae", "huber", "gaussian_nll", "laplace_nll", "poisson_nll")}  # fmt: skip
    assert bound["mae"].reads(bound["huber"])
    assert not bound["gaussian_nll"].reads(bound["mae"])
    assert not bound["gaussian_nll"].reads(bound["laplace_nll"])
    assert not bound["poisson_nll"].reads(bound["mae"])


@pytest.mark.parametrize("terms", ["{mse:{},mae:{weight:0.5}}", "{hl_gauss:{},two_hot:{}}", "{student_t_nll:{df:3}}"])
def test_losses_of_numbers_add_up(run: Run, here: Path, terms: str) -> None:
    code, _, err = run(
        "train", "dataset=diabetes", "model=linear", "loss=compound", f"loss.terms={terms}", "trainer.epochs=10",
        "tracking=off",
    )  # fmt: skip
    assert (code, err) == (0, "")
    (found,) = outcomes(here / "xentlab-runs").values()
    assert 0.2 < found["r2"] < 0.7

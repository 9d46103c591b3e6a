"""Metrics against the true probabilities, and the reliability bins, in closed forms and as trials report them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import compose_train, small_digits
from torch import Tensor

from xentlab.data import multilabel_synthetic
from xentlab.metrics import POSTERIOR_METRICS, multilabel_metrics, posterior_metrics
from xentlab.metrics.bins import NUM_BINS
from xentlab.outcome import Outcome
from xentlab.train import Fit, prepare

NAMES = [metric.name for metric in POSTERIOR_METRICS]


def _drawn(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _values(probs: Tensor, posterior: Tensor) -> list[float]:
    found = posterior_metrics(probs, posterior)
    return [float(found[name][0]) for name in NAMES]


def test_the_posterior_itself_is_perfect() -> None:
    posterior = _drawn(50, 4, seed=0)
    assert _values(posterior[None], posterior) == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def test_a_coin_against_a_biased_one_by_hand() -> None:
    q, p = 0.9, 0.5
    divergence = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    found = _values(torch.full((1, 7, 3), p, dtype=torch.float64), torch.full((7, 3), q, dtype=torch.float64))
    assert found == pytest.approx([3 * divergence, 0.4, 0.4], rel=1e-9)


def test_excess_risk_is_the_expected_nll_less_its_minimum() -> None:
    posterior, probs = _drawn(200, 5, seed=1), _drawn(2, 200, 5, seed=2)
    generator = torch.Generator().manual_seed(3)
    total, floor, draws = torch.zeros(2, dtype=torch.float64), 0.0, 150
    for _ in range(draws):
        labels = torch.rand(200, 5, generator=generator, dtype=torch.float64) < posterior
        total += multilabel_metrics(probs, labels)["nll"] / draws
        floor += float(multilabel_metrics(posterior[None], labels)["nll"]) / draws
    excess = posterior_metrics(probs, posterior)["excess_risk"]
    torch.testing.assert_close(total - floor, excess, rtol=0.02, atol=0)


def test_true_calibration_is_what_ece_tends_to() -> None:
    posterior = _drawn(20_000, 1, seed=4)
    probs = (posterior**2)[None]
    labels = _drawn(20_000, 1, seed=5) < posterior
    estimate = float(multilabel_metrics(probs, labels)["ece"])
    exact = _values(probs, posterior)[2]
    assert exact == pytest.approx(1 / 2 - 1 / 3, abs=0.004)  # the mean of q - q^2 over the unit interval
    assert estimate == pytest.approx(exact, abs=0.01)


def test_calibration_forgives_what_averages_out_and_posterior_error_does_not() -> None:
    posterior = torch.tensor([[0.2], [0.8]], dtype=torch.float64).repeat(10, 1)
    excess, error, calibration = _values(torch.full((1, 20, 1), 0.5, dtype=torch.float64), posterior)
    assert excess > 0
    assert (error, calibration) == (pytest.approx(0.3), pytest.approx(0.0, abs=1e-12))


def test_sure_mistakes_cost_a_finite_excess() -> None:
    found = _values(torch.tensor([[[0.0, 1.0]]], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    assert found == pytest.approx([2 * np.log(1e7), 1.0, 1.0], rel=1e-9)


def test_rows_do_not_touch_each_other() -> None:
    posterior, probs = _drawn(30, 3, seed=6), _drawn(2, 30, 3, seed=7)
    probs[0, 0, 0] = float("nan")
    together = posterior_metrics(probs, posterior)
    alone = posterior_metrics(probs[1:], posterior)
    for name, value in alone.items():
        assert float(together[name][1]) == pytest.approx(float(value[0]), rel=1e-12)
        assert torch.isnan(together["excess_risk"][0])


def _end(dataset: Any, *overrides: str, test: bool = True) -> tuple[Fit, Outcome]:
    config = compose_train("model.hidden=[8]", "trainer.epochs=1", "trainer.precision=float64", *overrides)
    fit = Fit([prepare(config, test=test)], dataset)
    list(fit.epochs())
    return fit, fit.finish()[0]


def test_a_trial_on_known_posteriors_reports_them_on_its_own_test_examples() -> None:
    dataset = multilabel_synthetic(samples=200)
    fit, end = _end(dataset, "dataset=multilabel_synthetic", "loss=bce")
    (lift,) = fit.rig.lifts
    lift.enter()
    places = fit.rig.batches.examples(lift.rows, "test")
    probs = torch.sigmoid(lift.predict(dataset.inputs[places].double()))
    assert dataset.posterior is not None
    expected = posterior_metrics(probs, dataset.posterior[places])
    for name in NAMES:
        assert end.test[name] == pytest.approx(float(expected[name]), rel=1e-9)
        assert name in end.test_at_best
    _, tuning = _end(dataset, "dataset=multilabel_synthetic", "loss=bce", test=False)
    assert (tuning.test, tuning.test_at_best, tuning.reliability) == ({}, {}, None)


@pytest.mark.parametrize(("dataset", "loss"), [("digits", "ce"), ("multilabel_synthetic", "bce")])
def test_reliability_bins_hold_every_statement_and_give_the_ece(dataset: str, loss: str) -> None:
    source = small_digits() if dataset == "digits" else multilabel_synthetic(samples=200)
    fit, end = _end(source, f"dataset={dataset}", f"loss={loss}")
    assert end.reliability is not None
    bins = (end.reliability.count, end.reliability.correct, end.reliability.confidence)
    count, correct, confidence = map(np.array, bins)
    statements = fit.rig.batches.size["test"] * (1 if dataset == "digits" else source.num_classes)
    assert (len(count), count.sum()) == (NUM_BINS + 1, statements)
    assert np.abs(correct - confidence).sum() / statements == pytest.approx(end.test["ece"], rel=1e-9)
    means = confidence[count > 0] / count[count > 0]
    edges = np.linspace(0, 1, 16)[np.flatnonzero(count)]
    assert ((means >= edges - 1e-12) & (means <= edges + 1 / 15 + 1e-12)).all()

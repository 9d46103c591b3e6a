"""What published claims rest on: the neuron's closed form, verdicts whose truth is known, the temperature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import brentq
from support import compose_train, small_digits
from torchmetrics.functional.classification import multiclass_calibration_error

from xentlab.config.compose import config_dir
from xentlab.errors import UserError
from xentlab.published import claims, neuron
from xentlab.published.claims import Judged
from xentlab.train import Fit, prepare
from xentlab.train.temperature import fit_temperature, temperature_scaled
from xentlab.typed import from_json

FOLDER = config_dir() / "comparison" / "published"

NEURON = yaml.safe_load((FOLDER / "nielsen_neuron.yaml").read_text())["published"]["neuron"]


def by_hand(cost: str, start: list[float], rate: float, epochs: int) -> list[float]:
    """Outputs of the recursion: weight and bias move alike, because the input is 1."""
    z = sum(start)
    outputs = []
    for _ in range(epochs + 1):
        a = 1 / (1 + math.exp(-z))
        outputs.append(a)
        z -= 2 * rate * (a * a * (1 - a) if cost == "quadratic" else a)
    return outputs


@pytest.mark.parametrize("start", NEURON["starts"], ids=str)
@pytest.mark.parametrize("cost", NEURON["rates"])
def test_a_neurons_trace_is_the_closed_form_recursion(cost: str, start: list[float]) -> None:
    rate, epochs = NEURON["rates"][cost], NEURON["epochs"]
    found = neuron.trace(cost, start[0], start[1], rate, epochs)
    outputs = np.array(by_hand(cost, start, rate, epochs))
    costs = outputs**2 / 2 if cost == "quadratic" else -np.log1p(-outputs)
    assert len(found.output) == 301
    np.testing.assert_allclose(found.output, outputs, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.cost, costs, rtol=0, atol=1e-6)


def test_epochs_until_a_neuron_has_learned_are_counted_at_one_rate_for_both_costs() -> None:
    wanted = from_json(neuron.Neuron, NEURON, "neuron")
    found = neuron.quantities(wanted)
    for start in wanted.starts:
        needed = {}
        for cost in wanted.rates:
            outputs = by_hand(cost, start, wanted.equal_rate, 1000)
            needed[cost] = next(i for i, a in enumerate(outputs) if a < 0.1)
            words = f"epochs until the output is below 0.1 at one rate, {cost} from {neuron.pair(start)}"
            assert found[words] == needed[cost]
        ratio = found[f"epochs at one rate, quadratic over cross-entropy, from {neuron.pair(start)}"]
        assert ratio == needed["quadratic"] / needed["cross-entropy"]


def judged_often(true: float, published: Callable[..., Judged], *, tables: int = 300) -> list[str]:
    """Verdicts on a published 95.0 (one run, the best of three, or a mean with its spread) where ours are at `true`."""
    draws = np.random.default_rng(0).normal(0.0, 0.3, (tables, 12))
    return [published(row[:8] + true, row[8:11] + 95.0).verdict for row in draws]


KINDS = {
    "one": lambda ours, theirs: claims.against_value(ours, theirs[0], margin=1.0),
    "best": lambda ours, theirs: claims.against_value(ours, max(theirs), best_of=3, margin=1.0),
    "mean": lambda ours, theirs: claims.against_value(
        ours, theirs.mean(), sd=float(theirs.std(ddof=1)), runs=3, margin=1.0
    ),
}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * (k == "best")) for k in KINDS])
def test_a_true_value_is_rarely_denied_and_one_a_margin_away_rarely_confirmed(kind: str) -> None:
    # 15 of 300 expected at most; 28 is more than three standard deviations above.
    right = judged_often(95.0, KINDS[kind])
    assert right.count("disagrees") <= 28
    assert right.count("agrees") >= 100
    for true in (94.0, 96.0):
        assert judged_often(true, KINDS[kind]).count("agrees") <= 28


def test_noise_buys_no_agreement() -> None:
    assert claims.against_value([20.0, 60.0, 99.0], 98.2, margin=1.0).verdict == "not decidable"
    draws = np.random.default_rng(1).normal(97.5, 0.3, (300, 3))
    assert sum(claims.against_value(ours, 98.2, margin=0.5).verdict == "agrees" for ours in draws) <= 28


def test_a_value_is_told_from_a_wrong_one_and_from_too_wide_an_interval() -> None:
    ours = [95.0, 95.1, 94.9, 95.05, 94.95, 95.0]
    off = claims.against_value(ours, 96.5, margin=1.0)
    assert off.difference is not None
    assert (off.verdict, off.difference.value) == ("disagrees", pytest.approx(-1.5))
    assert off.difference.high is not None
    assert off.difference.high < 0
    assert claims.against_value(ours, 95.05, margin=1.0).verdict == "agrees"
    assert claims.against_value(ours, 95.05).verdict == "not decidable"  # no margin, no agreement
    assert claims.against_value([80.0, 99.0, 95.0], 95.0, margin=1.0).verdict == "not decidable"
    assert claims.against_value([95.0, 95.0], 95.0, margin=1.0).verdict == "not decidable"
    # One single run predicted from n others: Student's t with n - 1 degrees of freedom, sd * sqrt(1 + 1 / n).
    plain = claims.against_value([1.0, 2.0, 3.0], 2.0)
    assert plain.difference is not None
    assert plain.difference.high == pytest.approx(4.302652729911275 * math.sqrt(1 + 1 / 3), rel=1e-9)
    # A number that was rounded may lie anywhere within its last digit.
    same = [98.96, 98.96, 98.96]
    assert claims.against_value(same, 99.0, sd=0.0, runs=3, rounding=0.05).verdict == "not decidable"
    assert claims.against_value(same, 99.0, sd=0.0, runs=3).verdict == "disagrees"


def test_an_order_has_a_smallest_effect_that_counts() -> None:
    up = [0.5, 0.6, 0.4, 0.55, 0.45, 0.5, 0.52, 0.48]
    assert claims.against_order(up, 0.3).verdict == "agrees"
    assert claims.against_order(up, 0.52).verdict == "not decidable"
    assert claims.against_order(up, 0.9).verdict == "disagrees"


def test_orders_margins_bounds_and_ranges_are_decided_by_their_intervals() -> None:
    up, mixed = [0.5, 0.6, 0.4, 0.55, 0.45, 0.5, 0.52, 0.48], [0.5, -0.6, 0.4, -0.5, 0.1, -0.2, 0.3, -0.1]
    assert claims.against_order(up).verdict == "agrees"
    assert claims.against_order([-v for v in up]).verdict == "disagrees"
    assert claims.against_order(mixed).verdict == claims.against_order([0.5]).verdict == "not decidable"
    assert claims.against_margin(up, 1.0).verdict == "agrees"
    assert claims.against_margin(up, 0.1).verdict == "disagrees"
    assert claims.against_margin(up, 0.5).verdict == "not decidable"
    assert claims.against_bound([99.1, 99.12, 99.11], 99.0).verdict == "agrees"
    assert claims.against_bound([98.1, 98.12, 98.11], 99.0).verdict == "disagrees"
    assert claims.against_bound([98.5, 99.5, 99.2], 99.0).verdict == "not decidable"
    assert claims.against_range(0.82, 0.815, 0.825).verdict == "agrees"
    assert claims.against_range(0.9, None, 0.825).verdict == claims.against_range(None, 1, 2).verdict == "disagrees"


def test_the_temperature_is_where_the_likelihoods_slope_is_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, 4, generator=generator, dtype=torch.float64)
    target = torch.multinomial(torch.softmax(logits / 2.5, 1), 1, generator=generator)[:, 0]

    def slope(inverse: float) -> float:
        # Of the mean negative log-likelihood in 1 / T: what the probabilities expect of the logits, less the truth's.
        probs = torch.softmax(logits * inverse, dim=1)
        return float(((probs * logits).sum(1) - logits.gather(1, target[:, None])[:, 0]).mean())

    assert fit_temperature(logits, target) == pytest.approx(1 / brentq(slope, 0.01, 10.0), rel=1e-4)


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_scaled_metrics_are_those_of_each_trials_own_logits_over_its_temperature(lift: str) -> None:
    options = ("trainer.precision=float64", f"trainer.lift={lift}", "trainer.epochs=6", "model.hidden=[16]")
    dataset = small_digits()
    trials = [prepare(compose_train(*options, f"seed={seed}")) for seed in (0, 1)]
    fit = Fit(trials, dataset)
    list(fit.epochs())
    fit.finish()
    weights = [fit.weights(row, "final") for row in range(2)]
    for row, found in enumerate(temperature_scaled(trials, dataset, weights)):
        alone = Fit(trials[row : row + 1], dataset)
        alone.rig.module.load_state_dict(weights[row])
        sides = {}
        for part in ("val", "test"):
            places = alone.rig.batches.examples(slice(0, 1), part)
            with torch.no_grad():
                logits = alone.rig.module.eval()(dataset.inputs[places].double() * dataset.scale)
            sides[part] = (logits, dataset.targets[places].long())
        temperature = fit_temperature(*sides["val"])
        assert found["temperature"] == pytest.approx(temperature, rel=1e-5)
        logits, target = sides["test"]
        nll = torch.nn.functional.cross_entropy(logits / temperature, target)
        assert found["nll"] == pytest.approx(float(nll), rel=1e-5)
        assert found["error"] == pytest.approx(float((logits.argmax(1) != target).double().mean()))
        ece = multiclass_calibration_error(torch.softmax(logits / found["temperature"], 1), target, 10, n_bins=15)
        assert found["ece"] == pytest.approx(float(ece), abs=1e-6)


def test_temperature_scaling_refuses_what_it_has_no_meaning_for() -> None:
    trial = prepare(compose_train("loss=bce"))
    with pytest.raises(UserError, match="needs a loss of softmax logits, got bce"):
        temperature_scaled([trial], small_digits(), [{}])

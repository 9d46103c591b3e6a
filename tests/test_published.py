"""Published results: the neuron against its closed form, verdicts on numbers whose truth is known, every smoke size."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import brentq
from support import compose_train, small_digits
from torchmetrics.functional.classification import multiclass_calibration_error

from xentlab.cli.published import names
from xentlab.config.compose import config_dir
from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.published import claims, neuron
from xentlab.published.plan import given_keys, lay
from xentlab.report.published import Reproduction, page, text
from xentlab.train import Fit, prepare
from xentlab.train.temperature import fit_temperature, temperature_scaled

Run = Callable[..., tuple[int, str, str]]

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
    wanted = neuron.read_neuron(NEURON)
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


def test_a_value_agrees_as_often_as_it_promises_where_it_is_true() -> None:
    # The published number is drawn from where ours come from: one run, the best of three, or a mean with its spread.
    draws = np.random.default_rng(0).normal(95.0, 0.3, (300, 12))
    for kind in ("one", "best", "mean"):
        wrong = 0
        for ours, theirs in zip(draws[:, :8], draws[:, 8:11], strict=True):
            if kind == "one":
                judged = claims.against_value(ours, theirs[0])
            elif kind == "best":
                judged = claims.against_value(ours, max(theirs), best_of=3)
            else:
                judged = claims.against_value(ours, theirs.mean(), sd=float(theirs.std(ddof=1)), runs=3)
            wrong += judged.verdict == "disagrees"
        # 15 expected; 28 is more than three standard deviations above, and none at all would be a dead test.
        assert 2 <= wrong <= 28, kind


def test_a_value_is_told_from_a_wrong_one_and_from_too_wide_an_interval() -> None:
    ours = [95.0, 95.1, 94.9, 95.05, 94.95, 95.0]
    off = claims.against_value(ours, 96.0, margin=1.0)
    assert (off.verdict, off.difference) == ("disagrees", pytest.approx(-1.0))
    assert off.high is not None
    assert off.high < 0
    assert claims.against_value(ours, 95.05, margin=1.0).verdict == "agrees"
    assert claims.against_value([80.0, 99.0, 95.0], 95.0, margin=1.0).verdict == "not decidable"
    assert claims.against_value([95.0], 95.0).verdict == "not decidable"
    # One single run predicted from n others: Student's t with n - 1 degrees of freedom, sd * sqrt(1 + 1 / n).
    plain = claims.against_value([1.0, 2.0, 3.0], 2.0)
    assert plain.high == pytest.approx(4.302652729911275 * math.sqrt(1 + 1 / 3), rel=1e-9)
    # A number that was rounded may lie anywhere within its last digit.
    assert claims.against_value([98.96, 98.96, 98.96], 99.0, sd=0.0, runs=3, rounding=0.05).verdict == "agrees"
    assert claims.against_value([98.96, 98.96, 98.96], 99.0, sd=0.0, runs=3).verdict == "disagrees"


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
    target = torch.distributions.Categorical(logits=logits / 2.5).sample()

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
        alone.module.load_state_dict(weights[row])
        sides = {}
        for part in ("val", "test"):
            places = alone.batches.examples(slice(0, 1), part)
            with torch.no_grad():
                logits = alone.module.eval()(dataset.inputs[places].double() * dataset.scale)
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


def test_settings_are_laid_over_a_config_but_for_what_the_user_gave() -> None:
    def node(group: str, name: str) -> dict[str, Any]:
        return {"_target_": f"{group}/{name}"}

    config: dict[str, Any] = {"optimizer": {"_target_": "x.sgd", "lr": 0.1, "momentum": 0.9}, "trainer": {"epochs": 9}}
    config["dataset"] = {"_target_": "x.digits"}
    keep = given_keys(["trainer.epochs=9", "+loss.gamma=2", "dataset=digits"])
    assert keep == {"trainer.epochs", "loss.gamma", "dataset"}
    lay(config, {"trainer": {"epochs": 1}, "optimizer": {"lr": 3.0}, "dataset": "mnist"}, node, keep)
    assert config["optimizer"] == {"_target_": "x.sgd", "lr": 3.0, "momentum": 0.9}
    assert (config["trainer"], config["dataset"]) == ({"epochs": 9}, {"_target_": "x.digits"})
    lay(config, {"optimizer": {"adam": {"_target_": "other"}}}, node)
    assert config["optimizer"] == {"_target_": "other"}
    lay(config, {"optimizer": "adam"}, node)
    assert config["optimizer"] == {"_target_": "optimizer/adam"}
    with pytest.raises(UserError, match="Unknown knob of trainer 'epoch'"):
        lay(config, {"trainer": {"epoch": 1}}, node)


def test_there_are_published_experiments() -> None:
    assert {"nielsen_neuron", "nielsen_mnist", "label_noise_menon", "active_passive"} <= set(names())
    assert {"square_loss", "segnet_camvid", "mnist_fast", "calibration"} <= set(names())
    for name in names():
        block = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["published"]
        assert list(block["sizes"]) == ["smoke", "cpu", "gpu", "full"]
        assert all(claim["source"] and claim["about"] for claim in block["claims"])
        assert all(claim.get("values") or claim.get("published") for claim in block["claims"])


def assert_rounded(shown: str, expected: float) -> None:
    """The first number of a difference is the expected one at the digits that it shows."""
    first = shown.split()[0].replace("−", "-")
    assert float(first) == pytest.approx(expected, abs=0.51 * 10.0 ** -len(first.partition(".")[2]))


def assert_differences(found: Reproduction, claimed: list[dict[str, Any]]) -> None:
    """Every difference is that of the seeds on the page: ours minus published, or the claimed winner's lead."""
    arms = {arm.label: arm for arm in found.arms}
    findings = iter(found.findings)
    for claim in claimed:
        for label in claim.get("values") or [""]:
            finding = next(findings)
            lead = 1 if claim["metric"].endswith(("accuracy", "miou")) else -1

            def mean(arm: str, metric: str = claim["metric"]) -> float:
                values = [v for v in arms[arm].values[metric].values() if v is not None]
                return sum(values) / len(values)

            if finding.difference == "–":
                assert "2 of 2 stuck or diverged" in finding.ours
            elif label:
                assert_rounded(finding.difference, mean(label) - claim["values"][label])
            else:
                assert_rounded(finding.difference, lead * (mean(claim["better"]) - mean(claim["worse"])))
    assert next(findings, None) is None


@pytest.mark.parametrize("name", names())
def test_every_experiment_runs_at_its_smoke_size(run: Run, here: Path, name: str) -> None:
    code, out, err = run("compare", f"comparison=published/{name}", "size=smoke", "tracking=off")
    assert (code, err) == (0, "")
    folder = here / "xentlab-runs" / "published" / f"{name}-smoke"
    found = Reproduction.from_json(json.loads((folder / "published.json").read_text()))
    block = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["published"]
    rows = sum(max(1, len(claim.get("values", {}))) for claim in block["claims"])
    assert len(found.findings) == rows
    assert found.size == "smoke"
    written = (folder / "report.html").read_text()
    for finding in found.findings:
        assert escape(finding.about) in written
        assert finding.source
        assert finding.published
        # A smoke run trains next to nothing, and says so; what is exact is exact at any size.
        assert finding.verdict == ("agrees" if name == "nielsen_neuron" else "not decidable")
    assert f"{name} (smoke): {rows} {finding.verdict}" in out
    assert "<script" not in written
    if name == "nielsen_neuron":
        assert written.count("<svg role") == 4
        return
    records = Records(here / "xentlab-runs")
    records.update()
    combinations = math.prod(len(v) for axis in block.get("over", {}).values() for v in axis.values())
    tried = block.get("otherwise", {})
    assert len(found.arms) == len(block["arms"]) * combinations + len(tried)
    assert [t.label for t in found.choices_tried] == list(tried)
    assert all(escape(t.label) in written and t.difference[0] in "+−0" for t in found.choices_tried)
    assert len({t.signature for t in records.trials.values()}) == len(records.trials) == 2 * len(found.arms)
    for arm in found.arms:
        for metric in found.metrics:
            assert list(arm.values[metric]) == ["0", "1"]
            assert all(v is None or math.isfinite(v) for v in arm.values[metric].values())
    assert_differences(found, block["claims"])
    if "test/accuracy" in found.metrics:
        shown = sorted(v for arm in found.arms for v in arm.values["test/accuracy"].values() if v is not None)
        errors = [t.summary["test/error"] for t in records.trials.values() if not t.summary["diverged"]]
        assert shown == pytest.approx(sorted(100 * (1 - error) for error in errors))
    if name != "nielsen_mnist":
        return
    # Nothing is trained twice.
    code, out, _ = run("compare", f"comparison=published/{name}", "size=smoke", "tracking=off")
    assert code == 0
    assert "0 trials trained now" in out


def test_all_are_estimated_then_run_and_laid_out_on_one_page(run: Run, here: Path) -> None:
    chosen = ("nielsen_neuron", "mnist_fast", "calibration")
    common = ("--size", "smoke", "--set", "tracking=off")
    code, out, _ = run("published", *chosen, *common, "--dry-run")
    assert code == 0
    assert re.search(r"calibration +12 trials, about \d+ s", out)
    assert not (here / "xentlab-runs").exists()
    code, out, _ = run("published", *chosen, *common, "--minutes", "0")
    assert code == 0
    assert out.count("left out") == 2
    code, out, _ = run("published", *chosen, *common)
    assert code == 0
    written = (here / "xentlab-runs" / "published" / "report.html").read_text()
    assert all(f"<h2>{name} (smoke)" in written for name in chosen)
    assert "| claim | verdict | published | ours |" in (here / "xentlab-runs" / "published" / "report.md").read_text()


def test_a_recorded_experiment_is_laid_out_again(run: Run, here: Path) -> None:
    code, out, _ = run("report", "published/nielsen_neuron")
    assert code == 2
    code, out, err = run("compare", "comparison=published/nielsen_neuron", "tracking=off")
    assert code == 0, err
    page = here / "xentlab-runs" / "published" / "nielsen_neuron-full" / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert run("report", "published/nielsen_neuron")[1].strip() == str(page)
    assert page.read_bytes() == before
    code, out, _ = run("report", "published/nielsen_neuron-full", "--format", "md")
    assert code == 0
    assert out == (page.parent / "report.md").read_text()
    assert json.loads(run("report", "published/nielsen_neuron", "--format", "json")[1])["name"] == "nielsen_neuron"
    assert "6 agrees" in run("report", "published/nielsen_neuron", "--format", "text")[1]
    assert run("report", "published/nielsen_neuron", "--format", "tex")[0] == 2
    assert "nielsen_neuron-full" in run("report", "published/nielsen")[2]


def test_a_protocol_changed_on_the_command_line_decides_nothing(run: Run, here: Path) -> None:
    small = ("dataset=digits", "trainer.epochs=2", "published.sizes.cpu.seeds=2", "tracking=off")
    code, out, _ = run("compare", "comparison=published/mnist_fast", *small)
    assert code == 0
    assert "mnist_fast (cpu): 3 not decidable" in out
    file = here / "xentlab-runs" / "published" / "mnist_fast-cpu" / "published.json"
    found = Reproduction.from_json(json.loads(file.read_text()))
    assert found.size_words == "the whole protocol, but dataset, trainer.epochs set on the command line"
    # The same size in another place keeps what it can decide.
    aside = ("size=full", "output.root=elsewhere", "tracking=off", "trainer.device=cpu")
    code, out, _ = run("compare", "comparison=published/nielsen_neuron", *aside)
    assert code == 0
    assert "nielsen_neuron (full): 6 agrees" in out


def test_mistakes_are_named(run: Run) -> None:
    code, _, err = run("compare", "comparison=published/nielsen_neuron", "size=huge", "tracking=off")
    assert (code, err) == (2, "xentlab: size must be one of smoke, cpu, gpu, full, got 'huge'.\n")
    code, _, err = run("published", "nielsen")
    assert code == 2
    assert "Unknown published experiment 'nielsen'" in err


def test_a_page_names_what_was_not_run_and_escapes_what_it_is_told() -> None:
    one = Reproduction("a<b", "q?", "s", "p", "cpu", "w", "c", "t", findings=[])
    written = page("title", [one], [("slow", "about 90 minutes")])
    assert "slow: not run, about 90 minutes" in written
    assert "a&lt;b" in written
    assert "a<b" not in written
    assert "slow: not run, about 90 minutes" in text("title", [one], [("slow", "about 90 minutes")])
    assert Reproduction.from_json(one.to_json()) == one

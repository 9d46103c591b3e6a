"""Published experiments from their protocol to their page, every one at its smoke size."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from xentlab.cli.published import names
from xentlab.comparison.overlay import lay
from xentlab.config.choices import given_keys
from xentlab.config.compose import config_dir
from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.report.published import markdown_of, page, published_words
from xentlab.report.reproduction import Reproduction
from xentlab.typed import from_json, to_json

Run = Callable[..., tuple[int, str, str]]


FOLDER = config_dir() / "comparison" / "published"


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

            assert (finding.kind, finding.published) == (claim["kind"], claim.get("values", {}).get(label))
            if finding.difference is None:
                assert (finding.ours.mean, finding.ours.n, finding.ours.gone) == (None, 0, 2)
            elif label:
                assert finding.difference.value == pytest.approx(
                    mean(label) - claim["values"][label], rel=1e-9, abs=1e-9
                )
            else:
                expected = lead * (mean(claim["better"]) - mean(claim["worse"]))
                assert finding.difference.value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert next(findings, None) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_experiment_runs_at_its_smoke_size(run: Run, here: Path, name: str) -> None:
    block = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["published"]
    fewer: tuple[str, ...] = ()
    if name == "uci_regression":
        if not Path(os.environ.get("XENTLAB_DATA", "/nowhere"), "uci").is_dir():
            pytest.skip("XENTLAB_DATA names no folder with uci")
        fewer = ("published.over.dataset.table=[yacht]",)
        block["over"]["dataset"]["table"] = ["yacht"]
        block["claims"] = [claim for claim in block["claims"] if "mse · table yacht" in claim["values"]]
    code, out, err = run("compare", f"comparison=published/{name}", "size=smoke", "tracking=off", *fewer)
    assert code == 0, err
    read = ("xentlab: english: ", "xentlab: uci yacht: ")
    assert [line for line in err.splitlines() if not line.startswith(read)] == []
    folder = here / "xentlab-runs" / "published" / f"{name}-smoke"
    found = from_json(Reproduction, json.loads((folder / "published.json").read_text()), "published")
    rows = sum(max(1, len(claim.get("values", {}))) for claim in block["claims"])
    assert len(found.findings) == rows
    assert found.size == "smoke"
    written = (folder / "report.html").read_text()
    for finding in found.findings:
        assert escape(finding.about) in written
        assert finding.source
        assert published_words(finding) in unescape(written)
        # A smoke run is no claim's own experiment, and says what it is; what is exact is exact at any size.
        assert finding.verdict == ("agrees" if name == "nielsen_neuron" else "not tested here")
        if name != "nielsen_neuron":
            assert re.search(rf"on [\w ]+, {re.escape(found.size_words)}, we see (what|something|nothing)", finding.why)
    assert f"{name} (smoke): {rows} {finding.verdict}" in out
    assert "<script" not in written
    if name == "nielsen_neuron":
        assert written.count("<svg role") == 4
        return
    records = Records(here / "xentlab-runs")
    records.update()
    axes = [v for axis in block.get("over", {}).values() for v in (axis.values() if isinstance(axis, dict) else [axis])]
    combinations = math.prod(map(len, axes))
    tried = block.get("otherwise", {})
    points = math.prod(len(v) for part in block.get("tune", {}).values() for v in part.values())
    assert len(found.arms) == len(block["arms"]) * combinations + len(tried)
    assert [t.label for t in found.choices_tried] == list(tried)
    assert all(escape(t.label) in written and t.difference is not None for t in found.choices_tried)
    assert len({t.signature for t in records.trials.values()}) == len(records.trials)
    assert len(records.trials) == 2 * points * len(found.arms)
    for arm in found.arms:
        for metric in found.metrics:
            assert list(arm.values[metric]) == ["0", "1"]
            assert all(v is None or math.isfinite(v) for v in arm.values[metric].values())
    assert_differences(found, block["claims"])
    if "test/accuracy" in found.metrics:
        shown = sorted(v for arm in found.arms for v in arm.values["test/accuracy"].values() if v is not None)
        errors = [t.outcome.test["error"] for t in records.trials.values() if not t.outcome.diverged]
        assert shown == pytest.approx(sorted(100 * (1 - error) for error in errors))
    if name != "nielsen_mnist":
        return
    # Nothing is trained twice.
    code, out, _ = run("compare", f"comparison=published/{name}", "size=smoke", "tracking=off")
    assert code == 0
    assert "0 trials trained now" in out


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_protocol_changed_on_the_command_line_decides_nothing(run: Run, here: Path) -> None:
    small = ("dataset=digits", "trainer.epochs=2", "published.sizes.cpu.seeds=2", "tracking=off")
    code, out, _ = run("compare", "comparison=published/mnist_fast", *small)
    assert code == 0
    assert "mnist_fast (cpu): 3 not tested here" in out
    file = here / "xentlab-runs" / "published" / "mnist_fast-cpu" / "published.json"
    found = from_json(Reproduction, json.loads(file.read_text()), "published")
    assert found.size_words == "the whole protocol, but dataset, trainer.epochs set on the command line"
    # The same size in another place keeps what it can decide.
    aside = ("size=full", "output.root=elsewhere", "tracking=off", "trainer.device=cpu")
    code, out, _ = run("compare", "comparison=published/nielsen_neuron", *aside)
    assert code == 0
    assert "nielsen_neuron (full): 6 agrees" in out


@pytest.mark.slow
def test_an_arm_that_fails_costs_its_own_claims_and_those_of_its_students(run: Run, here: Path) -> None:
    (here / "late.py").write_text(
        "from torch.nn.functional import cross_entropy\n"
        "def boom(z, y):\n"
        "    if len(z) > 20: raise RuntimeError('batch too large for me')\n"
        "    return cross_entropy(z, y, reduction='none')\n"
    )
    bad = "published.arms={hard teacher:{loss:{_target_:late.boom}}}"
    code, out, err = run("compare", "comparison=published/distillation", "size=smoke", "tracking=off", bad)
    assert code == 1, err
    (why,) = [line for line in out.splitlines() if line.startswith("hard teacher failed: ")]
    assert "batch too large for me" in why
    assert "student of the hard teacher failed: its teacher hard teacher failed." in out
    folder = here / "xentlab-runs" / "published" / "distillation-smoke"
    found = from_json(Reproduction, json.loads((folder / "published.json").read_text()), "published")
    assert list(found.failed) == ["hard teacher", "student of the hard teacher"]
    verdicts = {f.arm: (f.verdict, f.why) for f in found.findings if f.kind == "value"}
    assert verdicts["hard teacher"] == ("not decidable", why)
    assert verdicts["smoothed teacher"][0] == verdicts["student of the smoothed teacher"][0] == "not tested here"
    assert [arm.label for arm in found.arms if not arm.values] == list(found.failed)
    assert why in unescape((folder / "report.html").read_text())
    assert "| hard teacher | failed |" in (folder / "report.md").read_text()
    assert "## Every arm: mean ± sd over its seeds" in (folder / "report.md").read_text()
    records = Records(here / "xentlab-runs")
    records.update()
    ends = {group.name: group.status for group in records.groups.values() if group.kind == "loss"}
    assert [label for label, status in ends.items() if status == "failed"] == list(found.failed)
    assert {t.status for t in records.trials.values()} == {"finished", "failed"}


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
    assert "slow: not run, about 90 minutes" in markdown_of("title", [one], [("slow", "about 90 minutes")])
    assert from_json(Reproduction, to_json(one), "published") == one

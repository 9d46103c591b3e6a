"""Links into MLflow's pages: what they show, the saved views behind them, and what is left where those are unknown."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
import urllib.parse
import zlib
from pathlib import Path
from typing import Any

import pytest
from report_lab import example
from tracking_lab import Lab, a_small_lab, runs

from xentlab import tracking
from xentlab.cli import service
from xentlab.errors import UserError
from xentlab.journal import GroupEndEvent, GroupEvent, MemberEvent, Records, TrialRecord, new_id
from xentlab.report.headline import in_one_word
from xentlab.report.record import Record
from xentlab.report.runs import dashboard_tag, loss_run, place_by_loss
from xentlab.tracking import content, views
from xentlab.tracking.settings import mlflow_module

pytest_plugins = ["tracking_fixtures"]
ADDRESS = "http://127.0.0.1:5000"
RECORD = Record.from_json(example(["ce", "mse", "focal"]))


def a_comparison(root: Path, *, name: str = "quickstart", cells: tuple[str, ...] = ("",)) -> str:
    """Journal a comparison with one final trial of each loss in each cell; returns its id."""
    lab = Lab(root)
    top = lab.group(kind="comparison", name=name)
    for number, cell in enumerate(cells, start=1):
        place = place_by_loss(RECORD, number)
        for loss in RECORD.losses:
            group, trial = new_id(), lab.trial(phase="final")
            tags = {"comparison": name, "cell": cell} if cell else {"comparison": name}
            lab.journal.append(GroupEvent(group, "loss", loss.name, top, {}, tags))
            lab.journal.append(MemberEvent(group, trial))
            lab.epochs([trial], 1, 5)
            lab.end(trial)
            tags, metrics, found = loss_run(RECORD, loss.name, place=place[loss.name])
            curves = {name: [list(point) for point in points] for name, points in found.items()}
            lab.journal.append(GroupEndEvent(group, "finished", tags, metrics, None, curves))
    labelled = [(cell, RECORD) for cell in cells]
    tags = {"verdict": in_one_word(labelled), **dashboard_tag(labelled)}
    lab.journal.append(GroupEndEvent(top, "finished", tags, {}, None))
    lab.journal.close()
    return top


def state_of(value: str) -> dict[str, Any]:
    """What a saved view holds, read as the page reads it."""
    envelope = json.loads(value)
    assert isinstance(envelope["name"], str)
    assert isinstance(envelope["createdAt"], int)
    kind, _, packed = envelope["state"].partition(";")
    assert kind == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def experiment(destination: tracking.Destination) -> Any:
    return mlflow_module().MlflowClient(tracking_uri=destination.uri).get_experiment_by_name(destination.experiment)


def opened(destination: tracking.Destination, link: tracking.RunLink) -> dict[str, Any]:
    """The saved view that a link opens."""
    query = urllib.parse.parse_qs(link.url.partition("?")[2])
    assert query["workflowType"] == ["machine_learning"]
    return state_of(experiment(destination).tags[views.TAG + query["viewStateShareKey"][0]])


def found_by(destination: tracking.Destination, state: dict[str, Any]) -> set[str]:
    """The names of the runs that a view shows."""
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    order = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"]
    found = client.search_runs([experiment(destination).experiment_id], state["searchFilter"], order_by=order)
    return {run.info.run_name for run in found}


def test_nothing_recorded_has_no_links(destination: tracking.Destination) -> None:
    assert tracking.links(destination, address=ADDRESS).links == []


def test_a_sweep_links_to_its_run_and_to_curves_by_loss(destination: tracking.Destination) -> None:
    a_small_lab(destination.root)
    tracking.sync(destination)
    found = tracking.links(destination, address=f"{ADDRESS}/")
    every, sweep, curves, table = found.links
    assert found.warning == ""
    assert table == tracking.RunLink(
        f"{ADDRESS}/#/experiments/1/runs?workflowType=machine_learning", "every run of the experiment 'lab'"
    )
    assert found_by(destination, opened(destination, every)) == {"a sweep", "focal, seed 3"}  # one trained alone
    assert sweep.url.startswith(f"{ADDRESS}/#/experiments/1/runs/")
    assert sweep.shows == "the sweep 'a sweep'"
    state = opened(destination, curves)
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "loss"}]
    assert [chart["metricKey"] for chart in state["compareRunCharts"]] == ["val/error"]
    assert found_by(destination, state) == {"focal, seed 3"}


def test_a_comparison_links_to_report_dashboards_and_a_trial(destination: tracking.Destination) -> None:
    top = a_comparison(destination.root)
    a_comparison(destination.root, name="another")
    tracking.sync(destination)
    found = tracking.links(destination, address=ADDRESS, comparison="quickstart").links
    own, report, losses, convergence, rates, trial = found
    assert f"the comparison 'quickstart': {in_one_word([('', RECORD)])}" in own.shows
    assert report.url.partition("?")[0].endswith("/artifacts/report.html")
    table = opened(destination, losses)
    assert found_by(destination, table) == {"ce", "mse", "focal"}
    assert top in table["searchFilter"]
    assert (table["orderByKey"], table["orderByAsc"]) == ("metrics.`test/error_mean`", True)
    assert table["selectedColumns"][:2] == ["tags.`verdict`", "tags.`test error`"]
    for run in runs(destination).values():  # every column is there, and says something
        if run.data.tags.get("xentlab.kind") == "loss":
            known = {f"tags.`{t}`" for t in run.data.tags} | {f"metrics.`{m}`" for m in run.data.metrics}
            assert set(table["selectedColumns"]) <= known
    curves = opened(destination, convergence)
    assert [chart["metricKey"] for chart in curves["compareRunCharts"]] == list(RECORD.curves)
    assert curves["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]
    assert curves["runsHiddenMode"] == "SHOW_ALL"
    (chart,) = opened(destination, rates)["compareRunCharts"]
    assert (chart["selectedXAxisMetricKey"], chart["xAxisKey"]) == ("tuning/log10_lr", "metric")
    assert chart["metricKey"] == f"tuning/{RECORD.selection}"
    state = opened(destination, trial)
    assert state["compareRunCharts"][0]["selectedMetricKeys"] == ["val/error", "train/error"]
    assert found_by(destination, state) <= {"ce", "mse", "focal"} | set(trial.shows.split(": ", 1)[1:])
    before = experiment(destination).tags
    tracking.links(destination, address=ADDRESS, comparison=top)
    assert experiment(destination).tags == before, "a view was saved twice"


def test_every_cell_has_its_own_curves(destination: tracking.Destination) -> None:
    a_comparison(destination.root, cells=("mlp · tuned", "it's · shared", 'it\'s "so"'))
    tracking.sync(destination)
    found = tracking.links(destination, address=ADDRESS).links
    table = opened(destination, next(link for link in found if "one row" in link.shows))
    assert table["orderByKey"] == "tags.`place`"
    assert table["selectedColumns"][0] == "tags.`cell`"
    assert sum("convergence of" in link.shows for link in found) == 3
    for link in found:
        if "convergence of" in link.shows or "sensitivity of" in link.shows:
            state = opened(destination, link)
            assert "tags.`cell` " in state["searchFilter"]
            assert len(found_by(destination, {**state, "orderByKey": "attributes.start_time"})) > 0


def test_a_sweep_is_split_by_what_varies_besides_the_seed(
    destination: tracking.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(destination.root)
    group = lab.group(varies="loss=ce +optimizer.lr=0.1,0.3 seed=0,1 trainer.epochs=5")
    for seed, rate in ((0, 0.1), (1, 0.1), (0, 0.3)):
        lab.end(lab.trial(group, config={"loss": "ce", "optimizer": {"lr": rate}, "seed": seed}))
    lab.group_end(group)
    lab.journal.close()
    tracking.sync(destination)
    curves = next(link for link in tracking.links(destination, address=ADDRESS).links if "convergence" in link.shows)
    state = opened(destination, curves)
    assert curves.shows == "its convergence by lr, mean and range"
    assert state["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "optimizer.lr"}]
    assert state["groupsExpanded"] == {"param.optimizer.lr.0.1": False, "param.optimizer.lr.0.3": False}
    monkeypatch.setattr("xentlab.tracking.addresses._LOADED", 2)
    curves = next(link for link in tracking.links(destination, address=ADDRESS).links if "convergence" in link.shows)
    assert curves.shows.endswith("range; MLflow loads 2 trials at a time, the newest first")


def test_many_final_trials_are_drawn_from_the_means_of_their_losses() -> None:
    shown = json.loads(dashboard_tag([("", RECORD)])["xentlab.shown"])
    (_, _), (view, _), *_ = views.comparison_views("big", "g", {**shown, "cells": {"": 101}})
    assert not view.groups
    drawn = [chart["metricKey"] for charts in view.charts.values() for chart in charts]
    carried = {key for loss in RECORD.losses for key in loss_run(RECORD, loss.name, place="01.01")[2]}
    assert drawn
    assert set(drawn) <= carried


def test_a_version_of_mlflow_that_was_not_tried_gets_plain_links(
    destination: tracking.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_comparison(destination.root)
    tracking.sync(destination)
    monkeypatch.setattr(sys.modules["xentlab.tracking.addresses"], "KNOWN", ((99, 0), (99, 1)))
    found = tracking.links(destination, address=ADDRESS)
    assert found.warning.startswith("MLflow 3.")
    assert "is not known to take saved views" in found.warning
    assert not any("viewStateShareKey" in link.url for link in found.links)
    table = next(link for link in found.links if "one row" in link.shows)
    query = {k: v[0] for k, v in urllib.parse.parse_qs(table.url.partition("?")[2]).items()}
    state = {**query, "orderByAsc": json.loads(query["orderByAsc"])}
    assert found_by(destination, state) == {"ce", "mse", "focal"}
    assert not any(key.startswith(views.TAG) for key in experiment(destination).tags)


def test_a_comparison_that_is_not_there_is_one_sentence(destination: tracking.Destination) -> None:
    a_small_lab(destination.root)
    tracking.sync(destination)
    with pytest.raises(UserError, match="No comparison is recorded"):
        tracking.links(destination, address=ADDRESS, comparison="quickstart")
    a_comparison(destination.root)
    tracking.sync(destination)
    with pytest.raises(UserError, match=r"Unknown comparison 'quikstart'.*quickstart"):
        tracking.links(destination, address=ADDRESS, comparison="quikstart")


def test_a_browser_is_opened_on_the_losses_where_that_is_asked(
    destination: tracking.Destination, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_comparison(destination.root)
    tracking.sync(destination)
    visited: list[str] = []
    monkeypatch.setattr("webbrowser.open", visited.append)
    service._show_links(destination, ADDRESS, "quickstart", browse=False)
    assert visited == []
    printed = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    service._show_links(destination, ADDRESS, "quickstart", browse=True)
    service._show_links(destination, ADDRESS, None, browse=True)
    assert [printed[url] for url in visited] == ["one row for each loss: mean, interval, verdict"] * 2


def test_the_runs_of_losses_carry_curves_and_what_tables_show(destination: tracking.Destination) -> None:
    a_comparison(destination.root)
    tracking.sync(destination)
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    losses = {r.info.run_name: r for r in runs(destination).values() if r.data.tags.get("xentlab.kind") == "loss"}
    for loss in RECORD.losses:
        run, curve = losses[loss.name], RECORD.curves["val/error"][loss.name]
        sent = client.get_metric_history(run.info.run_id, "val/error_mean")
        assert [(p.step, p.value) for p in sent] == list(zip(curve.epochs, curve.mean, strict=True))
        assert run.data.tags["verdict"] == next(r.verdict for r in RECORD.primary.rows if r.loss == loss.name)
    tags = {run.info.run_name: run.data.tags for run in runs(destination).values() if "xentlab.trial" in run.data.tags}
    assert {t["comparison"] for t in tags.values()} == {"quickstart"}
    arms = {run.data.tags.get("arm") for run in runs(destination).values()}
    assert arms == {None, "ce", "mse", "focal"}


def test_the_verdict_fits_a_column() -> None:
    assert {row.loss: row.verdict for row in RECORD.primary.rows}["mse"] == "worse"
    assert len(in_one_word([("", RECORD)])) < 20
    assert in_one_word([("a", RECORD), ("b", RECORD)]) == "▲ in 0 of 2 cells"
    rows = [dataclasses.replace(row, verdict="better", difference=-0.0097) for row in RECORD.primary.rows[1:]]
    won = dataclasses.replace(RECORD.primary, rows=[RECORD.primary.rows[0], *rows])
    first = min(rows, key=lambda row: row.mean or 1.0).loss
    record = dataclasses.replace(RECORD, metrics=[won, *RECORD.metrics[1:]])
    assert in_one_word([("", record)]).startswith(f"▲ {first} −0.9")


def test_long_trainings_are_thinned_by_the_stated_rule() -> None:
    assert [content.stride(n) for n in (1, 200, 201, 400, 1000)] == [1, 1, 2, 2, 5]
    curve: list[tuple[int, int, float | None]] = [(epoch, 1000 + epoch, 1.0 / epoch) for epoch in range(1, 1002)]
    trial = TrialRecord(
        "t", "s", "t", {"trainer": {"epochs": 1001}}, {}, "session", 0, curves={"val/error": curve}, epochs=1001
    )
    running = content.points(trial, 0)
    assert [step for *_, step in running] == list(range(6, 1001, 6))
    trial.status = "finished"
    assert [step for *_, step in content.points(trial, 0)] == [*range(6, 1001, 6), 1001]
    assert [step for *_, step in content.points(trial, 1001)] == [1001], "the last one was not known to be the last"
    trial.config["trainer"]["epochs"] = 200
    assert len(content.points(trial, 0)) == 1001  # every epoch of what was planned to be short


def test_a_trial_says_how_it_ended_and_how_to_run_it_again(destination: tracking.Destination) -> None:
    a_small_lab(destination.root)
    records = Records(destination.root)
    records.update()
    trial = next(iter(records.trials.values()))
    trial.ended = dataclasses.replace(trial.outcome, monitor="error", best=0.25, best_epoch=2, stuck=True)
    first, _, rest = content.description(trial).partition("\n\n")
    assert first == (
        "test error 0.125, best validation error 0.25 in epoch 2 of 5, stuck: no better than a constant answer"
    )
    assert rest == f"Again: `xentlab reproduce {trial.id}`"

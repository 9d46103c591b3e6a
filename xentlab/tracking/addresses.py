"""Addresses worth opening: the experiment, and of each comparison its report, its dashboards and one of its trials."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xentlab.errors import UserError, unknown
from xentlab.tracking.client import translated
from xentlab.tracking.settings import DATABASES, Destination, mlflow_module, without_strays
from xentlab.tracking.views import PAGE, TAG, View, comparison_views, group_of, overview_view, sweep_view, trial_view

_NEWEST = 3  # comparisons, and sweeps, that are named
_LOADED = 100  # runs that MLflow's page asks for at a time
# The versions of MLflow whose pages take the saved views of `views`, tried out: first, and first that is not.
KNOWN = ((3, 17), (3, 18))


@dataclass(frozen=True)
class RunLink:
    """One address, and what it shows in a few words; `verdicts` where that is the table of a comparison's losses."""

    url: str
    shows: str
    verdicts: bool = False


@dataclass(frozen=True)
class RunLinks:
    """What there is to open, the most useful first, and a sentence where something is not as it should be."""

    links: list[RunLink]
    warning: str = ""


def links(destination: Destination, *, address: str | None = None, comparison: str | None = None) -> RunLinks:
    """Addresses into an experiment, none before it exists; its dashboards are saved in it where its MLflow takes them.

    Args:
        address: of the server that shows a database store, such as `base(port)`; a server itself needs none.
        comparison: the name of the one to link to, its newest; None for the newest comparisons and sweeps.

    Raises:
        UserError: the store does not answer, or has no comparison of that name.
    """
    address = (address or re.sub("//[^/@]*@", "//", destination.uri)).rstrip("/")  # a browser asks who one is
    with translated(), without_strays(destination.database):
        client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
        experiment = client.get_experiment_by_name(destination.experiment)
        if experiment is None:
            return RunLinks([])
        version = _version(destination)
        saves = KNOWN[0] <= _numbers(version) < KNOWN[1]
        page = _Page(client, experiment, f"{address}/#/experiments/{experiment.experiment_id}/runs", saves)
        if comparison is not None:
            found = list(page.comparison(page.named(comparison)))
        else:
            found = [page.overview()]
            for run in page.groups("comparison"):
                found += page.comparison(run)
            for run in page.groups("sweep"):
                found += page.sweep(run)
            found.append(RunLink(f"{page.url}?{PAGE}", f"every run of the experiment '{destination.experiment}'"))
    warning = f"MLflow {version} is not known to take saved views: the links show the runs without columns and charts."
    return RunLinks(found, "" if saves else warning)


class _Page:
    """The experiment's page, and what is written into it: each dashboard once."""

    def __init__(self, client: Any, experiment: Any, url: str, saves: bool) -> None:
        self.client, self.id, self.url, self.saves = client, experiment.experiment_id, url, saves
        self.tags = dict(experiment.tags)

    def overview(self) -> RunLink:
        return RunLink(self._view(overview_view()), "all comparisons, sweeps and trainings, newest first")

    def groups(self, kind: str) -> Sequence[Any]:
        return self._search(f"tags.`xentlab.kind` = '{kind}'", _NEWEST)

    def named(self, name: str) -> Any:
        runs = self._search("tags.`xentlab.kind` = 'comparison'", 1000)
        for run in runs:
            if name in (run.info.run_name, *map(run.data.tags.get, ("xentlab.group", "alias", "comparison"))):
                return run
        if not runs:
            raise UserError("No comparison is recorded there: run `xentlab compare comparison=quickstart`.")
        raise unknown("comparison", name, set(map(_called, runs)))

    def comparison(self, run: Any) -> Iterator[RunLink]:
        tags, name = run.data.tags, _called(run)
        verdict = tags.get("verdict", "").rstrip(".")
        yield RunLink(
            self._run(run), f"the comparison '{name}'" + (f": {verdict}" if verdict else f", {tags['status']}")
        )
        if "xentlab.shown" in tags:
            yield RunLink(self._run(run, "artifacts/report.html"), "its report, among the files of the run")
            views = comparison_views(_dated(run), tags["xentlab.group"], json.loads(tags["xentlab.shown"]))
            for number, (view, shows) in enumerate(views):
                yield RunLink(self._view(view), shows, verdicts=number == 0)
        own = f"tags.`xentlab.root` = '{tags.get('xentlab.group')}' and tags.phase = 'final'"
        for trial in self._search(own, 1):
            view = trial_view(trial.info.run_name, trial.info.run_id, _validation(trial))
            yield RunLink(self._view(view), f"one trial: {trial.info.run_name}")

    def sweep(self, run: Any) -> Iterator[RunLink]:
        yield RunLink(self._run(run), f"the sweep '{run.info.run_name.removeprefix('sweep ')}'")
        root = run.data.tags.get("xentlab.group")
        trials = self._search(f"tags.`xentlab.root` = '{root}' and tags.`xentlab.trial` LIKE '%'", _LOADED + 1)
        if trials:
            given = [word.partition("=")[0].lstrip("+") for word in run.data.tags.get("overrides", "").split()]
            values = {key: [trial.data.params.get(key, "null") for trial in trials] for key in given if key != "seed"}
            varied = [key for key, of in values.items() if len(set(of)) > 1]
            groups = [f"param.{key}" for key in varied] or ["tag.loss"]
            each = zip(*(values[key] for key in varied), strict=True)
            folded = {group_of(zip(groups, of, strict=True)) for of in each}
            view = sweep_view(_dated(run), str(root), _validation(trials[0])[:2], groups, sorted(folded))
            by = " and ".join(key.rpartition(".")[2] for key in varied) or "loss"
            part = f"; MLflow loads {_LOADED} trials at a time, the newest first" if len(trials) > _LOADED else ""
            yield RunLink(self._view(view), f"its convergence by {by}, mean and range{part}")

    def _search(self, text: str, limit: int) -> Sequence[Any]:
        found: Sequence[Any] = self.client.search_runs([self.id], text, max_results=limit)
        return found

    def _run(self, run: Any, tab: str = "") -> str:
        return f"{self.url}/{run.info.run_id}{'/' + tab if tab else ''}?{PAGE}"

    def _view(self, view: View) -> str:
        if self.saves and TAG + view.key not in self.tags:
            now = int(datetime.datetime.now(datetime.UTC).timestamp() * 1000)
            self.client.set_experiment_tag(self.id, TAG + view.key, view.tag(now))
        return f"{self.url}?{view.query(shared=self.saves)}"


def _validation(trial: Any) -> list[str]:
    """Its curves on validation, the one that selects first."""
    names = list(trial.data.metrics)
    monitors = [name.removeprefix("best/") for name in names if name.startswith("best/val/")]
    return list(dict.fromkeys([*monitors, *(name for name in names if name.startswith("val/"))]))


def _called(run: Any) -> str:
    """The name by which commands take a group: what it was renamed to, or its own."""
    alias = run.data.tags.get("alias", "")
    return alias if alias and run.info.run_name.startswith(f"{alias} ") else str(run.info.run_name)


def _dated(run: Any) -> str:
    """The name of a group with the minute when it began, in local time: views of one name are told apart by it."""
    began = datetime.datetime.fromtimestamp(run.info.start_time / 1000)
    return f"{_called(run)} · {began:%Y-%m-%d %H:%M}"


def _version(destination: Destination) -> str:
    """The version of MLflow whose pages will show the store."""
    if destination.scheme in DATABASES:
        return str(mlflow_module("mlflow.version").VERSION)
    creds = mlflow_module("mlflow.utils.credentials").get_default_host_creds(destination.uri)
    reply = mlflow_module("mlflow.utils.rest_utils").http_request(creds, "/version", "GET")
    return str(reply.text).strip() if reply.status_code == 200 else "of an unknown version"


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()

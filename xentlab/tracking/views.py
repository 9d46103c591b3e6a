"""Ready dashboards for MLflow's own page: which runs, columns and charts it shows when a link is opened. Pure data.

MLflow keeps a shared view as a tag of the experiment, `mlflow.sharedViewState.KEY`; `?viewStateShareKey=KEY` opens it.
The format is MLflow's own and may change: `addresses` writes it for the versions that are known to take it, and else
links to the same runs, sorted alike, without columns and charts of their own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

TAG = "mlflow.sharedViewState."
# MLflow's pages open in a view for language models unless told otherwise.
_PAGE = {"workflowType": "machine_learning"}
PAGE = urlencode(_PAGE)
_LARGEST = 100  # runs that the page loads, and so groups, at first
# The sections that the page adds for every other metric of trials, and of losses.
_OF_TRIALS = ("train", "val", "best/val", "test", "test_at_best", "optim", "speed", "Model metrics")
_OF_LOSSES = ("val", "test", "tuning")
# What the page pins on the left. Beside MLflow's own panel some 740 of 1,440 pixels are for all columns.
_NAME, _CREATED = "attributes.`Run Name`", "runDateAndNestInfo"
Chart = dict[str, Any]


@dataclass(frozen=True)
class View:
    """One dashboard.

    Attributes:
        name: as it stands in the page's list of saved views.
        search: which runs, as MLflow's search takes it.
        order: `metrics.`NAME``, `tags.`NAME`` ... by which the table is sorted, and whether ascending.
        columns: tags and metrics of the table, as in `order`, and the two pinned ones -> their width in pixels.
        charts: section -> its charts; where there are any, the page opens on them.
        groups: by what runs are averaged, `tag.NAME` or `param.NAME`.
        folded: the groups whose runs are folded away below them, as `group_of` calls them.
    """

    name: str
    search: str
    order: tuple[str, bool] = ("attributes.start_time", False)
    columns: Mapping[str, int] = field(default_factory=dict)
    charts: Mapping[str, Sequence[Chart]] = field(default_factory=dict)
    groups: Sequence[str] = ()
    folded: Sequence[str] = ()

    @property
    def key(self) -> str:
        """What the link calls it; the same view has the same one."""
        facts = json.dumps([self.name, self._state()], sort_keys=True)
        return f"xentlab-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"

    def query(self, *, shared: bool) -> str:
        """What follows `#/experiments/ID/runs?`; without `shared` it needs no tag."""
        mode = {"compareRunsMode": "CHART"} if self.charts else {}
        if shared:
            return urlencode({**_PAGE, "viewStateShareKey": self.key, **mode})
        order = {"orderByKey": self.order[0], "orderByAsc": json.dumps(self.order[1])}
        return urlencode({**_PAGE, "searchFilter": self.search, **order, **mode})

    def tag(self, now: int) -> str:
        """The value of the experiment's tag; `now` in milliseconds since the epoch."""
        whole = json.dumps(self._state(), ensure_ascii=False, separators=(",", ":"))
        packed = "deflate;" + base64.b64encode(zlib.compress(whole.encode(), 9)).decode()
        return json.dumps({"name": self.name, "createdAt": now, "updatedAt": now, "state": packed}, ensure_ascii=False)

    def _state(self) -> dict[str, Any]:
        wide = max(map(len, self.charts.values()), default=0)
        size = {"columns": min(max(wide, 1), 2), "cardHeight": 480}
        sections = [
            {"uuid": f"section-{number}", "name": name, "display": True, "isReordered": True, "deleted": False, **size}
            for number, name in enumerate(self.charts)
        ]
        sections += [  # folded away
            {"uuid": f"more-{number}", "name": name, "display": False, "isReordered": True, "deleted": False}
            for number, name in enumerate(_OF_TRIALS if self.groups else _OF_LOSSES)
        ]
        charts = [
            {"uuid": f"{section['uuid']}-{number}", "metricSectionId": section["uuid"], **chart}
            for section, drawn in zip(sections, self.charts.values(), strict=False)
            for number, chart in enumerate(drawn)
        ]
        keys = [dict(zip(("mode", "groupByData"), group.split(".", 1), strict=True)) for group in self.groups]
        state: dict[str, Any] = {
            "searchFilter": self.search,
            "orderByKey": self.order[0],
            "orderByAsc": self.order[1],
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": [name for name in self.columns if name not in (_NAME, _CREATED)],
            "columnOrder": list(self.columns),
            "columnWidths": dict(self.columns),
            "runsHiddenMode": "SHOW_ALL",
            "groupBy": {"aggregateFunction": "average", "groupByKeys": keys} if keys else None,
            "runListHidden": len(self.groups) > 1,  # it would cut their names; the legends have room
            "groupsExpanded": dict.fromkeys(self.folded, False),
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
            "isAccordionReordered": True,
        }
        if charts:
            state |= {"compareRunCharts": charts, "compareRunSections": sections}
        return state


def line(title: str, *metrics: str, against: str | None = None, log: bool = False) -> Chart:
    """A chart of curves over the epoch, or `against` another metric."""
    return {
        "type": "LINE",
        "deleted": False,
        "isGenerated": False,
        "displayName": title,
        "metricKey": metrics[0],
        "selectedMetricKeys": list(metrics) if len(metrics) > 1 else None,
        "runsCountToCompare": 100,
        "lineSmoothness": 0,
        "scaleType": "log" if log else "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "metric" if against else "step",
        "selectedXAxisMetricKey": against or "",
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
        "displayPoints": True if against else None,
        "range": {},
    }


def comparison_views(name: str, root: str, dashboard: Mapping[str, Any]) -> list[tuple[View, str]]:
    """The dashboards of a comparison, each with what it shows.

    Args:
        root: its group in the journal, which its runs have as the tag `xentlab.root`.
        dashboard: what its tag says, see `xentlab.report.runs.dashboard_tag`.
    """
    own = f"tags.`xentlab.root` = '{root}'"
    losses = f"{own} and tags.`xentlab.kind` = 'loss'"
    metric, labels = str(dashboard["metric"]), [str(label) for label in dashboard["columns"]]
    cells = any(dashboard["cells"])
    order = ("tags.`place`", True) if cells else (f"metrics.`{metric}_mean`", dashboard["direction"] == "min")
    columns = {"cell": 150} if cells else {}
    columns |= {"verdict": 100, labels[0]: 150, "against baseline": 212, "p Holm": 64, "seeds": 56}
    table = {_NAME: 130, _CREATED: 40} | _tags(columns) | _tags(dict.fromkeys(labels[1:], 150))
    found = [(View(f"losses · {name}", losses, order, table), "one row for each loss: mean, interval, verdict")]
    for cell, finals in dashboard["cells"].items():
        here = f" and tags.`cell` {_is(cell)}" if cell else ""
        title, of = (f"{name} · {cell}", f" of {cell}") if cell else (name, "")
        if finals <= _LARGEST:
            charts = {"Validation": [line(label, key) for key, label in dashboard["curves"].items()]}
            search = f"{own}{here} and tags.phase = 'final'"
            folded = [group_of([("tag.arm", loss)]) for loss in dashboard["losses"]]
            view = View(f"convergence · {title}", search, charts=charts, groups=["tag.arm"], folded=folded)
        else:  # the page would average its first hundred runs alone
            view = View(f"convergence · {title}", f"{losses}{here}", order, charts=_means(dashboard["curves"]))
        found.append((view, f"convergence{of} by loss, mean and range of {finals} final trials"))
        if dashboard["sensitivity"]:
            metric = str(dashboard["sensitivity"])
            chart = line(metric, f"tuning/{metric}", against="tuning/log10_lr", log=True)
            view = View(f"learning rates · {title}", f"{losses}{here}", order, charts={"Tuning": [chart]})
            found.append((view, f"learning-rate sensitivity{of} by loss: {metric} at each rate"))
    return found


def _means(curves: Mapping[str, str]) -> dict[str, list[Chart]]:
    """The curves that the runs of losses have themselves: means over all seeds, and the ends of their bands."""
    parts = ("mean", "ci_low", "ci_high")
    bands = [line(label, *(f"{key}_{part}" for part in parts)) for key, label in curves.items()]
    means = [line(label, f"{key}_mean") for key, label in curves.items()]
    return {"Validation, mean": means, "Validation, mean and 95 % band": bands}


def overview_view() -> View:
    """Every comparison, sweep and single training of an experiment, and nothing below them: few, whatever they hold."""
    columns = {"verdict": 200, "status": 85, "task": 100, "dataset": 110, "model": 110}
    columns = {_NAME: 275, _CREATED: 125} | _tags(columns)
    return View("everything, newest first", "tags.`xentlab.top` = 'true'", columns=columns)


def sweep_view(name: str, root: str, curves: Sequence[str], groups: Sequence[str], folded: Sequence[str]) -> View:
    """The dashboard of a sweep: curves averaged over seeds, by whatever else varies."""
    search = f"tags.`xentlab.root` = '{root}' and tags.`xentlab.trial` LIKE '%'"
    charts = {"Validation": [line(key, key) for key in curves]}
    return View(f"convergence · {name}", search, charts=charts, groups=groups, folded=folded)


def trial_view(name: str, run_id: str, curves: Sequence[str]) -> View:
    """The dashboard of one trial of a comparison; its own page has sections by the alphabet, and none is a choice."""
    validation = [line(key, key, key.replace("val/", "train/", 1)) for key in curves]
    others = [line(key, key) for key in ("train/objective", "optim/grad_norm", "optim/lr")]
    charts = {"Validation and training": validation, "Optimisation": others}
    # MLflow adds the runs above it, and folds it away below them unless it is in a group
    return View(f"curves · {name}", f"attributes.run_id = '{run_id}'", charts=charts, groups=["tag.arm"])


def group_of(values: Iterable[tuple[str, str]]) -> str:
    """What MLflow calls the group of the runs that have these values, each as ("tag.NAME", VALUE)."""
    return ",".join(f"{group}.{value}" for group, value in values)


def _tags(widths: Mapping[str, int]) -> dict[str, int]:
    return {f"tags.`{name}`": width for name, width in widths.items()}


def _is(text: str) -> str:
    """The comparison with a text; the search has no way to escape a quote, but `_` stands for any character."""
    if "'" not in text:
        return f"= '{text}'"
    return f'= "{text}"' if '"' not in text else f"LIKE '{text.replace(chr(39), '_')}'"

"""What the tests of tracking share: a journal written as a training does, and MLflow as its own client reads it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import an_outcome

from xentlab import tracking
from xentlab.journal import (
    EndEvent,
    EpochEvent,
    GroupEndEvent,
    GroupEvent,
    Journal,
    MemberEvent,
    Records,
    TrialEvent,
    TrialRecord,
    new_id,
)
from xentlab.journal.events import Ended
from xentlab.tracking import content
from xentlab.tracking.keys import Key, all_keys
from xentlab.tracking.settings import mlflow_module

FINGERPRINT = "sha256:" + "0123456789abcdef" * 4
CHILD = """
import argparse, sys, time
from pathlib import Path
from xentlab import tracking
parser = argparse.ArgumentParser()
parser.add_argument("command")
for name in ("--follow", "--root", "--uri", "--experiment"):
    parser.add_argument(name)
args = parser.parse_args()
destination = tracking.resolve_destination(args.uri, args.experiment, Path(args.root))
sys.exit(tracking.serve_follower(destination, args.follow, sys.stdout))
"""


class Lab:
    """Writes a journal as a training does."""

    def __init__(self, root: Path, *, driver: str | None = None) -> None:
        self.root = root
        facts = {"git": {"commit": "c0ffee", "diff": None}, "user": "ada"}
        self.journal = Journal(root, facts, "xentlab train -m seed=0,1", driver=driver)

    def group(self, *, kind: str = "sweep", parent: str | None = None, name: str = "a sweep", varies: str = "") -> str:
        group = new_id()
        tags = {"overrides": varies} if varies else {}
        self.journal.append(GroupEvent(group, kind, name, parent, {"budget": 3}, tags))
        return group

    def trial(
        self,
        group: str | None = None,
        *,
        trial: str | None = None,
        config: dict[str, Any] | None = None,
        phase: str | None = None,
    ) -> str:
        trial = trial or new_id()
        tags = {"task": "multiclass", "dataset": "digits", "fingerprint": FINGERPRINT, "loss": "focal", "seed": "3"}
        tags |= {"phase": phase} if phase else {}
        loss = {"_target_": "xentlab.losses.focal", "_partial_": True, "gamma": 2.0}
        config = config or {"loss": loss, "model": {"_target_": "torch.nn.Linear", "hidden": [100, 50]}, "seed": 3}
        self.journal.append(TrialEvent(trial, "f00", "focal, seed 3", config, tags, resumed=0))
        if group is not None:
            self.journal.append(MemberEvent(group, trial))
        return trial

    def epochs(self, trials: list[str], first: int, last: int, *, value: float | None = 0.5) -> None:
        for epoch in range(first, last + 1):
            rows = [None if value is None else value / epoch + row for row in range(len(trials))]
            self.journal.append(EpochEvent(trials, epoch, {"val/error": rows, "train/loss": rows}))

    def end(self, trial: str, *, status: Ended = "finished", reason: str = "", artifacts: str | None = None) -> None:
        summary = an_outcome().to_json() if status == "finished" else {}
        self.journal.append(EndEvent(trial, status, reason, summary, artifacts))

    def group_end(self, group: str, *, status: Ended = "finished") -> None:
        tags = {"mlflow.note.content": "## Verdict"}
        self.journal.append(GroupEndEvent(group, status, tags, {"p": 0.01}, None))


def runs(destination: tracking.Destination) -> dict[Key, Any]:
    """Every run by its identity; that there is one of each is part of it."""
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    experiment = client.get_experiment_by_name(destination.experiment)
    assert experiment is not None
    found = list(client.search_runs([experiment.experiment_id], max_results=1000))
    by_key = {(run.data.tags.get("xentlab.trial"), run.data.tags.get("xentlab.group")): run for run in found}
    assert len(by_key) == len(found), "a run was made twice"
    return by_key


def history(destination: tracking.Destination, run: Any, metric: str) -> list[tuple[int, float, int]]:
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    return sorted((p.step, p.value, p.timestamp) for p in client.get_metric_history(run.info.run_id, metric))


def assert_mirrors(destination: tracking.Destination) -> None:
    """MLflow holds every finite point of the journal once, with its time, and the status of every record."""
    records = Records(destination.root)
    records.update()
    records.mark_killed()
    found = runs(destination)
    wanted = set(all_keys(records))
    assert wanted
    assert set(found) == wanted
    for (trial, group), run in found.items():
        record = records.trials[trial] if trial is not None else records.groups[group or ""]
        assert run.info.status == content.STATUS[record.status]
        assert run.info.start_time == record.start
        if record.status != "running":
            assert run.data.tags["xentlab.complete"] == "true"
        if isinstance(record, TrialRecord):
            for name, curve in record.curves.items():
                finite = [(epoch, value, when) for epoch, when, value in curve if value is not None]
                assert history(destination, run, name) == finite
            assert run.data.params == content.params(record.config)


def artifacts(destination: tracking.Destination, run: Any, path: str | None = None) -> set[str]:
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    return {found.path for found in client.list_artifacts(run.info.run_id, path)}


def run_script(script: str, *args: str | Path) -> str:
    done = subprocess.run([sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def a_small_lab(root: Path) -> None:
    lab = Lab(root)
    group = lab.group()
    trials = [lab.trial(group), lab.trial(group), lab.trial()]
    lab.epochs(trials, 1, 5)
    for trial in trials[:2]:
        (root / trial).mkdir()
        (root / trial / "model.txt").write_text("weights")
        lab.end(trial, artifacts=trial)
    lab.group_end(group)
    lab.journal.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

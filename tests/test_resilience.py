"""Killed at any moment: no point lost or doubled, no run left RUNNING, and the same numbers in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import executor_lab
import pytest
from executor_lab import finish, start

from xentlab.journal import Records, TrialRecord

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")

Run = Callable[..., tuple[int, str, str]]

TRAINING = (
    "train", "trainer.epochs=40", "trainer.checkpoint_every=3", "trainer.batch_size=16", "trainer.train_sample=64",
)  # fmt: skip


def records(here: Path) -> Records:
    return executor_lab.records(here / "xentlab-runs")


def kill_after_epoch(here: Path, process: subprocess.Popen[str], epoch: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(t.epochs >= epoch for t in records(here).trials.values()):
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    raise AssertionError("the epoch never came")


def numbers(trial: TrialRecord) -> dict[str, Any]:
    """Everything that must not depend on having been interrupted."""
    curves = {k: [(e, v) for e, _, v in p] for k, p in trial.curves.items() if not k.startswith("speed/")}
    return {"curves": curves, "summary": {k: v for k, v in trial.outcome.to_json().items() if k != "seconds"}}


@pytest.mark.slow
@pytest.mark.parametrize("every", [3, 0], ids=["from its checkpoint", "from the start"])
def test_a_training_killed_twice_resumes_and_ends_as_if_never_interrupted(tmp_path: Path, every: int) -> None:
    training = (*TRAINING, f"trainer.checkpoint_every={every}", "tracking=off")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    finish(start(whole, *training))
    (reference,) = records(whole).trials.values()
    for epoch in (5, 20):
        kill_after_epoch(broken, start(broken, *training), epoch)
        (trial,) = records(broken).trials.values()
        assert trial.status == "killed"
    finish(start(broken, *training))
    (trial,) = records(broken).trials.values()
    assert trial.status == "finished"
    assert [e for e, _, _ in trial.curves["val/error"]] == list(range(1, 41))
    assert numbers(trial) == numbers(reference)
    assert not list((broken / "xentlab-runs" / "checkpoints").glob("*.pt"))


@pytest.mark.slow
def test_a_killed_training_leaves_mlflow_without_gap_double_or_running_run(tmp_path: Path) -> None:
    process = start(tmp_path, *TRAINING)
    kill_after_epoch(tmp_path, process, 8)
    assert finish(start(tmp_path, "sync"))
    (run,) = runs(tmp_path)
    assert run.info.status == "KILLED"
    assert_mirrors(tmp_path)
    finish(start(tmp_path, *TRAINING))
    finish(start(tmp_path, "sync"))
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert_mirrors(tmp_path)


@pytest.mark.slow
def test_a_sweep_is_one_parent_with_finished_children(tmp_path: Path) -> None:
    sweep = ("train", "-m", "loss=ce,mse", "seed=range(3)", "dataset=digits", "trainer.epochs=3")
    finish(start(tmp_path, *sweep))
    found = runs(tmp_path)
    parents = [r for r in found if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in found if "mlflow.parentRunId" in r.data.tags]
    assert len(parents) == 1
    assert len(children) == 6
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}
    assert all(r.info.status == "FINISHED" for r in found)
    assert {(r.data.params["loss"], r.data.params["seed"]) for r in children} == {
        (loss, str(seed)) for loss in ("ce", "mse") for seed in range(3)
    }
    from xentlab.data import digits

    fingerprint = digits().fingerprint
    for child in children:
        assert child.inputs.dataset_inputs[0].dataset.digest == fingerprint[:36]
        names = {a.path for a in client(tmp_path).list_artifacts(child.info.run_id)}
        assert {"config.yaml", "environment.json", "final.pt", "best.pt", "curves.png"} <= names
    assert_mirrors(tmp_path)


@pytest.mark.slow
def test_a_comparison_nests_its_losses_and_trials_in_mlflow(tmp_path: Path) -> None:
    finish(
        start(
            tmp_path, "compare", "trainer.epochs=2", "dataset.train_fraction=0.2", "comparison.losses=[ce,mse]",
            "comparison.tune.optimizer.lr=[0.1,0.3]",
            "comparison.replicate=point", "comparison.tuning_seeds=1", "comparison.final_seeds=2",
            "comparison.extensions=0",
        )
    )  # fmt: skip
    found = {r.info.run_id: r for r in runs(tmp_path)}
    tops = [r for r in found.values() if "mlflow.parentRunId" not in r.data.tags]
    assert len(tops) == 1
    losses = [r for r in found.values() if r.data.tags.get("mlflow.parentRunId") == tops[0].info.run_id]
    assert len(losses) == 2
    for loss in losses:
        children = [r for r in found.values() if r.data.tags.get("mlflow.parentRunId") == loss.info.run_id]
        assert len(children) == 4
        assert "test/error_mean" in loss.data.metrics
    assert "verdict" in tops[0].data.tags
    assert {a.path for a in client(tmp_path).list_artifacts(tops[0].info.run_id)} >= {"report.html", "report.md"}
    assert_mirrors(tmp_path)


COMPARISON = (
    "compare", "trainer.epochs=25", "model.hidden=[16]", "comparison.losses=[ce,mse]",
    "comparison.replicate=point", "comparison.tuning_seeds=2",
    "comparison.tune.optimizer.lr=[0.1,0.3]", "comparison.final_seeds=4", "comparison.extensions=1",
)  # fmt: skip


def verdicts(here: Path, name: str = "quickstart") -> str:
    """What the newest comparison of a name found, without what it took."""
    folder = max((here / "xentlab-runs" / "comparisons").glob(f"{name}-*"))
    record = json.loads((folder / "verdicts.json").read_text())
    for loss in record["losses"]:
        del loss["trials"]  # ids, each run's own
    return json.dumps({k: v for k, v in record.items() if k not in ("created", "cost", "environment", "command")})


@pytest.mark.slow
def test_a_comparison_killed_again_and_again_ends_with_the_same_table(tmp_path: Path) -> None:
    command = (*COMPARISON, "comparison.replicate=procedure")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    finish(start(whole, *command, "tracking=off"))
    draws, kills = random.Random(0), 0
    for _ in range(4):
        process = start(broken, *command)
        try:
            process.communicate(timeout=draws.uniform(3.0, 6.0))
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    assert kills, "it ended before it could be killed"
    finish(start(broken, *command))
    finish(start(broken, "sync"))
    assert verdicts(broken) == verdicts(whole)
    assert not [r for r in runs(broken) if r.info.status == "RUNNING"]
    assert {g.status for g in records(broken).groups.values()} == {"finished"}, "one comparison, taken up again"
    finished = [t for t in records(broken).trials.values() if t.status == "finished"]
    assert len({t.signature for t in finished}) == len(finished)
    assert_mirrors(broken)


SHORT = (*COMPARISON, "trainer.epochs=6")
OTHER = (*SHORT, "comparison.name=other", "comparison.losses=[ce,bce]")


@pytest.mark.slow
def test_two_comparisons_at_once_on_one_database_do_not_disturb_each_other(tmp_path: Path) -> None:
    both, alone = tmp_path / "both", {"quickstart": tmp_path / "first", "other": tmp_path / "second"}
    commands = {"quickstart": SHORT, "other": OTHER}
    for folder in (both, *alone.values()):
        folder.mkdir()
    # Nothing is there yet: both make the output directory and the database, and both train the same ce.
    together = [start(both, *command) for command in commands.values()]
    said = [process.communicate(timeout=120)[1] for process in together]
    assert [process.returncode for process in together] == [0, 0], said
    finish(start(both, "sync"))
    for name, command in commands.items():
        finish(start(alone[name], *command, "tracking=off"))
        assert verdicts(both, name) == verdicts(alone[name], name)
    found = runs(both)
    assert all(run.info.status == "FINISHED" for run in found)
    tops = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert sorted(run.data.tags["comparison"] for run in tops) == ["other", "quickstart"]
    for top in tops:
        losses = [r.data.params["loss"] for r in found if r.data.tags.get("mlflow.parentRunId") == top.info.run_id]
        assert sorted(losses) == (["bce", "ce"] if top.data.tags["comparison"] == "other" else ["ce", "mse"])
    # A trial that one has trained before the other asks for it stands under both.
    tags = [run.data.tags for run in found if "xentlab.trial" in run.data.tags]
    filed = [(tag["mlflow.parentRunId"], tag["xentlab.trial"]) for tag in tags]
    assert len(set(filed)) == len(filed)
    assert_mirrors(both)


def client(here: Path) -> Any:
    from xentlab.tracking.settings import mlflow_module

    return mlflow_module().MlflowClient(f"sqlite:///{here / 'xentlab-runs' / 'mlflow.db'}")


def runs(here: Path) -> list[Any]:
    store = client(here)
    return [r for e in store.search_experiments() for r in store.search_runs([e.experiment_id])]


def assert_mirrors(here: Path) -> None:
    """Every point of the journal is in MLflow exactly once, with its own time, and nothing else is."""
    found, store = records(here), client(here)
    seen = set()
    for run in runs(here):
        name = run.data.tags.get("xentlab.trial")
        if name is None:
            continue
        seen.add(name)
        for metric, points in found.trials[name].curves.items():
            history = sorted((p.step, p.timestamp, p.value) for p in store.get_metric_history(run.info.run_id, metric))
            assert history == [(e, t, v) for e, t, v in points if v is not None], json.dumps([name, metric])
    assert seen == set(found.trials)


@pytest.mark.parametrize(("hold", "on"), [(float("inf"), "begins again"), (-1.0, "goes on with epoch 2")])
def test_an_interrupted_training_says_with_which_epoch_it_goes_on(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch, hold: float, on: str
) -> None:
    from xentlab.run import training

    calls: list[int] = []

    def append(self: Any, *events: Any, of: Any = training.Journal.append) -> None:
        of(self, *events)
        calls.extend(event.epoch for event in events if isinstance(event, training.EpochEvent))
        if calls[-1:] == [2]:
            calls.append(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_HOLD_S", hold)
    with monkeypatch.context() as patched:
        patched.setattr(training.Journal, "append", append)
        code, _, err = run("train", "trainer.epochs=4", "executor=inline", "tracking=off")
    assert (code, err) == (130, f"xentlab: interrupted in epoch 3 of 4; the same command {on}.\n")
    assert len(list((here / "xentlab-runs" / "checkpoints").glob("*.pt"))) == (hold < 0)
    code, out, err = run("train", "trainer.epochs=4", "executor=inline", "tracking=off")
    assert (code, err) == (0, "")
    assert "4 epochs" in out

"""One published experiment from its plan to its record, and records on disk."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xentlab.comparison.arms import Progress
from xentlab.comparison.estimate import beside_seconds, epoch_seconds
from xentlab.journal import GroupEndEvent
from xentlab.published import neuron, verdicts
from xentlab.published.distillation import foreseen
from xentlab.published.spec import Plan
from xentlab.published.trainings import Ran, run_arms, values_of, ways
from xentlab.report.published import (
    failed_words,
    markdown_of,
    named_arms,
    our_words,
    page,
    published_words,
    verdict_counts,
)
from xentlab.report.reproduction import VERSION, Arm, Lines, Reproduction, Spent
from xentlab.report.setup import environment_of
from xentlab.run.session import Session
from xentlab.train import Rig, Trial, lift_of
from xentlab.typed import from_json, to_json

FOLDER = "published"


def estimate_experiment(plan: Plan, session: Session) -> tuple[int, float]:
    """How many trials are still to be trained, and about how many seconds that takes here; nothing is written."""
    trials = [(label, trial) for label, arm in foreseen(plan, session).items() for trial in arm]
    if plan.candidates:  # of which one of each seed is chosen
        every = plan.candidates.items()
        trials = [(label, trial) for label, seeds in every for tried in seeds for trial in tried.values()]
    missing = [(label, trial) for label, trial in trials if session.recorded(trial) is None]
    # Students train one by one: each has targets of its own, whether they are there already or not.
    students = [[trial] for label, trial in missing if label in plan.teachers]
    stacks = [*session.plan([trial for label, trial in missing if label not in plan.teachers]), *students]
    seen: dict[str, float] = {}
    seconds = 0.0
    for stack in stacks:
        together = lift_of(stack[0], session.dataset(stack[0])) == "vectorised"
        rows = len(stack) if together else 1
        key = f"{rows} {_shape(stack[0])}"
        if key not in seen:
            seen[key] = stack[0].trainer.epochs * epoch_seconds(Rig(stack[:rows], session.dataset(stack[0])))
        seconds += seen[key] * (1 if together else len(stack))
    return len(missing), seconds + beside_seconds(len(missing), session.root)


def _shape(trial: Trial) -> str:
    """What decides how long a trial takes: all but the loss and the numbers that leave its work as it is."""
    config = {key: trial.config[key] for key in ("model", "trainer", "optimizer")}
    aside = ("label_noise", "noise", "soft_targets")
    data = {key: value for key, value in trial.config["dataset"].items() if key not in aside}
    optimizer = {key: value for key, value in config["optimizer"].items() if key == "_target_"}
    return json.dumps([config | {"optimizer": optimizer}, data], sort_keys=True, default=str)


def run_experiment(plan: Plan, session: Session, progress: Progress, command: str) -> tuple[Reproduction, Path]:
    """Run the experiment, judge its claims and write its page; what is recorded already is reused.

    Returns:
        The record, and where its page is.
    """
    block = plan.block
    facts: dict[str, Any] = {
        "name": plan.name,
        "question": plan.question,
        "source": block.source,
        "protocol": block.protocol,
        "size": plan.size,
        "size_words": plan.at.words,
        "command": command,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "choices": block.choices,
        "environment": environment_of(session.environment),
    }
    if block.neuron is not None:  # nothing is trained
        exact = Reproduction(**facts, **_exact(plan, block.neuron))
        return exact, save(exact, session.root)
    before = session.trained
    ran = run_arms(plan, session, progress)
    rows = verdicts.findings(plan, ran)
    metrics = {m: verdicts.metric_words(m) for m in verdicts.shown_metrics(plan)}
    found = Reproduction(
        **facts,
        findings=rows,
        choices_tried=verdicts.choices_tried(plan, ran),
        arms=_arms(plan, ran, list(metrics)),
        metrics=metrics,
        cost=_cost(ran, session.trained - before, session),
        failed=ran.failed,
    )
    path = save(found, session.root)
    _file(session, ran, found)  # last, for it sends the folder to MLflow
    return found, path


def _exact(plan: Plan, wanted: neuron.Neuron) -> dict[str, Any]:
    exact = neuron.quantities(wanted)
    lines = neuron.traces(wanted)
    same = neuron.traces(dataclasses.replace(wanted, rates=dict.fromkeys(neuron.COSTS, wanted.equal_rate)))
    rates = "the source's rates, " + ", ".join(f"{name} {rate:g}" for name, rate in wanted.rates.items())
    one = f"one rate, {wanted.equal_rate:g}"
    pictures = [
        Lines(f"Cost against epoch at {rates}", "cost", {k: t.cost for k, t in lines.items()}),
        Lines(f"Cost against epoch at {one}", "cost", {k: t.cost for k, t in same.items()}),
        Lines(f"Output against epoch at {rates}", "output", {k: t.output for k, t in lines.items()}),
        Lines(f"Output against epoch at {one}", "output", {k: t.output for k, t in same.items()}),
    ]
    return {"findings": verdicts.exact_findings(plan, exact), "pictures": pictures, "quantities": exact}


def _arms(plan: Plan, ran: Ran, metrics: Sequence[str]) -> list[Arm]:
    """Every seed of every arm."""
    columns = {m: values_of(ran, m) for m in metrics}
    stuck = verdicts.stuck_seeds(plan, ran)
    found = []
    for label, records in ran.records.items():  # of the open choices made another way too
        values = {m: {str(i): v for i, v in enumerate(column[label])} for m, column in columns.items()}
        diverged = sum(r.outcome.diverged for r in records)
        found.append(Arm(label, values, len(stuck[label]) if stuck else None, diverged))
    return [*found, *(Arm(label, {}) for label in ran.failed)]


def _cost(ran: Ran, trained: int, session: Session) -> Spent:
    """What the trials took, and what they would have taken one after another."""
    trials = sum(map(len, ran.records.values()))
    together = [label for label, (n, _) in ways(ran).items() if n > 1]
    each = {}
    for label in together:
        trial = ran.trials[label][0]
        each[label] = trial.trainer.epochs * epoch_seconds(Rig([trial], session.dataset(trial)))
    taken = {label: sum(r.outcome.seconds for r in records) for label, records in ran.records.items()}
    own = sum(len(arm) * each[label] if label in each else taken[label] for label, arm in ran.trials.items())
    at_once: list[tuple[str, ...]] = sorted({(str(n), lift) for n, lift in ways(ran).values()})
    return Spent(trials, trained, sum(taken.values()), at_once, own, bool(each))


def _file(session: Session, ran: Ran, found: Reproduction) -> None:
    """Write the verdicts into the journal, for the experiment and for each of its arms."""
    for label, group in ran.groups.items():
        of_arm = [f"{f.about}: {f.verdict}" for f in found.findings if named_arms(f) == label]
        tags = {"verdict": "; ".join(of_arm)} if of_arm else {}
        if label in ran.failed:
            tags["reason"] = ran.failed[label]
        session.journal.append(GroupEndEvent(group, "failed" if label in ran.failed else "finished", tags, {}, None))
    lines = [
        f"{f.verdict}: {f.about} ({named_arms(f)}): published {published_words(f)}, ours {our_words(f)}"
        for f in found.findings
    ]
    note = "\n\n".join([verdict_counts(found), *failed_words(found), found.question, *lines, f"`{found.command}`"])
    tags = {"mlflow.note.content": note, "verdict": verdict_counts(found)}
    folder = f"{FOLDER}/{found.name}-{found.size}"
    session.journal.append(GroupEndEvent(ran.group, "finished", tags, {}, folder))


def save(experiment: Reproduction, root: Path) -> Path:
    """Write one experiment's page, Markdown and record into its folder under `root`; returns the page."""
    folder = root / FOLDER / f"{experiment.name}-{experiment.size}"
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(to_json(experiment), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "published.json").write_text(data, encoding="utf-8")
    return write_pages(experiment.name, [experiment], folder)


def write_pages(
    title: str, experiments: Sequence[Reproduction], folder: Path, missing: Sequence[tuple[str, str]] = ()
) -> Path:
    """Write report.html and report.md of one or several experiments; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(markdown_of(title, experiments, missing), encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page(title, experiments, missing), encoding="utf-8")
    return path


def saved(root: Path) -> list[Reproduction]:
    """Every experiment that was written under `root`, by name and size.

    What an earlier version wrote holds texts and is left out: run again, it is written anew and trains nothing.
    """
    files = sorted((root / FOLDER).glob("*/published.json"))
    written = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [from_json(Reproduction, data, "published") for data in written if data.get("version") == VERSION]

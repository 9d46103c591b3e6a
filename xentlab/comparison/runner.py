"""Running a comparison on a session: tuning, then the final seeds, all filed under one arm per loss."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xentlab.comparison.arms import Arms, Progress, open_arms
from xentlab.comparison.protocol import Protocol
from xentlab.comparison.tune import Tuning, tune
from xentlab.journal import TrialRecord
from xentlab.run.session import Session
from xentlab.train import Trial, first_gradient_norm


@dataclass(frozen=True)
class Result:
    """What a comparison brought: per loss its tuning, and its final records in the order of the final seeds.

    `group` is the comparison's own group in the journal, `loss_groups` those of its losses. `tuning_epochs` counts the
    epochs that the tuning trials of each loss were given; those that diverged stopped earlier.
    """

    protocol: Protocol
    monitor: str
    tunings: dict[str, Tuning]
    finals: dict[str, list[TrialRecord]]
    group: str
    loss_groups: dict[str, str]
    tuning_trials: dict[str, int]
    tuning_epochs: dict[str, int]


def run_comparison(
    protocol: Protocol, session: Session, progress: Progress, *, parent: str | None = None, cell: str = ""
) -> Result:
    """Tune, then repeat the chosen points over the final seeds; reuses whatever is recorded.

    Args:
        protocol: of one cell.
        session: where trials are looked up, trained and recorded.
        progress: opens the progress of each phase.
        parent: the group of the study that this is a cell of, if any.
        cell: the cell's label.
    """
    first = first_trial(protocol)
    session.signature(first)  # reads the data, so that a mistake there is found before anything is written
    arms = _open(protocol, session, progress, first, parent, cell)
    counts, epochs = dict.fromkeys(protocol.losses, 0), dict.fromkeys(protocol.losses, 0)
    prefix = f"{cell}: " if cell else ""

    def run(trials: Mapping[str, Sequence[Trial]]) -> dict[str, list[TrialRecord]]:
        for label, arm in trials.items():
            counts[label] += len(arm)
            epochs[label] += sum(trial.trainer.epochs for trial in arm)
        return arms.run(f"{prefix}tuning", trials, {"phase": "tune"})

    def measure(trial: Trial) -> float:
        return first_gradient_norm(trial, session.dataset(trial))

    tunings = tune(protocol, first.monitor, run, measure)
    trials = {label: protocol.final_trials(label, tunings[label].chosen) for label in protocol.losses}
    finals = arms.run(f"{prefix}final seeds", trials, {"phase": "final"})
    return Result(protocol, first.monitor, tunings, finals, arms.group, dict(arms.groups), counts, epochs)


def first_trial(protocol: Protocol) -> Trial:
    """A final trial of the baseline, for what all trials of the protocol share."""
    space = protocol.spaces[protocol.baseline]
    point = tuple((key, values[0]) for key, values in space.items())
    return protocol.trial(protocol.baseline, point, protocol.final_seeds[0], test=True)


def _open(
    protocol: Protocol, session: Session, progress: Progress, first: Trial, parent: str | None, cell: str
) -> Arms:
    names = first.names
    tags = {"comparison": protocol.name, "task": first.task.name, "dataset": names["dataset"], "model": names["model"]}
    tags |= {"fairness": protocol.mode} | ({"cell": cell} if cell else {})
    tags["protocol"] = _digest(protocol)
    params: dict[str, Any] = {
        "baseline": protocol.baseline,
        "tuning_seeds": len(protocol.tuning_seeds),
        "final_seeds": len(protocol.final_seeds),
    }
    kind = "cell" if parent else "comparison"
    whole = {"kind": kind, "name": cell or protocol.name, "parent": parent, "params": params, "tags": tags}
    arms = {label: ({"loss": label}, {"loss": label}) for label in protocol.losses}
    return open_arms(session, progress, whole, arms, {"comparison": protocol.name})


def _digest(protocol: Protocol) -> str:
    """What tells one protocol from another of the same name, wherever and however it runs."""
    facts = dataclasses.asdict(protocol)
    facts["base"] = {k: v for k, v in facts["base"].items() if k not in ("output", "tracking", "executor")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]

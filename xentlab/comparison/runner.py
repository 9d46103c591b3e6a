"""Running a comparison on a session: tuning, then the final seeds, all filed under one group per loss."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from xentlab.comparison.protocol import Protocol
from xentlab.comparison.tune import Tuning, tune
from xentlab.journal import TrialRecord
from xentlab.run.session import Session
from xentlab.run.training import EpochCallback
from xentlab.train import Trial, first_gradient_norm

Phase = Callable[[str, int], AbstractContextManager[EpochCallback]]
"""Opens a phase's progress: (title, trial-epochs in all) -> a context that gives the callback."""


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
    protocol: Protocol, session: Session, phase: Phase, *, parent: str | None = None, cell: str = ""
) -> Result:
    """Tune, then repeat the chosen points over the final seeds; reuses whatever is recorded.

    Args:
        protocol: of one cell.
        session: where trials are looked up, trained and recorded.
        phase: opens each phase's progress.
        parent: the group of the study that this is a cell of, if any.
        cell: the cell's label.
    """
    first = first_trial(protocol)
    session.signature(first)  # reads the data, so that a mistake there is found before anything is written
    group, loss_groups = _open_groups(protocol, session, first, parent, cell)
    counts, epochs = dict.fromkeys(protocol.losses, 0), dict.fromkeys(protocol.losses, 0)
    prefix = f"{cell}: " if cell else ""

    def runner(title: str, kind: str) -> Callable[[Sequence[tuple[str, Trial]]], list[TrialRecord]]:
        def run(jobs: Sequence[tuple[str, Trial]]) -> list[TrialRecord]:
            trials = [trial for _, trial in jobs]
            with phase(prefix + title, sum(t.trainer.epochs for t in session.missing(trials))) as on_epoch:
                records = session.run(
                    trials,
                    groups={trial: loss_groups[label] for label, trial in jobs},
                    tags={"comparison": protocol.name, "phase": kind},
                    on_epoch=on_epoch,
                )
            if kind == "tune":
                for label, trial in jobs:
                    counts[label] += 1
                    epochs[label] += trial.trainer.epochs
            return records

        return run

    def measure(trial: Trial) -> float:
        return first_gradient_norm(trial, session.dataset(trial))

    tunings = tune(protocol, first.monitor, runner("tuning", "tune"), measure)
    jobs = [
        (label, protocol.trial(label, tunings[label].chosen, protocol.final_seed(label, seed), test=True))
        for label in protocol.losses
        for seed in protocol.final_seeds
    ]
    records = runner("final seeds", "final")(jobs)
    finals: dict[str, list[TrialRecord]] = {label: [] for label in protocol.losses}
    for (label, _), record in zip(jobs, records, strict=True):
        finals[label].append(record)
    return Result(protocol, first.monitor, tunings, finals, group, loss_groups, counts, epochs)


def first_trial(protocol: Protocol) -> Trial:
    """A final trial of the baseline, for what all trials of the protocol share."""
    space = protocol.spaces[protocol.baseline]
    point = tuple((key, values[0]) for key, values in space.items())
    return protocol.trial(protocol.baseline, point, protocol.final_seeds[0], test=True)


def _open_groups(
    protocol: Protocol, session: Session, first: Trial, parent: str | None, cell: str
) -> tuple[str, dict[str, str]]:
    names = first.names
    tags = {"comparison": protocol.name, "task": first.task, "dataset": names["dataset"], "model": names["model"]}
    tags |= {"fairness": protocol.mode} | ({"cell": cell} if cell else {})
    tags["protocol"] = _digest(protocol)
    params: dict[str, Any] = {
        "baseline": protocol.baseline,
        "tuning_seeds": len(protocol.tuning_seeds),
        "final_seeds": len(protocol.final_seeds),
    }
    kind = "cell" if parent else "comparison"
    own = {"kind": kind, "name": cell or protocol.name, "parent": parent, "params": params, "tags": tags}
    losses = [
        {"kind": "loss", "name": label, "parent": 0, "params": {"loss": label}, "tags": tags | {"loss": label}}
        for label in protocol.losses
    ]
    group, *children = session.open_groups([own, *losses])
    return group, dict(zip(protocol.losses, children, strict=True))


def _digest(protocol: Protocol) -> str:
    """What tells one protocol from another of the same name, wherever and however it runs."""
    facts = dataclasses.asdict(protocol)
    facts["base"] = {k: v for k, v in facts["base"].items() if k not in ("output", "tracking", "executor")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]

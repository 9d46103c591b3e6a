"""Running a comparison on a lab: tuning, then the final seeds, all filed under one group per loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from xentlab.comparison.protocol import Protocol
from xentlab.comparison.tune import Tuning, tune
from xentlab.journal import TrialRecord, new_id
from xentlab.run import EpochCallback, Lab
from xentlab.train import Trial

Phase = Callable[[str, int], AbstractContextManager[EpochCallback]]
"""Opens a phase's progress: (title, trial-epochs in all) -> a context that gives the callback."""


@dataclass(frozen=True)
class Result:
    """What a comparison brought: per loss its tuning, and its final records in the order of the final seeds.

    `group` is the comparison's own group in the journal, `loss_groups` those of its losses.
    """

    protocol: Protocol
    monitor: str
    tunings: dict[str, Tuning]
    finals: dict[str, list[TrialRecord]]
    group: str
    loss_groups: dict[str, str]
    tuning_trials: dict[str, int]


def run_comparison(protocol: Protocol, lab: Lab, phase: Phase) -> Result:
    """Tune, then repeat the chosen points over the final seeds; reuses whatever is recorded."""
    first = protocol.trial(protocol.baseline, protocol.points()[0], protocol.final_seeds[0], test=True)
    lab.signature(first)  # reads the data, so that a mistake there is found before anything is written
    group, loss_groups = _open_groups(protocol, lab, first)
    counts = dict.fromkeys(protocol.losses, 0)

    def runner(title: str, kind: str) -> Callable[[Sequence[tuple[str, Trial]]], list[TrialRecord]]:
        def run(jobs: Sequence[tuple[str, Trial]]) -> list[TrialRecord]:
            where = {id(trial): loss_groups[label] for label, trial in jobs}
            trials = [trial for _, trial in jobs]
            missing = [t for t in trials if lab.recorded(t) is None]
            with phase(title, sum(t.trainer.epochs for t in missing)) as on_epoch:
                records = lab.run(
                    trials,
                    group=lambda trial: where[id(trial)],
                    tags={"comparison": protocol.name, "phase": kind},
                    on_epoch=on_epoch,
                )
            if kind == "tune":
                for label, _ in jobs:
                    counts[label] += 1
            return records

        return run

    tunings = tune(protocol, first.monitor, runner("tuning", "tune"))
    jobs = [
        (label, protocol.trial(label, tunings[label].chosen, seed, test=True))
        for label in protocol.losses
        for seed in protocol.final_seeds
    ]
    records = runner("final seeds", "final")(jobs)
    finals: dict[str, list[TrialRecord]] = {label: [] for label in protocol.losses}
    for (label, _), record in zip(jobs, records, strict=True):
        finals[label].append(record)
    return Result(protocol, first.monitor, tunings, finals, group, loss_groups, counts)


def _open_groups(protocol: Protocol, lab: Lab, first: Trial) -> tuple[str, dict[str, str]]:
    names = first.names
    tags = {"comparison": protocol.name, "task": first.task, "dataset": names["dataset"], "model": names["model"]}
    group = new_id()
    loss_groups = {label: new_id() for label in protocol.losses}
    params = {
        "baseline": protocol.baseline,
        "tuning_seeds": len(protocol.tuning_seeds),
        "final_seeds": len(protocol.final_seeds),
    }
    opening = [
        (
            "group",
            {
                "group": group,
                "kind": "comparison",
                "name": protocol.name,
                "parent": None,
                "params": params,
                "tags": tags,
            },
        )
    ]
    for label, child in loss_groups.items():
        opening.append(
            (
                "group",
                {
                    "group": child,
                    "kind": "loss",
                    "name": label,
                    "parent": group,
                    "params": {"loss": label},
                    "tags": tags | {"loss": label},
                },
            )
        )
    lab.journal.extend(opening)
    return group, loss_groups

"""Running a comparison on a session: tuning, then the test of what was chosen, all filed under one arm per loss."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xentlab.analysis import Looked, Question, judge_looks
from xentlab.comparison.arms import Arms, ArmsFailedError, Progress, open_arms
from xentlab.comparison.folder import OWN, phase
from xentlab.comparison.protocol import Protocol
from xentlab.comparison.tune import Tuning, tune
from xentlab.data import split
from xentlab.errors import UserError
from xentlab.journal import Records, TrialRecord
from xentlab.metrics import Metric
from xentlab.run.session import Session
from xentlab.tasks import find
from xentlab.train import Trial, first_gradient_norm, rehearse


@dataclass(frozen=True)
class Result:
    """What a comparison brought: per loss its tuning, and its final records in the order of the final seeds.

    `group` is the comparison's own group in the journal, `loss_groups` those of its losses. `tuning_epochs` counts the
    epochs that the tuning trials of each loss were given; those that diverged stopped earlier. `trivial` is what the
    task's trivial predictor scores on the test set, by metric, where a final trial diverged: it scores that. `failed`
    are losses that could not be trained, each with its own sentence; they stand nowhere else. `looked` are numbers of
    seeds at which these trials were judged before the last seeds came. `rounded` are the final trials once more, in
    float64, where that was asked for.
    """

    protocol: Protocol
    monitor: str
    tunings: dict[str, Tuning]
    finals: dict[str, list[TrialRecord]]
    group: str
    loss_groups: dict[str, str]
    tuning_trials: dict[str, int]
    tuning_epochs: dict[str, int]
    trivial: dict[str, float]
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    looked: tuple[int, ...] = ()
    rounded: dict[str, list[TrialRecord]] = dataclasses.field(default_factory=dict)

    @property
    def trials(self) -> int:
        """How many trials it took: a chosen candidate is counted once."""
        chosen = sum(map(len, self.finals.values()))
        among = self.protocol.replicate == "procedure" and self.protocol.mode != "matched"
        return sum(self.tuning_trials.values()) + (0 if among else chosen) + sum(map(len, self.rounded.values()))

    def values(self, metric: str) -> dict[str, dict[int, float | None]]:
        """Loss -> final seed -> final test value of one metric."""
        return self.values_of(self.finals, metric)

    def values_of(self, trials: Mapping[str, Sequence[TrialRecord]], metric: str) -> dict[str, dict[int, float | None]]:
        """As `values`, of other trials of the final seeds."""
        seeds = self.protocol.final_seeds
        return {
            label: {s: r.outcome.test.get(metric) for s, r in zip(seeds, records, strict=True)}
            for label, records in trials.items()
        }

    def question(self, metric: Metric, margin: float | None) -> Question:
        """One metric's values, with what a diverged trial scores."""
        trivial = self.trivial.get(metric.name)
        edge = frozenset(label for label, tuning in self.tunings.items() if tuning.on_edge)
        return Question(self.values(metric.name), metric.direction, margin, trivial, len(self.failed), edge)


def run_comparison(
    protocol: Protocol, session: Session, progress: Progress, *, parent: str | None = None, cell: str = ""
) -> Result:
    """Tune, then have the chosen points of all final seeds meet the test set; reuses whatever is recorded.

    With planned looks, it goes on to the next number of seeds only while a verdict is lacking.
    """
    first = first_trial(protocol)
    session.signature(first)  # reads the data, so that a mistake there is found before anything is written
    rehearse_losses(protocol, session)
    arms = _open(protocol, session, progress, first, parent, cell)
    looks = protocol.looks.seeds if protocol.looks is not None else (len(protocol.final_seeds),)
    failed: dict[str, str] = {}
    for seeds in looks:
        while True:
            try:
                result = _run(protocol.at(seeds), session, arms, first.monitor, f"{cell}: " if cell else "")
                break
            except ArmsFailedError as error:
                if protocol.baseline in error.errors:  # nothing is left to compare with
                    raise error.errors[protocol.baseline] from error
                failed |= error.sentences
                protocol = protocol.without(error.sentences)  # what the others have trained is looked up
        result = dataclasses.replace(result, failed=failed)
        if protocol.looks is None or judged_at_looks(result).done:
            break
    return dataclasses.replace(result, looked=looked_before(result, session.records))


def rehearse_losses(protocol: Protocol, session: Session) -> None:
    """Try own code on a first batch; a loss that fails where others are left to compare will cost its arm alone.

    Raises:
        UserError: the baseline fails, or every loss beside it does.
    """
    errors: dict[str, UserError] = {}
    for label in protocol.losses:
        try:
            rehearse([first_trial(protocol, label)], session.dataset)
        except UserError as error:
            errors[label] = error
    if protocol.baseline in errors or 0 < len(errors) >= len(protocol.losses) - 1:
        raise errors.get(protocol.baseline) or next(iter(errors.values()))


def looked_before(result: Result, records: Records) -> tuple[int, ...]:
    """The numbers of seeds at which a loss was judged before, on some of these trials alone, ascending.

    What came after the first comparison with all of them was no reason to add any, and does not count.
    """
    base, found = result.protocol.baseline, set[int]()
    ours = {label: {r.signature for r in arm} for label, arm in result.finals.items()}
    judged = [g for g in records.groups.values() if g.kind in ("comparison", "cell") and g.status == "finished"]
    left = set(ours) - {base}
    for group in sorted(judged, key=lambda g: g.start):
        theirs = {
            child.name: {
                t.signature for t in map(records.trials.__getitem__, child.members) if phase(t.tags) == "final"
            }
            for child in records.groups.values()
            if child.parent == group.id and child.name in ours
        }
        for label in sorted(left & theirs.keys() if base in theirs else ()):
            if theirs[label] == ours[label]:
                left.discard(label)
            elif theirs[label] and theirs[label] < ours[label] and theirs[base] <= ours[base]:
                found.add(len(theirs[label]))
    return tuple(sorted(found))


def judged_at_looks(result: Result) -> Looked:
    """The primary metric judged at every look that the seeds so far allow."""
    protocol, records = result.protocol, result.finals
    assert protocol.looks is not None
    metric = find(records[protocol.baseline][0].tags["task"]).metric(result.monitor)
    return judge_looks(result.question(metric, protocol.margin), protocol.looks, baseline=protocol.baseline)


def _run(protocol: Protocol, session: Session, arms: Arms, monitor: str, prefix: str) -> Result:
    """One comparison of all its final seeds."""
    counts, epochs = dict.fromkeys(protocol.losses, 0), dict.fromkeys(protocol.losses, 0)
    whole = protocol.replicate == "procedure"
    tried: list[TrialRecord] = []

    def run(trials: Mapping[str, Sequence[Trial]]) -> dict[str, list[TrialRecord]]:
        for label, arm in trials.items():
            counts[label] += len(arm)
            epochs[label] += sum(trial.trainer.epochs for trial in arm)
        records = arms.run(f"{prefix}tuning", trials, {"phase": "tune", "role": "candidate"}, candidates=whole)
        tried.extend(record for arm in records.values() for record in arm)
        return records

    def measure(trial: Trial) -> float:
        return first_gradient_norm(trial, session.dataset(trial))

    tunings = tune(protocol, monitor, run, measure)
    trials = {label: protocol.final_trials(label, tunings[label].chosen) for label in protocol.losses}
    finals = arms.run(f"{prefix}final seeds", trials, {"phase": "final", "role": "chosen"})
    rounded: dict[str, list[TrialRecord]] = {}
    if protocol.rounding:
        again = {label: protocol.rounded.final_trials(label, tunings[label].chosen) for label in protocol.losses}
        rounded = arms.run(f"{prefix}rounding", again, {"phase": "rounding", "role": "rounding"})
    if whole:
        session.drop_weights(tried)
    diverged = any(record.outcome.diverged for arm in finals.values() for record in arm)
    trivial = _trivial(protocol, session) if diverged else {}
    groups = dict(arms.groups)
    return Result(protocol, monitor, tunings, finals, arms.group, groups, counts, epochs, trivial, rounded=rounded)


def _trivial(protocol: Protocol, session: Session) -> dict[str, float]:
    """Test metrics of the answer that needs no training, from the training targets of the first final seed."""
    trial = first_trial(protocol)
    data = session.dataset(trial)
    parts = split(data, trial.seed, **trial.sampling)
    return trial.task.trivial(parts.train_targets, data.targets[parts.test], data)


def first_trial(protocol: Protocol, label: str | None = None) -> Trial:
    """A final trial of one loss, by default of the baseline for what all trials of the protocol share."""
    label = label or protocol.baseline
    point = tuple((key, values[0]) for key, values in protocol.spaces[label].items())
    return protocol.trial(label, point, protocol.final_seeds[0], test=True)


def _open(
    protocol: Protocol, session: Session, progress: Progress, first: Trial, parent: str | None, cell: str
) -> Arms:
    names = first.names
    tags = {"comparison": protocol.name, "task": first.task.name, "dataset": names["dataset"], "model": names["model"]}
    tags |= {"fairness": protocol.mode} | ({"cell": cell} if cell else {})
    tags["protocol"] = _digest(protocol)
    params: dict[str, Any] = {
        "baseline": protocol.baseline,
        "replicate": protocol.replicate,
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
    facts["base"] = {k: v for k, v in facts["base"].items() if k not in OWN}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]

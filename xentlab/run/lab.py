"""The lab: looks trials up, plans what is missing, has it trained here or elsewhere, and journals what it trains."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xentlab.data import Dataset, soften
from xentlab.errors import UserError
from xentlab.journal import Journal, Records, TrialRecord, new_id
from xentlab.run.checkpoint import Checkpoint
from xentlab.run.training import train_unit
from xentlab.run.unit import Executor, Unit
from xentlab.train import Epoch, Trial, lift_of, prepare, signature, stacks
from xentlab.train.memory import footprint, memory_limit

EpochCallback = Callable[[Sequence[Trial], Epoch], None]


def _say(sentence: str) -> None:
    print(f"xentlab: {sentence}", file=sys.stderr)


@dataclass
class Lab:
    """One session over one output directory: the journal it writes, and all that earlier sessions wrote.

    Attributes:
        root: the output directory.
        fresh: train again even what is already recorded.
        weights: keep each trial's final and best weights.
        executor: who trains; None: this process.
        trained: how many trials this session has trained or has had trained.
        say: tells the user, in a sentence, what the lab has decided by itself.
    """

    root: Path
    journal: Journal
    records: Records
    environment: Mapping[str, Any]
    fresh: bool = False
    weights: bool = True
    executor: Executor | None = None
    trained: int = 0
    say: Callable[[str], None] = _say
    _datasets: dict[str, Dataset] = field(default_factory=dict)
    _signatures: dict[int, tuple[Trial, str]] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path, environment: Mapping[str, Any], command: str, *, fresh: bool, weights: bool) -> Lab:
        """A session over `root`; nothing is written before the first event."""
        root = root.absolute()
        records = Records(root)
        records.update()
        records.mark_killed()
        return cls(root, Journal(root, environment, command), records, environment, fresh, weights)

    @classmethod
    def worker(cls, root: Path, environment: Mapping[str, Any], driver: str, *, weights: bool) -> Lab:
        """A session that only performs the units of another one, `driver`; it looks nothing up."""
        return cls(root, Journal(root, environment, "worker", driver=driver), Records(root), environment, True, weights)

    def dataset(self, trial: Trial) -> Dataset:
        """The trial's data, read once per session; with soft targets it shares all else with the data without."""
        key = json.dumps([repr(trial.dataset.func), trial.dataset.keywords], sort_keys=True, default=str)
        if key not in self._datasets:
            self._datasets[key] = trial.dataset()
        taught = f"{key} {trial.soft_targets}"
        if taught not in self._datasets:
            self._datasets[taught] = soften(self._datasets[key], soft_targets=trial.soft_targets)
        return self._datasets[taught]

    def signature(self, trial: Trial) -> str:
        if id(trial) not in self._signatures:  # a trial is held beside its signature, so that its id stays its own
            self._signatures[id(trial)] = (trial, signature(trial, self.dataset(trial).fingerprint))
        return self._signatures[id(trial)][1]

    def recorded(self, trial: Trial) -> TrialRecord | None:
        """The finished record of this trial, unless everything is to be trained afresh."""
        return None if self.fresh else self.records.finished(self.signature(trial))

    def open_groups(self, groups: Sequence[Mapping[str, Any]]) -> list[str]:
        """Begin groups of the journal, or take up those that a killed session has left with just these facts.

        Args:
            groups: for each its `kind`, `name`, `params`, `tags`, and as `parent` the place of an earlier one in
                `groups`, the id of a group that is already open, or None.

        Returns:
            Their ids.
        """
        ids: list[str] = []
        for facts in groups:
            parent = ids[facts["parent"]] if isinstance(facts["parent"], int) else facts["parent"]
            ids.append(self._killed_group({**facts, "parent": parent}) or new_id())
        events = [
            (
                "group",
                {**facts, "group": name, "parent": ids[above] if isinstance(above := facts["parent"], int) else above},
            )
            for name, facts in zip(ids, groups, strict=True)
        ]
        self.journal.extend(events)
        return ids

    def _killed_group(self, facts: Mapping[str, Any]) -> str | None:
        if self.fresh:
            return None
        for group in self.records.groups.values():
            same = all(getattr(group, key) == facts[key] for key in ("kind", "name", "parent", "params"))
            if group.status == "killed" and same and facts["tags"].items() <= group.tags.items():
                return group.id
        return None

    def run(
        self,
        trials: Sequence[Trial],
        *,
        group: Callable[[Trial], str | None] = lambda trial: None,  # noqa: ARG005
        tags: Mapping[str, str] | None = None,
        on_epoch: EpochCallback = lambda trials, epoch: None,  # noqa: ARG005
    ) -> list[TrialRecord]:
        """Bring every trial to its end, reusing what is recorded; returns their records in the given order.

        Args:
            trials: what to run; equal trials run once.
            group: under which group of the journal a trial is filed, if any.
            tags: what each new trial is tagged with beside what it is.
            on_epoch: called after each epoch of each stack.
        """
        records: list[TrialRecord] = []
        for outcome in self.attempt(trials, group=group, tags=tags, on_epoch=on_epoch, stop=True):
            if isinstance(outcome, Exception):
                raise outcome
            records.append(outcome)
        return records

    def attempt(
        self,
        trials: Sequence[Trial],
        *,
        group: Callable[[Trial], str | None] = lambda trial: None,  # noqa: ARG005
        tags: Mapping[str, str] | None = None,
        on_epoch: EpochCallback = lambda trials, epoch: None,  # noqa: ARG005
        stop: bool = False,
    ) -> list[TrialRecord | Exception]:
        """As `run`, with the exception in the place of a trial that failed; the others go on, unless told to `stop`."""
        found: dict[str, str] = {}
        missing: dict[str, Trial] = {}
        keys = [self.signature(t) for t in trials]
        twins: list[tuple[str, Trial]] = []
        members: list[tuple[str, Mapping[str, Any]]] = []
        for key, trial in zip(keys, trials, strict=True):
            known = self.recorded(trial)
            if known is None:
                if missing.setdefault(key, trial) is not trial:
                    twins.append((key, trial))
            else:
                found[key] = known.id
                where = group(trial)
                if where is not None:
                    members.append(("member", {"group": where, "trial": known.id}))
        if members:
            self.journal.extend(members)
        planned: Sequence[Sequence[Trial]] = self.plan(list(missing.values()))
        placed = self.executor.place(planned, trials, self.dataset) if self.executor is not None and planned else None
        planned = planned if placed is None else placed
        units = [self._unit(stack, group, dict(tags or {})) for stack in planned]
        if self.executor is None or placed is None:
            errors = self._train_here(planned, units, on_epoch, stop=stop)
        else:
            errors = self._delegate(self.executor, planned, units, on_epoch)
        failed: dict[str, Exception] = {}
        for i, (stack, unit) in enumerate(zip(planned, units, strict=True)):
            for trial, entry in zip(stack, unit.trials, strict=True):
                found[self.signature(trial)] = entry["id"]
                if i in errors:
                    failed[self.signature(trial)] = errors[i]
            self.trained += 0 if i in errors else len(stack)
        filed = [("member", {"group": group(t), "trial": found[key]}) for key, t in twins if group(t) is not None]
        if filed:
            self.journal.extend(filed)
        self.records.update()
        return [failed[key] if key in failed else self.records.trials[found[key]] for key in keys]

    def _train_here(
        self, planned: Sequence[Sequence[Trial]], units: Sequence[Unit], on_epoch: EpochCallback, *, stop: bool
    ) -> dict[int, Exception]:
        """Train the units one after another in this process; returns what failed by its place."""
        errors: dict[int, Exception] = {}
        for i, (stack, unit) in enumerate(zip(planned, units, strict=True)):
            try:
                train_unit(self, stack, unit, on_epoch)
            except Exception as error:
                if stop:
                    raise
                errors[i] = error
        return errors

    def plan(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        """The stacks in which these trials train: by structure, and as large as memory allows."""
        return stacks(trials, fits=self._fits)

    def _fits(self, group: Sequence[Trial]) -> int:
        """How many of these trials fit into one stack; says so where memory is what limits it."""
        first, dataset = group[0], self.dataset(group[0])
        looped = lift_of(group, dataset) == "looped"
        try:
            limit, needs = memory_limit(first), footprint(first, dataset, looped=looped)
        except Exception as error:
            # The step raises again in training, where it is this stack's own failure and stops no other.
            self.say(f"The memory of {first.label} cannot be measured: {type(error).__name__}: {error}")
            return len(group)
        size = needs.fits(limit)
        if size < min(len(group), first.trainer.max_stack):
            wanted = needs.stack(min(len(group), first.trainer.max_stack))
            self.say(
                f"{len(group)} trials like {first.label} train in stacks of {size}: together they would take "
                f"{wanted / 2**20:,.1f} MB, and {limit / 2**20:,.1f} MB are allowed."
            )
        return size

    def perform(self, unit: Unit, on_epoch: EpochCallback) -> None:
        """Train a unit that another session has planned; `on_epoch` is called after each epoch.

        Raises:
            UserError: its config makes no sense here, or its trials are not what they were where they were planned.
        """
        stack = [prepare(t["config"], test=t["test"], name=t["name"]) for t in unit.trials]
        for trial, entry in zip(stack, unit.trials, strict=True):
            if self.signature(trial) != entry["signature"]:
                raise UserError(
                    f"A worker on {self.environment['host']} has other code or data than the command that sent it "
                    f"'{trial.label}': both must run the same version on the same files."
                )
        train_unit(self, stack, unit, on_epoch)

    def _unit(self, stack: Sequence[Trial], group: Callable[[Trial], str | None], tags: dict[str, str]) -> Unit:
        """The stack as whoever trains it wants it, under the ids of an interrupted session where there was one."""
        signatures = [self.signature(t) for t in stack]
        ids, _ = Checkpoint(self.root, signatures).load() if not self.fresh else ([], None)
        if not ids or not all(name in self.records.trials for name in ids):
            ids = [new_id() for _ in stack]
        entries = tuple(
            {"id": name, "signature": key, "config": t.config, "name": t.name, "test": t.test, "group": group(t)}
            for name, key, t in zip(ids, signatures, stack, strict=True)
        )
        gpu = stack[0].device.type == "cuda"
        return Unit(str(self.root), self.journal.session, entries, tags, self.weights, not self.fresh, gpu)

    def _delegate(
        self, executor: Executor, planned: Sequence[Sequence[Trial]], units: Sequence[Unit], on_epoch: EpochCallback
    ) -> dict[int, Exception]:
        """Have the executor train the units; returns what failed by its place. Progress is read from the journals."""
        self.journal.open()
        known = self.records.trials
        seen = [min(known[t["id"]].epochs if t["id"] in known else 0 for t in unit.trials) for unit in units]

        def watch() -> None:
            self.records.update()
            for i, (stack, unit) in enumerate(zip(planned, units, strict=True)):
                rows = [(trial, known.get(t["id"])) for trial, t in zip(stack, unit.trials, strict=True)]
                while ahead := [(trial, row) for trial, row in rows if row is not None and row.epochs > seen[i]]:
                    seen[i] += 1
                    on_epoch([trial for trial, _ in ahead], _recorded_epoch([row for _, row in ahead], seen[i]))

        with contextlib.closing(executor.run(units, watch)) as ends:
            errors = {i: failure.error() for i, failure in ends if failure is not None}
        watch()
        return errors


def _recorded_epoch(rows: Sequence[TrialRecord], number: int) -> Epoch:
    """One epoch of a stack as its workers have journaled it."""
    points = {name: [row.curves[name][number - 1][2] for row in rows] for name in rows[0].curves}
    return Epoch(number, points)

"""The session: looks trials up, plans what is missing, has it trained here or elsewhere, and journals it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xentlab.data import Dataset
from xentlab.errors import StoppedError
from xentlab.journal import GroupEvent, GroupRecord, Journal, MemberEvent, OnTestEvent, Records, TrialRecord, new_id
from xentlab.run.artifacts import drop_weights, read_weights, write_examples
from xentlab.run.datasets import Datasets
from xentlab.run.order import Executor, Order, TrainingError
from xentlab.run.training import EpochCallback, Say, say_aloud, train_order
from xentlab.train import Epoch, Fit, Met, Trial, lift_of, meet_test, on_test, stacks
from xentlab.train.memory import footprint, memory_limit


@dataclass
class Session:
    """One session over one output directory: the journal it writes, and all that earlier sessions wrote.

    Attributes:
        root: the output directory.
        fresh: train again even what is already recorded.
        weights: keep each trial's final and best weights.
        executor: who trains; None: this process.
        trained: how many trials this session has trained or has had trained.
        say: tells the user, in a sentence, what the session has decided by itself.
    """

    root: Path
    journal: Journal
    records: Records
    environment: Mapping[str, Any]
    fresh: bool = False
    weights: bool = True
    executor: Executor | None = None
    trained: int = 0
    say: Say = say_aloud
    _own: set[str] = field(default_factory=set)
    _datasets: Datasets = field(init=False)

    def __post_init__(self) -> None:
        self._datasets = Datasets(lambda sentence: self.say(sentence))

    @classmethod
    def open(cls, root: Path, environment: Mapping[str, Any], command: str, *, fresh: bool, weights: bool) -> Session:
        """A session over `root`; nothing is written before the first event."""
        root = root.absolute()
        records = Records(root)
        records.update()
        records.mark_killed()
        return cls(root, Journal(root, environment, command), records, environment, fresh, weights)

    def dataset(self, trial: Trial) -> Dataset:
        """The trial's data, read once per session."""
        return self._datasets.of(trial)

    def signature(self, trial: Trial) -> str:
        """The trial's signature over its data."""
        return self._datasets.signature(trial)

    def recorded(self, trial: Trial) -> TrialRecord | None:
        """The finished record of this trial; of this session alone where everything is to be trained afresh."""
        found = self.records.finished(self.signature(trial))
        return found if found is not None and (not self.fresh or found.id in self._own) else None

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that are not recorded yet; of equal trials the first."""
        first = {self.signature(trial): trial for trial in reversed(trials)}
        return [t for t in trials if first[self.signature(t)] is t and self.recorded(t) is None]

    def open_groups(self, groups: Sequence[Mapping[str, Any]]) -> list[str]:
        """Begin groups of the journal, or take up those that a killed session has left with just these facts.

        Args:
            groups: for each its `kind`, `name`, `params`, `tags`, and as `parent` the place of an earlier one in
                `groups`, the id of a group that is already open, or None.

        Returns:
            Their ids.
        """
        ids: list[str] = []
        events: list[GroupEvent] = []
        for facts in groups:
            parent = ids[facts["parent"]] if isinstance(facts["parent"], int) else facts["parent"]
            left = self._killed_group({**facts, "parent": parent})
            ids.append(new_id() if left is None else left.id)
            attempt = 0 if left is None else left.attempt + 1
            events.append(GroupEvent(**{**facts, "group": ids[-1], "parent": parent, "attempt": attempt}))
        self.journal.append(*events)
        return ids

    def _killed_group(self, facts: Mapping[str, Any]) -> GroupRecord | None:
        if self.fresh:
            return None
        for group in self.records.groups.values():
            same = all(getattr(group, key) == facts[key] for key in ("kind", "name", "parent", "params"))
            if group.status == "killed" and same and facts["tags"].items() <= group.tags.items():
                return group
        return None

    def run(
        self,
        trials: Sequence[Trial],
        *,
        groups: Mapping[Trial, str] | None = None,
        tags: Mapping[str, str] | None = None,
        on_epoch: EpochCallback = lambda trials, epoch: None,  # noqa: ARG005
    ) -> list[TrialRecord]:
        """Bring every trial to its end, reusing what is recorded; returns their records in the given order.

        Args:
            trials: what to run; equal trials run once.
            groups: under which group of the journal a trial is filed, if under any.
            tags: what each new trial is tagged with beside what it is.
            on_epoch: called after each epoch of each stack.
        """
        records: list[TrialRecord] = []
        for outcome in self.attempt(trials, groups=groups, tags=tags, on_epoch=on_epoch, stop=True):
            if isinstance(outcome, Exception):
                raise outcome
            records.append(outcome)
        return records

    def attempt(
        self,
        trials: Sequence[Trial],
        *,
        groups: Mapping[Trial, str] | None = None,
        tags: Mapping[str, str] | None = None,
        on_epoch: EpochCallback = lambda trials, epoch: None,  # noqa: ARG005
        stop: bool = False,
        candidates: bool = False,
    ) -> list[TrialRecord | Exception]:
        """As `run`, with the exception in the place of a trial that failed; the others go on unless it is to `stop`.

        Candidates keep their weights until they are chosen or dropped. A trial that was one and now may meet its test
        set does so from these weights.
        """
        groups = groups or {}
        known = {self.signature(t): record.id for t in trials if (record := self.recorded(t)) is not None}
        missing = self.missing(trials)
        self._file([t for t in trials if self.signature(t) in known], groups, known)
        planned: Sequence[Sequence[Trial]] = self.plan(missing)
        placed = self.executor.place(planned, trials, self.dataset) if self.executor is not None and planned else None
        planned = planned if placed is None else placed
        orders = [self._order(stack, groups, dict(tags or {}), keep=candidates) for stack in planned]
        if self.executor is None or placed is None:
            errors = self._train_here(planned, orders, on_epoch, stop=stop)
        else:
            errors = self._delegate(self.executor, planned, orders, on_epoch)
        ids: dict[str, str] = dict(known)
        failed: dict[str, Exception] = {}
        for i, order in enumerate(orders):
            ids |= zip(order.signatures, order.ids, strict=True)
            if i in errors:
                failed |= dict.fromkeys(order.signatures, errors[i])
            else:
                self.trained += len(order.trials)
                self._own |= set(order.ids)
        ordered = set(missing)
        self._file([t for t in trials if self.signature(t) not in known and t not in ordered], groups, ids)
        self.records.update()
        ended = [(t, self.records.trials[ids[key]]) for t in trials if (key := self.signature(t)) in ids]
        self._test(ended, tags or {})
        return [failed[key] if key in failed else self.records.trials[ids[key]] for key in map(self.signature, trials)]

    def _test(self, trials: Sequence[tuple[Trial, TrialRecord]], tags: Mapping[str, str]) -> None:
        """Have trials that ended without their test set meet it now, where they may."""
        waiting = {
            record.id: trial
            for trial, record in trials
            if trial.test and record.ended is not None and record.ended.untested
        }
        kept = {name: read_weights(self.root / str(self.records.trials[name].artifacts)) for name in waiting}
        names = {trial: name for name, trial in waiting.items()}
        for stack in stacks([trial for trial in names if kept[names[trial]] is not None]):
            weights = [found for trial in stack if (found := kept[names[trial]]) is not None]
            self._tested([names[trial] for trial in stack], tags, meet_test(stack, self.dataset(stack[0]), weights))
        for stack in stacks([trial for trial in names if kept[names[trial]] is None]):
            fit = Fit(stack, self.dataset(stack[0]))
            for _ in fit.epochs():
                pass
            self._tested([names[trial] for trial in stack], tags, on_test(fit.rig, fit.best))
        if waiting:
            self.records.update()

    def _tested(self, names: Sequence[str], tags: Mapping[str, str], met: Met) -> None:
        """Write down what the test set said of trials."""
        rig, found, answers = met
        for row, name in enumerate(names):
            folder = self.root / str(self.records.trials[name].artifacts)
            folder.mkdir(parents=True, exist_ok=True)
            write_examples(folder, rig, row, answers)
        self.journal.append(*(OnTestEvent(n, test.to_json(), dict(tags)) for n, test in zip(names, found, strict=True)))

    def drop_weights(self, records: Sequence[TrialRecord]) -> None:
        """Remove the weights of trials that were not chosen, and of the others where none are to be kept."""
        for record in records:
            if record.artifacts is not None and (not self.weights or record.outcome.untested):
                drop_weights(self.root / record.artifacts)

    def _file(self, trials: Sequence[Trial], groups: Mapping[Trial, str], ids: Mapping[str, str]) -> None:
        """Write down that trials which other trials stand for belong to their groups too."""
        events = [MemberEvent(groups[t], ids[self.signature(t)]) for t in trials if t in groups]
        if events:
            self.journal.append(*events)

    def _train_here(
        self, planned: Sequence[Sequence[Trial]], orders: Sequence[Order], on_epoch: EpochCallback, *, stop: bool
    ) -> dict[int, Exception]:
        """Train the orders one after another in this process; returns what failed by its place."""
        errors: dict[int, Exception] = {}
        for i, (stack, order) in enumerate(zip(planned, orders, strict=True)):
            try:
                train_order(order, stack, self.dataset(stack[0]), self.journal, self.environment, on_epoch, self.say)
            except Exception as error:
                if stop or (isinstance(error, StoppedError) and not isinstance(error, TrainingError)):
                    raise
                errors[i] = error
        return errors

    def plan(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        """The stacks in which these trials train: by structure, and as large as memory allows."""
        return stacks(trials, fits=self._fits)

    def _fits(self, group: Sequence[Trial]) -> int:
        """How many of these trials fit into one stack; says so where memory is what limits it."""
        first, dataset = group[0], self.dataset(group[0])
        looped = lift_of(first, dataset) == "looped"
        try:
            limit, needs = memory_limit(first), footprint(first, dataset, looped=looped)
        except (Exception, SystemExit) as error:
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

    def _order(self, stack: Sequence[Trial], groups: Mapping[Trial, str], tags: dict[str, str], *, keep: bool) -> Order:
        """The order of a stack; a trial that was begun before, and did not finish, keeps its id."""
        signatures = [self.signature(t) for t in stack]
        begun = [None if self.fresh else self.records.begun(key) for key in signatures]
        ids = [new_id() if trial is None else trial.id for trial in begun]
        entries = tuple(
            {
                "id": name, "signature": key, "attempt": self.records.next_attempt(key), "config": t.config,
                "name": t.name, "test": t.test, "group": groups.get(t),
            }
            for name, key, t in zip(ids, signatures, stack, strict=True)
        )  # fmt: skip
        gpu = stack[0].device.type == "cuda"
        weights = keep or (self.weights and stack[0].test)
        return Order(str(self.root), self.journal.session, entries, tags, weights, not self.fresh, gpu)

    def _delegate(
        self, executor: Executor, planned: Sequence[Sequence[Trial]], orders: Sequence[Order], on_epoch: EpochCallback
    ) -> dict[int, Exception]:
        """Have the executor train the orders; returns what failed by its place. Progress is read from the journals."""
        self.journal.open()
        known = self.records.trials
        seen = [min(known[name].epochs if name in known else 0 for name in order.ids) for order in orders]

        def watch() -> None:
            self.records.update()
            for i, (stack, order) in enumerate(zip(planned, orders, strict=True)):
                rows = [(trial, known.get(name)) for trial, name in zip(stack, order.ids, strict=True)]
                while ahead := [(trial, row) for trial, row in rows if row is not None and row.epochs > seen[i]]:
                    seen[i] += 1
                    on_epoch([trial for trial, _ in ahead], _recorded_epoch([row for _, row in ahead], seen[i]))

        with contextlib.closing(executor.run(orders, watch)) as ends:
            errors = {i: failure.error() for i, failure in ends if failure is not None}
        watch()
        return errors


def _recorded_epoch(rows: Sequence[TrialRecord], number: int) -> Epoch:
    """One epoch of a stack as its workers have journaled it."""
    points = {name: [row.at(name, number) for row in rows] for name in rows[0].curves}
    return Epoch(number, points)

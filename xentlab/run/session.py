"""The session: looks trials up, plans what is missing, has it trained here or elsewhere, and journals it."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xentlab.data import Dataset
from xentlab.errors import StoppedError
from xentlab.journal import Journal, MemberEvent, Records, TrialRecord, new_id
from xentlab.run.artifacts import drop_weights
from xentlab.run.beside import places, side_by_side
from xentlab.run.datasets import Datasets
from xentlab.run.groups import open_groups
from xentlab.run.meeting import meet
from xentlab.run.order import Executor, Order, TrainingError, failures
from xentlab.run.sharing import LOOK_S, Claims
from xentlab.run.training import EpochCallback, Say, say_aloud, train_order
from xentlab.train import Epoch, Trial, stacks
from xentlab.train.memory import most_at_once
from xentlab.train.together import groups


@dataclass
class Session:
    """One session over one output directory: the journal it writes, and all that earlier sessions wrote.

    Attributes:
        root: the output directory.
        fresh: train again even what is already recorded; `own`: what is imported.
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
    own: bool = False
    weights: bool = True
    executor: Executor | None = None
    trained: int = 0
    say: Say = say_aloud
    _own: set[str] = field(default_factory=set)
    _datasets: Datasets = field(init=False)
    _claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        self._datasets = Datasets(lambda sentence: self.say(sentence))
        self._claims = Claims(self.root, self.journal.session, self.records, lambda sentence: self.say(sentence))

    @classmethod
    def open(
        cls, root: Path, environment: Mapping[str, Any], command: str, *, fresh: bool, weights: bool, own: bool = False
    ) -> Session:
        """A session over `root`; nothing is written before the first event."""
        root = root.absolute()
        records = Records(root)
        records.update()
        records.mark_killed()
        return cls(root, Journal(root, environment, command), records, environment, fresh, own, weights)

    def dataset(self, trial: Trial) -> Dataset:
        """The trial's data, read once per session."""
        return self._datasets.of(trial)

    def signature(self, trial: Trial) -> str:
        """The trial's signature over its data."""
        return self._datasets.signature(trial)

    def recorded(self, trial: Trial) -> TrialRecord | None:
        """The finished record of this trial; of this session alone where everything is to be trained afresh."""
        found = self.records.finished(self.signature(trial), own=self.own)
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
        return open_groups(groups, self.journal, self.records, fresh=self.fresh)

    def run(
        self,
        trials: Sequence[Trial],
        *,
        groups: Mapping[Trial, str] | None = None,
        on_epoch: EpochCallback = lambda trials, epoch: None,  # noqa: ARG005
    ) -> list[TrialRecord]:
        """Bring every trial to its end, reusing what is recorded; returns their records in the given order.

        Args:
            trials: what to run; equal trials run once.
            groups: under which group of the journal a trial is filed, if under any.
            on_epoch: called after each epoch of each stack.
        """
        records: list[TrialRecord] = []
        for outcome in self.attempt(trials, groups=groups, on_epoch=on_epoch, stop=True):
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
        """As `run`, with the exception in the place of a trial that failed.

        The others go on; where it is to `stop`, only those that train beside it.

        `tags` are what each new trial is tagged with beside what it is. Candidates keep their weights until they are
        chosen or dropped. A trial that was one and now may meet its test set does so from these weights.
        """
        groups = groups or {}
        known = {self.signature(t): record.id for t in trials if (record := self.recorded(t)) is not None}
        missing = self.missing(trials)
        self._file([t for t in trials if self.signature(t) in known], groups, known)
        planned = self.plan(missing)
        placed = self.executor.place(planned, trials, self.dataset) if self.executor is not None and planned else None
        ids, ordered, failed = dict(known), set[Trial](), dict[str, Exception]()

        def begin(stack: Sequence[Trial]) -> Order:
            order = self._order(stack, groups, dict(tags or {}), keep=candidates)
            ordered.update(stack)
            ids.update(zip(order.signatures, order.ids, strict=True))
            return order

        over = list[tuple[Order, Exception | None]]()
        with self._claims.giving_back([self.signature(trial) for stack in planned for trial in stack]):
            if self.executor is None or placed is None:
                over = self._train_here(planned, begin, on_epoch, stop=stop)
            else:
                for stacks in filter(None, self._claimed(placed)):
                    orders = [begin(stack) for stack in stacks]
                    errors = self._delegate(self.executor, stacks, orders, on_epoch)
                    self._claims.release([key for order in orders for key in order.signatures])
                    over += [(order, errors.get(i)) for i, order in enumerate(orders)]
        for order, error in over:
            failed |= failures(order, error)
            ended = {name for key, name in zip(order.signatures, order.ids, strict=True) if key not in failed}
            self.trained += len(ended)
            self._own |= ended
        self.records.update()
        ids = {self.signature(t): found.id for t in missing if (found := self.recorded(t)) is not None} | ids
        self._file([t for t in trials if self.signature(t) not in known and t not in ordered], groups, ids)
        self.records.update()
        recorded = [
            (t, r) for t in trials if (r := self.records.trials.get(ids.get(self.signature(t), ""))) is not None
        ]
        self._test(recorded, tags or {})
        return [failed[key] if key in failed else self.records.trials[ids[key]] for key in map(self.signature, trials)]

    def _claimed(self, planned: Sequence[Sequence[Trial]], most: int | None = None) -> Iterator[list[Sequence[Trial]]]:
        """Stacks that are left to train, as they can be claimed, `most` at a time; says what others train.

        None where none can be claimed yet. Whoever takes them gives their claims back.
        """
        left, told = list(planned), False
        while left:
            keys = [[self.signature(trial) for trial in stack] for stack in left]
            places, held = self._claims.take(keys, most)
            self.records.update()
            if held and not told:
                self.say(
                    f"{len(held)} of {sum(map(len, planned))} trials are in training by another command "
                    f"({next(iter(held.values()))}): this one waits for them and shares what they give."
                )
            told |= bool(held)
            mine = self._unrecorded([left[i] for i in places])
            self._claims.release(
                {key for i in places for key in keys[i]} - {self.signature(t) for s in mine for t in s}
            )
            if mine or not places:
                yield mine
            left = self._unrecorded([stack for i, stack in enumerate(left) if i not in places])
            if left and not places:
                time.sleep(LOOK_S)

    def _unrecorded(self, planned: Sequence[Sequence[Trial]]) -> list[Sequence[Trial]]:
        """Stacks without the trials that are recorded by now."""
        left = ([trial for trial in stack if self.recorded(trial) is None] for stack in planned)
        return [stack for stack in left if stack]

    def _test(self, trials: Sequence[tuple[Trial, TrialRecord]], tags: Mapping[str, str]) -> None:
        """Have trials that ended without their test set meet it now, where they may."""
        untested = [(t, r) for t, r in trials if t.test and r.ended is not None and r.ended.untested]
        if untested:
            with self._claims.held([record.signature for _, record in untested]):
                self.records.update()
                left = {t: r for t, r in untested if r.ended is not None and r.ended.untested}
                meet(left, self.root, self.journal, self.dataset, tags)
                self.records.update()

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
        self, planned: Sequence[Sequence[Trial]], begin: Callable[..., Order], on_epoch: EpochCallback, *, stop: bool
    ) -> list[tuple[Order, Exception | None]]:
        """Train stacks in this process as they can be claimed, some side by side (see `beside`); how each one ended."""
        over = list[tuple[Order, Exception | None]]()

        def train(stack: Sequence[Trial], order: Order, data: Dataset, after_epoch: EpochCallback) -> None:
            error = None
            try:
                train_order(order, stack, data, self.journal, self.environment, after_epoch, self.say)
            except Exception as raised:
                if stop or (isinstance(raised, StoppedError) and not isinstance(raised, TrainingError)):
                    raise
                error = raised
            self._claims.release(order.signatures)
            over.append((order, error))

        def work() -> Iterator[Callable[[EpochCallback], None] | None]:
            for claimed in self._claimed(planned, most=1):
                yield next((functools.partial(train, s, begin(s), self.dataset(s[0])) for s in claimed), None)

        side_by_side(work(), places(planned, self.dataset), on_epoch)
        return over

    def plan(self, trials: Sequence[Trial]) -> list[Sequence[Trial]]:
        """The stacks in which these trials train: by structure, and as large as memory allows; groups over a stream."""
        self._datasets.encode(trials)
        planned = stacks(trials, fits=lambda group: most_at_once(group, self.dataset(group[0]), self.say))
        return groups(planned, self.dataset, self.say)

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
                    points = {name: [row.at(name, seen[i]) for _, row in ahead] for name in ahead[0][1].curves}
                    on_epoch([trial for trial, _ in ahead], Epoch(seen[i], points))

        with contextlib.closing(executor.run(orders, watch)) as ends:
            errors = {i: failure.error() for i, failure in ends if failure is not None}
        watch()
        return errors

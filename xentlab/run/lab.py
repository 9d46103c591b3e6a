"""The lab: looks trials up, plans what is missing, has it trained here or elsewhere, and journals what it trains."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from xentlab.data import Dataset
from xentlab.errors import UserError
from xentlab.journal import Journal, Records, TrialRecord, new_id
from xentlab.run.checkpoint import Checkpoint
from xentlab.run.unit import Executor, Unit
from xentlab.train import Epoch, Fit, Trial, prepare, signature, stacks

EpochCallback = Callable[[Sequence[Trial], Epoch], None]


@dataclass
class Lab:
    """One session over one output directory: the journal it writes, and all that earlier sessions wrote.

    Attributes:
        root: the output directory.
        fresh: train again even what is already recorded.
        weights: keep each trial's final and best weights.
        executor: who trains; None: this process.
        trained: how many trials this session has trained or has had trained.
    """

    root: Path
    journal: Journal
    records: Records
    environment: Mapping[str, Any]
    fresh: bool = False
    weights: bool = True
    executor: Executor | None = None
    trained: int = 0
    _datasets: dict[str, Dataset] = field(default_factory=dict)

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
        """The trial's data, read once per session."""
        key = json.dumps([repr(trial.dataset.func), trial.dataset.keywords], sort_keys=True, default=str)
        if key not in self._datasets:
            self._datasets[key] = trial.dataset()
        return self._datasets[key]

    def signature(self, trial: Trial) -> str:
        return signature(trial, self.dataset(trial).fingerprint)

    def recorded(self, trial: Trial) -> TrialRecord | None:
        """The finished record of this trial, unless everything is to be trained afresh."""
        return None if self.fresh else self.records.finished(self.signature(trial))

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
        found: dict[str, str] = {}
        missing: dict[str, Trial] = {}
        keys = [self.signature(t) for t in trials]
        members: list[tuple[str, Mapping[str, Any]]] = []
        for key, trial in zip(keys, trials, strict=True):
            known = self.recorded(trial)
            if known is None:
                missing.setdefault(key, trial)
            else:
                found[key] = known.id
                where = group(trial)
                if where is not None:
                    members.append(("member", {"group": where, "trial": known.id}))
        if members:
            self.journal.extend(members)
        planned = stacks(list(missing.values()))
        units = [self._unit(stack, group, dict(tags or {})) for stack in planned]
        if self.executor is None:
            for stack, unit in zip(planned, units, strict=True):
                self._train(stack, unit, on_epoch)
        elif units:
            self._delegate(self.executor, planned, units, on_epoch)
        for stack, unit in zip(planned, units, strict=True):
            found |= {self.signature(t): entry["id"] for t, entry in zip(stack, unit.trials, strict=True)}
            self.trained += len(stack)
        self.records.update()
        return [self.records.trials[found[key]] for key in keys]

    def perform(self, unit: Unit) -> None:
        """Train a unit that another session has planned.

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
        self._train(stack, unit, lambda trials, epoch: None)  # noqa: ARG005

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
    ) -> None:
        """Have the executor train the units; progress is read from the journals of its workers."""
        self.journal.open()
        known = self.records.trials
        seen = [min(known[t["id"]].epochs if t["id"] in known else 0 for t in unit.trials) for unit in units]

        def watch() -> None:
            self.records.update()
            for i, (stack, unit) in enumerate(zip(planned, units, strict=True)):
                rows = [known.get(entry["id"]) for entry in unit.trials]
                while all(row is not None and row.epochs > seen[i] for row in rows):
                    seen[i] += 1
                    on_epoch(stack, _recorded_epoch([row for row in rows if row is not None], seen[i]))

        failures = [failure for _, failure in executor.run(units, watch) if failure is not None]
        watch()
        if failures:
            raise failures[0].error()

    def _train(self, stack: Sequence[Trial], unit: Unit, on_epoch: EpochCallback) -> None:
        """Train one stack from its first epoch, or from the checkpoint of a session that was interrupted."""
        dataset = self.dataset(stack[0])
        fit = Fit(stack, dataset)
        ids = [entry["id"] for entry in unit.trials]
        checkpoint = Checkpoint(self.root, [entry["signature"] for entry in unit.trials])
        known, saved = checkpoint.load() if unit.resumable else ([], None)
        if saved is not None and known == ids:
            fit.restore(saved)
        opening: list[tuple[str, Mapping[str, Any]]] = []
        for entry, trial in zip(unit.trials, stack, strict=True):
            facts = self._facts(trial, dataset) | dict(unit.tags)
            opening.append(("trial", {"trial": entry["id"], "signature": entry["signature"], "label": trial.label,
                                      "config": trial.config, "tags": facts, "resumed": fit.done}))  # fmt: skip
            if entry["group"] is not None:
                opening.append(("member", {"group": entry["group"], "trial": entry["id"]}))
        self.journal.extend(opening)
        trainer = stack[0].trainer
        try:
            with _deterministic(trainer.deterministic):
                for epoch in fit.epochs():
                    self.journal.append("epoch", trials=ids, epoch=epoch.number, metrics=epoch.metrics)
                    on_epoch(stack, epoch)
                    every = trainer.checkpoint_every
                    if every and epoch.number % every == 0 and epoch.number < trainer.epochs:
                        checkpoint.save(ids, fit.snapshot())
                ends = fit.finish()
        except KeyboardInterrupt:
            self._close(ids, "interrupted", "interrupted by the user")
            raise
        except Exception as error:
            self._close(ids, "failed", f"{type(error).__name__}: {error}")
            raise
        closing: list[tuple[str, Mapping[str, Any]]] = []
        for row, (name, end) in enumerate(zip(ids, ends, strict=True)):
            folder = self._artifacts(name, stack[row], fit, row)
            closing.append(("end", {"trial": name, "status": "finished", "reason": "", "summary": end,
                                    "artifacts": str(folder.relative_to(self.root))}))  # fmt: skip
        self.journal.extend(closing)
        checkpoint.remove()

    def _facts(self, trial: Trial, dataset: Dataset) -> dict[str, str]:
        names = trial.names
        git = self.environment["git"]
        return {
            "task": trial.task,
            "loss": names["loss"],
            "link": trial.loss.link,
            "model": names["model"],
            "dataset": dataset.name,
            "optimizer": names["optimizer"],
            "seed": str(trial.seed),
            "signature": self.signature(trial),
            "fingerprint": dataset.fingerprint,
            "host": str(self.environment["host"]),
            "device": trial.device.type,
            "git_commit": git["commit"] if git else "none",
        }

    def _close(self, ids: Sequence[str], status: str, reason: str) -> None:
        end: dict[str, Any] = {"status": status, "reason": reason, "summary": {}, "artifacts": None}
        self.journal.extend([("end", {"trial": name, **end}) for name in ids])

    def _artifacts(self, name: str, trial: Trial, fit: Fit, row: int) -> Path:
        """Write what belongs to one finished trial beside its numbers; returns the folder."""
        folder = self.root / "trials" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(trial.config, sort_keys=False, allow_unicode=True))
        (folder / "environment.json").write_text(json.dumps(self.environment, indent=2))
        if self.weights and trial.test:
            for which in ("final", "best"):
                torch.save(fit.weights(row, which), folder / f"{which}.pt")
        if trial.task == "segmentation" and trial.test:
            examples = fit.examples(row)
            ignored = -1 if fit.dataset.ignore_index is None else fit.dataset.ignore_index
            examples |= {"class_names": np.array(fit.dataset.class_names), "ignore_index": np.array(ignored)}
            np.savez_compressed(folder / "examples.npz", allow_pickle=False, **examples)
        return folder


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Only algorithms that give the same bits every time; one that cannot raises, and says which."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it; read when CUDA starts
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _recorded_epoch(rows: Sequence[TrialRecord], number: int) -> Epoch:
    """One epoch of a stack as its workers have journaled it."""
    points = {name: [row.curves[name][number - 1][2] for row in rows] for name in rows[0].curves}
    return Epoch(number, points)

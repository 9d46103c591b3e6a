"""Running trials: look each up by its signature, train what is missing, and write down everything as it happens.

Between `train`, which knows nothing of disks, and the commands, which know nothing of training.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from xentlab.journal import Journal, Records, TrialRecord, new_id
from xentlab.train import Epoch, Fit, Trial, signature, stacks

EpochCallback = Callable[[Sequence[Trial], Epoch], None]


@dataclass
class Lab:
    """One session over one output directory: the journal it writes, and all that earlier sessions wrote.

    Attributes:
        root: the output directory.
        fresh: train again even what is already recorded.
        weights: keep each trial's final and best weights.
        trained: how many trials this session has trained itself.
    """

    root: Path
    journal: Journal
    records: Records
    environment: Mapping[str, Any]
    fresh: bool = False
    weights: bool = True
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
        for stack in stacks(list(missing.values())):
            ids = self._train(stack, group, dict(tags or {}), on_epoch)
            found |= {self.signature(trial): name for trial, name in zip(stack, ids, strict=True)}
        self.records.update()
        return [self.records.trials[found[key]] for key in keys]

    def _train(
        self,
        stack: Sequence[Trial],
        group: Callable[[Trial], str | None],
        tags: dict[str, str],
        on_epoch: EpochCallback,
    ) -> list[str]:
        """Train one stack from its first epoch, or from the checkpoint of a session that was interrupted."""
        dataset = self.dataset(stack[0])
        fit = Fit(stack, dataset)
        checkpoint = Checkpoint(self.root, [self.signature(t) for t in stack])
        ids, saved = checkpoint.load() if not self.fresh else ([], None)
        if saved is not None and all(name in self.records.trials for name in ids):
            fit.restore(saved)
        else:
            ids = [new_id() for _ in stack]
        opening: list[tuple[str, Mapping[str, Any]]] = []
        for name, trial in zip(ids, stack, strict=True):
            facts = self._facts(trial, dataset) | tags
            opening.append(("trial", {"trial": name, "signature": self.signature(trial), "label": trial.label,
                                      "config": trial.config, "tags": facts, "resumed": fit.done}))  # fmt: skip
            where = group(trial)
            if where is not None:
                opening.append(("member", {"group": where, "trial": name}))
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
        self.trained += len(ids)
        return ids

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


class Checkpoint:
    """Where a stack that is interrupted goes on: one file for all its trials, replaced whole or not at all."""

    def __init__(self, root: Path, signatures: Sequence[str]) -> None:
        key = hashlib.sha256("".join(signatures).encode()).hexdigest()[:32]
        self.path = root / "checkpoints" / f"{key}.pt"

    def load(self) -> tuple[list[str], dict[str, Any] | None]:
        """The trials' ids and the snapshot, or ([], None) where there is none."""
        if not self.path.is_file():
            return [], None
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        return list(saved["trials"]), saved["snapshot"]

    def save(self, ids: Sequence[str], snapshot: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".part")
        torch.save({"trials": list(ids), "snapshot": snapshot}, scratch)
        scratch.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

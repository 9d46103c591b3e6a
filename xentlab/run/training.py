"""Training a unit and writing down everything as it happens: opening, epochs, checkpoints, ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from xentlab.data import Dataset
from xentlab.errors import UserError
from xentlab.run.artifacts import write_artifacts
from xentlab.run.checkpoint import Checkpoint
from xentlab.run.unit import Unit
from xentlab.train import Fit, Trial
from xentlab.train.memory import is_out_of_memory

if TYPE_CHECKING:
    from xentlab.run.lab import EpochCallback, Lab


def train_unit(lab: Lab, stack: Sequence[Trial], unit: Unit, on_epoch: EpochCallback) -> None:
    """Train one stack; where memory runs out, its halves one after the other."""
    try:
        _train_whole(lab, stack, unit, on_epoch)
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(stack) == 1:
            raise UserError(
                f"{stack[0].label} needs more memory than there is: a smaller trainer.batch_size needs less."
            ) from error
    half = (len(stack) + 1) // 2
    lab.say(f"A stack of {len(stack)} trials needs more memory than there is: going on with stacks of {half}.")
    for part in (slice(0, half), slice(half, None)):
        train_unit(lab, stack[part], replace(unit, trials=unit.trials[part]), on_epoch)


def _train_whole(lab: Lab, stack: Sequence[Trial], unit: Unit, on_epoch: EpochCallback) -> None:
    """Train one stack from its first epoch, or from the checkpoint of a session that was interrupted."""
    dataset = lab.dataset(stack[0])
    fit = Fit(stack, dataset)
    ids = [entry["id"] for entry in unit.trials]
    checkpoint = Checkpoint(lab.root, [entry["signature"] for entry in unit.trials])
    known, saved = checkpoint.load() if unit.resumable else ([], None)
    if saved is not None and known == ids:
        fit.restore(saved)
    opening: list[tuple[str, Mapping[str, Any]]] = []
    for entry, trial in zip(unit.trials, stack, strict=True):
        facts = _facts(lab, trial, dataset) | dict(unit.tags)
        opening.append(("trial", {"trial": entry["id"], "signature": entry["signature"], "label": trial.label,
                                  "config": trial.config, "tags": facts, "resumed": fit.done}))  # fmt: skip
        if entry["group"] is not None:
            opening.append(("member", {"group": entry["group"], "trial": entry["id"]}))
    lab.journal.extend(opening)
    trainer = stack[0].trainer
    try:
        with _deterministic(trainer.deterministic):
            while True:
                for epoch in fit.epochs():
                    lab.journal.append("epoch", trials=ids, epoch=epoch.number, metrics=epoch.metrics)
                    on_epoch(fit.trials, epoch)
                    if bool(fit.diverged.any()):
                        break
                    every = trainer.checkpoint_every
                    if every and epoch.number % every == 0 and epoch.number < trainer.epochs:
                        checkpoint.save(ids, fit.snapshot())
                gone = [row for row in range(len(ids)) if bool(fit.diverged[row])]
                if not gone or len(gone) == len(ids) or fit.done == trainer.epochs:
                    break
                fit, ids, checkpoint = _without(lab, fit, gone, ids, checkpoint)
            _end(lab, fit, ids)
    except KeyboardInterrupt:
        _close(lab, ids, "interrupted", "interrupted by the user")
        raise
    except Exception as error:
        _close(lab, ids, "failed", f"{type(error).__name__}: {error}")
        raise
    checkpoint.remove()


def _without(
    lab: Lab, fit: Fit, gone: Sequence[int], ids: Sequence[str], checkpoint: Checkpoint
) -> tuple[Fit, list[str], Checkpoint]:
    """End the rows of a stack that have diverged, and go on with the others alone.

    The others' checkpoint comes first: killed in between, they go on from here, as they do when nothing happens.
    """
    kept = [row for row in range(len(ids)) if row not in gone]
    rest, names = fit.take(kept), [ids[row] for row in kept]
    own = Checkpoint(lab.root, [lab.signature(t) for t in rest.trials])
    own.save(names, rest.snapshot())
    _end(lab, fit.take(gone), [ids[row] for row in gone])
    checkpoint.remove()
    return rest, names, own


def _end(lab: Lab, fit: Fit, ids: Sequence[str]) -> None:
    """Evaluate trained trials on test data where they may, and write down how they ended."""
    closing: list[tuple[str, Mapping[str, Any]]] = []
    for row, (name, end) in enumerate(zip(ids, fit.finish(), strict=True)):
        folder = lab.root / "trials" / name
        write_artifacts(folder, fit, row, lab.environment, weights=lab.weights)
        closing.append(("end", {"trial": name, "status": "finished", "reason": "", "summary": end,
                                "artifacts": str(folder.relative_to(lab.root))}))  # fmt: skip
    lab.journal.extend(closing)


def _facts(lab: Lab, trial: Trial, dataset: Dataset) -> dict[str, str]:
    names = trial.names
    git = lab.environment["git"]
    return {
        "task": trial.task,
        "loss": names["loss"],
        "link": trial.loss.link,
        "model": names["model"],
        "dataset": dataset.name,
        "optimizer": names["optimizer"],
        "seed": str(trial.seed),
        "signature": lab.signature(trial),
        "fingerprint": dataset.fingerprint,
        "host": str(lab.environment["host"]),
        "device": trial.device.type,
        "git_commit": git["commit"] if git else "none",
    }


def _close(lab: Lab, ids: Sequence[str], status: str, reason: str) -> None:
    end: dict[str, Any] = {"status": status, "reason": reason, "summary": {}, "artifacts": None}
    lab.journal.extend([("end", {"trial": name, **end}) for name in ids])


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

"""Students: arms that are trained on what another arm's networks answer, seed by seed.

A teacher's softened probabilities on its own training images are written once, under `targets` in the output
directory, and its student's config names the file. So a student is a trial like any other: it is planned, recorded,
reused and reproduced by its config, and trains in any process that can read the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from xentlab.data import write_soft_targets
from xentlab.errors import UserError
from xentlab.journal import TrialRecord
from xentlab.published.spec import Plan
from xentlab.run.session import Session
from xentlab.train import Trial, prepare
from xentlab.train.temperature import soft_answers


def taught(
    plan: Plan,
    label: str,
    session: Session,
    trials: Mapping[str, Sequence[Trial]],
    records: Mapping[str, Sequence[TrialRecord]],
) -> list[Trial]:
    """The trials of an arm as they train: a student's with their teachers' answers, written where they are missing.

    Raises:
        UserError: a teacher diverged, or its weights were not kept.
    """
    if label not in plan.teachers:
        return plan.every[label]
    teacher = plan.teachers[label]
    found = []
    for student, trial, record in zip(plan.every[label], trials[teacher.arm], records[teacher.arm], strict=True):
        file = targets_file(session, record, teacher.temperature)
        if not file.is_file():
            if record.outcome.diverged:
                raise UserError(f"{trial.label} diverged, so there is nothing that '{label}' could learn from it.")
            dataset, weights = session.dataset(trial), final_weights(session, record)
            write_soft_targets(file, dataset, *soft_answers(trial, dataset, weights, teacher.temperature))
        found.append(_with_targets(student, file))
    return found


def foreseen(plan: Plan, session: Session) -> dict[str, list[Trial]]:
    """Arm -> its trials before anything is trained: a student whose teacher has not answered yet has the labels."""
    trials: dict[str, list[Trial]] = {}
    for label in (label for labels in plan.rounds for label in labels):
        trials[label] = list(plan.every[label])
        if label not in plan.teachers:
            continue
        teacher = plan.teachers[label]
        for i, trial in enumerate(trials[teacher.arm]):
            record = session.recorded(trial)
            if record is not None:
                file = targets_file(session, record, teacher.temperature)
                trials[label][i] = _with_targets(trials[label][i], file) if file.is_file() else trials[label][i]
    return trials


def targets_file(session: Session, record: TrialRecord, temperature: float) -> Path:
    """Where a trained teacher's answers are; trained afresh, under the same signature, it has another file."""
    return session.root / "targets" / f"{record.signature}-{record.id}-{temperature:g}.npz"


def final_weights(session: Session, record: TrialRecord) -> dict[str, Tensor]:
    """The weights with which a trial ended.

    Raises:
        UserError: they were not kept.
    """
    file = session.root / str(record.artifacts) / "final.pt"
    if not file.is_file():
        raise UserError(f"What a trained network answers needs its weights, but {file} is missing: run with --fresh.")
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _with_targets(student: Trial, file: Path) -> Trial:
    config = {**student.config, "dataset": {**student.config["dataset"], "soft_targets": str(file)}}
    return prepare(config, test=student.test, name=student.name)

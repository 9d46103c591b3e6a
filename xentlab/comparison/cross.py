"""The cross-loss matrix: the final trials of every loss, evaluated on test data under every loss of the comparison.

It is taken from the kept final weights, so a loss that joins later meets the trials that were trained before. What was
once evaluated is remembered beside the trials, under the signature of the yardstick's own trial, and not done again.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from xentlab import analysis
from xentlab.comparison.runner import Result
from xentlab.disk import written_whole
from xentlab.journal import TrialRecord
from xentlab.report.diagnostics import Cross
from xentlab.run.session import Session
from xentlab.train import Trial, stacks, under_losses

_FINAL = "final.pt"


def cross_matrix(result: Result, session: Session) -> list[Cross]:
    """One entry for each pair of losses, trained with and evaluated under; empty where no weights were kept.

    Returns:
        The mean over the seeds that have a value, and whether the paired test finds none below it in its column.
    """
    finals, seeds = result.finals, result.protocol.final_seeds
    trials = {label: result.protocol.final_trials(label, result.tunings[label].chosen) for label in finals}
    values = {label: _of_one_loss(trials[label], finals[label], finals, trials, session) for label in finals}
    if not any(v is not None for columns in values.values() for column in columns.values() for v in column):
        return []
    entries = []
    for under in finals:
        table = {label: dict(zip(seeds, values[label][under], strict=True)) for label in finals}
        winners = analysis.first_places(table, direction="min")
        for label in finals:
            known = [v for v in values[label][under] if v is not None]
            mean = statistics.fmean(known) if known else None
            entries.append(Cross(label, under, mean, len(known), best=label in winners))
    return entries


def _of_one_loss(
    trials: Sequence[Trial],
    records: Sequence[TrialRecord],
    finals: Mapping[str, Sequence[TrialRecord]],
    yardsticks: Mapping[str, Sequence[Trial]],
    session: Session,
) -> dict[str, list[float | None]]:
    """Name of the yardstick -> its value for each trial of one loss, None where it diverged or kept no weights."""
    wanted = [{name: finals[name][i].signature for name in finals} for i in range(len(records))]
    memories = [_Memory(session.root, record.id) for record in records]
    places = {trial: i for i, trial in enumerate(trials)}
    missing = [
        trial
        for trial, record, keys, memory in zip(trials, records, wanted, memories, strict=True)
        if _keeps_weights(session.root, record) and not memory.values.keys() >= set(keys.values())
    ]
    for stack in stacks(missing):
        rows = [places[trial] for trial in stack]
        files = [session.root / str(records[i].artifacts) / _FINAL for i in rows]
        kept = [torch.load(file, map_location="cpu", weights_only=True) for file in files]
        asked = [name for name in finals if any(wanted[i][name] not in memories[i].values for i in rows)]
        others = {name: [yardsticks[name][i] for i in rows] for name in asked}
        found = under_losses(stack, session.dataset(stack[0]), kept, others)
        for place, i in enumerate(rows):
            values = {wanted[i][name]: column[place] for name, column in found.items()}
            memories[i].keep({key: value if math.isfinite(value) else None for key, value in values.items()})
    return {
        name: [memory.values.get(keys[name]) for memory, keys in zip(memories, wanted, strict=True)] for name in finals
    }


def _keeps_weights(root: Path, record: TrialRecord) -> bool:
    """Whether the trial ended well and its final weights are still there."""
    return not record.outcome.diverged and (root / str(record.artifacts) / _FINAL).is_file()


class _Memory:
    """What one trial scored under other losses, by their signatures, on disk; replaced whole or not at all."""

    def __init__(self, root: Path, trial: str) -> None:
        self._path = root / "cross" / f"{trial}.json"
        self.values: dict[str, float | None] = json.loads(self._path.read_text()) if self._path.is_file() else {}

    def keep(self, values: dict[str, float | None]) -> None:
        self.values |= values
        with written_whole(self._path) as scratch:
            scratch.write_text(json.dumps(self.values, allow_nan=False))

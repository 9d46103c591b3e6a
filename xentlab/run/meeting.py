"""Trials that ended without their test set, and now may meet it: a chosen candidate, by the weights that were kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xentlab.data import Dataset
from xentlab.journal import Journal, OnTestEvent, TrialRecord
from xentlab.run.artifacts import read_weights, write_examples
from xentlab.train import Fit, Met, Trial, meet_test, on_test, stacks


def meet(
    waiting: Mapping[Trial, TrialRecord],
    root: Path,
    journal: Journal,
    dataset: Callable[[Trial], Dataset],
    tags: Mapping[str, str],
) -> None:
    """Have trials meet their test set, by their kept weights or trained again; write down what it said.

    Args:
        waiting: the trials with their records.
        root: the output directory.
        journal: of this session.
        dataset: reads a trial's data, or has read it.
        tags: replace those of the trials' beginning.
    """
    folders = {trial: root / str(record.artifacts) for trial, record in waiting.items()}
    kept = {trial: read_weights(folder) for trial, folder in folders.items()}

    def write(stack: Sequence[Trial], met: Met) -> None:
        rig, found, answers = met
        for row, trial in enumerate(stack):
            folders[trial].mkdir(parents=True, exist_ok=True)
            write_examples(folders[trial], rig, row, answers)
        said = zip(stack, found, strict=True)
        journal.append(*(OnTestEvent(waiting[trial].id, test.to_json(), dict(tags)) for trial, test in said))

    for stack in stacks([trial for trial in waiting if kept[trial] is not None]):
        weights = [found for trial in stack if (found := kept[trial]) is not None]
        write(stack, meet_test(stack, dataset(stack[0]), weights))
    for stack in stacks([trial for trial in waiting if kept[trial] is None]):
        fit = Fit(stack, dataset(stack[0]))
        for _ in fit.epochs():
            pass
        fit.settle()
        write(stack, on_test(fit.rig, fit.best))

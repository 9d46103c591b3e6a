"""Data as trials name it, read once per process, and the signatures of trials over it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from xentlab.data import Dataset, soften
from xentlab.run.encoding import encoded
from xentlab.train import Trial, lift_of, signature
from xentlab.train.on_data import check_on_data
from xentlab.train.plan import model_found, model_stacks

_ALONE = "it draws random numbers, or does not stack: its trials train one by one"


class Datasets:
    """What this process has read so far; what a source recognised and passed over is told once, when it is read."""

    def __init__(self, say: Callable[[str], None] = lambda sentence: None) -> None:  # noqa: ARG005
        self._say = say
        self._read: dict[str, Dataset] = {}
        self._signatures: dict[Trial, str] = {}
        self._told: set[str] = set()

    def of(self, trial: Trial) -> Dataset:
        """The trial's data; with soft targets it shares all else with the data without, and so where it is encoded."""
        key = json.dumps([repr(trial.dataset.func), trial.dataset.keywords], sort_keys=True, default=str)
        if key not in self._read:
            self._read[key] = read = trial.dataset()
            if read.notes:
                self._say(f"{read.name}: {'; '.join(read.remarks)}.")
        softened = f"{key} {trial.soft_targets}"
        if softened not in self._read:
            self._read[softened] = soften(self._read[key], soft_targets=trial.soft_targets)
        if trial.start.freeze == "none":
            return self._read[softened]
        where = (
            trial.config["model"],
            trial.names["augment"],
            trial.trainer.precision,
            str(trial.device),
            trial.loss.outputs,
        )
        frozen = f"{softened} {json.dumps(where, sort_keys=True, default=str)}"
        if frozen not in self._read:
            self._read[frozen] = encoded(trial, self._read[softened], self._say)
        return self._read[frozen]

    def encode(self, trials: Sequence[Trial]) -> None:
        """Compute what frozen parts of models give, where it is not at hand: before anything trains, in this thread."""
        for trial in trials:
            if (known := self.of(trial).encoded) is not None:
                _ = known.inputs

    def signature(self, trial: Trial) -> str:
        """The trial's signature over its data."""
        if trial not in self._signatures:
            data = self.of(trial)
            check_on_data(trial, data)
            self._signatures[trial] = signature(trial, data.fingerprint, lift_of(trial, data))
            alone = [] if model_stacks(trial, data) else [f"model {trial.names['model']}: {_ALONE}"]
            if hasattr(trial.optimizer.func, "make"):
                alone.append(f"optimizer {trial.names['optimizer']} is not of this lab: its trials train one by one")
            for finding in (*trial.loss.findings, model_found(trial, data), *alone):
                if finding and finding not in self._told:
                    self._told.add(finding)
                    self._say(f"{finding}.")
        return self._signatures[trial]

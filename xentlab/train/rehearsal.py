"""A user's own model and loss, tried on a trial's real data before anything is written; and their errors in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from xentlab.data import Dataset
from xentlab.errors import StoppedError, UserError, own_error
from xentlab.models import is_foreign
from xentlab.train.memory import is_out_of_memory
from xentlab.train.plan import structure
from xentlab.train.rig import Rig
from xentlab.train.trial import Trial


def rehearse(trials: Iterable[Trial], dataset: Callable[[Trial], Dataset]) -> None:
    """Of each structure among them one step and one evaluation on a first batch, where model or loss are from outside.

    Raises:
        UserError: they fail there, or the model's first outputs are not finite.
    """
    for trial in {structure(trial): trial for trial in trials if _own(trial)}.values():
        _rehearse(trial, dataset(trial))


def _rehearse(trial: Trial, dataset: Dataset) -> None:
    try:
        with torch.random.fork_rng(devices=[]):
            rig = Rig([replace(trial, trainer=replace(trial.trainer, compile=False))], dataset)
            (lift,) = rig.lifts
            lift.enter()
            inputs, target = next(rig.batches.training(lift.rows, 1, rig.batch_size))
            lift.gradients(inputs, target)
            rig.evaluate("val", rig.batch_size)
            outputs = lift.predict(inputs)
    except SystemExit as error:
        said = f"{' or '.join(_own(trial))} asked to end the process with code {error.code}"
        raise UserError(f"{said}, on the first batch of {dataset.name}.") from error
    except Exception as error:
        raise in_words(trial, error) from error
    if is_foreign(trial.model) and not bool(outputs.isfinite().all()):
        raise UserError(
            f"model {trial.names['model']} must give finite outputs at its first weights, got nan or inf on the first "
            f"batch of {dataset.name}."
        )


def in_words(trial: Trial, error: Exception) -> Exception:
    """What came out of a step of own code as one sentence with its file and line; anything else as it is."""
    if isinstance(error, (UserError, StoppedError)) or is_out_of_memory(error) or not _own(trial):
        return error
    return own_error(f"{' or '.join(_own(trial))} in training", error)


def _own(trial: Trial) -> list[str]:
    """What of it is the user's own code."""
    model = [f"model {trial.names['model']}"] if is_foreign(trial.model) else []
    return model + ([f"loss {trial.name}"] if trial.loss.findings else [])

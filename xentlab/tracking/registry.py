"""A trained model in MLflow: logged beside its run with the data that it met, and taken into the registry by a name."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from xentlab.errors import UserError
from xentlab.journal import TrialRecord
from xentlab.tracking import content
from xentlab.tracking.client import translated
from xentlab.tracking.settings import TRACKING_URI, Destination, mlflow_module
from xentlab.tracking.store import open_store


def register_model(
    destination: Destination, trial: TrialRecord, name: str, network: Any, example: Any, met: str
) -> str:
    """Log a trial's network as a model of its run, and register it; returns its address, `models:/NAME/VERSION`.

    Args:
        network: a torch module that answers to inputs as the dataset stores them.
        example: two such inputs, a tensor.
        met: prefix of the test metrics of the trial that are this network's.

    Raises:
        UserError: the name is none for MLflow, it has no run of the trial, or torch cannot export the network.
        Unreachable: the store does not answer.
    """
    if not name.strip() or set(name) & set("/:.%\"'"):
        raise UserError(f"A model's name must be some text without / : . % and quotes, got '{name}'.")
    entities = mlflow_module("mlflow.entities")
    client = open_store(destination).client()
    with translated():
        experiment = client.get_experiment_by_name(destination.experiment).experiment_id
        runs = client.search_runs([experiment], f"tags.`xentlab.trial` = '{trial.id}'", max_results=1)
    if not runs:
        raise UserError(f"Trial {trial.id} must be in MLflow: `{destination.sync_command}` sends it.")
    run, facts = runs[0].info.run_id, content.dataset_facts(trial) or (None, None)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about its own ways
        folder = Path(scratch) / "model"
        try:
            mlflow_module("mlflow.pytorch").save_model(
                network,
                folder,
                input_example=example.numpy(),
                serialization_format="pt2",
                pip_requirements=[f"{needed}=={metadata.version(needed)}" for needed in ("mlflow", "torch", "numpy")],
            )
        except Exception as error:  # whatever a stranger's network meets in there
            raise UserError(f"torch.export cannot take this network: {str(error).splitlines()[0]}") from error
        with translated():
            made = client.create_logged_model(experiment, name, run, model_type=trial.tags["task"])
            client.log_model_artifacts(made.model_id, str(folder))
    found = content.final_points(trial, trial.start if trial.end is None else trial.end)  # as they stand in the run
    points = [entities.Metric(*point, made.model_id, *facts, run) for point in found if point[0].startswith(met)]
    with translated(), _at(destination.uri):
        client.log_batch(run, metrics=points)
        client.log_outputs(run, [entities.LoggedModelOutput(made.model_id, 0)])
        client.finalize_logged_model(made.model_id, "READY")
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        version = client.create_model_version(name, made.model_uri, run, model_id=made.model_id)
    return f"models:/{name}/{version.version}"


@contextlib.contextmanager
def _at(uri: str) -> Iterator[None]:
    """The registry looks a logged model up where the whole process does: there, for as long as it takes."""
    mlflow, before = mlflow_module(), os.environ.get(TRACKING_URI)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)

"""What belongs to one finished trial beside its numbers: config, environment, weights, examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from xentlab.train import Fit, examples


def write_artifacts(folder: Path, fit: Fit, row: int, environment: Mapping[str, Any], *, weights: bool) -> None:
    """Write them into a folder of the trial's own; weights and examples for trials that may see test data."""
    trial = fit.rig.trials[row]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(trial.config, sort_keys=False, allow_unicode=True))
    (folder / "environment.json").write_text(json.dumps(environment, indent=2))
    if weights and trial.test:
        for which in ("final", "best"):
            torch.save(fit.weights(row, which), folder / f"{which}.pt")
    pictured = examples(fit.rig, row) if trial.test else {}
    if pictured:
        np.savez_compressed(folder / "examples.npz", allow_pickle=False, **pictured)

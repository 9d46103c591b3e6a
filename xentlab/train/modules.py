"""A trial's model at its first weights: drawn from a seed, read from its file, with what never moves held fixed."""

from __future__ import annotations

import copy
import dataclasses
import json
import threading

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from xentlab.data import Dataset
from xentlab.models import initial
from xentlab.models.start import fix, put_in, weights_file
from xentlab.train.trial import Trial

# Of each step's batch in the running statistics of a BatchNorm: torch's default. A net that was trained for long may
# have less, 0.01 or 0.0003; after a short fine-tuning it would be evaluated by the statistics of what it met before.
_MOMENTUM = 0.1
# The parts of models that train on what is encoded, at their first weights by model, sizes and seed.
_DRAWING = threading.Lock()
_HEADS: dict[str, tuple[nn.Module, str]] = {}


def first_module(trial: Trial, dataset: Dataset, seed: int) -> tuple[nn.Module, str]:
    """The model for these data, or where they are encoded the part that trains on that; and what its file gave.

    Raises:
        UserError: it cannot take such inputs, or its file is of another net.
    """
    blank, num_outputs = trial.blank(dataset), trial.num_outputs(dataset)
    shape = tuple(blank.shape[1:])
    if dataset.encoded is not None:
        key = json.dumps([trial.config["model"], shape, num_outputs, seed], default=str)
        if key not in _HEADS:
            whole, found = first_module(trial, dataclasses.replace(dataset, encoded=None), seed)
            _HEADS[key] = whole.get_submodule(dataset.encoded.head), found
        return copy.deepcopy(_HEADS[key])
    with _DRAWING:
        module, found = initial(trial.model, shape, num_outputs, seed), ""
    if trial.start.weights is not None:
        file = weights_file(trial.start.weights, trial.model, trial.config["model"]["_sha256_"])
        found = put_in(module, file, blank)
    fix(module, trial.start.freeze, blank)
    return module, found + _quickened(module) if found else ""


def _quickened(module: nn.Module) -> str:
    """Have the statistics of slow BatchNorms follow what a net is trained on now, in place; what was done, in a clause.

    What is frozen keeps them anyway.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    slow = [norm for norm in norms if norm.momentum is not None and norm.momentum < _MOMENTUM]
    was = min((float(norm.momentum or 0) for norm in slow), default=0.0)
    for norm in slow:
        norm.momentum = _MOMENTUM
    return f"; the statistics of its batch norms follow by {_MOMENTUM:g} a step, not {was:.2g}" if slow else ""

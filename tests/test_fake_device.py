"""No tensor of the CPU meets one of a GPU: a pretended device raises where values, metrics or updates mix them.

Torch's fake tensors know shapes, types and devices and hold no numbers. Gradients want a real device: see `test_cuda`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from support import compose_train
from test_tape import CELLS, data, trial
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from xentlab.optim import clip_norm, optimizer_state
from xentlab.schema import knobs
from xentlab.tasks import find
from xentlab.train import prepare
from xentlab.train.rig import Rig

# Its quantiles come from scipy, on the host, which needs numbers.
HOST = ("student_t_nll",)


def there(tensor: Tensor) -> Tensor:
    """A tensor like this one on the pretended GPU."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


@functools.cache
def seen(name: str, task: str) -> tuple[Rig, Tensor, Tensor, Tensor]:
    """One trial of a loss: its rig, and outputs, target and truth of its first batch on the CPU."""
    rig = Rig([trial(name, task, 0, "looped")], data(task))
    inputs, target = next(rig.batches.training(slice(0, 1), 1, 4))
    (lift,) = rig.lifts
    lift.enter()
    return rig, lift.predict(inputs), target, next(rig.batches.evaluation(slice(0, 1), "val", 4))[1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), CELLS)
def test_values_predictions_and_metrics_stay_on_their_device(name: str, task: str) -> None:
    rig, outputs, target, truth = seen(name, task)
    bound, dataset, on = rig.trials[0].loss, rig.dataset, find(task)
    known, own = rig.known(), {k: v[0] for k, v in rig.facts.items()}
    numbers, row = {k: torch.tensor(v) for k, v in bound.data.items()}, outputs[0]
    with FakeTensorMode():
        facts, values = ({k: there(v) for k, v in table.items()} for table in (own, numbers))
        value = bound.data_term(dataset.ignore_index)(there(row), there(target), facts, values)
        assert value.device.type == "cuda"
        if name in HOST:
            return
        prediction = on.predict(there(outputs), bound.link, {k: there(v) for k, v in known.items()})
        counted = on.combine([on.statistics(prediction, there(truth), dataset.ignore_index)] * 2)
        assert {v.device.type for v in on.finish(counted).values()} == {"cuda"}


@pytest.mark.parametrize("config", ["sgd", "adam", "adamw"])
def test_updates_stay_on_their_device(config: str) -> None:
    function, given = optimizer(config)
    with FakeTensorMode():
        params, grads = (torch.empty(3, 50, device="cuda") for _ in range(2))
        tables = {k: torch.empty(3, 1, device="cuda") if isinstance(v, float) else v for k, v in given.items()}
        state = optimizer_state(function, params, tables)
        clip_norm(grads, torch.empty(3, 1, device="cuda"))
        function(params, grads, state, 1, lr=torch.empty(3, 1, device="cuda"), **tables)
        assert {tensor.device.type for tensor in (params, *state.values())} == {"cuda"}


def optimizer(name: str) -> tuple[Callable[..., None], Mapping[str, Any]]:
    """An optimizer by its config, and its knobs but for the rate."""
    partial = prepare(compose_train("dataset=digits", f"optimizer={name}")).optimizer
    assert set(partial.keywords) >= set(knobs(partial.func))
    return partial.func, {k: v for k, v in partial.keywords.items() if k != "lr"}


def test_a_tensor_of_the_cpu_among_those_of_the_gpu_is_found() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="at least two devices"):
        torch.empty(2, device="cuda") + torch.empty(2)

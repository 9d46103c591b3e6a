"""A recorded program and its replay: equal to the bit, on other values, reading what its weights hold by then."""

from __future__ import annotations

import functools

import pytest
import torch
from support import compose_train
from torch import Tensor

from xentlab.data import Dataset
from xentlab.losses.contract import catalogue, spec_of
from xentlab.step.tape import record
from xentlab.train import Fit, Trial, prepare

W = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def squared(weights: Tensor, x: Tensor) -> Tensor:
    leaf = weights.detach().requires_grad_()
    value = ((x @ leaf).relu() ** 2).mean()
    return torch.autograd.grad(value, leaf)[0]


def test_a_replay_is_the_function_on_other_values() -> None:
    first, second = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result, tape = record(functools.partial(squared, W), [first])
    assert tape is not None
    assert torch.equal(result, squared(W, first))
    assert torch.equal(tape(second), squared(W, second))
    assert not torch.equal(tape(second), result)
    assert not tape(second).requires_grad


def test_a_replay_reads_what_the_weights_hold_by_then() -> None:
    weights = W.clone()
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, tape = record(functools.partial(squared, weights), [x])
    assert tape is not None
    weights.mul_(-2)
    assert torch.equal(tape(x), squared(weights, x))


def test_what_a_program_writes_a_replay_writes_again() -> None:
    total = torch.zeros(3)

    def program(x: Tensor) -> tuple[Tensor, None]:
        kept = x.clone()
        kept.add_(1)
        torch.cat([kept[:1], kept[1:]], out=total)
        return kept.sum(), None

    _, tape = record(program, [torch.zeros(3)])
    assert tape is not None
    value, nothing = tape(torch.tensor([1.0, 2.0, 3.0]))
    assert nothing is None
    assert value == 9
    assert total.tolist() == [2.0, 3.0, 4.0]


def test_a_program_that_a_number_steers_is_not_recorded() -> None:
    def steered(x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x

    result, tape = record(steered, [torch.ones(2)])
    assert result.tolist() == [2.0, 2.0]
    assert tape is None


def test_calls_that_nothing_reads_are_left_out_and_memory_is_counted() -> None:
    def program(x: Tensor) -> Tensor:
        x.exp()
        doubled = x * 2  # 4,000 bytes
        shown = doubled.view(10, 100)
        return (shown + 1).sum()  # 4,000 bytes more while both live

    _, tape = record(program, [torch.ones(1000)])
    assert tape is not None
    assert tape.calls == 4
    assert 8000 <= tape.peak_bytes <= 8016
    assert tape(torch.zeros(1000)) == 1000


SETTINGS = {
    "multiclass": ("dataset=digits", "dataset.train_fraction=0.1", "model=linear", "trainer.batch_size=23"),
    "multilabel": ("dataset=multilabel_synthetic", "dataset.samples=120", "model=linear"),
    "segmentation": (
        "dataset=scenes", "dataset.samples=24", "dataset.canvas=8", "dataset.max_objects=1", "model=linear",
        "model._target_=support.pixels", "~model.init", "trainer.batch_size=7",
    ),
    "regression": ("dataset=diabetes", "dataset.train_fraction=0.3", "model=mlp", "model.hidden=[4]"),
}  # fmt: skip
CELLS = [(name, task) for name, function in catalogue().items() for task in spec_of(function).tasks]


def trial(name: str, task: str, seed: int, lift: str) -> Trial:
    overrides = (*SETTINGS[task], f"loss={name}", "optimizer.lr=0.02", "trainer.epochs=2", "trainer.precision=float64")
    return prepare(compose_train(*overrides, f"seed={seed}", f"trainer.lift={lift}"))


@functools.cache
def data(task: str) -> Dataset:
    dataset: Dataset = trial(next(name for name, on in CELLS if on == task), task, 0, "auto").dataset()
    return dataset


@pytest.mark.parametrize(("name", "task"), CELLS)
def test_a_replayed_stack_of_every_loss_is_each_of_its_trials_alone(name: str, task: str) -> None:
    stack = Fit([trial(name, task, seed, "vectorised") for seed in (0, 1)], data(task))
    assert len(list(stack.epochs())) == 2
    alone = Fit([trial(name, task, seed, "looped") for seed in (0, 1)], data(task))
    list(alone.epochs())
    torch.testing.assert_close(stack.rig.state.params, alone.rig.state.params, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_every_loss_trains_as_a_stack_in_float32() -> None:
    for name, task in CELLS[::3]:  # each trains so in float64 above
        overrides = (*SETTINGS[task], f"loss={name}", "trainer.epochs=1", "trainer.lift=vectorised")
        stack = [prepare(compose_train(*overrides, f"seed={seed}")) for seed in (0, 1)]
        epoch = next(Fit(stack, data(task)).epochs())
        assert None not in epoch.metrics["train/objective"], (name, task)


def test_what_is_known_is_not_computed_again_and_what_is_drawn_or_written_into_is() -> None:
    weights = W.clone()
    index, one = torch.tensor([0, 2]), torch.ops.aten.mul.Scalar

    def program(x: Tensor) -> dict[str, Tensor]:
        share = torch.ones_like(x) / x.shape[0]
        counts = torch.zeros_like(x)
        counts.index_add_(1, index, x[:, index])
        return {
            "value": share.neg() * x @ weights.t().t(),
            "counts": counts.clone(),
            "noise": torch.rand(3, dtype=x.dtype) + x[0, 0],
            "own": torch.zeros_like(x),
            "once": one(weights, 1).view(15) + one(x, 1).view(35)[:15].view(3, 5).view(15),
            "whole": one(index, 1.0) + x[0, 0],
            "changed": one(x, 1).add_(1) + x,
        }

    def drawn(x: Tensor) -> dict[str, Tensor]:
        torch.manual_seed(3)
        return program(x)

    first, second = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, tape = record(program, [first])
    assert tape is not None
    assert tape.calls == 19  # no ones, no division, no sign, no transposing, nothing times one
    weights.mul_(-2)
    for x in (second, first, second):
        torch.manual_seed(3)
        replayed = tape(x)
        for name, value in drawn(x).items():
            assert torch.equal(replayed[name], value), name
        replayed["own"].add_(1)  # what is returned is its caller's


def test_a_view_of_what_was_turned_in_place_is_its_own() -> None:
    weights = W.clone()

    def program(x: Tensor) -> dict[str, Tensor]:
        y = x.clone()
        y.unsqueeze_(0)
        turned = weights.t()
        turned.unsqueeze_(0)
        wide = torch.ops.aten.mul.Scalar(x[:1, :1].expand(3, 4), 1)
        return {"y": y.squeeze(0) * 2, "turned": turned * 2, "wide": wide.view(12) + 1}

    first, second = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, tape = record(program, [first])
    assert tape is not None
    for x in (second, first, second):
        replayed = tape(x)
        for name, value in program(x).items():
            assert torch.equal(replayed[name], value), name

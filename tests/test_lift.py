"""A trial's numbers are its own: who trains beside it changes neither its lift nor one bit of what it ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support import compose_train
from torch import Tensor

from xentlab.data import digits
from xentlab.journal import Records
from xentlab.train import Fit, Trial, lift_of, prepare
from xentlab.train.rig import Rig

Run = Callable[..., tuple[int, str, str]]

SMALL = ("trainer.epochs=2", "dataset.train_fraction=0.2")


def trials(seeds: Sequence[int], *overrides: str, knobs: Sequence[str] = ("seed=0",)) -> list[Trial]:
    return [prepare(compose_train(*SMALL, *overrides, k, f"seed={s}")) for s in seeds for k in knobs]


def ended(stack: Sequence[Trial]) -> list[tuple[Any, ...]]:
    """Each trial's final weights, curves and outcome, but for what tells of time and company."""
    fit = Fit(stack, digits())
    epochs = list(fit.epochs())
    rows: list[tuple[Any, ...]] = []
    for row, end in enumerate(fit.finish()):
        curves = {k: [e.metrics[k][row] for e in epochs] for k in epochs[0].metrics if not k.startswith("speed/")}
        rows.append((fit.rig.state.params[row].tolist(), curves, end.best, end.test, end.test_at_best, end.lift))
    return rows


def test_stacks_of_ten_of_five_and_of_one_end_in_the_same_bits() -> None:
    ten = trials(range(10), "loss=mse", "optimizer.lr=0.3", "trainer.batch_size=64")
    together = ended(ten)
    assert {row[-1] for row in together} == {"vectorised"}
    assert ended(ten[:5]) + ended(ten[5:]) == together
    assert [row for trial in ten for row in ended([trial])] == together


@pytest.mark.parametrize(
    ("base", "knobs"),
    [
        (("optimizer=sgd", "loss=custom_ce"), ("optimizer.lr=0.3", "optimizer.momentum=0.5", "loss.gamma=2.0")),
        (("optimizer=sgd", "regularizer=l2", "model=linear"), ("optimizer.lr=0.2", "optimizer.weight_decay=0.01")),
        (
            ("optimizer=adam", "trainer.clip_norm=1.0"),
            (
                "optimizer.lr=0.01",
                "optimizer.beta1=0.8",
                "optimizer.beta2=0.9",
                "optimizer.weight_decay=0.1",
                "trainer.clip_norm=0.1",
            ),
        ),
        (("optimizer=adamw",), ("optimizer.lr=0.01", "optimizer.eps=1e-6", "optimizer.weight_decay=0.0")),
    ],
    ids=["sgd", "linear", "clipped adam", "adamw"],
)
def test_neighbours_with_other_knobs_and_other_seeds_change_no_bit(base: Sequence[str], knobs: Sequence[str]) -> None:
    mixed = trials((0, 1), *base, knobs=knobs)
    together = ended(mixed)
    assert ended(mixed[:: len(knobs)]) == together[:: len(knobs)], "of one rate"
    assert ended(mixed[: len(knobs)]) == together[: len(knobs)], "of one seed"
    assert [row for trial in mixed for row in ended([trial])] == together


def test_a_stack_that_steps_in_blocks_ends_in_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("loss=custom_ce", "regularizer=l2", "trainer.class_weights=inverse")
    rows = trials(range(4), *chosen, knobs=("loss.gamma=2.0", "regularizer.strength=0.01"))
    together = ended(rows)
    monkeypatch.setattr("xentlab.train.rig._BLOCK_BYTES", 1)
    assert [lift.rows for lift in Fit(rows, digits()).rig.lifts] == [slice(0, 2), slice(2, 5), slice(5, 8)]
    assert ended(rows) == together
    shared = trials([0], *chosen, knobs=[f"loss.gamma={n}" for n in range(4)])
    in_blocks = ended(shared)
    monkeypatch.undo()
    assert ended(shared) == in_blocks


def test_the_lift_follows_from_model_device_and_wish() -> None:
    (mlp,), data = trials([0]), digits()
    assert lift_of(mlp, data) == "vectorised"
    assert lift_of(*trials([0], "trainer.lift=looped"), data) == "looped"
    assert lift_of(*trials([0], "model=convnet"), data) == "looped"
    assert lift_of(*trials([0], "model=convnet", "trainer.lift=vectorised"), data) == "vectorised"


def test_one_job_after_another_gives_the_bits_of_a_stack(run: Run, here: Path) -> None:
    sweep = ("train", "-m", "loss=mse", "optimizer.lr=0.3,0.1", "seed=0,1", *SMALL, "tracking=off")
    found = []
    for launcher in ("basic", "stack"):
        assert run(*sweep, f"hydra/launcher={launcher}", f"output.root={launcher}")[0] == 0
        records = Records(here / launcher)
        records.update()
        found.append({r.signature: r for r in records.trials.values()})
    one, stacked = found
    assert len(one) == 4
    assert one.keys() == stacked.keys()
    for key, record in one.items():
        other = stacked[key]
        assert (record.outcome.stack, other.outcome.stack) == (1, 4)
        assert (record.outcome.best, record.outcome.test) == (other.outcome.best, other.outcome.test)
        values = [{k: [p[2] for p in c] for k, c in r.curves.items() if "speed" not in k} for r in (record, other)]
        assert values[0] == values[1]


@pytest.mark.parametrize(
    ("chosen", "beside"),
    [
        (("model=convnet", "model.widths=[4]"), True),
        (("model=convnet", "model.widths=[4]", "trainer.precision=float64"), False),
        (("model=mlp", "trainer.lift=looped"), False),
    ],
    ids=["convnet", "float64", "mlp"],
)
def test_images_reach_convolutions_with_their_channels_side_by_side(
    chosen: tuple[str, ...], beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stepped() -> tuple[Tensor, Tensor, list[bool]]:
        rig, seen = Rig(trials([0], *chosen), digits()), list[bool]()
        rig.module.register_forward_pre_hook(lambda _, given: seen.append(given[0].stride()[1] == 1))
        (lift,) = rig.lifts
        lift.enter()
        lift.gradients(*next(rig.batches.training(lift.rows, 1, 64)))
        return lift.grads, lift.predict(next(rig.batches.evaluation(lift.rows, "val", 64))[0]), seen

    *found, seen = stepped()
    assert seen == [beside, beside]
    monkeypatch.setattr(Rig, "_channels_last", lambda _: False)
    *plain, seen = stepped()
    assert seen == [False, False]
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-6)  # float32: sums in another order

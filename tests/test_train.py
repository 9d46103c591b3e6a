"""Training as a protocol: paired seeds, test data out of reach, divergence and stuckness told, resuming exact."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from support import compose_train, small_digits

from xentlab.data import Split
from xentlab.errors import UserError
from xentlab.losses import loss
from xentlab.train import Fit, prepare, stacks, structure


def fit_of(*overrides: str, test: bool = True, **changes: Any) -> Fit:
    config = compose_train("model.hidden=[8]", *overrides)
    for key, value in changes.items():
        config[key] |= value
    return Fit([prepare(config, test=test)], small_digits())


def test_one_seed_gives_two_losses_the_same_split_weights_and_order() -> None:
    ce, mse = fit_of("loss=ce", "seed=3"), fit_of("loss=mse", "seed=3")
    assert torch.equal(ce.rig.state.params, mse.rig.state.params)
    for part in ("train", "val", "test"):
        assert torch.equal(ce.rig.batches._index[part], mse.rig.batches._index[part])
    rows = slice(0, 1)
    for epoch in (1, 2):
        first, second = (list(f.rig.batches.training(rows, epoch, 16)) for f in (ce, mse))
        assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))
    again = fit_of("loss=ce", "seed=4")
    assert not torch.equal(ce.rig.state.params, again.rig.state.params)


def test_every_example_is_seen_once_an_epoch_and_in_another_order_in_the_next() -> None:
    fit = fit_of()
    seen = [torch.cat([x for x, _ in fit.rig.batches.training(slice(0, 1), epoch, 48)]) for epoch in (1, 2)]
    reference = fit.rig.dataset.inputs[:320].float() / 16
    for inputs in seen:
        assert torch.equal(inputs.flatten(1).sum(1).sort().values, reference.flatten(1).sum(1).sort().values)
    assert not torch.equal(seen[0], seen[1])


def test_a_last_batch_of_one_is_left_out() -> None:
    fit = fit_of()
    assert fit.rig.batches.num_steps(319) == 1
    assert fit.rig.batches.num_steps(160) == 2
    assert fit.rig.batches.num_steps(318) == 2


def test_tuning_trials_cannot_reach_test_data() -> None:
    fit = fit_of("trainer.epochs=1", test=False)
    list(fit.epochs())
    (end,) = fit.finish()
    assert (end.test, end.test_at_best, end.reliability) == ({}, {}, None)
    assert fit.rig.batches.size["test"] == 0
    with pytest.raises((IndexError, ValueError)):
        fit.rig.evaluate("test")
    split = Split(torch.arange(3), torch.arange(3, 5), torch.arange(5, 9), torch.zeros(3)).without_test()
    assert len(split.test) == 0


def test_a_training_that_is_taken_up_ends_with_the_same_numbers(tmp_path: Any) -> None:
    overrides = ("model=convnet", "model.widths=[4]", "trainer.epochs=6", "trainer.target=0.3")
    config = compose_train(*overrides)
    whole = Fit([prepare(config)], small_digits())
    whole_epochs = [e.metrics["val/nll"] for e in whole.epochs()]
    first = Fit([prepare(config)], small_digits())
    epochs = first.epochs()
    seen = [next(epochs).metrics["val/nll"] for _ in range(2)]
    torch.save(first.snapshot(), tmp_path / "checkpoint.pt")
    second = Fit([prepare(config)], small_digits())
    second.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    seen += [e.metrics["val/nll"] for e in second.epochs()]
    assert seen == whole_epochs
    a, b = (f.finish()[0] for f in (whole, second))
    assert dataclasses.replace(a, seconds=0.0) == dataclasses.replace(b, seconds=0.0)
    assert all(
        torch.equal(x, y)
        for x, y in zip(whole.weights(0, "best").values(), second.weights(0, "best").values(), strict=True)
    )


def test_dropout_is_looped_and_repeats() -> None:
    overrides = ("model._target_=test_train.with_dropout", "trainer.lift=vectorised", "trainer.epochs=2")
    config = compose_train(*overrides)
    config["model"] = {"_target_": f"{__name__}.with_dropout"}
    runs = []
    for _ in range(2):
        torch.manual_seed(torch.seed() % 1000)  # whatever the global generator held before
        fit = Fit([prepare({**config, "seed": s}) for s in (0, 1)], small_digits())
        assert fit.rig.lift == "looped"
        list(fit.epochs())
        runs.append(fit.rig.state.params.clone())
    assert torch.equal(*runs)


def with_dropout(input_shape: tuple[int, ...], num_outputs: int) -> torch.nn.Module:
    size = torch.Size(input_shape).numel()
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(size, num_outputs))


def test_the_marks_of_a_stuck_trial_and_of_a_reached_target() -> None:
    stuck = fit_of("trainer.epochs=2", "optimizer.lr=1e-9", "trainer.target=0.3")
    list(stuck.epochs())
    (end,) = stuck.finish()
    assert end.stuck
    assert end.epochs_to_target is None
    fine = fit_of("trainer.epochs=8", "trainer.target=0.5")
    values = [e.metrics["val/error"][0] for e in fine.epochs()]
    (end,) = fine.finish()
    assert not end.stuck
    first = next(i for i, v in enumerate(values, 1) if v is not None and v <= 0.5)
    assert end.epochs_to_target == first
    assert end.best_epoch == 1 + min(range(8), key=lambda i: values[i])


def test_every_epoch_reports_what_the_design_asks_for() -> None:
    fit = fit_of("regularizer=l2", "trainer.epochs=1", "trainer.class_weights=inverse")
    (epoch,) = list(fit.epochs())
    names = set(epoch.metrics)
    assert {"train/objective", "train/loss", "train/penalty", "optim/grad_norm", "optim/lr"} <= names
    assert {"speed/ms_per_step", "speed/samples_per_s", "train/error", "val/error", "val/ece"} <= names
    value = {k: v[0] for k, v in epoch.metrics.items()}
    assert value["train/penalty"] > 0
    assert value["train/objective"] == pytest.approx(value["train/loss"] + value["train/penalty"])
    assert value["optim/grad_norm"] > 0


@pytest.mark.parametrize("precision", ["bfloat16", "float64"])
def test_precisions_train(precision: str) -> None:
    fit = fit_of(f"trainer.precision={precision}", "trainer.epochs=6")
    assert fit.rig.state.params.dtype == (torch.float64 if precision == "float64" else torch.float32)
    errors = [e.metrics["val/error"][0] for e in fit.epochs()]
    assert errors[-1] < 0.5


def test_stacks_are_formed_by_structure() -> None:
    def trial(*overrides: str) -> Any:
        return prepare(compose_train(*overrides))

    same = [trial("loss=custom_ce", f"loss.gamma={g}", f"optimizer.lr={r}", f"seed={s}") for g, r, s in
            [(0, 0.1, 0), (1, 0.2, 1), (2, 0.3, 2)]]  # fmt: skip
    assert len({structure(t) for t in same}) == 1
    other = [
        trial("loss=ce"),
        trial("loss=custom_ce", "optimizer.nesterov=true"),
        trial("loss=custom_ce", "model.hidden=[4]"),
        trial("loss=custom_ce", "dataset.label_noise=0.1"),
        trial("loss=custom_ce", "trainer.epochs=3"),
    ]
    assert len({structure(t) for t in [*same, *other]}) == 6
    assert [len(s) for s in stacks([*same, *other])] == [3, 1, 1, 1, 1, 1]
    capped = [prepare({**t.config, "trainer": {**t.config["trainer"], "max_stack": 2}}) for t in same]
    assert [len(s) for s in stacks(capped)] == [2, 1]


def test_a_loss_without_meaning_on_the_task_is_refused_before_any_data_is_read() -> None:
    config = compose_train("dataset=mnist", "dataset.root=nowhere")
    config["loss"] = {"_target_": f"{__name__}.only_for_labels"}
    with pytest.raises(
        UserError, match="only_for_labels has no meaning on multiclass: it is defined for multilabel only"
    ):
        prepare(config)


@loss(family="own", link="sigmoid", tasks=("multilabel",))
def only_for_labels(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (logits * target).sum(1)

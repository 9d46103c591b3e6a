"""Training as people do it: under every knob a trial in a stack is the trial alone, and each does what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support import compose_train, small_digits

from xentlab.errors import UserError
from xentlab.journal import TrialRecord
from xentlab.run.session import Session
from xentlab.train import Fit, Trial, prepare

Numbers = dict[str, Any]


def trials(*overrides: str, settings: tuple[tuple[int, float], ...] = ((0, 0.1), (1, 0.1), (0, 2.0))) -> list[Trial]:
    """Trials of a small net, by their seeds and rates."""
    config = compose_train("model.hidden=[8]", "dataset.train_fraction=0.2", "trainer.lift=vectorised", *overrides)
    return [prepare({**config, "seed": s, "optimizer": {**config["optimizer"], "lr": lr}}) for s, lr in settings]


def recorded(root: Path, chosen: list[Trial]) -> list[TrialRecord]:
    return Session.open(root, {"git": None, "host": "here"}, "test", fresh=False, weights=True).run(chosen)


def numbers(root: Path, record: TrialRecord) -> Numbers:
    """Its curves, how it ended, and its weights."""
    curves = {k: [v for _, _, v in p] for k, p in record.curves.items() if not k.startswith("speed/")}
    weights = torch.load(root / str(record.artifacts) / "final.pt", weights_only=True)
    end = {k: v for k, v in record.outcome.to_json().items() if k not in ("seconds", "stack")}
    return {"curves": curves, "end": end, "weights": {k: v.tolist() for k, v in weights.items()}}


KNOBS = [
    ("trainer.patience=2", "trainer.epochs=30"),
    ("trainer.accumulate=3", "trainer.class_weights=inverse", "trainer.epochs=3"),
    ("trainer.sampling=balanced", "trainer.ema=0.9", "trainer.patience=1", "trainer.epochs=5"),
    ("optimizer=adamw", "trainer.clip_norm=0.5", "trainer.decay=weights", "trainer.epochs=3"),
    ("schedule=plateau", "schedule.patience=0", "schedule.warmup=2 steps", "trainer.epochs=6"),
    ("optimizer=lion", "optimizer.weight_decay=0.1", "trainer.epochs=3"),
    ("optimizer=rmsprop", "trainer.epochs=3"),
    ("augment=crop_flip", "augment.pad=1", "trainer.epochs=2"),
    ("augment=mixup", "trainer.epochs=2"),
    ("optimizer=adagrad", "trainer.epochs=3"),
]


@pytest.mark.parametrize("knobs", KNOBS, ids=" ".join)
def test_a_trial_in_a_stack_is_the_trial_alone(tmp_path: Path, knobs: tuple[str, ...]) -> None:
    stacked = [numbers(tmp_path / "all", r) for r in recorded(tmp_path / "all", trials(*knobs))]
    assert stacked[0]["weights"] != stacked[1]["weights"]
    for place, trial in enumerate(trials(*knobs)):
        root = tmp_path / str(place)
        assert numbers(root, recorded(root, [trial])[0]) == stacked[place]


def test_patience_ends_each_trial_by_itself_with_its_best_weights(tmp_path: Path) -> None:
    rates = ((0, 1e-3), (0, 0.1), (0, 2.0))
    found = recorded(tmp_path, trials("trainer.epochs=40", "trainer.patience=2", settings=rates))
    ends = [record.outcome for record in found]
    assert len({end.epochs for end in ends}) > 1
    for record, end in zip(found, ends, strict=True):
        values = [v for _, _, v in record.curves["val/error"]]
        assert len(values) == end.epochs
        assert end.epochs in (40, end.best_epoch + 2)
        assert record.final("val/error") == end.best == min(v for v in values if v is not None)
        assert end.test == end.test_at_best
    fit = Fit(trials("trainer.epochs=40", "trainer.patience=2", settings=rates), small_digits())
    list(fit.epochs())
    outcomes = fit.finish()
    assert all(torch.equal(fit.weights(0, "final")[k], v) for k, v in fit.weights(0, "best").items())
    assert [end.best_epoch for end in outcomes] == fit.history.best_epoch


def pixels(in_channels: int, num_classes: int) -> torch.nn.Module:
    return torch.nn.Conv2d(in_channels, num_classes, 3, padding=1)


ACCUMULATED = {
    "mean": (),
    "class weights": ("trainer.class_weights=inverse",),
    "masks": ("dataset=scenes_small", "loss=ce", "trainer.class_weights=inverse"),
    "images": ("dataset=scenes_small", "loss=dice"),
}


@pytest.mark.parametrize("case", ACCUMULATED)
@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_accumulated_batches_are_the_big_batch(case: str, lift: str) -> None:
    fits = []
    for size, times in ((48, 1), (16, 3)):
        words = (f"trainer.batch_size={size}", f"trainer.accumulate={times}", "trainer.precision=float64")
        words += (f"trainer.lift={lift}", "trainer.epochs=2", "regularizer=l2", *ACCUMULATED[case])
        config, data = compose_train(*words), small_digits()
        if "dataset=scenes_small" in words:
            config["model"] = {"_target_": f"{__name__}.pixels"}
            data = dataclasses.replace(prepare(config).dataset(), ignore_index=0)
        fit = Fit([prepare(config)], data)
        assert fit.rig.lift == lift
        fits.append((fit, [epoch.metrics["train/objective"] for epoch in fit.epochs()]))
    (big, expected), (small, found) = fits
    assert small.rig.steps_per_epoch == big.rig.steps_per_epoch
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(small.rig.state.params, big.rig.state.params, rtol=1e-9, atol=1e-12)


def test_a_balanced_epoch_draws_every_class_equally_often() -> None:
    few = compose_train("trainer.sampling=balanced", "dataset.imbalance=20")
    batches = Fit([prepare(few)], small_digits()).rig.batches
    drawn = torch.cat([t for epoch in range(1, 21) for _, t in batches.training(slice(0, 1), epoch, 16)])
    shares, own = drawn.bincount() / len(drawn), batches.targets(0, "train").bincount()
    assert own.max() > 10 * own.min()
    assert (shares - 0.1).abs().max() < 0.02


def test_the_running_mean_is_what_is_evaluated_and_kept() -> None:
    first, kept = Fit(trials("trainer.epochs=2", "trainer.ema=0.9"), small_digits()), []
    plain = Fit(trials("trainer.epochs=2"), small_digits())
    mean = plain.rig.state.params.clone()
    lift, steps = plain.rig.lifts[0], plain.rig.steps_per_epoch
    for epoch in (1, 2):
        for i, batch in enumerate(plain.rig.batches.training(lift.rows, epoch, 16)):
            number = (epoch - 1) * steps + i
            lift.step(number, *batch)
            mean.lerp_(plain.rig.state.params, 1 - min(0.9, (1 + number) / (10 + number)))
    kept = [epoch.metrics["val/nll"] for epoch in first.epochs()]
    assert torch.equal(first.rig.state.params, plain.rig.state.params)
    first.finish()
    assert torch.equal(first.final.params, mean)
    assert first.rig.evaluate("val").metrics["nll"].tolist() == kept[-1]


def test_biases_do_not_decay_where_weights_alone_do() -> None:
    fits = [Fit(trials("optimizer.weight_decay=0.1", f"trainer.decay={d}"), small_digits()) for d in ("all", "weights")]
    for fit in fits:
        fit.rig.lifts[0].grads.zero_()
        before = fit.rig.state.params.clone()
        lift = fit.rig.lifts[0]
        lift._optimizer(lift.params, lift.grads, lift.slots, 1, lr=0.1, **lift._knobs)
        moved = fit.rig.weights(0), before
        assert not torch.equal(fit.rig.state.params, moved[1])
    shrunk, kept = (fit.rig.weights(0) for fit in fits)
    for name, value in kept.items():
        assert torch.equal(value, shrunk[name]) == (value.ndim >= 2)


def test_a_plateau_lowers_the_rate_when_torch_does() -> None:
    knobs = ("schedule=plateau", "schedule.patience=1", "schedule.factor=0.3", "trainer.epochs=12")
    fit = Fit(trials(*knobs, settings=((0, 3.0), (1, 0.5))), small_digits())
    epochs = [epoch.metrics for epoch in fit.epochs()]
    assert min(fit.history.lowered) < max(fit.history.lowered)
    for row, lr in enumerate((3.0, 0.5)):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1, threshold=0.0)
        for metrics in epochs:
            assert metrics["optim/lr"][row] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
            optimizer.step()
            reference.step(metrics["val/error"][row])


@pytest.mark.parametrize(("warmup", "steps"), [("7 steps", 7), ("2 epochs", 40), ("1 epoch", 20)])
def test_a_warmup_of_steps_or_epochs_is_that_long(warmup: str, steps: int) -> None:
    config = compose_train("schedule=constant", "trainer.epochs=5", f"schedule.warmup={warmup}", "optimizer.lr=1")
    (lift,) = Fit([prepare(config)], small_digits()).rig.lifts
    rates = [lift.rate(number)[0] for number in range(100)]
    assert rates == pytest.approx([min(1.0, (i + 1) / (steps + 1)) for i in range(100)], rel=1e-12)


@pytest.mark.parametrize(
    ("target", "own"),
    [("torch.optim.AdamW", ("optimizer=adamw",)), ("torch.optim.RMSprop", ("optimizer=rmsprop",))],
)
def test_an_optimizer_of_torch_by_its_path_is_the_labs_own_of_that_name(target: str, own: tuple[str, ...]) -> None:
    knobs = ("trainer.precision=float64", "trainer.epochs=2", "trainer.decay=weights")
    config = compose_train("model.hidden=[8]", "trainer.lift=looped", *knobs, *own, "optimizer.lr=0.01")
    config["optimizer"]["weight_decay"] = 0.1
    node = {"_target_": target, "lr": 0.01, "weight_decay": 0.1}
    fits = [Fit([prepare({**config, "optimizer": part})], small_digits()) for part in (config["optimizer"], node)]
    for fit in fits:
        list(fit.epochs())
    torch.testing.assert_close(fits[1].rig.state.params, fits[0].rig.state.params, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", ["torch.optim.NAdam", "xentlab.optim.rmsprop"])
def test_what_a_training_remembers_survives_a_checkpoint_and_a_row_that_leaves(target: str, tmp_path: Path) -> None:
    words = ("model.hidden=[8]", "trainer.epochs=4", "trainer.ema=0.9", "schedule=plateau", "schedule.patience=0")
    config = compose_train(*words, "trainer.monitor=ece", "trainer.lift=vectorised", "augment=crop_flip")
    config["optimizer"] = {"_target_": target, "lr": 0.05}
    both = [prepare({**config, "seed": seed}) for seed in (0, 1)]
    whole, first, second = Fit(both, small_digits()), Fit(both, small_digits()), Fit(both, small_digits())
    assert whole.rig.lift == ("looped" if "torch" in target else "vectorised")
    epochs = first.epochs()
    next(epochs), next(epochs)
    torch.save(first.snapshot(), tmp_path / "checkpoint.pt")
    second.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    alone = second.take([1])
    for fit in (whole, second, alone):
        list(fit.epochs())
    assert max(whole.history.lowered) > 0
    assert torch.equal(second.rig.state.slots["average"], whole.rig.state.slots["average"])
    assert torch.equal(second.rig.state.params, whole.rig.state.params)
    assert torch.equal(alone.rig.state.params[0], whole.rig.state.params[1])


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"_target_": "torch.optim.LBFGS"}, "optimizer LBFGS must take a step on the gradient .* asks for a closure"),
        ({"_target_": "torch.optim.NAdam", "lr": -1}, r"optimizer\.lr must be > 0, got -1\."),
        ({"_target_": "torch.optim.NAdam", "beta": 1}, "Unknown knob of optimizer 'beta'. Did you mean 'betas'?"),
        ({"_target_": "torch.optim.NAdm"}, "Unknown name in torch.optim 'NAdm'. Did you mean 'NAdam'?"),
    ],
)
def test_an_optimizer_that_cannot_train_here_is_refused(node: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepare({**compose_train(), "optimizer": node})

"""One step, two lifts: a stack equals its trials alone, and both equal plain PyTorch, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import compose_train, small_digits
from torch import nn

from xentlab.data import Dataset, generator
from xentlab.models import initial
from xentlab.step import State, state_dict, weighted_mean
from xentlab.train import Fit, Trial, prepare

EXACT = ("trainer.precision=float64", "trainer.epochs=1", "trainer.batch_size=16", "trainer.train_sample=32")

MODELS = {
    "mlp": ("model=mlp", "model.hidden=[8]"),
    "lenet": ("model=lenet",),
    "convnet": ("model=convnet", "model.widths=[4,4]", "model.hidden=8"),
    "frozen": ("~model", "+model._target_=test_step.half_frozen"),
}
LOSSES: dict[str, list[dict[str, float]]] = {
    "ce": [{}, {}, {}],
    "bce": [{"pos_weight": 1.0}, {"pos_weight": 2.0}, {"pos_weight": 0.5}],
    "mse": [{}, {}, {}],
    "mse_logits": [{}, {}, {}],
    "custom_ce": [{"gamma": 0.0}, {"gamma": 2.0, "smoothing": 0.1}, {"temperature": 1.5, "epsilon": 1.0}],
}


def half_frozen(in_features: int, num_classes: int) -> nn.Module:
    """A user's net that trains what stands behind its first layer."""
    first = nn.Linear(in_features, 8).requires_grad_(False)
    return nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, num_classes))


def trials(model: str, loss: str, optimizer: str, lift: str, seeds: tuple[int, ...] = (0, 1, 2)) -> list[Trial]:
    made = []
    for row, seed in enumerate(seeds):
        config = compose_train(
            *EXACT, *MODELS[model], f"loss={loss}", f"optimizer={optimizer}", f"seed={seed}", f"trainer.lift={lift}"
        )
        config["loss"] |= LOSSES[loss][row % 3]
        config["optimizer"]["lr"] *= (1.0, 0.3, 0.1)[row % 3]
        made.append(prepare(config))
    return made


def trained(stack: list[Trial], dataset: Dataset) -> Fit:
    fit = Fit(stack, dataset)
    assert fit.rig.steps_per_epoch == 20
    list(fit.epochs())
    return fit


@pytest.mark.parametrize(
    ("loss", "model", "optimizer"),
    [*((loss, "mlp", "sgd") for loss in LOSSES), *(("custom_ce", model, "adam") for model in MODELS)],
)
def test_a_stack_is_each_of_its_trials_alone(loss: str, model: str, optimizer: str) -> None:
    data = small_digits()
    together = trained(trials(model, loss, optimizer, "vectorised"), data)
    assert together.rig.lift == "vectorised"
    for row, trial in enumerate(trials(model, loss, optimizer, "looped")):
        alone = trained([trial], data)
        assert alone.rig.lift == "looped"
        torch.testing.assert_close(together.rig.state.params[row], alone.rig.state.params[0], rtol=1e-9, atol=1e-10)
        for name, buffer in alone.rig.state.buffers.items():
            torch.testing.assert_close(together.rig.state.buffers[name][row], buffer[0], rtol=1e-9, atol=1e-10)
        assert together.history.best_epoch[row] == alone.history.best_epoch[0] == 1
        assert math.isclose(together.history.best[row], alone.history.best[0], rel_tol=1e-9)


def test_looped_rows_of_a_stack_are_their_trials_alone() -> None:
    data = small_digits()
    together = trained(trials("convnet", "custom_ce", "sgd", "looped"), data)
    for row, trial in enumerate(trials("convnet", "custom_ce", "sgd", "looped")):
        alone = trained([trial], data)
        assert torch.equal(together.rig.state.params[row], alone.rig.state.params[0])


def plain_pytorch(trial: Trial, dataset: Dataset) -> nn.Module:
    """The same training as anyone would write it, with torch.optim and F.cross_entropy."""
    seed = trial.seed
    module = initial(trial.model, dataset.input_shape, 10, generator(seed, "weights").initial_seed()).double()
    lr = trial.optimizer.keywords["lr"]
    if trial.names["optimizer"] == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
    else:
        optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * s / 20)))
    images, labels = dataset.inputs[:320].double() / 16, dataset.targets[:320].long()
    order = torch.randperm(320, generator=generator(seed, "order of epoch 1"))
    for batch in order.split(16):
        loss = F.cross_entropy(module(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return module


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("model", list(MODELS))
def test_a_trial_is_the_training_that_anyone_would_write(model: str, optimizer: str) -> None:
    data = small_digits()
    (trial,) = trials(model, "ce", optimizer, "looped", seeds=(4,))
    ours = trained([trial], data)
    list(ours.finish())
    theirs = plain_pytorch(trial, data).state_dict()
    found = ours.weights(0, "final")
    assert found.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_a_diverging_row_leaves_its_neighbours_untouched(lift: str) -> None:
    data = small_digits()
    rows = trials("mlp", "mse_logits", "sgd", lift)
    config = {**rows[1].config, "optimizer": {**rows[1].config["optimizer"], "lr": 1e30}}
    rows[1] = prepare(config)
    fit = Fit(rows, data)
    (epoch,) = list(fit.epochs())
    ends = fit.finish()
    assert [end.diverged for end in ends] == [False, True, False]
    assert not torch.isfinite(fit.rig.state.params[1]).all()
    assert epoch.metrics["val/error"][1] is None
    assert epoch.metrics["train/objective"][1] is None
    assert ends[1].test == {}
    assert ends[1].stuck
    for row in (0, 2):
        alone = trained([trials("mlp", "mse_logits", "sgd", "looped")[row]], data)
        torch.testing.assert_close(fit.rig.state.params[row], alone.rig.state.params[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_clipping_weights_and_penalties_are_each_rows_own(lift: str) -> None:
    data = small_digits()
    extra = ("trainer.clip_norm=0.5", "trainer.class_weights=inverse", "regularizer=elastic", "trainer.lift=" + lift)
    rows = []
    for seed, (clip, strength) in enumerate([(0.5, 1e-2), (0.1, 1e-3), (2.0, 0.0)]):
        config = compose_train(*EXACT, *MODELS["mlp"], *extra, f"seed={seed}")
        config["trainer"]["clip_norm"], config["regularizer"]["strength"] = clip, strength
        rows.append(prepare(config))
    together = trained(rows, data)
    for row, trial in enumerate(rows):
        alone = trained([trial], data)
        torch.testing.assert_close(together.rig.state.params[row], alone.rig.state.params[0], rtol=1e-9, atol=1e-10)


def test_compound_losses_stack_over_their_factors() -> None:
    data = small_digits()
    rows = []
    for seed, weight in enumerate((0.0, 0.5, 2.0)):
        config = compose_train(*EXACT, *MODELS["mlp"], "loss=compound", f"seed={seed}", "trainer.lift=vectorised")
        config["loss"]["terms"] = {"custom_ce": {"gamma": 1.0 + seed}, "mse": {"weight": weight}}
        rows.append(prepare(config))
    together = trained(rows, data)
    for row, trial in enumerate(rows):
        alone = trained([trial], data)
        torch.testing.assert_close(together.rig.state.params[row], alone.rig.state.params[0], rtol=1e-9, atol=1e-10)


def test_weighted_mean_is_torch_mean_without_weights_and_zero_without_any() -> None:
    values, weight = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(weighted_mean(values, None), values.mean())
    torch.testing.assert_close(weighted_mean(values, weight), (values * weight).sum() / weight.sum())
    assert weighted_mean(values, torch.zeros(3, 4)) == 0


def test_state_rows_are_the_modules_and_come_back_as_their_state_dicts() -> None:
    modules = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(3)]
    state = State.of(modules, torch.device("cpu"), torch.float32)
    assert state.params.shape == (3, 3 * 4 + 4 + 2 * 4)
    for row, module in enumerate(modules):
        back = state_dict(module, state.params[row], {k: v[row] for k, v in state.buffers.items()})
        reference: dict[str, Any] = module.state_dict()
        assert back.keys() == reference.keys()
        assert all(torch.equal(back[k], reference[k]) for k in back)

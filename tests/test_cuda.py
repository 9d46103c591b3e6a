"""What a GPU must prove: a trial there is the trial of the CPU, and a stack's captured step is its plain step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import compose_train
from test_tape import CELLS, SETTINGS

from xentlab.step.graph import Graph
from xentlab.train import Epoch, Fit, Trial, prepare

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

VECTORISED = ("trainer.device=cuda", "trainer.lift=vectorised")
Run = Callable[..., tuple[int, str, str]]


def fitted(trials: list[Trial]) -> tuple[Fit, list[Epoch]]:
    fit = Fit(trials, trials[0].dataset())
    return fit, list(fit.epochs())


@pytest.mark.parametrize(("name", "task"), CELLS)
def test_a_stack_on_the_gpu_is_the_stack_on_the_cpu(name: str, task: str) -> None:
    base = (*SETTINGS[task], f"loss={name}", "optimizer.lr=0.02", "trainer.epochs=2", "trainer.precision=float64")
    found = {}
    for device in ("cpu", "cuda"):
        settings = (*base, f"trainer.device={device}", "trainer.lift=vectorised")
        found[device] = fitted([prepare(compose_train(*settings, f"seed={seed}")) for seed in (0, 1)])
    (fit, epochs), (other, others) = found["cpu"], found["cuda"]
    torch.testing.assert_close(other.rig.state.params.cpu(), fit.rig.state.params, rtol=1e-6, atol=1e-9)
    for mine, theirs in zip(epochs, others, strict=True):
        for metric in mine.metrics.keys() - {"speed/ms_per_step", "speed/samples_per_s"}:
            assert theirs.metrics[metric] == pytest.approx(mine.metrics[metric], rel=1e-5, abs=1e-7, nan_ok=True), (
                metric
            )
    for mine, theirs in zip(fit.finish(), other.finish(), strict=True):
        assert theirs.test == pytest.approx(mine.test, rel=1e-5, abs=1e-7, nan_ok=True)


def test_the_step_of_nearly_every_loss_is_captured() -> None:
    plain = []
    for name, task in CELLS:
        settings = (*SETTINGS[task], f"loss={name}", "trainer.epochs=2", *VECTORISED)  # a shape met twice is recorded
        fit, _ = fitted([prepare(compose_train(*settings, f"seed={seed}")) for seed in (0, 1)])
        if not any(isinstance(program, Graph) for program in fit.rig.lifts[0]._programs.values()):
            plain.append((name, task))
    assert len(plain) <= 0.1 * len(CELLS), plain


def test_a_captured_step_is_the_step_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends() -> torch.Tensor:
        settings = ("dataset=digits", "model=mlp", "trainer.epochs=3", "trainer.batch_size=64", *VECTORISED)
        fit, _ = fitted([prepare(compose_train(*settings, f"seed={seed}")) for seed in range(4)])
        return fit.rig.state.params.clone()

    captured = ends()
    monkeypatch.setattr("xentlab.step.lifts.capture", lambda tape, _: tape)
    assert torch.equal(ends(), captured)


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
@pytest.mark.parametrize("model", ["linear", "mlp", "convnet"])
def test_every_model_trains_there(model: str, lift: str) -> None:
    settings = ("dataset=digits", f"model={model}", "trainer.epochs=1", "trainer.device=cuda", f"trainer.lift={lift}")
    _, epochs = fitted([prepare(compose_train(*settings, f"seed={seed}")) for seed in (0, 1)])
    assert all(value is not None for value in epochs[-1].metrics["val/nll"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_kill_between_epochs_costs_nothing(precision: str) -> None:
    settings = (
        "dataset=digits",
        "model=mlp",
        "trainer.epochs=4",
        "trainer.device=cuda",
        f"trainer.precision={precision}",
    )
    trials = [prepare(compose_train(*settings, f"seed={seed}")) for seed in (0, 1)]
    whole, _ = fitted(trials)
    first = Fit(trials, trials[0].dataset())
    for epoch in first.epochs():
        if epoch.number == 2:
            snapshot: dict[str, Any] = first.snapshot()
            break
    second = Fit(trials, trials[0].dataset())
    second.restore(snapshot)
    list(second.epochs())
    assert torch.equal(second.rig.state.params, whole.rig.state.params)


@pytest.mark.parametrize(
    "command",
    [
        ("train",),
        ("train", "-m", "loss=ce,mse", "optimizer.lr=0.1,0.3", "seed=0,1"),
        ("train", "executor=processes", "seed=3"),
        ("compare", "comparison.losses=[ce,mse]", "comparison.tune.optimizer.lr=[0.1,0.3]", "comparison.final_seeds=3"),
    ],
    ids=["train", "sweep", "processes", "compare"],
)
@pytest.mark.usefixtures("here")
def test_the_commands_run_there(run: Run, command: tuple[str, ...]) -> None:
    code, out, err = run(*command, "trainer.device=cuda", "trainer.epochs=2", "output.root=runs", "tracking=off")
    assert code == 0, err
    assert out

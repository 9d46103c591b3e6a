"""No tensor of the CPU meets one of a GPU: on a pretended device the real parts raise where they mix them.

Torch's fake tensors know shapes, types and devices and hold no numbers. Gradients want a real device, see `test_cuda`:
here they are zeros, and all else of a step and of an evaluation runs as it is.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support import compose_train
from test_tape import CELLS, SETTINGS
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from xentlab.config.compose import config_dir
from xentlab.data import Dataset
from xentlab.train import Trial, prepare, rig
from xentlab.train.batches import Batches

GPU = torch.device("cuda", 0)
BASES = {**SETTINGS, "tokens": ("dataset=english", "dataset.limit=3000", "dataset.context=8", "model=bigram")}
# Its predictions are computed by scipy, on the host, which needs numbers.
HOST = ("student_t_nll",)


def _pretends() -> bool:
    """Whether torch moves a real tensor to a GPU that is not there; 2.9 asks for a driver."""
    real = torch.zeros(1)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return real.to(GPU).device == GPU
    except RuntimeError:
        return False


pytestmark = pytest.mark.skipif(not _pretends(), reason="fake tensors of this torch need a driver")


def choices(*groups: str) -> list[str]:
    return [f"{group}={file.stem}" for group in groups for file in sorted((config_dir() / group).glob("*.yaml"))]


class Pretended(TorchFunctionMode):
    """What is told to be on the GPU, and what comes of it, is fake; all else is real, and its numbers can be read."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if any(
            isinstance(v, FakeTensor) or (isinstance(v, torch.device) and v == GPU) for v in (*args, *named.values())
        ):
            with self.fake:
                return function(*args, **named)
        return function(*args, **named)


def trials(task: str, *overrides: str, loss: str | None = None) -> list[Trial]:
    """Two, of two seeds, rates and decays; of each loss with the defaults of its signature."""
    sized = not any(text.startswith("model=") for text in overrides)
    base = [text for text in BASES[task] if sized or "model." not in text]
    common = (*base, "trainer.lift=vectorised", "regularizer=elastic", "trainer.clip_norm=1", "trainer.ema=0.9")
    configs = [compose_train(*common, *overrides, f"seed={s}", f"optimizer.lr=0.{s + 1}") for s in (0, 1)]
    named = {"_target_": f"xentlab.losses.{loss}", "_partial_": True}
    return [prepare(config if loss is None else {**config, "loss": named}) for config in configs]


@functools.cache
def data(task: str, *overrides: str) -> Dataset:
    dataset: Dataset = trials(task, *overrides, loss="mse")[0].dataset()
    return dataset


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    counted = rig.class_facts_of

    def facts(stack: list[Trial], dataset: Dataset, batches: Batches) -> dict[str, Tensor]:
        parts = [rig.split(dataset, trial.seed) for trial in stack]  # on the CPU, where they can be counted
        home = Batches(dataset, parts, batches.seeds, torch.device("cpu"), batches.dtype)
        return {k: v.to(batches.device) for k, v in counted(stack, dataset, home).items()}

    def zeros(_: Tensor, leaves: list[Tensor], **__: Any) -> list[Tensor]:
        return [torch.zeros_like(leaf) for leaf in leaves]

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**40, 2**40))
    monkeypatch.setattr(torch.autograd, "grad", zeros)
    monkeypatch.setattr(rig, "class_facts_of", facts)
    monkeypatch.setattr(Trial, "device", GPU)
    return Pretended()


def train_and_judge(stack: list[Trial], dataset: Dataset, there: Pretended, parts: Sequence[str]) -> None:
    """One step of a stack on the pretended GPU, and the metrics of these parts of its data."""
    with there:
        made = rig.Rig(stack, dataset)
        for lift in made.lifts:
            lift.enter()
            inputs, target = next(made.batches.training(lift.rows, 1, 4))
            with there.fake:
                kept = lift.step(0, inputs, target, measure=True)
                kept = (*kept, lift.masses(target), inputs, target, *made.state.tensors().values())
                assert {tensor.device for tensor in kept if tensor is not None} == {GPU}
        with there.fake:
            for part in parts:
                made.evaluate(part)


JUDGED: set[tuple[str, str]] = set()


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "task"), [*CELLS, ("ce", "tokens"), ("mse", "tokens")])
def test_every_loss_stays_on_its_device(loss: str, task: str, there: Pretended) -> None:
    stack = trials(task, loss=loss)
    new = (task, stack[0].loss.link) not in JUDGED and loss not in HOST
    JUDGED.add((task, stack[0].loss.link))
    train_and_judge(stack, data(task), there, ("test",) if new else ())


# On what a choice is shown, where that is not digits and their ten classes.
TASKS = dict.fromkeys(("bigram", "gru", "mlp_lm", "transformer"), "tokens")
TASKS |= dict.fromkeys(("unet", "segnet_basic", "segmentation"), "segmentation")
SIZES = {"segnet_basic": ("dataset.canvas=16",)}
# One of larger images is left out, of layers that others have as well.
CHOICES = [text for text in choices("model", "augment", "optimizer", "regularizer") if "efficientnet" not in text]


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_stays_on_its_device(choice: str, there: Pretended) -> None:
    group, _, name = choice.partition("=")
    task = TASKS.get(name, "multiclass")
    more = SIZES.get(name, ())
    train_and_judge(trials(task, choice, *more), data(task, *more), there, ("test",) if group == "model" else ())


@pytest.mark.parametrize(
    "place",
    [
        "torch.nn.Linear.forward", "xentlab.losses.ce", "xentlab.optim.sgd", "xentlab.data.augment.flip",
        "xentlab.regularizers.elastic", "xentlab.metrics.categorical._counts", "xentlab.train.batches._gather",
    ],
)  # fmt: skip
def test_a_tensor_of_the_cpu_is_found(place: str, there: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    function = pkgutil.resolve_name(place)

    @functools.wraps(function)
    def mixed(*given: Any, **knobs: Any) -> Any:
        torch.add(next(value for value in tree_leaves(given) if isinstance(value, Tensor)), torch.zeros(1))
        return function(*given, **knobs)

    monkeypatch.setattr(place, mixed)
    with pytest.raises(RuntimeError, match="at least two devices"):
        train_and_judge(trials("multiclass", "augment=flip"), data("multiclass"), there, ("val",))

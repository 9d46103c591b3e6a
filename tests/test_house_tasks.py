# ruff: noqa: ARG001 (the functions of a task have the contract's arguments, whichever it needs)
"""A task is one object: no module compares with a task's name, and a new one is one file, trained end to end."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xentlab import tasks
from xentlab.data import Dataset, generator, of_task
from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.losses.contract import loss
from xentlab.metrics import Metric, add
from xentlab.tasks.contract import Examples, Facts, Link, Statistics, Task

PACKAGE = Path(__file__).parent.parent / "xentlab"
OUTSIDE = [f for f in sorted(PACKAGE.rglob("*.py")) if f.parent != PACKAGE / "tasks"]
NAMES = ("multiclass", "multilabel", "segmentation", "regression", "tokens")


def comparisons(tree: ast.AST) -> Iterator[int]:
    """The lines that choose by the name of a task: a comparison, a case, a key of a dict or its look-up."""
    for node in ast.walk(tree):
        asked: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Dict):
            asked = node.keys
        elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") != "Literal":
            asked = [node.slice]
        words = [inner for e in asked for inner in (e.elts if isinstance(e, (ast.Tuple, ast.List, ast.Set)) else [e])]
        if any(isinstance(word, ast.Constant) and word.value in NAMES for word in words):
            yield node.lineno if hasattr(node, "lineno") else 0


def test_no_module_compares_with_the_name_of_a_task() -> None:
    assert len(OUTSIDE) > 100
    found = {str(file): list(comparisons(ast.parse(file.read_text()))) for file in OUTSIDE}
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_such_comparisons_are_seen() -> None:
    assert set(tasks.TASKS) <= {*NAMES, "band"}
    for line in (
        'task == "multilabel"', '"tokens" != task', 'task in ("multiclass", "segmentation")',
        'match task:\n    case "regression": pass', '{"multilabel": 1}', 'sizes["segmentation"]',
    ):  # fmt: skip
        assert list(comparisons(ast.parse(line))), line


# --- a new task: everything that the lab needs to know of it --------------------------------------------------------

RMSE = Metric("rmse", "min", "of the target", False, "RMSE", "Root mean squared error")
BAND_NLL = Metric("band_nll", "min", "nats", False, "band NLL", "Negative log-density of a normal band", None)
WITHIN = Metric("within", "max", "fraction", True, "share within", "Targets within the band", 1.0)


def check(examples: Examples) -> None:
    if examples.targets.ndim != 1 or not bool(examples.targets.isfinite().all()):
        raise UserError(f"Targets of dataset '{examples.name}' must be finite floats [N].")


def one_output(examples: Examples) -> int:
    return 1


def never(link: Link) -> bool:
    return False


def mean_of(train: Tensor, examples: Examples) -> Tensor:
    return train.double().mean()


def spread_of(train: Tensor, examples: Examples) -> Tensor:
    return train.double().std()


def weigh(target: Tensor, facts: Facts, ignore_index: int | None, link: Link) -> tuple[Tensor, Tensor | None]:
    return (target - facts["mean"]) / facts["spread"], None


def residuals(outputs: Tensor, target: Tensor, facts: Facts) -> tuple[Tensor, Tensor]:
    point = outputs[..., 0] * facts["spread"][:, None] + facts["mean"][:, None]
    return point, target - point


def fitted(outputs: Tensor, target: Tensor, link: Link, facts: Facts) -> Facts:
    return {"band": residuals(outputs, target, facts)[1].square().mean(1).sqrt()}


def predict(outputs: Tensor, link: Link, facts: Facts) -> tuple[Tensor, Tensor]:
    assert torch.equal(facts["loss.power"], torch.full_like(facts["band"], 2.0))  # knobs of the loss are at hand
    return residuals(outputs, torch.zeros((), device=outputs.device), facts)[0], facts["band"][:, None]


def statistics(prediction: tuple[Tensor, Tensor], target: Tensor, ignore_index: int | None) -> Statistics:
    point, band = prediction
    z = (target - point) / band
    nll = 0.5 * z.square() + band.log() + 0.5 * math.log(2 * math.pi)
    squares = (target - point).double().square()
    sums = {"squares": squares, "nll": nll.double(), "within": (z.abs() < 1.645).double()}
    return {name: value.sum(1) for name, value in sums.items()} | {"count": torch.ones_like(squares).sum(1)}


def finish(stats: Statistics) -> dict[str, Tensor]:
    means = {name: stats[name] / stats["count"] for name in ("squares", "nll", "within")}
    return {"rmse": means["squares"].sqrt(), "band_nll": means["nll"], "within": means["within"]}


def trivial(train: Tensor, judged: Tensor, examples: Examples) -> dict[str, float]:
    constant = train.double().mean().expand(1, len(judged)), train.double().std().reshape(1, 1)
    return {name: float(value) for name, value in finish(statistics(constant, judged, None)).items()}


BAND = Task(
        name="band", check=check, floats=True, output="vector", num_outputs=one_output, link="identity",
        links=("identity",), exclusive=never, weigh=weigh, facts={"mean": mean_of, "spread": spread_of},
        always=("mean", "spread"), predict=predict, fitted=fitted, metrics=(RMSE, BAND_NLL, WITHIN),
        statistics=statistics, combine=add, finish=finish, trivial=trivial, batch_size=20,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def registered_here() -> Iterator[None]:
    """Known to the tests of this module alone: the catalogue of tasks is other tests' subject."""
    tasks.register(BAND)
    yield
    del tasks.TASKS[BAND.name]


@loss(family="own", link="task", tasks=("band",), outputs=lambda knobs: knobs["outputs"])
def powered(outputs_: Tensor, target: Tensor, *, power: float = 2.0, outputs: int = 1) -> Tensor:
    """The residual's power, on the first of the outputs."""
    return (outputs_[:, 0] - target).abs() ** power


@of_task("band")
def line(*, count: int = 300, words: bool = False) -> Dataset:
    """A noisy line, or the same with its inputs as indices of words."""
    draws = generator(0, "line")
    x = torch.randint(5, (count, 3), generator=draws)
    y = 100 + 7 * x.sum(1).double() + 3 * torch.randn(count, generator=draws, dtype=torch.float64)
    return Dataset("line", "band", x if words else x.float(), y.float(), ("y",))


def bag(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """A model of words: the sum of what each of them is worth."""
    return nn.EmbeddingBag(5, num_outputs, mode="sum")


Run = Callable[..., tuple[int, str, str]]
OWN = (
    "dataset._target_=test_house_tasks.line", "loss._target_=test_house_tasks.powered", "model=linear",
    "optimizer.lr=0.01", "trainer.epochs=15", "tracking=off",
)  # fmt: skip


@pytest.mark.parametrize("words", [False, True])
def test_a_task_in_one_file_trains_with_its_metrics_in_the_record(run: Run, here: Path, words: bool) -> None:
    own = ("model._target_=test_house_tasks.bag", "~model.init", "+dataset.words=true") if words else ()
    code, out, err = run("train", *OWN, *own)
    assert (code, err) == (0, "")
    assert "Root mean squared error (of the target)" in out
    records = Records(here / "xentlab-runs")
    records.update()
    (trial,) = records.trials.values()
    assert trial.tags["task"] == "band"
    assert trial.outcome.monitor == "rmse"
    assert not trial.outcome.stuck
    assert set(trial.outcome.test) == {"rmse", "band_nll", "within"}
    # In the target's own unit: the noise is 3, a constant answer is off by 17.
    assert trial.outcome.test["rmse"] == pytest.approx(3.0, abs=0.8)
    assert 0.8 < trial.outcome.test["within"] <= 1.0
    assert trial.outcome.reliability is None


def test_a_stack_of_a_new_task_equals_its_trials_alone(run: Run, here: Path) -> None:
    run("train", "-m", *OWN, "trainer.precision=float64", "trainer.lift=vectorised", "seed=0,1")
    run("train", "-m", *OWN, "trainer.precision=float64", "trainer.lift=looped", "seed=0,1", "output.root=alone")
    found = []
    for root in ("xentlab-runs", "alone"):
        records = Records(here / root)
        records.update()
        found.append([t.outcome.test for t in sorted(records.trials.values(), key=lambda t: t.tags["seed"])])
    for together, alone in zip(*found, strict=True):
        assert together == pytest.approx(alone, rel=1e-9)


def test_a_new_task_is_compared(run: Run, here: Path) -> None:
    code, _, err = run(
        "compare", *OWN[:1], "model=mlp", "model.hidden=[8]", "trainer.epochs=4", "tracking=off",
        "comparison.tuning_seeds=1", "comparison.final_seeds=3", "comparison.tune.optimizer.lr=[0.003,0.01]",
        "comparison.baseline=square",
        "comparison.losses=[{square: {_target_: test_house_tasks.powered}}, "
        "{one: {_target_: test_house_tasks.powered, power: 2.0, outputs: 2}}]",
    )  # fmt: skip
    assert (code, err) == (0, "")
    (folder,) = (here / "xentlab-runs" / "comparisons").iterdir()
    record = json.loads((folder / "verdicts.json").read_text())
    assert [metric["label"] for metric in record["metrics"]] == ["test RMSE", "test band NLL", "test share within"]
    assert [metric["percent"] for metric in record["metrics"]] == [False, False, True]


def test_what_has_no_meaning_on_a_task_is_refused_before_data_is_read(run: Run) -> None:
    for extra, words in (
        ("loss=ce", "loss ce has no meaning on band"),
        ("model=unet", "The task band needs a model"),
        ("trainer.class_weights=inverse", "trainer.class_weights must be none for a band dataset"),
        ("trainer.monitor=error", "Unknown metric of band 'error'"),
        ("dataset.label_noise=0.1", "dataset.label_noise must be 0 for a band dataset"),
        ("dataset.imbalance=3", "dataset.imbalance must be 1 for a band dataset"),
    ):
        chosen = [o for o in OWN if o.split("=")[0] != extra.split("=")[0] and not (extra == "loss=ce" and "loss" in o)]
        code, _, err = run("train", *chosen, extra)
        assert (code, words in err) == (2, True), err


@pytest.mark.parametrize(
    ("task", "targets", "words"),
    [
        ("multiclass", torch.tensor([0, 1, 3]), "must be indices of its 3 classes, got 0 to 3."),
        ("multiclass", torch.tensor([0.0, 1.0]), "must be class indices [N], uint8 or int64, got float32 [2]."),
        ("segmentation", torch.tensor([0, 1, 2]), "must be class indices [N, H, W], uint8 or int64, got int64 [3]."),
        ("multilabel", torch.tensor([[0, 2, 1]], dtype=torch.uint8), "must be 0 or 1, got 2."),
        ("multilabel", torch.tensor([0, 1, 2]), "must be n-hot uint8 [N, 3], got int64 [3]."),
        ("ranking", torch.tensor([0]), "Unknown task 'ranking'."),
    ],
)
def test_targets_of_another_form_are_refused(task: str, targets: Tensor, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Dataset("mine", task, torch.zeros(len(targets), 2), targets, ("a", "b", "c"))
    assert words in str(caught.value)


def test_a_segmentation_draws_examples_and_other_tasks_do_not() -> None:
    draw = tasks.find("segmentation").example
    assert draw is not None
    examples = Dataset("mine", "segmentation", torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2).long(), ("a", "b"))
    drawn = draw(examples.inputs, examples.targets, torch.eye(2).reshape(1, 2, 2, 1).expand(1, 2, 2, 2), examples)
    assert drawn["prediction"].tolist() == [[[0, 0], [1, 1]]]
    assert {name: np.asarray(value).shape for name, value in drawn.items()}["class_names"] == (2,)
    assert [name for name, task in tasks.TASKS.items() if task.example is not None] == ["segmentation"]

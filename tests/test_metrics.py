"""The laws of metrics: rows and chunks change nothing, ignored elements count nowhere, extremes have closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from xentlab.information import explain
from xentlab.metrics import constant_counts, multiclass_metrics, multilabel_metrics
from xentlab.tasks import TASKS, find, metric

# Those that predict probabilities of classes; what numbers are measured by has tests of its own.
CLASSES = ["multiclass", "multilabel", "segmentation"]
METRICS = {task.name: [entry.name for entry in task.metrics] for task in TASKS.values()}
RTOL = 1e-9
IGNORED = 11


def _probs(*shape: int, seed: int, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(*shape, generator=generator, dtype=torch.float64)).softmax(-1)


def _labels(high: int, *shape: int, seed: int) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def _hot(label: Tensor, num: int) -> Tensor:
    return torch.nn.functional.one_hot(label, num).double()


def _maps(channels_last: Tensor) -> Tensor:
    return channels_last.movedim(-1, -3)


def _measure(task: str, probs: Tensor, target: Tensor, ignore_index: int | None = None) -> dict[str, Tensor]:
    return find(task).finish(find(task).statistics(probs, target, ignore_index))


def _batch(task: str, R: int, N: int, *, seed: int = 60) -> tuple[Tensor, Tensor, int | None]:
    """R trials on the same N examples, with ignored elements where the task knows them."""
    C = 5
    if task == "multilabel":
        return _probs(R, N, C, 2, seed=seed)[..., 0], _labels(2, N, C, seed=seed + 1), None
    extent = () if task == "multiclass" else (4, 6)
    probs, target = _probs(R, N, *extent, C, seed=seed), _labels(C + 1, N, *extent, seed=seed + 1)
    return (probs if task == "multiclass" else _maps(probs)), torch.where(target == C, IGNORED, target), IGNORED


@pytest.mark.parametrize("own_target", [False, True])
@pytest.mark.parametrize("task", CLASSES)
def test_rows_equal_single_calls(task: str, own_target: bool) -> None:
    probs, target, ignore = _batch(task, 4, 30)
    targets = torch.stack([target.roll(r if own_target else 0, 0) for r in range(4)])
    rows = _measure(task, probs, targets if own_target else target, ignore)
    for r in range(4):
        alone = _measure(task, probs[r : r + 1], targets[r], ignore)
        for name in METRICS[task]:
            torch.testing.assert_close(rows[name][r : r + 1], alone[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("task", CLASSES)
def test_chunks_equal_the_whole(task: str) -> None:
    probs, target, ignore = _batch(task, 3, 31)
    whole = _measure(task, probs, target, ignore)
    on = find(task)
    parts = [on.statistics(p, t, ignore) for p, t in zip(probs.split(8, dim=1), target.split(8), strict=True)]
    assert len(parts) == 4
    chunked = on.finish(on.combine(parts))
    for name in METRICS[task]:
        torch.testing.assert_close(chunked[name], whole[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("task", CLASSES)
def test_non_finite_trial_leaves_its_neighbours(task: str) -> None:
    probs, target, ignore = _batch(task, 3, 20)
    clean = _measure(task, probs, target, ignore)
    broken = probs.clone()
    broken[1] = torch.nan
    values = _measure(task, broken, target, ignore)
    for name in METRICS[task]:
        assert torch.equal(values[name][[0, 2]], clean[name][[0, 2]]), name
    assert all(values[name][1].isnan() for name in ("nll", "brier", "ece"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("task", CLASSES)
def test_low_precision_is_computed_in_at_least_float32(task: str, dtype: torch.dtype) -> None:
    probs, target, ignore = _batch(task, 2, 20)
    low = probs.to(dtype)
    values, expected = _measure(task, low, target, ignore), _measure(task, low.double(), target, ignore)
    for name in METRICS[task]:
        # float32 logs and squares keep seven digits; a decision or a rank is the same.
        torch.testing.assert_close(values[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["uint8", "int64"])
@pytest.mark.parametrize("task", CLASSES)
def test_target_of_any_integer_type(task: str, kind: str) -> None:
    probs, target, ignore = _batch(task, 2, 20)
    values = _measure(task, probs, target.to(getattr(torch, kind)), ignore)
    assert all(torch.equal(values[name], value) for name, value in _measure(task, probs, target, ignore).items())


@pytest.mark.parametrize("task", CLASSES)
def test_perfect_predictor(task: str) -> None:
    probs, target, _ = _batch(task, 1, 40)
    C = probs.shape[2]
    if task != "multilabel":
        target = target % C
    hot = target.double() if task == "multilabel" else _hot(target, C)
    values = _measure(task, (_maps(hot) if task == "segmentation" else hot)[None], target)
    assert {n: v.item() for n, v in values.items()} == {entry.name: entry.perfect for entry in find(task).metrics}


def test_sure_mistake_costs_the_floor() -> None:
    values = _measure("multiclass", torch.tensor([[[1.0, 0.0]]]), torch.tensor([1]))
    assert {name: round(value.item(), 4) for name, value in values.items()} == {
        "error": 1.0,
        "nll": 16.1181,
        "brier": 2.0,
        "ece": 1.0,
    }


@pytest.mark.parametrize("task", CLASSES)
def test_ignored_elements_count_nowhere(task: str) -> None:
    if task == "multilabel":
        with pytest.raises(AssertionError):
            find(task).statistics(*_batch(task, 1, 4)[:2], 3)
        return
    probs, target, ignore = _batch(task, 2, 20)
    scrambled = (
        torch.where((target == ignore).unsqueeze(1), torch.nan, probs) if task == "segmentation" else probs.clone()
    )
    if task == "multiclass":
        scrambled[:, target == ignore] = torch.nan
    assert (target == ignore).any()
    assert scrambled.isnan().any()
    values = _measure(task, scrambled, target, ignore)
    for name, value in _measure(task, probs, target, ignore).items():
        assert torch.equal(value, values[name]), name


@pytest.mark.parametrize("task", CLASSES)
def test_nothing_to_count_is_undefined(task: str) -> None:
    probs, target, ignore = _batch(task, 2, 6)
    nothing = probs[:, :0], target[:0]
    undefined = {name for name, value in _measure(task, *nothing, ignore).items() if value.isnan().all()}
    assert undefined == set(METRICS[task]) - {"f1_micro", "f1_macro"}
    if task != "multilabel":
        all_ignored = _measure(task, probs, torch.full_like(target, IGNORED), IGNORED)
        assert all(value.isnan().all() for value in all_ignored.values())


def test_no_positive_label_leaves_only_the_ranking_undefined() -> None:
    probs, target, _ = _batch("multilabel", 2, 10)
    values = multilabel_metrics(probs, torch.zeros_like(target))
    assert values.pop("map").isnan().all()
    assert all(value.isfinite().all() for value in values.values())
    assert values["f1_macro"].tolist() == values["f1_micro"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("ignore", [None, IGNORED])
@pytest.mark.parametrize("task", CLASSES)
def test_trivial_equals_the_constant_prediction(task: str, ignore: int | None) -> None:
    _, target, _ = _batch(task, 1, 40)
    if task == "multilabel":
        ignore = None
    elif ignore is None:
        target = target % 5
    train = _batch(task, 1, 60, seed=70)[1]
    train = train % 5 if ignore is None and task != "multilabel" else train
    if task == "multilabel":
        frequency = train.double().mean(0)
    else:
        frequency = torch.tensor([(train == c).sum().item() for c in range(5)], dtype=torch.float64)
        frequency = frequency / frequency.sum()
    if task == "segmentation":
        constant = frequency[:, None, None].expand(1, *target.shape[:1], 5, *target.shape[1:])
    else:
        constant = frequency.expand(1, target.shape[0], 5)
    values = find(task).trivial(train, target, SimpleNamespace(num_classes=5, ignore_index=ignore))
    assert set(values) == set(METRICS[task])
    for name, expected in _measure(task, constant, target, ignore).items():
        assert values[name] == pytest.approx(expected.item(), rel=RTOL, abs=1e-12), name


def test_trivial_in_closed_form() -> None:
    target = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    own, other = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)

    def constant(frequency: Tensor) -> dict[str, float]:
        return {k: float(v) for k, v in multiclass_metrics(constant_counts(frequency, target)).items()}

    values = constant(own)
    expected = {"error": 0.5, "nll": explain(own.numpy()).entropy, "brier": 1 - float(own.square().sum()), "ece": 0.0}
    assert values == pytest.approx(expected, rel=RTOL, abs=1e-12)
    values = constant(other)
    assert values["nll"] == pytest.approx(explain(own.numpy(), other.numpy()).cross_entropy, rel=RTOL)
    assert values["error"] == pytest.approx(0.7, rel=RTOL)
    assert values["ece"] == pytest.approx(0.4, rel=RTOL)
    labels = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 0]])
    values = find("multilabel").trivial(labels, labels, SimpleNamespace(num_classes=2, ignore_index=None))
    assert values["map"] == pytest.approx(0.5, rel=RTOL)  # every rank is tied: the mean prevalence
    assert values["ece"] == pytest.approx(0.0, abs=1e-12)


def test_catalogue_names_agree() -> None:
    entries = {entry for task in TASKS.values() for entry in (*task.metrics, *task.truth_metrics)}
    assert len({entry.name for entry in entries}) == len(entries) > 25
    assert all(metric(entry.name) == entry for entry in entries)
    assert all(entry.is_share == entry.unit.startswith("fraction") for entry in entries)
    assert {name: find(name).primary.name for name in TASKS} == {
        "multiclass": "error", "multilabel": "map", "segmentation": "miou", "regression": "rmse",
        "tokens": "bits_per_char",
    }  # fmt: skip


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", CLASSES)
def test_cuda_equals_cpu_in_deterministic_mode(task: str) -> None:
    probs, target, ignore = _batch(task, 3, 200)
    on_cpu = _measure(task, probs, target, ignore)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        on_cuda = _measure(task, probs.cuda(), target.cuda(), ignore)
    finally:
        torch.use_deterministic_algorithms(before)
    for name, value in on_cpu.items():
        torch.testing.assert_close(on_cuda[name].cpu(), value, rtol=RTOL, atol=1e-12)

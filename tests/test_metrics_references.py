"""Metrics against scikit-learn and torchmetrics in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
    multiclass_jaccard_index,
)

from xentlab.metrics import (
    multiclass_counts,
    multiclass_metrics,
    multilabel_metrics,
    segmentation_counts,
    segmentation_metrics,
)
from xentlab.metrics.multilabel import mean_average_precision
from xentlab.tasks import find

RTOL = 1e-9
IGNORED = 11


def _probs(*shape: int, seed: int, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(*shape, generator=generator, dtype=torch.float64)).softmax(-1)


def _labels(high: int, *shape: int, seed: int) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def _coarse(probs: Tensor) -> Tensor:
    """Probabilities in quarters: full of ties, of bin edges, and of 0 and 1."""
    return (probs * 4).round() / 4


def _hot(label: Tensor, num: int) -> Tensor:
    return torch.nn.functional.one_hot(label, num).double()


MULTICLASS = {
    "random": (_probs(200, 10, seed=1), _labels(10, 200, seed=2)),
    "confident": (_probs(200, 5, seed=3, sharpness=4.0), _labels(5, 200, seed=4)),
    "two classes": (_probs(64, 2, seed=5), _labels(2, 64, seed=6)),
    "absent classes": (_probs(100, 8, seed=7), _labels(3, 100, seed=8)),
    "one example": (_probs(1, 3, seed=9), torch.tensor([1])),
    "uniform ties": (torch.full((50, 4), 0.25, dtype=torch.float64), _labels(4, 50, seed=10)),
    "ties at bin edges": (_hot(_labels(3, 60, seed=11), 3) * 0.6 + 0.4 / 3, _labels(3, 60, seed=12)),
    "certain": (_hot(_labels(4, 60, seed=13), 4), _labels(4, 60, seed=14)),
}
MULTILABEL = {
    "random": (_probs(150, 6, 2, seed=21)[..., 0], _labels(2, 150, 6, seed=22)),
    "many ties": (_coarse(_probs(150, 5, 2, seed=23)[..., 0]), _labels(2, 150, 5, seed=24)),
    "bin edges and centres": (_labels(31, 150, 4, seed=33).double() / 30, _labels(2, 150, 4, seed=34)),
    "certainty beside the last bin": (
        torch.tensor([[0.95], [0.95], [1.0], [1.0]], dtype=torch.float64),
        torch.tensor([[1], [1], [0], [1]]),
    ),
    "rare labels": (_probs(80, 4, 2, seed=25)[..., 0], (_labels(20, 80, 4, seed=26) == 0).long()),
    "one label": (_probs(40, 1, 2, seed=27)[..., 0], _labels(2, 40, 1, seed=28)),
    "empty label, never predicted": (
        _probs(60, 3, 2, seed=29)[..., 0] * torch.tensor([1.0, 0.4, 1.0]),
        _labels(2, 60, 3, seed=30) * torch.tensor([1, 0, 1]),
    ),
    "empty label, predicted": (_probs(60, 2, 2, seed=31)[..., 0], _labels(2, 60, 2, seed=32) * torch.tensor([1, 0])),
}
SEGMENTATION = {
    "random": (_probs(3, 7, 5, 6, seed=41), _labels(6, 3, 7, 5, seed=42), None),
    "ignored outside": (_probs(2, 8, 8, 4, seed=43), _labels(4, 2, 8, 8, seed=44), IGNORED),
    "absent classes": (_probs(2, 6, 6, 9, seed=45, sharpness=3.0)[..., :9], _labels(2, 2, 6, 6, seed=46), None),
    "negative ignored": (_probs(2, 5, 9, 3, seed=47), _labels(3, 2, 5, 9, seed=48), -1),
}
for _name in ("ignored outside", "negative ignored"):
    _p, _t, _i = SEGMENTATION[_name]
    SEGMENTATION[_name] = (_p, torch.where(_labels(3, *_t.shape, seed=49) == 0, _i, _t), _i)


def _maps(channels_last: Tensor) -> Tensor:
    return channels_last.movedim(-1, -3)


def _nll(p: np.ndarray, t: np.ndarray) -> float:
    return float(-np.log(np.maximum(p[np.arange(len(t)), t], 1e-7)).mean())


def _brier(p: np.ndarray, t: np.ndarray) -> float:
    return float(((p - np.eye(p.shape[1])[t]) ** 2).sum(1).mean())


def _ece(p: Tensor, t: Tensor) -> float:
    confidence, predicted = p.max(1)
    error = float(binary_calibration_error(confidence, (predicted == t).long(), n_bins=15, norm="l1"))
    # The multiclass form is the same on confidences that it casts to float32.
    in_float32 = multiclass_calibration_error(p, t, num_classes=p.shape[1], n_bins=15, norm="l1")
    assert error == pytest.approx(float(in_float32), rel=1e-5)
    return error


def _check(values: dict[str, Tensor], expected: dict[str, float], task: str) -> None:
    assert set(values) == {entry.name for entry in find(task).metrics} == set(expected)
    for name, reference in expected.items():
        assert values[name].shape == (1,), name
        assert values[name].dtype == torch.float64, name
        assert values[name].item() == pytest.approx(reference, rel=RTOL, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("case", MULTICLASS)
def test_multiclass_matches_references(case: str) -> None:
    probs, target = MULTICLASS[case]
    p, t = probs.numpy(), target.numpy()
    expected = {
        "error": 1 - sk.accuracy_score(t, probs.argmax(1).numpy()),
        "nll": _nll(p, t),
        "brier": _brier(p, t),
        "ece": _ece(probs, target),
    }
    _check(multiclass_metrics(multiclass_counts(probs[None], target)), expected, "multiclass")


@pytest.mark.parametrize("case", MULTILABEL)
def test_multilabel_matches_references(case: str) -> None:
    probs, target = MULTILABEL[case]
    p, t, C = probs.numpy(), target.numpy(), target.shape[1]
    hard = (p > 0.5).astype(int)
    likelihood = np.maximum(np.where(t == 1, p, 1 - p), 1e-7)
    average = "macro" if C > 1 else "binary"  # scikit-learn reads one column as a binary problem
    flat = {"t": t if C > 1 else t[:, 0], "hard": hard if C > 1 else hard[:, 0]}
    expected = {
        "map": np.mean([sk.average_precision_score(t[:, c], p[:, c]) for c in range(C) if t[:, c].any()]),
        "f1_micro": sk.f1_score(t.ravel(), hard.ravel(), zero_division=0),
        "f1_macro": sk.f1_score(flat["t"], flat["hard"], average=average, zero_division=0),
        "subset_accuracy": sk.accuracy_score(flat["t"], flat["hard"]),
        "hamming": sk.hamming_loss(flat["t"], flat["hard"]),
        "nll": -np.log(likelihood).sum(1).mean(),
        "brier": ((p - t) ** 2).mean(),
        "ece": float(binary_calibration_error(probs.flatten().contiguous(), target.flatten(), n_bins=15, norm="l1")),
    }
    _check(multilabel_metrics(probs[None], target), expected, "multilabel")


@pytest.mark.parametrize("case", SEGMENTATION)
def test_segmentation_matches_references(case: str) -> None:
    probs, target, ignore = SEGMENTATION[case]
    keep = torch.ones_like(target, dtype=torch.bool) if ignore is None else target != ignore
    flat_p, flat_t = probs[keep], target[keep]
    p, t, hard = flat_p.numpy(), flat_t.numpy(), flat_p.argmax(1).numpy()
    expected = {
        "miou": sk.jaccard_score(t, hard, average="macro"),
        "dice": sk.f1_score(t, hard, average="macro"),
        "pixel_accuracy": sk.accuracy_score(t, hard),
        "class_accuracy": sk.recall_score(t, hard, average="macro", labels=np.unique(t)),
        "error": 1 - sk.accuracy_score(t, hard),
        "nll": _nll(p, t),
        "brier": _brier(p, t),
        "ece": _ece(flat_p, flat_t),
    }
    counts = segmentation_counts(_maps(probs)[None], target, ignore_index=ignore)
    values = segmentation_metrics(counts)
    _check(values, expected, "segmentation")
    C = probs.shape[-1]
    assert torch.equal(counts["confusion"][0], torch.from_numpy(sk.confusion_matrix(t, hard, labels=np.arange(C))))
    torchmetrics_iou = multiclass_jaccard_index(_maps(probs), target, num_classes=C, ignore_index=ignore)
    # torchmetrics divides in float32.
    assert values["miou"].item() == pytest.approx(float(torchmetrics_iou), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30).filter(
        lambda x: any(y for _, y in x)
    )
)
def test_average_precision_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores = torch.tensor([float(s) for s, _ in pairs], dtype=torch.float64)
    truth = torch.tensor([y for _, y in pairs])
    ours = mean_average_precision(scores[None, :, None], truth[None, :, None])
    assert ours.item() == pytest.approx(sk.average_precision_score(truth.numpy(), scores.numpy()), rel=RTOL)


def test_reference_functions_are_real() -> None:
    """The closed forms above agree with scikit-learn where it has them."""
    probs, target = MULTICLASS["random"]
    reference: Callable[..., float] = sk.log_loss
    assert _nll(probs.numpy(), target.numpy()) == pytest.approx(reference(target.numpy(), probs.numpy()), rel=RTOL)

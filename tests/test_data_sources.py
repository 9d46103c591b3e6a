"""The embedded and the drawn datasets: counts, ranges, golden fingerprints, known posteriors."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from xentlab import data
from xentlab.errors import UserError

DIGITS = "d439d30aed4571dcd96d2637d7029bf3c9ac3c039c11a6447e90feff5432ef6c"


def test_importing_the_package_imports_nothing_slow() -> None:
    """Outside functions, the modules import the standard library, numpy, torch and one another, and nothing else."""
    files = sorted(Path(data.__file__).parent.glob("*.py"))
    assert len(files) > 5
    for file in files:
        for node in ast.parse(file.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names | {"numpy", "torch", "xentlab"}, (file, name)


# --- digits ---------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    reference = load_digits()
    dataset = data.digits()
    assert dataset.inputs.dtype == torch.uint8
    assert dataset.input_shape == (1, 8, 8)
    np.testing.assert_array_equal(dataset.inputs[:, 0].numpy(), reference.images)
    np.testing.assert_array_equal(dataset.targets.numpy(), reference.target)
    assert float(dataset.inputs.max()) * dataset.scale == 1.0


def test_digits_fingerprint_is_golden_and_sees_every_change() -> None:
    dataset = data.digits()
    assert dataset.fingerprint == data.digits().fingerprint == DIGITS
    other = data.digits()
    other.inputs[1000, 0, 3, 3] += 1
    assert other.fingerprint != DIGITS


def test_digits_come_from_scikit_learn_itself_where_its_file_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    import sklearn.datasets  # noqa: F401  (already imported, so that the patched finder is not needed)

    assert data.digits().fingerprint == DIGITS


# --- multilabel_synthetic -------------------------------------------------------------------------------------------


def test_synthetic_labels_agree_with_their_posterior() -> None:
    dataset = data.multilabel_synthetic(samples=20_000)
    p, y = dataset.posterior, dataset.targets.double()
    assert p is not None
    assert p.dtype == torch.float64
    assert ((p > 0) & (p < 1)).all()
    sigma = (p * (1 - p)).sum(0).sqrt()
    # Sums of independent draws: eight labels, all within 4.5 standard errors (false alarm 6e-5, and the draw is fixed).
    assert ((y - p).sum(0).abs() < 4.5 * sigma).all()
    brier, expected = ((y - p) ** 2).mean(), (p * (1 - p)).mean()
    spread = (p * (1 - p) * (1 - 2 * p) ** 2).sum().sqrt() / p.numel()
    assert (brier - expected).abs() < 4.5 * spread
    for low in torch.linspace(0, 0.9, 10).tolist():
        inside = (p >= low) & (p < low + 0.1)
        assert inside.sum() > 1000
        error = (p[inside] * (1 - p[inside])).sum().sqrt() / inside.sum()
        assert (y[inside].mean() - p[inside].mean()).abs() < 4.5 * error
    residual = (y - p) / (p * (1 - p)).sqrt()
    cross = (residual.T @ residual / len(y)).fill_diagonal_(0)
    assert cross.abs().max() < 0.05, "labels are independent given x"


@pytest.mark.parametrize("count", [1.0, 2.5, 6.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_synthetic_has_the_expected_number_of_labels(count: float, temperature: float) -> None:
    dataset = data.multilabel_synthetic(samples=5000, labels_per_example=count, temperature=temperature)
    assert dataset.posterior is not None
    assert float(dataset.posterior.sum(1).mean()) == pytest.approx(count, rel=0.05)  # the model's mean, 5,000 draws


def test_temperature_and_strength_set_how_much_the_inputs_decide() -> None:
    def certainty(temperature: float, strength: float) -> float:
        p = data.multilabel_synthetic(temperature=temperature, strength=strength).posterior
        assert p is not None
        return float((2 * p - 1).abs().mean())

    assert certainty(0.01, 3.0) > 0.98
    assert certainty(0.01, 3.0) > certainty(1.0, 3.0) > certainty(10.0, 3.0)
    useless = data.multilabel_synthetic(strength=0.0).posterior
    assert useless is not None
    assert float(useless.std(0).max()) < 1e-12


def test_synthetic_is_decided_by_its_draw_seed() -> None:
    first = data.multilabel_synthetic()
    assert first.fingerprint == data.multilabel_synthetic().fingerprint
    assert first.fingerprint != data.multilabel_synthetic(draw_seed=1).fingerprint
    torch.manual_seed(5)
    assert first.fingerprint == data.multilabel_synthetic().fingerprint
    longer = data.multilabel_synthetic(samples=3000)
    assert first.posterior is not None
    assert longer.posterior is not None
    assert torch.equal(longer.inputs[:2000], first.inputs)
    torch.testing.assert_close(longer.posterior[:2000], first.posterior, rtol=1e-9, atol=0)


def test_more_labels_per_example_than_labels_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset.labels_per_example must be < dataset.labels \(4\), got 5\."):
        data.multilabel_synthetic(labels=4, labels_per_example=5.0)


# --- scenes ---------------------------------------------------------------------------------------------------------


def test_scenes_are_digits_on_a_canvas() -> None:
    dataset = data.scenes(samples=300)
    assert tuple(dataset.inputs.shape) == (300, 1, 32, 32)
    assert tuple(dataset.targets.shape) == (300, 32, 32)
    assert dataset.class_names == ("background", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert set(dataset.targets.unique().tolist()) == set(range(11))
    inked = dataset.inputs[:, 0].double() * dataset.scale >= 0.25
    assert (inked[dataset.targets > 0]).all()
    assert (dataset.targets[inked] > 0).all()
    assert (dataset.targets > 0).flatten(1).any(1).all()


def test_one_digit_on_the_smallest_canvas_is_the_digit_itself() -> None:
    """With canvas 8 and one object every scene is one whole digit, so the digits of each split can be told apart."""
    source = data.digits()
    known = {
        image.numpy().tobytes(): label for image, label in zip(source.inputs, source.targets.tolist(), strict=True)
    }
    dataset = data.scenes(samples=1500, canvas=8, max_objects=1)
    assert [len(dataset.source_splits[part]) for part in ("train", "val", "test")] == [900, 300, 300]
    seen = {}
    for part, indices in dataset.source_splits.items():
        images = [dataset.inputs[i].numpy().tobytes() for i in indices.tolist()]
        assert all(int(dataset.targets[i].max()) == known[k] + 1 for i, k in zip(indices.tolist(), images, strict=True))
        seen[part] = set(images)
    assert seen["train"].isdisjoint(seen["val"])
    assert seen["train"].isdisjoint(seen["test"])
    assert seen["val"].isdisjoint(seen["test"])


def test_both_tasks_show_the_same_scenes_and_agree() -> None:
    masks, labels = data.scenes(samples=400), data.scenes(samples=400, task="multilabel")
    assert torch.equal(masks.inputs, labels.inputs)
    in_mask = torch.stack([(masks.targets == d + 1).flatten(1).any(1) for d in range(10)], 1)
    assert (in_mask | (labels.targets == 0)).all(), "a label's digit is in the mask"
    hidden = in_mask & (labels.targets == 0)
    assert 0 < hidden.sum() < 0.05 * in_mask.sum(), "only digits that are nearly covered carry no label"
    assert labels.targets.sum(1).min() >= 1
    assert 1.8 < labels.targets.sum(1).double().mean() < 2.5


def test_the_later_digit_lies_on_top() -> None:
    from xentlab.data.canvas import _masks, _paste, _visible

    source = data.digits()
    choice = torch.tensor([[0, 1], [0, 1]])
    corner = torch.zeros(2, 2, 2, dtype=torch.int64)
    image, owner, ink = _paste(source, 8, torch.tensor([2, 1]), choice, corner)
    mask = _masks(owner, source.targets[choice])
    zero, one = source.inputs[0, 0] >= 4, source.inputs[1, 0] >= 4
    assert torch.equal(mask[0] == 2, one)
    assert torch.equal(mask[0] == 1, zero & ~one)
    assert torch.equal(image[0][one], source.inputs[1, 0][one])
    assert torch.equal(image[1], source.inputs[0, 0])
    assert torch.equal(mask[1] == 1, zero)
    assert _visible(owner, source.targets[choice], ink)[1].tolist() == [1] + [0] * 9


def test_number_of_objects_and_bad_scenes() -> None:
    two = data.scenes(samples=50, canvas=100, min_objects=3, max_objects=3, task="multilabel")
    assert two.targets.sum(1).max() == 3
    with pytest.raises(UserError, match=r"dataset.min_objects must be <= dataset.max_objects \(2\), got 3\."):
        data.scenes(min_objects=3, max_objects=2)
    with pytest.raises(UserError, match=r"dataset.canvas must be >= 28, .* got 20\."):
        data.scenes(source="mnist", canvas=20)


def test_scenes_are_decided_by_their_draw_seed() -> None:
    assert data.scenes(samples=50).fingerprint == data.scenes(samples=50).fingerprint
    assert data.scenes(samples=50).fingerprint != data.scenes(samples=50, draw_seed=1).fingerprint


def test_the_scenes_of_two_splits_are_laid_out_apart() -> None:
    dataset = data.scenes(samples=500)
    val, test = (dataset.targets[dataset.source_splits[part]] > 0 for part in ("val", "test"))
    assert float((val & test).double().mean()) < 2 * float(val.double().mean()) * float(test.double().mean())

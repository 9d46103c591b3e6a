"""The laws of a split, over datasets of every task, and the statistics of label noise and imbalance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from xentlab import data
from xentlab.data import Dataset, Split, generator, split
from xentlab.data.splits import Noise
from xentlab.errors import UserError

SOURCES: dict[str, Callable[[], Dataset]] = {
    "digits": data.digits,
    "multilabel_synthetic": lambda: data.multilabel_synthetic(samples=300),
    "scenes": lambda: data.scenes(samples=60),
    "scenes_multilabel": lambda: data.scenes(samples=60, task="multilabel"),
}
KNOBS = [{}, {"train_fraction": 0.3}, {"val_fraction": 0.05, "test_fraction": 0.5}, {"label_noise": 0.4}]


def parts(s: Split) -> tuple[torch.Tensor, ...]:
    return s.train, s.val, s.test, s.train_targets


def toy(classes: int = 10, each: int = 4000, names: tuple[str, ...] | None = None) -> Dataset:
    """`each` examples of every class; no inputs to speak of."""
    targets = torch.arange(classes).repeat(each)
    class_names = names or tuple(f"class_{c}" for c in range(classes))
    return Dataset("toy", "multiclass", torch.zeros(len(targets), 1), targets, class_names)


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
@pytest.mark.parametrize("source", SOURCES)
def test_laws_of_every_split(source: str, knobs: dict[str, float]) -> None:
    dataset = SOURCES[source]()
    before = dataset.targets.clone()
    splits = [split(dataset, seed, **knobs) for seed in range(4)]
    for s in splits:
        every = torch.cat([s.train, s.val, s.test])
        assert len(every.unique()) == len(every), "disjoint"
        assert 0 <= every.min() <= every.max() < len(dataset.inputs)
        assert min(len(s.train), len(s.val), len(s.test)) > 0
        assert all(torch.equal(p, p.sort().values) and p.dtype == torch.int64 for p in (s.train, s.val, s.test))
        assert s.train_targets.dtype == dataset.targets.dtype
        assert s.train_targets.shape == dataset.targets[s.train].shape
        if "label_noise" not in knobs:
            assert torch.equal(s.train_targets, dataset.targets[s.train])
        if "train_fraction" not in knobs:
            assert len(every) == len(dataset.inputs), "nothing is lost"
    assert len({tuple(len(p) for p in parts(s)) for s in splits}) == 1, "the same sizes for every seed"
    again = split(SOURCES[source](), 2, **knobs)
    assert all(torch.equal(a, b) for a, b in zip(parts(again), parts(splits[2]), strict=True)), "pure"
    assert torch.equal(dataset.targets, before), "the dataset is not touched"


def test_seeds_differ_and_the_global_generator_takes_no_part() -> None:
    dataset = data.digits()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = split(dataset, 0, label_noise=0.1, train_fraction=0.5, imbalance=3.0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = split(dataset, 0, label_noise=0.1, train_fraction=0.5, imbalance=3.0)
    assert all(torch.equal(a, b) for a, b in zip(parts(first), parts(again), strict=True))
    assert not torch.equal(first.val, split(dataset, 1).val)


def test_no_test_example_is_ever_trained_on_or_chosen_by_under_another_seed() -> None:
    dataset = data.digits()
    kept = set(split(dataset, 0).test.tolist())
    for seed in range(1, 6):
        drawn = split(dataset, seed)
        assert set(drawn.test.tolist()) == kept
        assert not kept & {*drawn.train.tolist(), *drawn.val.tolist()}
    other = split(dataset, 0, outer_seed=7)
    assert set(other.test.tolist()) != kept
    assert torch.equal(split(dataset, 3, outer_seed=None).test, split(dataset, 3, outer_seed=3).test)


def test_generators_of_two_purposes_or_seeds_are_unlike() -> None:
    draws = [torch.rand(1000, generator=generator(s, p)) for s in (0, 1, -1) for p in ("val", "test")]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 0.15
    assert torch.equal(torch.rand(9, generator=generator(0, "val")), draws[0][:9])
    # A golden value: a change of the stream would change every result ever recorded.
    assert torch.randperm(10, generator=generator(0, "val")).tolist() == GOLDEN


GOLDEN = [9, 5, 6, 0, 8, 7, 1, 2, 3, 4]


def test_the_sources_own_splits_are_honoured() -> None:
    base = data.digits()
    test = torch.arange(1500, 1797)
    with_test = dataclasses.replace(base, source_splits={"test": test})
    s = split(with_test, 0, test_fraction=0.9)
    assert torch.equal(s.test, test)
    assert len(s.val) == round(0.2 * 1500)
    assert torch.cat([s.train, s.val]).max() < 1500
    own = {"train": torch.arange(0, 500), "val": torch.arange(500, 600), "test": torch.arange(600, 700)}
    s = split(dataclasses.replace(base, source_splits=own), 3, val_fraction=0.9)
    assert all(torch.equal(getattr(s, name), own[name]) for name in own)


@pytest.mark.parametrize(
    "knobs", [{}, {"train_fraction": 0.37}, {"val_fraction": 0.07, "test_fraction": 0.31}], ids=str
)
def test_multiclass_draws_are_stratified(knobs: dict[str, float]) -> None:
    dataset = data.digits()
    share = torch.bincount(dataset.targets).double() / len(dataset.targets)
    s = split(dataset, 0, **knobs)
    for indices in (s.train, s.val, s.test):
        counts = torch.bincount(dataset.targets[indices], minlength=10)
        assert (counts - share * len(indices)).abs().max() < 3, "one rounding per draw, at most three draws"
    other = split(dataset, 1, **knobs)
    assert torch.equal(torch.bincount(s.train_targets), torch.bincount(other.train_targets))


def test_sizes_are_what_the_fractions_say() -> None:
    s = split(data.digits(), 0)
    assert (len(s.test), len(s.val), len(s.train)) == (359, 288, 1150)
    s = split(data.digits(), 0, train_fraction=0.1)
    assert (len(s.test), len(s.val), len(s.train)) == (359, 288, 115)


def test_every_example_is_drawn_equally_often() -> None:
    dataset = toy(classes=3, each=20)
    drawn = torch.zeros(60)
    for seed in range(600):
        drawn[split(dataset, 0, outer_seed=seed).test] += 1
    # Binomial(600, 0.2): mean 120, standard deviation 9.8; five of them.
    assert (drawn - 120).abs().max() < 49


# --- label noise ----------------------------------------------------------------------------------------------------


def confusion(dataset: Dataset, rate: float, noise: Noise) -> torch.Tensor:
    """Share of the training examples of each class [C] that carry each label [C]."""
    s = split(dataset, 0, label_noise=rate, noise=noise)
    C = dataset.num_classes
    counts = torch.bincount(dataset.targets[s.train].long() * C + s.train_targets.long(), minlength=C * C)
    return counts.reshape(C, C).double() / counts.reshape(C, C).sum(1, keepdim=True)


def expected(C: int, rate: float, to: list[int]) -> torch.Tensor:
    matrix = torch.zeros(C, C, dtype=torch.float64)
    for c in range(C):
        matrix[c, c] += 1 - rate
        matrix[c, to[c]] += rate
    return matrix


# 2,560 training examples of each class: a share has a standard error below 0.01, and five of them are allowed.
TOLERANCE = 0.05
NEXT = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
ALIKE = [0, 1, 7, 8, 4, 6, 5, 1, 8, 9]
DIGIT_NAMES = tuple("0123456789")


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_symmetric_noise_goes_to_every_other_class_alike(rate: float) -> None:
    matrix = confusion(toy(), rate, "symmetric")
    off = rate / 9
    reference = torch.full((10, 10), off, dtype=torch.float64).fill_diagonal_(1 - rate)
    assert (matrix - reference).abs().max() < TOLERANCE
    # All 25,600 examples: the rate itself has a standard error of 0.003.
    assert float(1 - matrix.diagonal().mean()) == pytest.approx(rate, abs=0.015)


@pytest.mark.parametrize(
    ("noise", "names", "to"),
    [
        ("pairs", None, NEXT),
        ("asymmetric", None, NEXT),
        ("asymmetric", DIGIT_NAMES, ALIKE),
        ("pairs", DIGIT_NAMES, NEXT),
    ],
)
def test_directed_noise_goes_where_it_is_said_to(noise: Noise, names: tuple[str, ...] | None, to: list[int]) -> None:
    matrix = confusion(toy(names=names), 0.3, noise)
    reference = expected(10, 0.3, to)
    assert (matrix - reference).abs().max() < TOLERANCE
    assert (matrix[reference == 0] == 0).all()


def test_full_noise_leaves_no_label_and_none_leaves_all() -> None:
    assert (confusion(toy(each=400), 1.0, "symmetric").diagonal() == 0).all()
    assert (confusion(toy(each=400), 0.0, "symmetric").diagonal() == 1).all()


def test_less_noise_disturbs_a_subset_and_the_examples_stay() -> None:
    dataset = data.digits()
    clean, few, many = (split(dataset, 0, label_noise=rate) for rate in (0.0, 0.1, 0.3))
    assert torch.equal(clean.train, many.train)
    few_changed, many_changed = (s.train_targets != clean.train_targets for s in (few, many))
    assert 0 < few_changed.sum() < many_changed.sum()
    assert (many_changed | ~few_changed).all()
    assert torch.equal(few.train_targets[few_changed], many.train_targets[few_changed])


def test_an_example_keeps_its_noise_whatever_else_is_in_the_training_set() -> None:
    dataset = data.digits()
    every, some = (split(dataset, 0, label_noise=0.3, train_fraction=f) for f in (1.0, 0.5))
    assert torch.equal(every.train_targets[torch.isin(every.train, some.train)], some.train_targets)


def test_multilabel_noise_flips_each_label_on_its_own() -> None:
    dataset = data.multilabel_synthetic(samples=10_000)
    s = split(dataset, 0, label_noise=0.2)
    flipped = (s.train_targets != dataset.targets[s.train]).double()
    assert s.train_targets.max() == 1
    assert (flipped.mean(0) - 0.2).abs().max() < 0.025  # 6,400 examples: five standard errors of 0.005
    assert torch.corrcoef(flipped.T).fill_diagonal_(0).abs().max() < 0.07
    with pytest.raises(UserError, match=r"dataset.noise must be symmetric for a multilabel dataset, got 'pairs'\."):
        split(dataset, 0, label_noise=0.2, noise="pairs")
    assert len(split(dataset, 0, noise="pairs").train) == 6400


def test_segmentation_noise_spares_ignored_pixels() -> None:
    base = data.scenes(samples=100)
    masks = base.targets.clone()
    masks[:, :4] = 255
    dataset = dataclasses.replace(base, targets=masks, ignore_index=255)
    s = split(dataset, 0, label_noise=0.25)
    clean = masks[s.train]
    changed = s.train_targets != clean
    assert not changed[clean == 255].any()
    assert float(changed[clean != 255].double().mean()) == pytest.approx(0.25, abs=0.01)
    assert s.train_targets[clean != 255].max() == 10
    paired = split(dataset, 0, label_noise=1.0, noise="pairs").train_targets
    assert torch.equal(paired[clean != 255], (clean[clean != 255] + 1) % 11)


def test_noise_with_one_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset.label_noise must be 0 for a dataset with one class, got 0.1"):
        split(toy(classes=1, each=50), 0, label_noise=0.1)


# --- imbalance and fractions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [2.0, 10.0, 100.0])
def test_imbalance_is_the_exponential_profile(ratio: float) -> None:
    dataset = toy(each=4000)
    s = split(dataset, 0, imbalance=ratio)
    counts = torch.bincount(s.train_targets)
    most = 4000 * 0.8 * 0.8
    reference = torch.tensor([most * ratio ** (-c / 9) for c in range(10)])
    assert (counts - reference).abs().max() <= 1
    assert float(counts[0] / counts[9]) == pytest.approx(ratio, rel=0.05)
    for untouched in (s.val, s.test):
        assert torch.bincount(dataset.targets[untouched]).unique().numel() == 1
    assert torch.equal(s.val, split(dataset, 0).val)
    assert torch.isin(s.train, split(dataset, 0).train).all()


def test_imbalance_of_unequal_classes_keeps_the_ratio() -> None:
    dataset = data.digits()
    counts = torch.bincount(split(dataset, 0, imbalance=5.0).train_targets).double()
    assert (counts[:-1] >= counts[1:]).all()
    assert float(counts[0] / counts[9]) == pytest.approx(5.0, rel=0.05)  # whole examples: 22 of the rarest
    assert counts.sum() > 400


def test_imbalance_then_fraction() -> None:
    thin = split(toy(), 0, imbalance=10.0)
    half = split(toy(), 0, imbalance=10.0, train_fraction=0.5)
    assert torch.isin(half.train, thin.train).all()
    difference = torch.bincount(half.train_targets) - torch.bincount(thin.train_targets) / 2
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("source", ["multilabel_synthetic", "scenes"])
def test_imbalance_needs_one_class_per_example(source: str) -> None:
    with pytest.raises(UserError, match=r"dataset.imbalance must be 1 for a \w+ dataset, got 10\."):
        split(SOURCES[source](), 0, imbalance=10.0)


@pytest.mark.parametrize(
    ("dataset", "knobs", "words"),
    [
        (toy(3, 2), {"test_fraction": 0.01}, "test_fraction must leave at least one example on either side, got 0.01"),
        (toy(3, 2), {"val_fraction": 0.99}, "val_fraction must leave at least one example on either side, got 0.99"),
        (toy(10, 20), {"train_fraction": 0.01}, "No training example of class 'class_0' of dataset 'toy' is left"),
        (toy(10, 20), {"train_fraction": 0.0001}, "dataset.train_fraction must leave at least one training example"),
        (toy(10, 20), {"imbalance": 100.0}, r"lower dataset.imbalance \(100\)"),
        (toy(1, 20), {"imbalance": 2.0}, "dataset.imbalance must be 1 for a dataset with one class, got 2"),
    ],
)  # fmt: skip
def test_an_empty_part_is_refused(dataset: Dataset, knobs: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        split(dataset, 0, **knobs)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")

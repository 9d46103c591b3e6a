"""Numbers to predict: published tables with their test sets, turned digits, and a noisy sine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from xentlab import data
from xentlab.data.quantities import _turned
from xentlab.errors import UserError


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A table of 40 rows as the six are kept, with 20 test sets of four rows."""
    draws, folder = np.random.default_rng(0), tmp_path / "uci" / "yacht"
    folder.mkdir(parents=True)
    np.savetxt(folder / "data.txt", draws.normal(size=(40, 4)))
    np.savetxt(folder / "index_features.txt", [0, 1, 3])
    np.savetxt(folder / "index_target.txt", [2])
    for k in range(20):
        np.savetxt(folder / f"index_test_{k}.txt", draws.permutation(40)[:4])
    return tmp_path


def test_a_published_table_has_one_test_set_for_each_seed(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENTLAB_DATA", str(tables))
    read, rows = data.uci(), np.loadtxt(tables / "uci" / "yacht" / "data.txt")
    np.testing.assert_array_equal(read.inputs.numpy(), rows[:, [0, 1, 3]].astype(np.float32))
    np.testing.assert_array_equal(read.targets.numpy(), rows[:, 2])
    for seed in (0, 3, 23):
        published = np.loadtxt(tables / "uci" / "yacht" / f"index_test_{seed % 20}.txt").astype(int)
        parts = data.split(read, seed)
        assert parts.test.tolist() == sorted(published.tolist())
        assert sorted([*parts.train.tolist(), *parts.val.tolist(), *parts.test.tolist()]) == list(range(40))
        assert len(parts.val) == 7  # a fifth of what is left
    moved = data.Dataset(**{**vars(data.uci()), "test_sets": read.test_sets[::-1]})
    assert moved.fingerprint != read.fingerprint


def test_a_table_that_is_not_there_is_named(tables: Path) -> None:
    with pytest.raises(UserError, match=r"uci/energy must hold a published table and its 20 test sets"):
        data.uci(table="energy", root=str(tables / "uci"))


def test_the_report_says_that_seeds_meet_different_test_sets(
    run: Callable[..., tuple[int, str, str]], tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENTLAB_DATA", str(tables))
    words = ("dataset=uci", "model.hidden=[4]", "trainer.epochs=2", "comparison.losses=[mse,mae]", "tracking=off")
    code, _, errors = run("compare", *words, "comparison.baseline=mse", "comparison.final_seeds=6")
    assert code == 0, errors
    (page,) = (tables / "xentlab-runs" / "comparisons").glob("*/report.md")
    said = page.read_text()
    assert "Each seed meets one of the source's 20 test sets in turn" in said
    assert "The test set is the same for all seeds" not in said


def test_digits_are_turned_as_scipy_turns_them() -> None:
    digits = data.digits().inputs[:30]
    quarter = _turned(digits, torch.full((30,), 90.0, dtype=torch.float64))
    assert torch.equal(quarter, torch.rot90(digits, 1, (2, 3)))
    angles = torch.linspace(-170, 170, 30, dtype=torch.float64)
    found = _turned(digits, angles).double().numpy()
    for image, own, angle in zip(digits.double().numpy(), found, angles.tolist(), strict=True):
        wanted = ndimage.rotate(image[0], angle, reshape=False, order=1, mode="grid-constant", prefilter=False)
        np.testing.assert_allclose(own[0], wanted, atol=0.5 + 1e-9)  # rounded to whole values


def test_turned_digits_are_numbers_to_predict() -> None:
    read = data.rotated_digits(most=30.0)
    assert (read.task, tuple(read.inputs.shape), read.scale) == ("regression", (1797, 1, 8, 8), 1 / 16)
    assert read.targets.abs().max() <= 30
    assert abs(float(read.targets.mean())) < 3 * 30 / 3**0.5 / 1797**0.5  # a uniform draw, three standard errors
    assert read.fingerprint == data.rotated_digits(most=30.0).fingerprint
    assert read.fingerprint != data.rotated_digits(most=30.0, draw_seed=1).fingerprint


def test_a_sine_knows_its_mean_and_noise() -> None:
    read = data.sinusoid(samples=4000)
    assert read.posterior is not None
    mean, scale, _ = read.posterior.unbind(1)
    assert torch.equal(mean, 0.4 * torch.sin(2 * torch.pi * read.inputs.double()[:, 0]))
    assert scale.unique().tolist() == [0.01]
    off = (read.targets - mean) / scale
    assert abs(float(off.mean())) < 3 / 4000**0.5
    assert float(off.std()) == pytest.approx(1, abs=0.05)

"""The tests against scipy, against enumeration, and against tables whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from analysis_lab import NOISE, SD, allowed, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from xentlab import analysis


@pytest.mark.parametrize("n", [2, 5, 8, 11])
def test_the_sign_flip_test_is_scipys_exact_permutation_test(n):
    differences = sample(n, seed=n) + 0.3
    reference = scipy.stats.permutation_test(
        (differences,), lambda x, axis: np.abs(x.mean(axis=axis)), permutation_type="samples", alternative="greater"
    )
    assert analysis.sign_flip(differences) == pytest.approx(reference.pvalue, rel=1e-12)


def test_the_sign_flip_test_counts_ties_and_drops_zeros():
    # 0.1 + 0.2 and 0.3 differ in the last bit; tens of them do not, so the reference counts in whole numbers.
    differences = np.array([0.1, 0.2, -0.3, 0.6])
    sums = [abs(sum(s * x for s, x in zip(signs, (1, 2, 3, 6), strict=True)))
            for signs in itertools.product([-1, 1], repeat=4)]  # fmt: skip
    assert analysis.sign_flip(differences) == sum(s >= 6 for s in sums) / 16
    assert analysis.sign_flip([0.5] * 6 + [0.0] * 10) == 2**-5
    assert analysis.sign_flip([0.0, 0.0]) == 1.0
    assert math.isnan(analysis.sign_flip([]))
    assert analysis.sign_flip([3.0]) == 1.0


def test_drawn_signs_agree_with_the_exact_count_and_with_their_seed(monkeypatch):
    differences = sample(14, seed=1) + 0.4
    exact = analysis.sign_flip(differences)
    monkeypatch.setattr("xentlab.analysis.permutation.LARGEST_EXACT", 10)
    drawn = analysis.sign_flip(differences, seed=1)
    assert drawn != exact
    # Four standard errors of 99,999 draws.
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 99_999))
    assert analysis.sign_flip(differences, seed=1) == drawn
    assert analysis.sign_flip(differences, seed=2) != drawn


def test_forty_seeds_are_near_the_t_test():
    differences = sample(40, seed=3) + 0.3
    assert analysis.sign_flip(differences) == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue, abs=0.01)


def test_holm_by_hand_and_by_its_law():
    assert analysis.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert analysis.holm([0.01, math.nan]).tolist() == pytest.approx([0.02, 1.0])
    assert analysis.holm([]).size == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_rejects_what_stepping_down_rejects(p_values):
    rejected, alpha = set(), 0.05
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - rank) >= alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(analysis.holm(p_values)) if p < alpha} == rejected


# The truth: tables whose answer is known. scripts/simulate_truth.py runs the same at 2,000 tables for every cell.


@pytest.mark.parametrize(
    ("noise", "n"), [*itertools.product(NOISE, [5, 10]), pytest.param("heavy", 30, marks=pytest.mark.slow)]
)
def test_losses_that_do_not_differ_are_rarely_told_apart(noise, n):
    tables = {5: 2000, 10: 2000, 30: 300}[n]
    differences = NOISE[noise](np.random.default_rng(n), (tables, 2, n))
    p_values = [analysis.sign_flip(ours - theirs) for ours, theirs in differences]
    share = np.mean(np.array(p_values) < 0.05)
    assert share <= allowed(0.05, tables)
    assert (share == 0) == (n == 5)


@pytest.mark.parametrize("noise", NOISE)
def test_an_effect_of_one_paired_sd_is_found(noise):
    drawn = NOISE[noise](np.random.default_rng(0), (2000, 2, 10))
    differences = drawn[:, 0] - drawn[:, 1] + math.sqrt(2) * SD[noise]
    assert np.mean([analysis.sign_flip(row) < 0.05 for row in differences]) >= 0.75

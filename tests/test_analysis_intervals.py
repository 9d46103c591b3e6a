"""Intervals against scipy, against the tests that they invert, and against tables whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from analysis_lab import NOISE, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from xentlab import analysis
from xentlab.analysis.interval import bca, expanded_level
from xentlab.errors import UserError


@pytest.mark.parametrize(("n", "noise"), [*itertools.product([10, 12, 25], NOISE)])
def test_the_bootstrap_is_scipys_bca(n, noise):
    # Fewer values often redraw themselves; scipy lets rounding decide such ties, this code counts them half.
    values = sample(n, seed=n, noise=noise)
    low, high = bca(values[None], level=0.9, resamples=999, seed=3)
    reference = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=999, rng=np.random.default_rng(3), method="BCa"
    ).confidence_interval
    assert [low[0], high[0]] == pytest.approx([reference.low, reference.high], rel=1e-9)


@pytest.mark.parametrize("n", [6, 10, 40])
def test_the_expanded_level_makes_a_normal_bootstrap_as_wide_as_the_t_interval(n):
    z = scipy.stats.norm.ppf((1 + expanded_level(n, 0.95)) / 2)
    assert z * math.sqrt((n - 1) / n) == pytest.approx(scipy.stats.t.ppf(0.975, n - 1), rel=1e-9)


def test_a_summary_is_numpys_mean_and_sd():
    values = sample(12)
    summary = analysis.summarise(values)
    assert (summary.mean, summary.sd, summary.n, summary.method) == (
        pytest.approx(values.mean(), rel=1e-12),
        pytest.approx(values.std(ddof=1), rel=1e-12),
        12,
        "bca",
    )
    assert summary.low < summary.mean < summary.high


def test_small_samples_get_the_t_interval():
    values = sample(5)
    summary = analysis.summarise(values)
    reference = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert summary.method == "t"
    assert [summary.low, summary.high] == pytest.approx([reference.low, reference.high], rel=1e-9)


def test_samples_without_a_spread_say_so():
    assert analysis.summarise([]).method == "none"
    assert analysis.summarise([]).n == 0
    single = analysis.summarise([2.0])
    assert (single.mean, single.method) == (2.0, "none")
    assert math.isnan(single.low)
    constant = analysis.summarise([0.1] * 8)
    assert (constant.low, constant.high, constant.sd, constant.method) == (0.1, 0.1, 0.0, "constant")


@pytest.mark.parametrize("values", [[1.0, math.nan], [math.inf, 2.0], [[1.0], [2.0]]])
def test_a_summary_refuses_what_is_no_finite_vector(values):
    with pytest.raises(UserError, match="values must be"):
        analysis.summarise(values)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_intervals_move_with_the_unit(scale, shift):
    values = sample(9, seed=5)
    plain, moved = analysis.summarise(values), analysis.summarise(scale * values + shift)
    expected = [scale * plain.low + shift, scale * plain.high + shift]
    assert [moved.low, moved.high] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    expected = [scale * end + shift for end in analysis.flip_interval(values)]
    assert analysis.flip_interval(scale * values + shift) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", [6, 9])
def test_the_flip_interval_holds_exactly_the_shifts_that_the_test_keeps(n):
    differences = sample(n, seed=n) + 0.4
    low, high = analysis.flip_interval(differences)
    for end, outward in ((low, -1e-6), (high, 1e-6)):
        assert analysis.sign_flip(differences - (end + outward)) < 0.05
        assert analysis.sign_flip(differences - (end - outward)) >= 0.05


@pytest.mark.parametrize("n", [0, 1, 5])
def test_no_flip_interval_where_none_is_bounded(n):
    assert all(map(math.isnan, analysis.flip_interval(sample(n))))


def test_the_drawn_flip_interval_is_near_students_for_normal_differences():
    values = sample(40, seed=2)
    reference = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    # Two methods and 20,000 drawn subsets: they agree to a few percent of the width, not to the digit.
    assert analysis.flip_interval(values) == pytest.approx(reference, abs=0.05 * (reference.high - reference.low))


def test_a_band_is_the_t_interval_of_each_epoch_over_the_finite_curves():
    curves = [[3.0, 2.0, None, 1.0], [2.5, 2.2, None, math.nan], [2.8, 1.0, math.inf, None]]
    band = analysis.band(curves)
    assert band.count.tolist() == [3, 3, 0, 1]
    for epoch in (0, 1):
        column = [row[epoch] for row in curves]
        reference = scipy.stats.ttest_1samp(column, 0.0).confidence_interval(0.95)
        assert [band.low[epoch], band.high[epoch]] == pytest.approx([reference.low, reference.high], rel=1e-9)
        assert band.mean[epoch] == pytest.approx(np.mean(column), rel=1e-12)
    assert math.isnan(band.mean[2])
    assert band.mean[3] == 1.0
    assert math.isnan(band.low[3])


@pytest.mark.parametrize("n", [10, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("noise", NOISE)
def test_the_interval_of_a_difference_covers_the_truth(noise, n):
    tables = 2000 if n == 10 else 400
    drawn = NOISE[noise](np.random.default_rng(n), (tables, 2, n))
    ends = np.array([analysis.flip_interval(ours - theirs) for ours, theirs in drawn])
    share = np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0))
    slack = 3 * math.sqrt(0.05 * 0.95 / tables)
    assert 0.95 - slack <= share <= 0.95 + slack + 0.003  # 2^10 assignments are a little coarse
    assert tables < 2000 or 0.93 <= share <= 0.97


@pytest.mark.parametrize("n", [10, 30])
def test_the_interval_of_a_mean_covers_the_truth_where_the_plain_bootstrap_does_not(n):
    drawn = np.random.default_rng(n).standard_normal((2000, n))
    shares = []
    for level in (expanded_level(n, 0.95), 0.95):
        ends = [bca(rows, level=level, resamples=1999) for rows in np.split(drawn, 10)]
        low, high = (np.concatenate([pair[side] for pair in ends]) for side in (0, 1))
        shares.append(np.mean((low <= 0) & (high >= 0)))
    assert 0.93 <= shares[0] <= 0.97
    assert shares[1] < shares[0]

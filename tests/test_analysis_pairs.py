"""A pair of losses against scipy and enumeration: equivalence, intervals at any level, skew, and the plan of seeds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from analysis_lab import NOISE, allowed, sample

from xentlab import analysis
from xentlab.errors import UserError


def one_sided(differences, bound):
    """The share of all sign assignments whose sum of `differences - bound` is at most that observed."""
    centred = np.asarray(differences) - bound
    signs = np.array(list(itertools.product([-1, 1], repeat=len(centred))))
    return np.mean(signs @ centred <= centred.sum() + 1e-9)


@pytest.mark.parametrize(("n", "shift", "bound"), [(2, 0.0, 0.5), (7, 0.3, 0.5), (11, 0.9, 0.5), (10, -0.2, 0.0)])
def test_the_one_sided_test_is_scipys_and_enumerations(n, shift, bound):
    differences = sample(n, seed=n) / 3 + shift
    found = analysis.flip_below(differences, bound)
    assert found == pytest.approx(one_sided(differences, bound), rel=1e-12)
    reference = scipy.stats.permutation_test(
        (differences - bound,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", alternative="less"
    )
    assert found == pytest.approx(reference.pvalue, rel=1e-12)


@pytest.mark.parametrize(("n", "shift", "margin"), [(6, 0.0, 1.0), (12, 0.3, 0.5), (12, 0.9, 0.5)])
def test_equivalence_is_two_one_sided_flip_tests(n, shift, margin):
    differences = sample(n, seed=n) / 3 + shift
    reference = max(one_sided(differences, margin), one_sided(-differences, margin))
    assert analysis.equivalence(differences, margin) == pytest.approx(reference, rel=1e-12)


def test_equivalence_at_its_edges():
    assert analysis.equivalence([0.1] * 6, 0.2) == 2**-6
    assert analysis.equivalence([0.2] * 6, 0.2) == 1.0
    assert math.isnan(analysis.equivalence([], 1.0))


@pytest.mark.parametrize(
    ("noise", "n"), [("normal", 8), ("heavy", 10), pytest.param("normal", 30, marks=pytest.mark.slow)]
)
def test_equivalence_at_the_margin_holds_its_level(noise, n):
    tables = 2000 if n < 30 else 100
    drawn = NOISE[noise](np.random.default_rng(n), (tables, n)) + 1.0
    shares = [np.mean([analysis.equivalence(row, margin) < 0.05 for row in drawn]) for margin in (1.0, 0.999)]
    assert all(share <= allowed(0.05, tables) for share in shares)


@pytest.mark.parametrize(("n", "level"), [(7, 0.95), (10, 0.9875), (14, 1 - 0.05 / 53), (16, 0.99)])
def test_the_interval_holds_exactly_the_shifts_that_the_test_keeps_at_its_level(n, level):
    differences = sample(n, seed=n) + 0.4
    low, high = analysis.flip_interval(differences, level=level)
    for end, outward in ((low, -1e-6), (high, 1e-6)):
        assert analysis.sign_flip(differences - (end + outward)) < 1 - level
        assert analysis.sign_flip(differences - (end - outward)) >= 1 - level


def test_no_interval_where_the_level_asks_for_more_seeds():
    assert all(map(math.isnan, analysis.flip_interval(sample(10), level=1 - 0.05 / 53)))
    assert all(map(math.isfinite, analysis.flip_interval(sample(12), level=1 - 0.05 / 53)))


def test_drawn_subsets_are_near_the_enumerated_ones(monkeypatch):
    differences = sample(16, seed=4)
    exact = analysis.flip_interval(differences, level=0.999)
    monkeypatch.setattr("xentlab.analysis.permutation.LARGEST_ENUMERATED", 10)
    drawn = analysis.flip_interval(differences, level=0.999)
    # The 50th of 99,999 means in each tail: a few percent of the width.
    assert drawn == pytest.approx(exact, abs=0.05 * (exact[1] - exact[0]))
    assert drawn != exact


def test_a_pair_by_hand():
    values, baseline = np.array([3.0, 4.0, 4.0, 7.0, 1.0, 2.0]), np.array([2.0, 2.0, 4.0, 8.0, 0.0, 0.5])
    pair = analysis.paired(values, baseline, direction="max")
    differences = values - baseline
    assert (pair.n, pair.distinct) == (6, 5)
    assert pair.difference == pytest.approx(differences.mean(), rel=1e-12)
    assert pair.sd == pytest.approx(differences.std(ddof=1), rel=1e-12)
    assert pair.effect == pytest.approx(differences.mean() / differences.std(ddof=1), rel=1e-12)
    assert pair.improvement == pytest.approx(4.5 / 6)
    assert analysis.paired(values, baseline, direction="min").improvement == pytest.approx(1.5 / 6)
    assert pair.skew == pytest.approx(scipy.stats.skew(differences, bias=False), rel=1e-9)
    with pytest.raises(UserError, match="one number per seed each, got 6 and 3"):
        analysis.paired(values, baseline[:3])


def test_rounding_is_no_difference():
    baseline = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    pair = analysis.paired(baseline * (1 + 1e-15), baseline)
    assert (pair.difference, pair.p, pair.effect, pair.distinct) == (0.0, 1.0, 0.0, 0)


def test_a_strong_skew_is_seen_where_it_is_and_rarely_elsewhere():
    drawn = np.random.default_rng(0)
    zero = np.zeros(14)
    normal = np.mean([analysis.paired(row, zero).strongly_skewed for row in drawn.standard_normal((400, 14))])
    skewed = np.mean([analysis.paired(row, zero).strongly_skewed for row in drawn.standard_exponential((400, 14))])
    assert normal <= 0.04
    assert skewed >= 0.25
    collapsed = [0.01, -0.01, 0.005, 0.0, 0.02, -0.02, 0.01, 0.0, -0.01, 0.87]
    assert analysis.paired(collapsed, [0.0] * 10).strongly_skewed
    assert not analysis.paired([1.0] * 10, [0.0] * 10).strongly_skewed


# Planning


@pytest.mark.parametrize(("compared", "seeds"), [(1, 10), (3, 10), (6, 10), (10, 11), (53, 14), (159, 15)])
def test_as_many_seeds_as_holm_over_the_losses_needs(compared, seeds):
    found = analysis.seeds_for(compared)
    assert found == seeds
    assert 2.0 ** (1 - found) * compared <= 0.05 / 4
    assert found == 10 or 2.0 ** (2 - found) * compared > 0.05 / 4


def t_power(effect, n, alpha):
    critical, shift = scipy.stats.t.ppf(1 - alpha / 2, n - 1), abs(effect) * math.sqrt(n)
    return scipy.stats.nct.sf(critical, n - 1, shift)


@pytest.mark.parametrize(("effect", "alpha"), [(0.5, 0.05), (1.0, 0.05), (-1.0, 0.01), (0.1, 0.05)])
def test_seeds_needed_is_the_first_number_with_the_power(effect, alpha):
    n = analysis.seeds_needed(effect, alpha=alpha)
    assert t_power(effect, n, alpha) >= 0.8 > t_power(effect, n - 1, alpha)
    assert analysis.power(effect, n, alpha=alpha) == pytest.approx(t_power(effect, n, alpha), rel=1e-6)


def test_seeds_needed_has_bounds():
    assert analysis.seeds_needed(50.0) == 6  # 2^(1-5) > 0.05: five seeds can never reject
    assert analysis.power(50.0, 5) == 0.0
    assert analysis.seeds_needed(math.inf, alpha=0.01) == 8
    assert analysis.seeds_needed(0.0) is None
    assert analysis.seeds_needed(math.nan) is None
    assert analysis.seeds_needed(0.02) is None
    assert analysis.seeds_needed(0.03) == pytest.approx((2.8016 / 0.03) ** 2, rel=0.01)  # normal approximation


@pytest.mark.parametrize(("n", "compared"), [(10, 1), (10, 3), (14, 53), (30, 3)])
def test_the_detectable_difference_has_the_power_that_it_names(n, compared):
    difference = analysis.detectable(0.4, n, compared=compared)
    assert t_power(difference / 0.4, n, 0.05 / compared) == pytest.approx(0.8, abs=1e-6)
    assert analysis.detectable(0.8, n, compared=compared) == pytest.approx(2 * difference, rel=1e-9)


def test_nothing_is_detectable_where_no_test_can_reject():
    assert analysis.detectable(0.4, 10, compared=53) == math.inf


def test_the_flip_test_has_the_power_that_is_planned():
    drawn = np.random.default_rng(0).standard_normal((2000, 12)) + 1.0
    share = np.mean([analysis.sign_flip(row) < 0.05 for row in drawn])
    # The plan is the t-test's power; the flip test is within three points of it.
    assert share == pytest.approx(analysis.power(1.0, 12), abs=0.03)

"""The statistics against scipy, against enumeration, and against tables whose truth is known."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from xentlab import analysis
from xentlab.analysis.interval import bca, expanded_level
from xentlab.errors import UserError

NOISE = {
    "normal": lambda g, shape: g.standard_normal(shape),
    "skewed": lambda g, shape: g.standard_exponential(shape) - 1.0,
    "heavy": lambda g, shape: g.standard_t(3, shape),
}
SD = {"normal": 1.0, "skewed": 1.0, "heavy": math.sqrt(3.0)}


def sample(n, seed=0, noise="normal"):
    return NOISE[noise](np.random.default_rng(seed), n)


def allowed(share, tables):
    """The share plus three Monte-Carlo standard errors."""
    return share + 3 * math.sqrt(share * (1 - share) / tables)


# Intervals


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


def test_a_band_refuses_ragged_curves():
    with pytest.raises(UserError, match="rows of one length"):
        analysis.band([[1.0, 2.0], [1.0]])


# Tests


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


@pytest.mark.parametrize(("wins", "losses"), [(0, 6), (3, 4), (1, 9), (5, 5)])
def test_the_sign_test_is_scipys_binomial_test(wins, losses):
    reference = scipy.stats.binomtest(wins, wins + losses, 0.5).pvalue
    assert analysis.sign_test(wins, losses) == pytest.approx(reference, rel=1e-12)


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


@pytest.mark.parametrize(("n", "shift", "margin"), [(5, 0.0, 1.0), (12, 0.3, 0.5), (12, 0.9, 0.5)])
def test_equivalence_is_two_one_sided_t_tests(n, shift, margin):
    differences = sample(n, seed=n) / 3 + shift
    reference = max(
        scipy.stats.ttest_1samp(differences, -margin, alternative="greater").pvalue,
        scipy.stats.ttest_1samp(differences, margin, alternative="less").pvalue,
    )
    assert analysis.equivalence(differences, margin) == pytest.approx(reference, rel=1e-9)


def test_equivalence_at_its_edges():
    assert analysis.equivalence([0.1] * 4, 0.2) == 0.0
    assert analysis.equivalence([0.2] * 4, 0.2) == 1.0
    assert math.isnan(analysis.equivalence([0.0, 0.0], 1.0))
    for margin in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="margin must be a number > 0"):
            analysis.equivalence([0.0, 0.1, 0.2], margin)


@pytest.mark.parametrize(("effect", "alpha"), [(0.5, 0.05), (1.0, 0.05), (-1.0, 0.01), (0.1, 0.05)])
def test_seeds_needed_is_the_first_number_with_the_power(effect, alpha):
    def power(n):
        critical, shift = scipy.stats.t.ppf(1 - alpha / 2, n - 1), abs(effect) * math.sqrt(n)
        return scipy.stats.nct.sf(critical, n - 1, shift)

    n = analysis.seeds_needed(effect, alpha=alpha)
    assert power(n) >= 0.8 > power(n - 1)


def test_seeds_needed_has_bounds():
    assert analysis.seeds_needed(50.0) == 6  # 2^(1-5) > 0.05: five seeds can never reject
    assert analysis.seeds_needed(math.inf, alpha=0.01) == 8
    assert analysis.seeds_needed(0.0) is None
    assert analysis.seeds_needed(math.nan) is None
    assert analysis.seeds_needed(0.02) is None
    assert analysis.seeds_needed(0.03) == pytest.approx((2.8016 / 0.03) ** 2, rel=0.01)  # normal approximation


def test_a_pair_by_hand():
    values, baseline = np.array([3.0, 4.0, 4.0, 7.0]), np.array([2.0, 2.0, 4.0, 8.0])
    pair = analysis.paired(values, baseline, direction="max")
    differences = values - baseline
    reference = scipy.stats.ttest_rel(values, baseline).confidence_interval(0.95)
    assert (pair.n, pair.difference, pair.distinct, pair.method) == (4, 0.5, 3, "t")
    assert [pair.low, pair.high] == pytest.approx([reference.low, reference.high], rel=1e-9)
    assert pair.effect == pytest.approx(0.5 / differences.std(ddof=1))
    assert pair.improvement == 2.5 / 4
    assert analysis.paired(values, baseline, direction="min").improvement == 1.5 / 4
    with pytest.raises(UserError, match="one number per seed each, got 4 and 3"):
        analysis.paired(values, baseline[:3])


def test_rounding_is_no_difference():
    baseline = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    pair = analysis.paired(baseline * (1 + 1e-15), baseline)
    assert (pair.difference, pair.p, pair.effect, pair.distinct) == (0.0, 1.0, 0.0, 0)


# Verdicts


def table(*rows):
    return {name: dict(enumerate(values)) for name, values in zip("abcdefgh", rows, strict=False)}


BASE = [0.10, 0.12, 0.11, 0.13, 0.09, 0.10, 0.12, 0.11, 0.14, 0.08]


def judged(ours, *, baseline=BASE, direction="min", margin=None):
    rows = analysis.judge(table(baseline, ours), baseline="a", direction=direction, margin=margin)
    assert [row.loss for row in rows] == ["a", "b"]
    assert rows[0].verdict == "baseline"
    return rows[1]


def shifted(by, base=BASE):
    wobble = [0.001, -0.002, 0.0015, 0.0, -0.001, 0.002, -0.0015, 0.001, -0.001, 0.0005]
    return [b + by + w for b, w in zip(base, wobble, strict=True)]


def test_each_verdict_has_its_table():
    assert judged(shifted(0.02)).verdict == "worse"
    assert judged(shifted(-0.02)).verdict == "better"
    assert judged(shifted(0.02), direction="max").verdict == "better"
    assert judged(shifted(0.0)).verdict == "inconclusive"
    assert judged(shifted(0.0), margin=0.01).verdict == "equivalent"
    assert judged(shifted(0.02), margin=0.01).verdict == "worse"
    both = judged(shifted(0.004), margin=0.01)
    assert (both.verdict, both.note) == ("equivalent", "the difference is real, but within the margin")
    assert both.p_holm < 0.05
    same = judged(BASE)
    assert (same.verdict, same.note, same.difference) == ("inconclusive", "the same on every seed", 0.0)


def test_the_smallest_table_that_can_decide_is_named():
    rows = analysis.judge(table(*[[v + k for v in BASE[:5]] for k in range(4)]), baseline="a", direction="min")
    note = "5 differing seeds cannot reach p < 0.05 with 3 losses compared; at least 7 are needed"
    for row in rows[1:]:
        assert row.verdict == "inconclusive"
        assert note in row.note
    rows = analysis.judge(table(*[[v + k for v in BASE[:7]] for k in range(4)]), baseline="a", direction="min")
    assert [row.verdict for row in rows[1:]] == ["worse"] * 3


def test_the_order_of_losses_and_seeds_changes_no_digit():
    drawn = np.random.default_rng(0).normal(size=(3, 40))
    forward = table(*drawn.tolist())
    backward = {k: dict(reversed(forward[k].items())) for k in reversed(forward)}
    one = {row.loss: row.to_json() for row in analysis.judge(forward, baseline="a", direction="min", margin=0.5)}
    two = {row.loss: row.to_json() for row in analysis.judge(backward, baseline="a", direction="min", margin=0.5)}
    assert one == two
    other = analysis.judge(forward, baseline="a", direction="min", margin=0.5, seed=1)
    assert other[1].diff_low != one["b"]["diff_low"]


def test_failures_are_counted_and_bound_the_verdict():
    better = [None, *shifted(-0.02)[1:]]
    row = judged(better)
    assert (row.n, row.failed, row.pairs, row.values[0]) == (9, 1, 9, None)
    assert row.p_holm < 0.05
    assert row.verdict == "inconclusive"
    assert row.note == "1 failed, 0 of the baseline; the finished seeds alone cannot decide"
    assert judged([None, *shifted(0.02)[1:]]).verdict == "worse"
    assert judged([math.nan, *shifted(0.0)[1:]], margin=0.01).verdict == "inconclusive"
    assert judged(shifted(0.02), baseline=[math.inf, *BASE[1:]]).verdict == "inconclusive"
    assert judged(shifted(-0.02), baseline=[math.inf, *BASE[1:]]).verdict == "better"
    assert judged(better, baseline=[*BASE[:9], None]).verdict == "better"  # as many failures on either side


def test_failing_everywhere_is_worse_even_without_a_value():
    row = judged([None] * 10)
    assert (row.verdict, row.pairs, row.n, row.failed) == ("worse", 0, 0, 10)
    assert row.p_failed == pytest.approx(2**-9)
    assert row.p_holm == pytest.approx(2 * 2**-9)
    assert judged(BASE, baseline=[None] * 10).verdict == "better"
    assert judged([None] * 5, baseline=BASE[:5]).verdict == "inconclusive"


def test_seeds_that_were_not_run_are_no_failures():
    row = judged(shifted(0.02)[:8])
    assert (row.n, row.failed, row.pairs, row.verdict) == (8, 0, 8, "worse")


def test_the_best_are_all_that_the_test_does_not_separate():
    tied, behind = shifted(0.0005), shifted(0.03)
    assert analysis.best(table(BASE, tied, behind), direction="min") == {"a", "b"}
    assert analysis.best(table(BASE, tied, behind), direction="max") == {"c"}
    assert analysis.best(table(BASE, [None, *tied[1:]]), direction="min") == {"a"}
    assert analysis.best(table([None], [None]), direction="min") == set()
    rows = analysis.judge(table(BASE, tied, behind), baseline="c", direction="min")
    assert [row.best for row in rows] == [True, True, False]


def test_a_judgement_is_plain_json():
    row = judged([None] * 10).to_json()
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["difference"] is None
    assert row["values"] == {str(s): None for s in range(10)}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"baseline": "z"}, "Unknown baseline 'z'.*Available: a, b"),
        ({"direction": "down"}, "direction must be one of min, max, got 'down'"),
        ({"alpha": 1.0}, r"alpha must be in \(0, 1\), got 1.0"),
        ({"margin": 0.0}, "margin must be a number > 0 or null, got 0.0"),
    ],
)
def test_judge_says_what_is_wrong(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        analysis.judge(table(BASE, BASE), **{"baseline": "a", "direction": "min", **wrong})


# Time to target


@pytest.mark.parametrize(
    "epochs", [[3, 5, None, 2], [3, None, None], [1, 2, 3, 4, 5], [None, None], [4, 4, None, None]]
)
def test_the_median_is_kaplan_and_meiers(epochs):
    [row] = analysis.time_to_target({"a": dict(enumerate(epochs))}, horizon=10)
    data = scipy.stats.CensoredData.right_censored([e or 10 for e in epochs], [e is None for e in epochs])
    survival = scipy.stats.ecdf(data).sf
    reached = [t for t, s in zip(survival.quantiles, survival.probabilities, strict=True) if s <= 0.5]
    assert row.reached == sum(e is not None for e in epochs)
    assert (math.isnan(row.median) and not reached) or row.median == min(reached)
    assert row.mean == pytest.approx(np.mean([e or 10 for e in epochs]))
    interval = scipy.stats.binomtest(row.reached, row.n).proportion_ci(method="exact")
    assert [row.low, row.high] == pytest.approx([interval.low, interval.high], rel=1e-9)
    assert not row.mean_high > 10


def test_time_to_target_refuses_times_beyond_the_horizon_and_takes_empty_rows():
    with pytest.raises(UserError, match=r"The time of a at seed 4 must be in \(0, 10\], got 11"):
        analysis.time_to_target({"a": {4: 11.0}}, horizon=10)
    [row] = analysis.time_to_target({"a": {}}, horizon=10)
    assert row.n == 0
    assert math.isnan(row.fraction)


# The truth: tables whose answer is known. scripts/simulate_truth.py runs the same at 2,000 tables for every cell.


@pytest.mark.parametrize(("noise", "n"), [*itertools.product(NOISE, [5, 10, 30])])
def test_losses_that_do_not_differ_are_rarely_told_apart(noise, n):
    tables = {5: 2000, 10: 2000, 30: 300}[n]
    differences = NOISE[noise](np.random.default_rng(n), (tables, 2, n))
    p_values = [analysis.sign_flip(ours - theirs) for ours, theirs in differences]
    share = np.mean(np.array(p_values) < 0.05)
    assert share <= allowed(0.05, tables)
    assert (share == 0) == (n == 5)


def test_a_family_of_losses_and_failures_keeps_its_level_through_judge():
    tables, wrong = 200, 0
    generator = np.random.default_rng(4)
    for _ in range(tables):
        drawn = generator.standard_exponential((4, 16))
        drawn[generator.random((4, 16)) < 0.3] = np.nan
        rows = analysis.judge(table(*drawn.tolist()), baseline="a", direction="min")
        wrong += any(row.verdict in ("better", "worse") for row in rows)
    assert wrong / tables <= allowed(0.05, tables)


@pytest.mark.parametrize(("noise", "n"), [*itertools.product(NOISE, [10, 30])])
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


@pytest.mark.parametrize("noise", NOISE)
def test_an_effect_of_one_paired_sd_is_found(noise):
    drawn = NOISE[noise](np.random.default_rng(0), (2000, 2, 10))
    differences = drawn[:, 0] - drawn[:, 1] + math.sqrt(2) * SD[noise]
    assert np.mean([analysis.sign_flip(row) < 0.05 for row in differences]) >= 0.75

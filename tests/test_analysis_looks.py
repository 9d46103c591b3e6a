"""Looking again, and agreeing with published numbers: levels that hold whatever stops a comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from analysis_lab import allowed

from xentlab import analysis
from xentlab.errors import UserError

LOOKS = analysis.Looks((10, 15, 20, 30))


def drawn(generator, losses, n, shift=0.0):
    values = generator.standard_normal((losses, n)) + generator.standard_normal(n)
    values[1:] += shift
    return {name: dict(enumerate(row.tolist())) for name, row in zip("abcdef", values, strict=False)}


def looked(table, looks=LOOKS, margin=None):
    return analysis.judge_looks(analysis.Question(table, "min", margin), looks, baseline="a")


def test_alpha_is_split_equally():
    assert LOOKS.level == pytest.approx(0.0125)


@pytest.mark.parametrize("seeds", [(), (10, 10), (20, 10), (1, 10)])
def test_looks_are_ascending(seeds):
    with pytest.raises(UserError, match="looks must be ascending numbers of seeds"):
        analysis.Looks(seeds)


def test_each_look_is_a_judgement_of_the_first_seeds_at_its_share():
    table = drawn(np.random.default_rng(0), 3, 30, shift=0.6)
    seen = looked(table)
    for row in seen.rows[1:]:
        n = seen.seeds[row.loss]
        first = {loss: {s: v for s, v in trials.items() if s < n} for loss, trials in table.items()}
        [alone] = [r for r in analysis.judge(first, baseline="a", direction="min", alpha=0.0125) if r.loss == row.loss]
        assert alone == row


def test_a_loss_keeps_the_verdict_of_the_look_that_decided_it():
    values = np.random.default_rng(1).standard_normal((3, 30))
    values[1] += 8.0
    values[1, 10:] -= 20.0
    seen = looked({name: dict(enumerate(row.tolist())) for name, row in zip("abc", values, strict=True)})
    assert (seen.rows[1].verdict, seen.seeds["b"]) == ("worse", 10)
    assert (seen.rows[2].verdict, seen.seeds["c"], seen.done) == ("inconclusive", 30, True)
    assert [row.best for row in seen.rows] == [True, False, True]


def test_looks_stop_where_all_is_decided_and_wait_where_seeds_are_missing():
    far = drawn(np.random.default_rng(2), 2, 30, shift=9.0)
    assert (looked(far).seeds, looked(far).done) == ({"a": 10, "b": 10}, True)
    near = drawn(np.random.default_rng(2), 2, 12)
    assert (looked(near).seeds, looked(near).done) == ({"a": 10, "b": 10}, False)
    with pytest.raises(UserError, match="the first look needs 10 seeds, got 9"):
        looked(drawn(np.random.default_rng(2), 2, 9))


@pytest.mark.slow
def test_stopping_at_the_first_claim_keeps_the_level_where_adding_seeds_without_a_plan_does_not():
    generator, tables, planned, greedy = np.random.default_rng(7), 400, 0, 0
    for _ in range(tables):
        table = drawn(generator, 2, 30)
        planned += looked(table).rows[1].verdict != "inconclusive"
        differences = np.array([table["b"][s] - table["a"][s] for s in range(30)])
        greedy += any(analysis.sign_flip(differences[:n]) < 0.05 for n in LOOKS.seeds)
    assert planned / tables <= allowed(0.05, tables)
    assert greedy / tables > 0.07


# Published numbers


@pytest.mark.parametrize("n", [3, 10])
def test_agreement_is_two_one_sided_welch_tests(n):
    generator = np.random.default_rng(n)
    ours, theirs = generator.normal(97.6, 0.3, n), generator.normal(97.5, 0.6, 5)
    a, b = (analysis.Sample(float(x.mean()), float(x.std(ddof=1)), len(x)) for x in (ours, theirs))
    found = analysis.welch(a, b, margin=0.5)
    below = scipy.stats.ttest_ind(ours - 0.5, theirs, equal_var=False, alternative="less").pvalue
    above = scipy.stats.ttest_ind(ours + 0.5, theirs, equal_var=False, alternative="greater").pvalue
    both = scipy.stats.ttest_ind(ours, theirs, equal_var=False)
    interval = both.confidence_interval(0.95)
    assert found.p_within == pytest.approx(max(below, above), rel=1e-9)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high], rel=1e-9)


def test_noise_buys_no_agreement():
    # 97.5 against a published 98.2: three noisy runs do not agree because they do not differ.
    generator, agreed = np.random.default_rng(0), 0
    for _ in range(1000):
        ours = generator.normal(97.5, 0.3, 3)
        sample = analysis.Sample(float(ours.mean()), float(ours.std(ddof=1)), 3)
        agreed += analysis.welch(sample, analysis.Sample(98.2, 0.3, 3), margin=0.5).p_within < 0.05
    assert agreed / 1000 <= 0.05
    wild = analysis.Sample(float(np.mean([20.0, 60.0, 99.0])), float(np.std([20.0, 60.0, 99.0], ddof=1)), 3)
    found = analysis.welch(wild, analysis.Sample(98.2, 0.1, 3), margin=0.5)
    assert found.p_within > 0.4
    assert found.low < 0 < found.high


def test_agreement_needs_a_margin():
    theirs = analysis.Sample(98.2, 0.1, 3)
    assert math.isnan(analysis.welch(analysis.Sample(98.0, 0.1, 3), theirs).p_within)


def test_runs_without_spread_are_compared_exactly():
    ours, theirs = analysis.Sample(98.96, 0.0, 3), analysis.Sample(99.0, 0.0, 3)
    found = analysis.welch(ours, theirs, margin=0.1)
    assert (found.p_within, found.low) == (0.0, found.high)
    rounded = analysis.Sample(99.0, 0.0, 3, rounding=0.05)
    found = analysis.welch(ours, rounded, margin=0.1)
    assert found.low < 0 < found.high

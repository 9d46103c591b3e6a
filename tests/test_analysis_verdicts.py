"""What is concluded from a table: each verdict has its table, and each time to target its estimate."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from analysis_lab import allowed, table

from xentlab import analysis
from xentlab.errors import UserError

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


def test_a_family_of_losses_and_failures_keeps_its_level_through_judge():
    tables, wrong = 200, 0
    generator = np.random.default_rng(4)
    for _ in range(tables):
        drawn = generator.standard_exponential((4, 16))
        drawn[generator.random((4, 16)) < 0.3] = np.nan
        rows = analysis.judge(table(*drawn.tolist()), baseline="a", direction="min")
        wrong += any(row.verdict in ("better", "worse") for row in rows)
    assert wrong / tables <= allowed(0.05, tables)

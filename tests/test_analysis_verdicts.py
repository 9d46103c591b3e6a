"""What is concluded from a table: each verdict has its table, and each time to target its estimate."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from analysis_lab import allowed, table

from xentlab import analysis
from xentlab.errors import UserError
from xentlab.typed import to_json

BASE = [0.10, 0.12, 0.11, 0.13, 0.09, 0.10, 0.12, 0.11, 0.14, 0.08]


def judged(ours, *, baseline=BASE, direction="min", margin=None, trivial=None):
    rows = analysis.judge(table(baseline, ours), baseline="a", direction=direction, margin=margin, trivial=trivial)
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


def test_fewer_than_six_seeds_decide_nothing():
    for margin in (None, 0.5):
        row = judged(shifted(0.0001)[:5], baseline=BASE[:5], margin=margin)
        assert row.verdict == "inconclusive"
        assert "5 differing seeds cannot reach p < 0.05 in a family of 1 comparison; at least 6 are needed" in row.note
        assert row.diff_low is None


def test_nothing_is_decided_of_a_loss_tuned_to_the_edge_nor_of_any_beside_such_a_baseline():
    losses = {"a": BASE, "b": shifted(0.02), "c": shifted(-0.02)}
    values = {loss: dict(enumerate(row)) for loss, row in losses.items()}

    def verdicts(*edge):
        question = analysis.Question(values, "min", 0.001, edge=frozenset(edge))
        return analysis.judge_family({"": question}, baseline="a")[""]

    free, lost, base = ([row.verdict for row in verdicts(*edge)] for edge in ((), ("c",), ("a",)))
    assert free == ["baseline", "worse", "better"]
    assert lost == ["baseline", "worse", "inconclusive"]
    assert base == ["baseline", "inconclusive", "inconclusive"]
    (row,) = (row for row in verdicts("a", "c") if row.loss == "c")
    assert row.note == "a and c chose the outermost value tried in more than 20 % of replicates"
    assert (row.p_holm, row.diff_low, row.seeds_needed) == (verdicts()[2].p_holm, verdicts()[2].diff_low, None)


def test_the_smallest_table_that_can_decide_is_named():
    rows = analysis.judge(table(*[[v + k for v in BASE[:6]] for k in range(4)]), baseline="a", direction="min")
    note = "6 differing seeds cannot reach p < 0.05 in a family of 3 comparisons; at least 7 are needed"
    for row in rows[1:]:
        assert row.verdict == "inconclusive"
        assert note in row.note
    rows = analysis.judge(table(*[[v + k for v in BASE[:7]] for k in range(4)]), baseline="a", direction="min")
    assert [row.verdict for row in rows[1:]] == ["worse"] * 3


def test_the_order_of_losses_and_seeds_changes_no_digit():
    drawn = np.random.default_rng(0).normal(size=(3, 40))
    forward = table(*drawn.tolist())
    backward = {k: dict(reversed(forward[k].items())) for k in reversed(forward)}
    one = {row.loss: row for row in analysis.judge(forward, baseline="a", direction="min", margin=0.5)}
    two = {row.loss: row for row in analysis.judge(backward, baseline="a", direction="min", margin=0.5)}
    assert one == two
    other = analysis.judge(forward, baseline="a", direction="min", margin=0.5, seed=1)
    assert other[1].diff_low != one["b"].diff_low


def test_a_failed_trial_scores_the_trivial_predictor_and_keeps_its_pair():
    row = judged([None, *shifted(-0.02)[1:]], trivial=0.9)
    assert (row.n, row.failed, row.pairs, row.values[0], row.failure_score) == (9, 1, 10, None, 0.9)
    assert row.mean == pytest.approx((0.9 + sum(shifted(-0.02)[1:])) / 10)
    assert row.difference == pytest.approx(row.mean - sum(BASE) / 10)
    assert row.verdict == "inconclusive"
    assert row.note.startswith("1 failed, 0 of the baseline: each scores 0.9, as the trivial predictor does")
    assert "strongly skewed" in row.note
    assert judged([None, *shifted(0.02)[1:]], trivial=0.9).verdict == "worse"
    assert judged([math.nan, *shifted(0.0)[1:]], margin=0.01, trivial=0.9).verdict == "inconclusive"
    assert judged(shifted(-0.02), baseline=[math.inf, *BASE[1:]], trivial=0.9).verdict == "better"
    # Where both fail there is nothing between them.
    assert judged([None, *shifted(-0.02)[1:]], baseline=[None, *BASE[1:]], trivial=0.9).values[0] is None
    assert judged([None, *shifted(-0.02)[1:]], baseline=[None, *BASE[1:]], trivial=0.9).verdict == "better"


def test_without_a_trivial_predictor_failures_score_the_worst_value_of_the_table():
    row = judged([None] * 10)
    assert (row.verdict, row.pairs, row.n, row.failed, row.failure_score) == ("worse", 10, 0, 10, max(BASE))
    assert "each scores 0.14, the worst value of all" in row.note
    assert judged(BASE, baseline=[None] * 10).verdict == "better"
    nothing = judged([None] * 10, baseline=[None] * 10)
    assert (nothing.verdict, nothing.pairs) == ("inconclusive", 0)


def test_seeds_that_were_not_run_are_no_failures():
    row = judged(shifted(0.02)[:8])
    assert (row.n, row.failed, row.pairs, row.verdict) == (8, 0, 8, "worse")


def test_seeds_are_planned_for_the_margin_alone_and_only_while_undecided():
    wide = [b + w for b, w in zip(BASE, [0.03, -0.05, 0.04, 0.0, -0.02, 0.05, -0.04, 0.02, -0.03, 0.0], strict=True)]
    row = judged(wide, margin=0.01)
    spread = np.std(np.subtract(wide, BASE), ddof=1)
    assert row.seeds_needed == analysis.seeds_needed(0.01 / spread)
    assert judged(wide).seeds_needed is None
    assert judged(shifted(0.02), margin=0.01).seeds_needed is None


def test_the_first_place_is_by_all_pairs():
    tied, behind = shifted(0.0005), shifted(0.03)
    assert analysis.first_places(table(BASE, tied, behind), direction="min") == {"a", "b"}
    assert analysis.first_places(table(BASE, tied, behind), direction="max") == {"c"}
    assert analysis.first_places(table([None], [None]), direction="min") == set()
    assert analysis.first_places(table(BASE, [None] * 10), direction="min", trivial=0.9) == {"a"}
    rows = analysis.judge(table(BASE, tied, behind), baseline="c", direction="min")
    assert [row.best for row in rows] == [True, True, False]


def test_the_marks_follow_from_the_verdicts():
    # Eight seeds tell four losses from a baseline, and not ten pairs from each other.
    found = table(*(row[:8] for row in (BASE, shifted(0.0), shifted(0.0005), shifted(0.0)[::-1], shifted(0.03))))
    rows = analysis.judge(found, baseline="a", direction="min")
    assert [row.verdict for row in rows] == ["baseline", *["inconclusive"] * 3, "worse"]
    assert [row.best for row in rows] == [True, True, True, True, False]
    assert len(analysis.first_places(found, direction="min")) == 5


def test_where_the_baseline_is_beaten_all_pairs_of_the_others_are_compared():
    ahead, further = shifted(-0.02), shifted(-0.04)
    tied = [v + 0.06 * (-1) ** k for k, v in enumerate(further)]
    found = table(BASE, ahead, further, tied, shifted(0.03))
    rows = analysis.judge(found, baseline="a", direction="min")
    assert [row.verdict for row in rows] == ["baseline", "better", "better", "inconclusive", "worse"]
    assert [row.loss for row in rows if row.best] == ["c", "d"]
    # What metrics that share one alpha leave over for pairs is nothing, and a loss at an edge is in none.
    question = analysis.Question(found, "min")
    both = analysis.judge_family({"one": question, "two": question}, baseline="a")["one"]
    assert [row.loss for row in both if row.best] == ["b", "c", "d"]
    edge = dataclasses.replace(question, edge=frozenset("b"))
    assert [row.loss for row in analysis.judge_family({"": edge}, baseline="a")[""] if row.best] == ["b", "c", "d"]


def many(losses, n, *, behind, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(losses, n))
    drawn[-1] += behind
    return {f"loss{i}": dict(enumerate(row.tolist())) for i, row in enumerate(drawn)}


def test_of_fifty_four_losses_the_one_that_is_far_behind_does_not_share_the_first_place():
    rows = analysis.judge(many(54, analysis.seeds_for(53), behind=10.0), baseline="loss0", direction="min")
    assert rows[-1].verdict == "worse"
    assert [row.best for row in rows] == [True] * 53 + [False]
    # What ten seeds could not do, and say.
    rows = analysis.judge(many(54, 10, behind=10.0), baseline="loss0", direction="min")
    assert rows[-1].verdict == "inconclusive"
    assert "in a family of 53 comparisons; at least 12 are needed" in rows[-1].note


def test_metrics_together_are_one_family():
    tables = {name: table(BASE, shifted(0.004), shifted(0.0)) for name in ("nll", "brier", "ece")}
    questions = {name: analysis.Question(found, "min") for name, found in tables.items()}
    together = analysis.judge_family(questions, baseline="a")
    alone = {name: analysis.judge(found, baseline="a", direction="min") for name, found in tables.items()}
    for name, rows in together.items():
        assert [row.family for row in rows] == [6] * 3
        assert rows[1].p == alone[name][1].p
        assert rows[1].p_holm > alone[name][1].p_holm
        assert rows[1].diff_low <= alone[name][1].diff_low
    lone = analysis.judge_family({"nll": questions["nll"]}, baseline="a")["nll"]
    assert lone == alone["nll"]


def test_intervals_agree_with_the_verdicts():
    generator, seen = np.random.default_rng(3), set()
    for _ in range(150):
        drawn = generator.standard_normal((5, 10)) + np.array([0, 0, 0.9, 1.2, 3.0])[:, None] * generator.choice([0, 1])
        for row in analysis.judge(table(*drawn.tolist()), baseline="a", direction="min", margin=2.0)[1:]:
            low, high = row.diff_low, row.diff_high
            if row.p_holm < 0.05:
                assert low >= 0 or high <= 0
                seen.add("Holm alone" if 0 in (low, high) else "differs")
            else:
                assert low <= 0 <= high
            if row.verdict == "equivalent":
                assert -2.0 <= low <= high <= 2.0
                seen.add("equivalent")
            elif row.verdict == "inconclusive":
                assert not (low > -2.0 and high < 2.0)
    assert seen == {"Holm alone", "differs", "equivalent"}


def test_intervals_of_a_family_hold_together():
    generator, missed, tables = np.random.default_rng(5), 0, 400
    for _ in range(tables):
        drawn = generator.standard_normal((6, 11)) + generator.standard_normal(11)
        rows = analysis.judge(table(*drawn.tolist()), baseline="a", direction="min")[1:]
        missed += any(not row.diff_low <= 0 <= row.diff_high for row in rows)
    assert missed / tables <= allowed(0.05, tables)


def test_a_judgement_is_plain_json():
    row = to_json(judged([None] * 10, baseline=[None] * 10))
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
        ({"trivial": math.nan}, "trivial must be a finite number or null, got nan"),
    ],
)
def test_judge_says_what_is_wrong(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        analysis.judge(table(BASE, BASE), **{"baseline": "a", "direction": "min", **wrong})


def test_a_family_of_losses_and_failures_keeps_its_level_through_judge():
    tables, wrong = 200, 0
    generator = np.random.default_rng(4)
    for _ in range(tables):
        drawn = generator.standard_exponential((4, 16))
        drawn[generator.random((4, 16)) < 0.3] = np.nan
        rows = analysis.judge(table(*drawn.tolist()), baseline="a", direction="min")
        wrong += any(row.verdict in ("better", "worse") for row in rows)
    assert wrong / tables <= allowed(0.05, tables)

"""Ranks over datasets and performance profiles, held to scipy, to the published example and to closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from xentlab import analysis

# Demsar, Statistical comparisons of classifiers over multiple data sets, 2006, table 6: AUC of C4.5 with and without
# limits on the leaves' size (m) and tuned pruning (cf).
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
DEMSAR = {
    "adult": (0.763, 0.768, 0.771, 0.798),
    "breast cancer": (0.599, 0.591, 0.590, 0.569),
    "breast cancer wisconsin": (0.954, 0.971, 0.968, 0.967),
    "cmc": (0.628, 0.661, 0.654, 0.657),
    "ionosphere": (0.882, 0.888, 0.886, 0.898),
    "iris": (0.936, 0.931, 0.916, 0.931),
    "liver disorders": (0.661, 0.668, 0.609, 0.685),
    "lung cancer": (0.583, 0.583, 0.563, 0.625),
    "lymphography": (0.775, 0.838, 0.866, 0.875),
    "mushroom": (1.000, 1.000, 1.000, 1.000),
    "primary tumor": (0.940, 0.962, 0.965, 0.962),
    "rheum": (0.619, 0.666, 0.614, 0.669),
    "voting": (0.972, 0.981, 0.975, 0.9749),  # printed as equal, but ranked 2 and 3: they differ in later digits
    "wine": (0.957, 0.978, 0.946, 0.970),
}


def named(row) -> dict[str, float | None]:
    return {name: -value for name, value in zip(NAMES, row, strict=False)}  # the paper's are better larger


def test_the_published_example():
    result = analysis.friedman({block: named(row) for block, row in DEMSAR.items()})
    ranks = [result.ranks[name] for name in NAMES]
    assert ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    # The book-keeping of the paper has no correction for ties.
    assert 12 * 14 / (4 * 5) * (sum(r * r for r in ranks) - 4 * 25 / 4) == pytest.approx(9.28, abs=0.005)


def test_the_statistic_is_scipys():
    result = analysis.friedman({block: named(row) for block, row in DEMSAR.items()})
    reference = scipy.stats.friedmanchisquare(*-np.array(list(DEMSAR.values())).T)
    assert (result.statistic, result.p) == pytest.approx((reference.statistic, reference.pvalue), rel=1e-9)
    drawn = np.random.default_rng(0).normal(size=(9, 5))
    table = {str(i): {str(j): float(v) for j, v in enumerate(row)} for i, row in enumerate(drawn)}
    reference = scipy.stats.friedmanchisquare(*drawn.T)
    assert analysis.friedman(table).statistic == pytest.approx(reference.statistic, rel=1e-9)


def test_a_failure_comes_last_and_failures_share_the_last_place():
    result = analysis.friedman({"a": {"x": None, "y": 1.0, "z": 2.0}, "b": {"x": None, "y": None, "z": 9.0}})
    assert result.ranks == {"x": (3 + 2.5) / 2, "y": (1 + 2.5) / 2, "z": (2 + 1) / 2}


def test_one_tie_everywhere_proves_nothing():
    result = analysis.friedman({"a": {"x": 1.0, "y": 1.0}, "b": {"x": 2.0, "y": 2.0}})
    assert result.p == 1.0
    assert result.statistic is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=6))
def test_ranks_sum_to_the_same_and_turn_with_the_sign(rows):
    tables = (
        {str(i): {n: sign * float(v) for n, v in zip("abc", row, strict=True)} for i, row in enumerate(rows)}
        for sign in (1, -1)
    )
    down, up = map(analysis.friedman, tables)
    assert sum(down.ranks.values()) == pytest.approx(6)
    assert [down.ranks[n] + up.ranks[n] for n in "abc"] == pytest.approx([4, 4, 4])


def blocks_of(*columns) -> dict[str, dict[str, float | None]]:
    rows = zip(*columns, strict=True)
    return {f"block {i}": dict(zip("abcdef", row, strict=False)) for i, row in enumerate(rows)}


def test_pairs_are_told_apart_by_scipys_exact_signed_ranks_with_holm():
    drawn = np.random.default_rng(3).normal(size=(4, 12)) + np.array([0.0, 0.9, 1.1, 4.0])[:, None]
    table = blocks_of(*drawn.tolist())
    mean = analysis.friedman(table).ranks
    order = sorted(mean, key=lambda name: mean[name])
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    place = {name: "abcd".index(name) for name in order}
    tests = [
        scipy.stats.wilcoxon(drawn[place[order[i]]], drawn[place[order[j]]], method="exact").pvalue for i, j in pairs
    ]
    apart = {pair for pair, p in zip(pairs, analysis.holm(tests), strict=True) if p < 0.05}
    groups = analysis.inseparable(table)
    assert apart
    assert groups
    for i, j in apart:
        assert not any({order[i], order[j]} <= set(group) for group in groups)


def test_groups_are_maximal_and_may_overlap():
    # b is a little behind a on every block, c a little behind b: neighbours of no consistent order are not told apart.
    steps = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, 1])
    a = np.zeros(10)
    table = blocks_of(a, a + 0.1 * steps + 0.01, a + 0.1 * steps[::-1] + 0.02, a + 5.0)
    assert analysis.inseparable(table) == [["a", "b", "c"]]
    assert analysis.inseparable(blocks_of(a, a + 1.0, a + 2.0)) == []
    assert analysis.inseparable(blocks_of(-a, -a - 1.0, -a - 2.0)) == []


def test_whether_two_losses_are_told_apart_does_not_depend_on_the_others():
    drawn = np.random.default_rng(5).normal(size=(2, 9)) * 0.01
    behind, ahead = drawn[0], drawn[1] - 1.0
    alone = analysis.inseparable(blocks_of(behind, ahead))
    # Nemenyi's mean ranks would need a difference that grows with each further loss.
    between = analysis.inseparable(blocks_of(behind, ahead, behind + 9.0))
    assert alone == []
    assert not any({"a", "b"} <= set(group) for group in between)


def test_below_five_blocks_nothing_is_tested():
    drawn = np.random.default_rng(0).normal(size=(3, 5))
    assert analysis.inseparable(blocks_of(*drawn[:, :4].tolist())) is None
    assert analysis.inseparable(blocks_of(*drawn.tolist())) is not None


def test_the_family_of_pairs_keeps_its_level():
    generator, apart, tables = np.random.default_rng(1), 0, 300
    for _ in range(tables):
        groups = analysis.inseparable(blocks_of(*generator.normal(size=(4, 12)).tolist()))
        apart += groups != [sorted(groups[0], key="abcd".index)] and len(groups[0]) < 4
    assert apart / tables <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)


def test_a_profile_by_hand():
    table = {
        "p": {"a": 1.0, "b": 2.0, "c": None},
        "q": {"a": 3.0, "b": 2.0, "c": 2.0},
        "r": {"a": 0.0, "b": 0.0, "c": 5.0},
        "s": {"a": None, "b": None, "c": None},
    }
    a, b, c = analysis.performance_profiles(table)
    assert [a.loss, b.loss, c.loss] == ["a", "b", "c"]
    assert (a.ratios, b.ratios, c.ratios) == ((1.0, 1.0, 1.5), (1.0, 1.0, 2.0), (1.0,))
    assert [a.at(1.0), a.at(1.4), a.at(1.5), c.at(1e9)] == [0.5, 0.5, 0.75, 0.25]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(0.01, 10), min_size=3, max_size=3), min_size=1, max_size=8), st.floats(0.1, 9))
def test_a_profile_rises_and_knows_no_unit(rows, unit):
    def table(scale):
        return {str(i): {n: scale * v for n, v in zip("abc", row, strict=True)} for i, row in enumerate(rows)}

    plain, scaled = analysis.performance_profiles(table(1.0)), analysis.performance_profiles(table(unit))
    assert sum(p.at(1.0) for p in plain) >= 1.0 - 1e-12  # every problem has a best
    for one, other in zip(plain, scaled, strict=True):
        assert one.ratios == pytest.approx(other.ratios, rel=1e-9)
        shares = [one.at(tau) for tau in (1.0, 1.5, 2.0, 1e6)]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
